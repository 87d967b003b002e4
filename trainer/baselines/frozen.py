"""Logistic regression on the vectors of the pretrained encoder, as it came.

answers = frozen.answers(examples, vectors)
"""

from __future__ import annotations

from typing import Mapping

import numpy as np

from trainer.baselines import commonest, logistic_regression
from trainer.baselines.examples import Answers, Examples

TITLE = "the frozen encoder with logistic regression"
_ROWS_AT_ONCE = 4096


def answers(
    examples: Examples,
    vectors: Mapping[str, np.ndarray],
    *,
    max_exact_numbers: int = logistic_regression.MAX_EXACT_NUMBERS,
) -> Answers:
    """Answers from pooled vectors; they are standardised in place.

    Args:
      vectors: float32 [n, hidden], of every split of `examples`, in memory or mapped.
      max_exact_numbers: see `logistic_regression.fit`.
    """
    width = vectors["train"].shape[1]
    if examples.has_one_label:
        logits, settings = commonest.answers(examples).logits, _ONE_LABEL
    else:
        _standardize(vectors)
        chosen = logistic_regression.fit(
            vectors,
            examples,
            description="frozen encoder",
            max_exact_numbers=max_exact_numbers,
        )
        logits = {name: chosen.logits(vectors[name]) for name in examples.held_out}
        settings = {"standardized": "yes", **chosen.settings}
    return Answers(title=TITLE, logits=logits, num_features=width, settings=settings)


_ONE_LABEL: Mapping[str, float | int | str] = {
    "instead": "the commonest label, for the training texts have no other"
}


def _standardize(vectors: Mapping[str, np.ndarray]) -> None:
    """To mean 0 and variance 1 over the training texts, a block after the other."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(copy=False)
    for start in range(0, len(vectors["train"]), _ROWS_AT_ONCE):
        scaler.partial_fit(vectors["train"][start : start + _ROWS_AT_ONCE])
    for values in vectors.values():
        for start in range(0, len(values), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            values[block] = scaler.transform(np.array(values[block]))
