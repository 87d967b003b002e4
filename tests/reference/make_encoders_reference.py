"""Makes tiny encoders of other kinds than BERT, and Hugging Face's numbers of them.

Run in an environment of its own, since PyTorch is no dependency of the program:

    python3.11 -m venv hf
    hf/bin/pip install torch==2.13.0 transformers==5.24.0 sentencepiece protobuf
    hf/bin/python tests/reference/make_encoders_reference.py

It writes, beside itself, for each KIND of distilbert, roberta and xlm-roberta:

encoders/KIND/
  config.json, model.safetensors, and the tokenizer's files, as Hugging Face's hub has
  them. Weights are random. The tensors are those of the encoder, of a masked-LM head
  and of a classifier's head, in one file.
encoders/KIND.json
  texts: [{"text", "ids"}], hostile strings, the ends included, untruncated; what spells
    a special token is text.
  pairs: [{"first", "second", "ids"}], truncated to PAIR_LENGTH tokens.
encoders/KIND.npz, float32 in eval mode; the texts of NUM_STATES of the above, padded
  ids: int32 [texts, length]; num_tokens: int32 [texts].
  hidden: [texts, length, 16], the last hidden state; of padding it says nothing.
  masked_lm: [texts, vocabulary], the masked-LM head's logits of the second token.
  classes: [texts, 3], the classifier's logits.
  versions: a JSON string.
"""

from __future__ import annotations

import io
import json
import pathlib
import platform
import shutil
import sys
from typing import Any

import numpy as np
import sentencepiece
import tokenizers
import torch
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
PAIR_LENGTH = 24
NUM_STATES = 12
LAYERS, WIDTH, WIDE, HEADS, POSITIONS = 2, 16, 32, 2, 64

# The words of tests/tiny.py, so that its sentences are learnt from.
WORDS = (
    "good great fine lovely wonderful superb moving bright bad awful poor boring "
    "terrible dull weak dreadful the a film movie was is it plot actor scene and of "
    "very so"
).split()
CORPUS = [
    *(" ".join(WORDS[i:] + WORDS[:i]) + "." for i in range(len(WORDS))),
    "The film was good, the plot was weak! It's 2 hours 15 and we'll see (don't).",
    "Le film était très émouvant, l'actrice géniale. Der Film war schön und groß.",
    "El guion es malísimo; ¿por qué? Фильм был очень хороший. Η ταινία ήταν καλή.",
    "这部电影很好看 映画はとても良かった 영화가 좋았어요 هذا الفيلم جيد फिल्म अच्छी थी",
] * 20
MORE_WORDS = [f"{a}{b}" for a in WORDS for b in ("ly", "ness", "s", "er")]
TEXTS = (
    "",
    " ",
    "   ",
    "\n",
    "\t\n\r \u00a0\u2003\u3000",
    "The film was good, the plot was weak!",
    "the film  was   good \n\n and\tvery\r\nbad ",
    "  the film is so dull.  ",
    "It's we'll they're I'd you've he'm don'T IT'S 'tis 's ''s",
    "superbly unwonderfulness goodgreatfine xyzzyqwv",
    "1234567 3.14 1,000 x2y 2x \u00bd \u00b2 \u2167 \u0663",
    "caf\u00e9 na\u00efve r\u00e9sum\u00e9 cafe\u0301 \u1ec7 \u0344 S\u00e3o",
    "\u0301\u0301 x\u20dd y\u0489",
    "Stra\u00dfe \u0130stanbul \u03a3\u039f\u03a6\u039f\u03a3 \u03c3\u03bf\u03c6\u03cc\u03c2",
    "\ufb01lm o\ufb03ce \uff26\uff55\uff4c\uff4c \uff11\uff12\uff01 \u212b \u2126 \u2122",
    "\u4e2d\u6587\u7535\u5f71 movie\u65e5\u672ctest \u6771\u4eac\u90fd\u3002",
    "\u3053\u308c\u306f\u6620\u753b \u30ab\u30bf\u30ab\u30ca \u30ac \uff76\uff9e",
    "\ud55c\uad6d\uc5b4 \uc601\ud654 \u1112\u1161\u11ab",
    "\u0641\u0650\u064a\u0644\u0645\u064c \u0631\u0627\u0626\u0639\u060c \u061f",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u092b\u093f\u0932\u094d\u092e\u0964",
    "\u0e20\u0e32\u0e1e\u0e22\u0e19\u0e15\u0e23\u0e4c \u0e14\u0e35",
    "\u041a\u0438\u043d\u043e \u0439\u043e\u0433 \u0401\u0436 \u0492",
    "\U0001f600\U0001f44d\U0001f3fd \u2764\ufe0f \U0001f468\u200d\U0001f469 \U0001f1e9",
    "a\u200bb a\u00adb \u200fx \ufeffy \u2028z\u2029 \u0085w \u000bv \u000cu \u001cu",
    "\u0001\u0007 a\u007fb \u009fc \ue000 \ufffd \U000e0041 \U0010fffd",
    "$5 \u20ac6 a+b=c <br /><br />d|e ~f~ ^g `h` i_j #k @l \\m",
    "...!!!??? --- \u2014 \u201cquoted\u201d \u2018x\u2019 \u00abz\u00bb \u2026",
    "\u2581good \u2581\u2581 film\u2581bad \u0120good \u010a",
    "[CLS] [SEP] [MASK] [UNK] [PAD] <s> </s> <pad> <unk> <mask> ##ly",
    "good</s>bad<mask>film [MASK]good",
    "good" * 60,
    "z" * 101 + " " + "\u00e9" * 130,
    "aaaa aaaaa aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ababababababababa",
    "the film was good " * 12,
)
PAIRS = (
    ("The film was good.", "The plot was weak!"),
    ("good", ""),
    ("", "bad"),
    ("the film is so dull " * 8, "very bad"),
    ("very bad", "the film is so dull " * 8),
    ("the film is so dull " * 8, "a moving scene and a great actor " * 8),
)


