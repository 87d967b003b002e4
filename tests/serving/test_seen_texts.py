"""Beside a model lie hashes of its texts; by them, and them alone, texts are found."""

from __future__ import annotations

import pathlib

import numpy as np
import pyarrow as pa

from trainer.data.duplicates import normalized_digests
from trainer.serving import seen_texts


def _digests(*texts: str) -> np.ndarray:
    return normalized_digests(pa.chunked_array([pa.array(texts, pa.large_string())]))


def test_a_copy_is_found_and_another_text_is_not(tmp_path: pathlib.Path) -> None:
    place = tmp_path / seen_texts.FILE_NAME
    seen_texts.write(
        place, seen_texts.numbers(_digests("A fine film.", "Dull.", "Dull."))
    )
    seen = seen_texts.read(tmp_path / seen_texts.FILE_NAME)
    assert seen is not None and len(seen) == 2
    asked = _digests("a  FINE film.", "A fine film", "dull.")
    assert seen_texts.is_seen(seen, asked).tolist() == [True, False, True]
    content = place.read_bytes()
    assert len(content) == 16 and b"film" not in content


def test_an_older_export_does_not_tell(tmp_path: pathlib.Path) -> None:
    assert seen_texts.read(tmp_path / seen_texts.FILE_NAME) is None


def test_of_no_texts_none_is_seen(tmp_path: pathlib.Path) -> None:
    seen_texts.write(tmp_path / seen_texts.FILE_NAME, np.empty(0, np.uint64))
    seen = seen_texts.read(tmp_path / seen_texts.FILE_NAME)
    assert seen is not None
    assert not seen_texts.is_seen(seen, _digests("a")).any()
