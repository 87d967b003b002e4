"""What a run has traced is freed at its end, so that a study's runs fit in a process."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from tensorflow.python.framework.func_graph import FuncGraph

from tests.training import test_steps
from trainer.runtime import traces


def num_graphs() -> int:
    """How many traced graphs are alive."""
    gc.collect()
    return sum(isinstance(each, FuncGraph) for each in gc.get_objects())


@pytest.mark.parametrize(
    ("num_replicas", "settings"),
    [
        (2, {}),
        (1, {"fusion": "pieces", "dropout": 0.1}),
        (1, {"rematerialize": True, "steps_per_call": 2}),
    ],
)
def test_no_graph_outlives_its_block(
    num_replicas: int, settings: dict[str, Any], tiny_preset: str
) -> None:
    before = num_graphs()

    with traces.released():
        # Not one of another test: what is cached is not traced.
        test_steps.train(num_replicas, tiny_preset, weight_decay=0.125, **settings)
        num_registered = len(traces._custom_gradients())

    assert num_registered > 0
    assert num_graphs() == before
