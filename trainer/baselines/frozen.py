"""Logistic regression on the vectors of the pretrained encoder, as it came.

answers = frozen.answers(examples, vectors)
"""

from __future__ import annotations

import math
from typing import Mapping

import numpy as np

from trainer.baselines import commonest, logistic_regression, one_vs_rest, ridge
from trainer.baselines.examples import Answers, Examples, Head

TITLE = "the frozen encoder with logistic regression"
RIDGE_TITLE = "the frozen encoder with ridge regression"
# With --init_from its encoder is not the pretrained one.
_STARTED = "the encoder of --init_from, frozen,"
_ROWS_AT_ONCE = 4096


def answers(
    examples: Examples,
    vectors: Mapping[str, np.ndarray],
) -> Answers:
    """Answers from pooled vectors; they are scaled in place.

    Args:
      vectors: float32 [n, hidden], of every split of `examples`, in memory or mapped.
    """
    width = vectors["train"].shape[1]
    if examples.has_one_label:
        logits, settings, head = commonest.answers(examples).logits, _ONE_LABEL, None
    else:
        mean, factor = _scale(vectors)
        if examples.are_numbers:
            return _of_numbers(examples, vectors, mean=mean, factor=factor)
        several = examples.may_have_several
        chosen = (one_vs_rest if several else logistic_regression).fit(
            vectors,
            examples,
            description="frozen encoder",
            # Training may begin from it, on all machines alike.
            is_settled=True,
        )
        logits = {name: chosen.logits(vectors[name]) for name in examples.held_out}
        settings = chosen.settings
        head = _head(chosen.linear(), mean=mean, factor=factor)
    return Answers(
        title=TITLE, logits=logits, num_features=width, settings=settings, head=head
    )


def started(title: str) -> str:
    """The title where the encoder is that of --init_from: "the encoder of …, frozen, with …"."""
    return title.replace("the frozen encoder", _STARTED)


def _of_numbers(
    examples: Examples,
    vectors: Mapping[str, np.ndarray],
    *,
    mean: np.ndarray,
    factor: float,
) -> Answers:
    """Of vectors that are scaled already, by `mean` and `factor`."""
    chosen = ridge.fit(vectors, examples, description="frozen encoder")
    return Answers(
        title=RIDGE_TITLE,
        logits={name: chosen.logits(vectors[name]) for name in examples.held_out},
        num_features=vectors["train"].shape[1],
        settings=chosen.settings,
        head=_head(chosen.linear(), mean=mean, factor=factor),
    )


def _head(
    linear: tuple[np.ndarray, np.ndarray], *, mean: np.ndarray, factor: float
) -> Head:
    """The model of scaled vectors as a head of vectors as they come.

    linear: kernel and bias.
    """
    kernel, bias = linear
    kernel = kernel / factor
    return Head(kernel.astype(np.float32), (bias - mean @ kernel).astype(np.float32))


_ONE_LABEL: Mapping[str, float | int | str] = {
    "instead": "the commonest label, for the training texts have no other"
}


def _scale(vectors: Mapping[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """To mean 0, and variance 1 on the mean over the numbers, of the training texts.

    All by the same factor: numbers that hardly vary, blown up to a variance of 1, would
    make a head that amplifies what dropout does to its inputs.

    Returns:
      What was subtracted, float64 [hidden], and what was divided by.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for start in range(0, len(vectors["train"]), _ROWS_AT_ONCE):
        scaler.partial_fit(vectors["train"][start : start + _ROWS_AT_ONCE])
    # Vectors that are all the same stay as they are.
    factor = math.sqrt(scaler.var_.mean()) or 1.0
    for values in vectors.values():
        for start in range(0, len(values), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            values[block] = (values[block] - scaler.mean_) / factor
    return scaler.mean_, factor
