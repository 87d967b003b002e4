"""Classifies a file of texts with an exported SavedModel.

    python -m trainer.predict --saved_model=DIR --input=texts.txt --output=out.jsonl

or, from Python:

    predict = load("/runs/imdb/export/1")
    predict(["What a film!"])  # [{"label": "positive", "score": 0.98, ...}]

It needs NumPy, TensorFlow and TensorFlow Text, not Keras: everything else is in the
SavedModel. Reading files is left to `trainer.data.files`, writing the SavedModel to
the export.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import pathlib
import sys
from typing import Any, Iterator, TextIO

import numpy as np
from tqdm import tqdm

from trainer import stack
from trainer.config import PredictConfig
from trainer.data import files

SIGNATURE = "serving_default"
INPUT = "text"
OUTPUTS = ("label", "score", "probabilities")
STANDARD_STREAM = "-"

_logger = logging.getLogger(__name__)

Prediction = dict[str, Any]


def predict_file(config: PredictConfig) -> int:
    """Writes one JSON object for each text of the input, in its order.

    Each holds "label", "score" (the probability of that label) and "probabilities"
    (of all classes, in the model's order). The input is read as it is needed.

    Returns:
      How many texts were classified.

    Raises:
      ValueError: the model or the input cannot be used, or one row of the input. A
        file is then not written; lines on standard output stay.
    """
    batches = _batches(_texts(config), config.batch_size)
    # Read before the model is loaded, so that a wrong input is named at once.
    first = list(itertools.islice(batches, 1))
    num_texts = 0
    with _output(config.output) as output, _progress() as progress:
        predict = load(config.saved_model)
        for texts in itertools.chain(first, batches):
            for prediction in predict(texts):
                output.write(json.dumps(prediction) + "\n")
            num_texts += len(texts)
            progress.update(len(texts))
    _logger.info("Classified %d texts.", num_texts)
    return num_texts


class Predictor:
    """A loaded SavedModel, as a function from texts to their predictions."""

    def __init__(self, signature: Any):
        self._signature = signature

    def __call__(self, texts: list[str]) -> list[Prediction]:
        """One prediction a text.

        Raises:
          ValueError: the model gave a number that is not finite.
        """
        import tensorflow as tf

        outputs = self._signature(**{INPUT: tf.constant(texts, tf.string)})
        labels, scores, probabilities = (outputs[name].numpy() for name in OUTPUTS)
        is_finite = np.isfinite(probabilities).all(axis=1) & np.isfinite(scores)
        if not is_finite.all():
            text = texts[int(np.argmin(is_finite))]
            raise ValueError(
                "the model must give finite probabilities. Received: NaN or infinity "
                f"for {files.shown(text)}"
            )
        return [
            {
                "label": label.decode("utf-8"),
                "score": float(score),
                "probabilities": row.tolist(),
            }
            for label, score, row in zip(labels, scores, probabilities)
        ]


def load(saved_model: str) -> Predictor:
    """Loads a SavedModel.

    Raises:
      ValueError: there is none, or one without the signature.
    """
    _check_folder(pathlib.Path(saved_model))
    stack.load()
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the tokenizer's ops)

    try:
        model = tf.saved_model.load(saved_model)
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            "--saved_model must be a SavedModel that can be loaded. Received: "
            f"{saved_model}: {error}"
        ) from error
    _check_signature(model.signatures, saved_model)
    return Predictor(model.signatures[SIGNATURE])


def _check_folder(folder: pathlib.Path) -> None:
    if (folder / "saved_model.pb").is_file():
        return
    versions = sorted(str(path.parent) for path in folder.glob("*/saved_model.pb"))
    found = "no saved_model.pb in it" if folder.is_dir() else "no such folder"
    hint = f" (did you mean {versions[-1]}?)" if versions else ""
    raise ValueError(
        f"--saved_model must be the folder of a SavedModel. Received: {folder}: "
        f"{found}{hint}"
    )


def _check_signature(signatures: Any, saved_model: str) -> None:
    found = f"signatures {', '.join(sorted(signatures)) or 'none'}"
    if SIGNATURE in signatures:
        inputs = signatures[SIGNATURE].structured_input_signature[1]
        outputs = signatures[SIGNATURE].structured_outputs
        if set(inputs) == {INPUT} and set(OUTPUTS) <= set(outputs):
            return
        found = f"inputs {', '.join(inputs)} and outputs {', '.join(outputs)}"
    raise ValueError(
        f"--saved_model must have a signature {SIGNATURE!r} with the input {INPUT} "
        f"and the outputs {', '.join(OUTPUTS)}. Received: {saved_model} with {found}"
    )


def _texts(config: PredictConfig) -> Iterator[str]:
    is_standard = config.input == STANDARD_STREAM
    file_format = config.input_format
    if is_standard and file_format == "auto":
        file_format = "text"
    for row in files.read_rows(
        sys.stdin.buffer if is_standard else config.input,
        text_field=config.text_field,
        label_field=None,
        file_format=file_format,
        allow_empty_text=True,
    ):
        # To leave a row out would shift every line after it.
        if isinstance(row, files.BadRow):
            raise ValueError(str(row))
        yield row.text


def _batches(texts: Iterator[str], batch_size: int) -> Iterator[list[str]]:
    while batch := list(itertools.islice(texts, batch_size)):
        yield batch


def _progress() -> Any:
    return tqdm(desc="Predicting", unit=" texts", delay=1, file=sys.stderr)


@contextlib.contextmanager
def _output(path: str) -> Iterator[TextIO]:
    """A stream to write: a file gets its name only if the block ends well."""
    if path == STANDARD_STREAM:
        yield sys.stdout
        sys.stdout.flush()
        return
    # A link stays a link, and its file is replaced.
    target = pathlib.Path(path).resolve()
    if target.is_dir():
        raise ValueError(f"--output must be a file. Received: the folder {path}")
    if target.exists() and not target.is_file():
        # A pipe or device cannot be replaced, only written to.
        with open(target, "w", encoding="utf-8") as stream:
            yield stream
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
