"""What is no JSON is a ValueError, whatever is wrong with it."""

from __future__ import annotations

import pathlib

import pytest

from trainer import caches, folder_lock, json_text, run_folder
from trainer.config import ExperimentConfig
from trainer.modeling import tokenizer_reading
from trainer.runtime import cluster

BRACKETS = "[" * 100_000


def test_reads_json() -> None:
    assert json_text.parse('{"a": [1]}') == json_text.parse(b'{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("text", ["", "{", BRACKETS, '{"a":' * 100_000])
def test_refuses_what_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        json_text.parse(text)


def test_files_and_variables_of_brackets_are_refused_in_words(
    tmp_path: pathlib.Path,
) -> None:
    file = tmp_path / "config.json"
    file.write_text(BRACKETS)
    with pytest.raises(ValueError, match="nested too deeply"):
        run_folder.read_json(file)
    assert run_folder.read_kept(file) is None
    assert folder_lock._read_lease(file) == {"owner": "another process"}
    with pytest.raises(ValueError, match="nested too deeply"):
        tokenizer_reading.read_json(file)
    with pytest.raises(ValueError, match="nested too deeply"):
        ExperimentConfig.from_json(BRACKETS)
    with pytest.raises(ValueError, match="TF_CONFIG must be JSON"):
        cluster.find({"TF_CONFIG": BRACKETS})
    (tmp_path / caches._SEAL).write_text(BRACKETS)
    with pytest.raises(ValueError, match="nested too deeply"):
        caches._refuse_damaged(tmp_path)