def write_wordpiece(folder: pathlib.Path) -> Any:
    trained = tokenizers.BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(CORPUS, vocab_size=400, show_progress=False)
    vocabulary = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    text = "".join(f"{token}\n" for token, _ in vocabulary)
    (folder / "vocab.txt").write_text(text, encoding="utf-8")
    config = {"do_lower_case": True, "tokenizer_class": "DistilBertTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return transformers.DistilBertTokenizer.from_pretrained(folder), len(vocabulary)


def write_byte_pairs(folder: pathlib.Path) -> Any:
    trained = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(
        CORPUS, vocab_size=700, special_tokens=special, show_progress=False
    )
    trained.save_model(str(folder))
    config = {"add_prefix_space": False, "tokenizer_class": "RobertaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = transformers.RobertaTokenizer.from_pretrained(folder)
    return tokenizer, trained.get_vocab_size()


def write_sentence_pieces(folder: pathlib.Path) -> Any:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*CORPUS[: len(CORPUS) // 20], *WORDS, *MORE_WORDS]),
        model_writer=model,
        vocab_size=300,
        hard_vocab_limit=False,
        model_type="unigram",
        num_threads=1,
        minloglevel=2,
        # As XLM-R's: <unk> 0, <s> 1, </s> 2.
    )
    (folder / "sentencepiece.bpe.model").write_bytes(model.getvalue())
    config = {"tokenizer_class": "XLMRobertaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = transformers.XLMRobertaTokenizer.from_pretrained(folder)
    return tokenizer, len(tokenizer)


def configuration(kind: str, vocabulary_size: int) -> Any:
    if kind == "distilbert":
        return transformers.DistilBertConfig(
            vocab_size=vocabulary_size,
            max_position_embeddings=POSITIONS,
            n_layers=LAYERS,
            n_heads=HEADS,
            dim=WIDTH,
            hidden_dim=WIDE,
            num_labels=3,
        )
    of_kind = {
        "roberta": transformers.RobertaConfig,
        "xlm-roberta": transformers.XLMRobertaConfig,
    }[kind]
    return of_kind(
        vocab_size=vocabulary_size,
        max_position_embeddings=POSITIONS + 2,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        hidden_size=WIDTH,
        intermediate_size=WIDE,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        num_labels=3,
    )


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Gives it weights of which each counts: also biases and norms."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm = "norm" in name.lower() and name.endswith("weight")
        parameter.data = 1 + 0.1 * noise if is_norm else 0.3 * noise


def write_model(kind: str, folder: pathlib.Path, size: int) -> tuple[Any, Any]:
    config = configuration(kind, size)
    masked = transformers.AutoModelForMaskedLM.from_config(config).eval()
    classes = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    randomize(masked, 1)
    randomize(classes, 2)
    classes.base_model.load_state_dict(masked.base_model.state_dict())
    config.save_pretrained(folder)
    tensors = {**classes.state_dict(), **masked.state_dict()}
    tensors = {name: value.clone().contiguous() for name, value in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return masked, classes


def make(kind: str, write_tokenizer: Any) -> None:
    folder = HERE / "encoders" / kind
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer, size = write_tokenizer(folder)
    # What spells a special token is text.
    tokenizer.split_special_tokens = True
    masked, classes = write_model(kind, folder, size)
    texts = [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in TEXTS]
    pairs = []
    for first, second in PAIRS:
        encoded = tokenizer(
            first, second, truncation="longest_first", max_length=PAIR_LENGTH
        )
        pairs.append({"first": first, "second": second, "ids": encoded["input_ids"]})
    (HERE / "encoders" / f"{kind}.json").write_text(
        json.dumps({"texts": texts, "pairs": pairs}, indent=1, ensure_ascii=True) + "\n"
    )
    chosen = [t for t in TEXTS if 3 <= len(tokenizer(t)["input_ids"]) <= POSITIONS]
    batch = tokenizer(chosen[:NUM_STATES], padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        arrays = {
            "hidden": masked.base_model(**inputs).last_hidden_state.numpy(),
            "masked_lm": masked(**inputs).logits[:, 1].numpy(),
            "classes": classes(**inputs).logits.numpy(),
        }
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "sentencepiece": sentencepiece.__version__,
    }
    np.savez_compressed(
        HERE / "encoders" / f"{kind}.npz",
        ids=batch["input_ids"].numpy().astype(np.int32),
        num_tokens=batch["attention_mask"].sum(1).numpy().astype(np.int32),
        versions=json.dumps(versions),
        **arrays,
    )
    print(kind, size, {name: array.shape for name, array in arrays.items()})


def main() -> None:
    torch.set_num_threads(1)
    made = {
        "distilbert": write_wordpiece,
        "roberta": write_byte_pairs,
        "xlm-roberta": write_sentence_pieces,
    }
    for kind in sys.argv[1:] or made:
        make(kind, made[kind])


if __name__ == "__main__":
    main()
