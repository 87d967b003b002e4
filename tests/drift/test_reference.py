"""What is kept beside an export for later texts, and how it is read."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest

from trainer.drift import reference as references
from trainer.drift.reference import Reference, TrainingTexts


def make_reference() -> Reference:
    tokens = references.count_tokens(
        np.array([4, 5, 2000]), np.array([4, 5, 48]), np.array([0, 1, 0])
    )
    return Reference(
        training=TrainingTexts(tokens, np.array([2, 1]), "test"),
        confusion=np.array([[5, 1], [0, 4]]),
        scores=references.binned(np.array([0.55, 0.999]), references.SCORE_ENDS),
        vectors=np.array([[0.5, -2.0]], np.float16),
    )


def test_what_was_written_is_read(tmp_path: pathlib.Path) -> None:
    written = make_reference()
    references.write(tmp_path, written)
    read = references.read(tmp_path)
    assert read.training.held_out == "test"
    assert (read.training.tokens.num_tokens, read.training.tokens.num_unknown) == (
        57,
        1,
    )
    for name in ("confusion", "scores", "vectors"):
        value = getattr(read, name)
        np.testing.assert_array_equal(value, getattr(written, name))
        assert value.dtype == getattr(written, name).dtype
    for field in dataclasses.fields(read.training.tokens):
        np.testing.assert_array_equal(
            getattr(read.training.tokens, field.name),
            getattr(written.training.tokens, field.name),
        )


def test_an_end_is_within_its_bin() -> None:
    counts = references.binned(np.array([4, 5, 6, 7, 2000]), references.LENGTH_ENDS)
    assert counts[:3].tolist() == [1, 2, 1] and counts[-1] == 1 and counts.sum() == 5
    unknown = make_reference().training.tokens.unknown
    # 0 of 4 and of 48 tokens; 1 of 5, at the end of the bin up to 0.2.
    assert unknown[0] == 2 and unknown[5] == 1


def test_the_confusion_matrix_is_by_label_and_answer() -> None:
    matrix = references.confusion_matrix(
        np.array([0, 0, 1]), np.array([0, 1, 1]), num_classes=3
    )
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_an_export_without_one_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="without one: .*older version.*export again"):
        references.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4no", b"\x93NUMPY"])
def test_a_damaged_one_is_named(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / references.FILE_NAME).write_bytes(content)
    with pytest.raises(ValueError, match="damaged, or of another.*copy the folder"):
        references.read(tmp_path)
