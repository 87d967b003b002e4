"""Tests of trainer/studies/jobs.py: how a study ends by how its jobs end.

That jobs make runs, and end with the process that started them, test_folds.py has.
"""

from __future__ import annotations

import dataclasses
import pathlib

import psutil
import pytest

from tests.studies.tiny_runs import make_study
from trainer.studies import jobs


def test_what_a_job_refuses_the_study_refuses(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """In the words of the job, and by the same kind of error: exit code 2."""
    config = make_study(tmp_path, tiny_preset)
    data = dataclasses.replace(config.data, dataset="files:nowhere.csv")
    wrong = dataclasses.replace(config, data=data, num_jobs=2)
    with pytest.raises(ValueError, match="nowhere.csv"):
        with jobs.started(wrong) as under_way:
            for _ in under_way:
                pass


def test_jobs_end_with_the_block(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    config = make_study(tmp_path, tiny_preset, num_jobs=2)
    with pytest.raises(KeyboardInterrupt):
        with jobs.started(config) as under_way:
            next(under_way)
            started = psutil.Process().children()
            raise KeyboardInterrupt
    names = [process for process in started if process.is_running()]
    assert len(started) >= 2 and not names
