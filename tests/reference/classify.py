"""What `transformers` makes of texts with a checkpoint that the program exported.

Run by tests/serving/test_hugging_face.py in an environment of its own, as
`make_reference.py` describes it (torch and transformers), which the test finds by

    BERT_TRAINER_REFERENCE_PYTHON=hf/bin/python .venv/bin/python -m pytest \
        -m reference tests/serving

Takes a checkpoint's folder, a JSON file with a list of texts, and a file to write:

  probabilities: float32 [texts, classes].
  ids: int64 [sum of lengths], the texts' token ids back to back.
  lengths: int64 [texts].
  labels: strings [texts], the config's name of the likeliest class.
  versions: a JSON string.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import numpy as np
import torch
import transformers

BATCH_SIZE = 20


def main(folder: str, texts_file: str, result_file: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    model.eval()
    texts = json.loads(pathlib.Path(texts_file).read_text(encoding="utf-8"))
    probabilities: list[Any] = []
    ids: list[Any] = []
    for start in range(0, len(texts), BATCH_SIZE):
        inputs = tokenizer(
            texts[start : start + BATCH_SIZE],
            truncation=True,
            padding=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            probabilities.extend(model(**inputs).logits.softmax(-1).numpy())
        is_token = inputs["attention_mask"].bool()
        ids.extend(r[m].numpy() for r, m in zip(inputs["input_ids"], is_token))
    best = np.argmax(probabilities, axis=-1)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    np.savez(
        result_file,
        probabilities=probabilities,
        ids=np.concatenate(ids),
        lengths=[len(each) for each in ids],
        labels=[model.config.id2label[int(index)] for index in best],
        versions=json.dumps(versions),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
