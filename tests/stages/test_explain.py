"""Which held-out texts are explained, and what the report then holds of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainer.stages import explain
from trainer.tasks import single_label_decision

WRONG, NEAR = "surest wrong", "nearest to the border"
CHOICES: dict[str, tuple[list[int], list[float], int, dict[int, str]]] = {
    "half_and_half": (
        [1, 0, 0, 1, 0],
        [0.9, 0.8, 0.95, 0.45, 0.3],
        4,
        {2: WRONG, 1: WRONG, 3: NEAR, 4: NEAR},
    ),
    # A text is explained once.
    "an_error_is_near": ([0, 1], [0.51, 0.9], 2, {0: WRONG, 1: NEAR}),
    "odd": ([0, 0, 0], [0.7, 0.8, 0.6], 3, {1: WRONG, 0: WRONG, 2: NEAR}),
    "no_errors": ([1, 1], [0.7, 0.6], 2, {1: NEAR, 0: NEAR}),
    "fewer_texts": ([1], [0.7], 10, {0: NEAR}),
}


@pytest.mark.parametrize(
    ("labels", "probabilities", "count", "expected"), CHOICES.values(), ids=CHOICES
)
def test_surest_errors_and_nearest_texts(
    labels: list[int], probabilities: list[float], count: int, expected: Any
) -> None:
    second = np.array(probabilities)
    logits = np.log(np.stack([1 - second, second], axis=1))
    decision = single_label_decision.plain(2)
    found = explain.choose(np.array(labels), logits, decision, count=count)
    assert found == expected and list(found) == list(expected)
