"""Tests of trainer/studies/sweep.py: real tiny trials, killed and not, together and alone."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import pytest

from tests import processes
from tests.studies.test_driver import make_study, start
from tests.test_experiment import assert_equal_weights
from tests.test_study_config import parse as parse_study
from tests.test_flags import parse_run
from trainer import experiment
from trainer.config import ExperimentConfig, with_settings
from trainer.studies import driver
from trainer.study_config import StudyConfig

# One rate that learns, and two that do not.
SWEEP = ("learning_rate=1e-9,1e-2,1e-7",)
