"""What automatic settings stand for."""

from __future__ import annotations

import pytest

from trainer.config import TrainingConfig
from trainer.stages import resolve


@pytest.mark.parametrize(
    ("logging_steps", "total_steps", "expected"),
    [
        (0, 1, 1),
        (0, 50, 1),
        (0, 51, 2),
        (0, 375, 8),
        (0, 5000, 100),
        (0, 1_000_000, 100),
        (10, 5, 10),
        (1, 5000, 1),
    ],
)
def test_logging_follows_the_length_of_the_run(
    logging_steps: int, total_steps: int, expected: int
) -> None:
    config = TrainingConfig(logging_steps=logging_steps)
    assert resolve.logging_steps(config, total_steps=total_steps) == expected
