"""What the tests of training share."""

from __future__ import annotations

from typing import Iterator

import pytest
import tensorflow as tf

from trainer.runtime import traces

# Their steps are made for dozens of settings and run a few times each.
_MANY_GRAPHS = ("test_steps", "test_compilation")


@pytest.fixture(scope="module", autouse=True)
def _unoptimized_graphs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Steps run as they were traced.

    Two thirds of the time went into TensorFlow's graph optimizer, which whole runs have
    on (tests/test_experiment.py): what it does is no concern of the equalities here.
    """
    if request.path.stem not in _MANY_GRAPHS:
        yield
        return
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.fixture(autouse=True)
def _let_go_of_graphs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Frees a test's graphs at its end, where the next one makes as many."""
    if request.path.stem not in _MANY_GRAPHS:
        yield
        return
    with traces.released():
        yield
