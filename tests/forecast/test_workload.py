"""What a step would hold, and flags that make it fit."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from tests.modeling.test_size import BASE
from trainer.forecast import workload
from trainer.forecast.workload import Workload

SMALL = dataclasses.replace(BASE, num_layers=2, hidden_size=128, intermediate_size=512)
WORK = Workload(
    size=BASE,
    num_head_parameters=1538,
    trainable_share=1.0,
    rows=12,
    length=512,
    rows_multiple=12,
    num_parts=1,
    num_replicas=1,
    number_bytes=4,
    rematerializes=False,
    program_bytes=10**9,
)
GB = 10**9


def changed_by(flag: str) -> Workload:
    """The workload with a flag that was proposed."""
    name, _, value = flag.removeprefix("--").partition("=")
    changes: dict[str, dict[str, Any]] = {
        "accumulation_steps": {"num_parts": int(value) if value.isdigit() else 0},
        "rematerialize": {"rematerializes": True},
        "max_length": {"length": int(value) if value.isdigit() else 0},
        "preset": {"size": SMALL},
    }
    return dataclasses.replace(WORK, **changes[name])


def test_weights_and_moments_are_counted_once_each() -> None:
    held = WORK.memory_bytes()
    assert held["weights"] == 4 * (BASE.num_parameters + 1538) == held["gradients"]
    assert held["optimizer"] == 2 * held["weights"]
    frozen = dataclasses.replace(WORK, trainable_share=0.1).memory_bytes()
    assert frozen["optimizer"] == pytest.approx(held["optimizer"] / 10)
    two = dataclasses.replace(WORK, num_replicas=2).memory_bytes()
    assert two["weights"] == 2 * held["weights"] and two["program"] == held["program"]


@pytest.mark.parametrize("limit", [6 * GB, 8 * GB, 12 * GB])
def test_each_remedy_is_enough_by_itself(limit: int) -> None:
    assert WORK.total_bytes() > limit
    found = workload.remedies(WORK, limit, {"small": SMALL})
    assert found and found[-1] == "--preset=small"
    for flag in found:
        assert changed_by(flag).total_bytes() <= limit, flag


def test_parts_are_the_fewest_that_fit_and_share_the_rows() -> None:
    limit = 8 * GB
    (flag,) = (f for f in workload.remedies(WORK, limit, {}) if "accumulation" in f)
    chosen = int(re.findall(r"\d+", flag)[0])
    assert WORK.rows % chosen == 0
    fewer = [n for n in range(1, chosen) if WORK.rows % n == 0]
    for num_parts in fewer:
        less = dataclasses.replace(WORK, num_parts=num_parts)
        assert less.total_bytes() > limit


def test_fewest_parts() -> None:
    kept = WORK.memory_bytes()["kept_for_gradients"]
    assert workload.fewest_parts(WORK, None) == 1
    assert workload.fewest_parts(WORK, WORK.total_bytes()) == 1
    assert workload.fewest_parts(WORK, WORK.total_bytes() - 1) == 2
    assert workload.fewest_parts(WORK, WORK.total_bytes() - kept) is None
    # With a budget of tokens there are batches of 8, 16 ... rows: no third of these.
    budget = dataclasses.replace(WORK, rows=24, rows_multiple=8, num_parts=8)
    assert [each.num_parts for each in workload.in_parts(budget)] == [1, 2, 4, 8]


def test_where_nothing_helps_nothing_is_proposed() -> None:
    assert workload.remedies(WORK, GB, {"small": SMALL}) == ()
