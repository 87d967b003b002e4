"""Tests of trainer/stages/measure.py; whole runs are in tests/test_experiment.py."""

from __future__ import annotations

import json

import numpy as np
import pytest

from trainer.stages import measure

# Rows of 400 that were evaluated.
KNOWN = {"all": range(400), "most": range(0, 399), "few": (3, 7, 399), "none": ()}


@pytest.mark.parametrize("name", KNOWN)
def test_logits_are_kept_to_the_last_bit(name: str) -> None:
    logits = np.full((400, 3), np.nan, np.float32)
    rows = np.array(KNOWN[name], np.int64)
    drawn = np.random.default_rng(0).normal(size=(len(rows), 3))
    logits[rows] = drawn.astype(np.float32)
    text = json.dumps(measure.packed(logits))
    found = measure.unpacked(json.loads(text))
    assert found is not None
    np.testing.assert_array_equal(found, logits)
    assert found.dtype == np.float32


def test_what_was_not_evaluated_takes_no_room() -> None:
    logits = np.full((100_000, 3), np.nan, np.float32)
    logits[:50] = 1
    assert len(json.dumps(measure.packed(logits))) < 2_000


def test_what_an_earlier_version_packed_is_read() -> None:
    logits = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert measure.packed(logits) == {
        "shape": [3, 2],
        "base64": "AAAAAAAAgD8AAABAAABAQAAAgEAAAKBA",
    }
    assert measure.packed(None) is None and measure.unpacked(None) is None
