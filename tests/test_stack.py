"""The start of a run: what is imported, and what is seen of it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tests import processes, tiny
from trainer.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig

ONEDNN = (
    "I0000 00:00:1795445586.302423    2455 port.cc:153] oneDNN custom operations are on"
)
HEADER = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to"
)
PROBLEM = "E0000 00:00:1795445586.302423    2455 cuda/dnn.cc:31] a problem"
FATAL = "F0000 00:00:1795445586.302423    2455 cpu_feature_guard.cc:7] needs AVX"


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        timeout=120,
        text=True,
        capture_output=True,
    )


def test_what_only_the_report_or_tfds_needs_is_not_imported_at_the_start() -> None:
    done = python(
        "from trainer import stack\n"
        "stack.load()\n"
        "import sys\n"
        "from trainer import experiment\n"
        "late = {'matplotlib', 'sklearn', 'scipy.stats', 'tensorflow_datasets'}\n"
        "assert not late & set(sys.modules), late & set(sys.modules)\n"
        # What was kept from Keras is there for whoever needs it.
        "import matplotlib.figure, sklearn.metrics\n"
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


@pytest.mark.slow
def test_a_run_prints_nothing_that_is_not_ours(
    tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    config = ExperimentConfig(
        model_dir=str(tmp_path / "run"),
        data=DataConfig(
            dataset=tiny.write_reviews(tmp_path / "r.csv", count=40),
            max_length=16,
            num_buckets=1,
            cache_dir=str(tmp_path / "cache"),
        ),
        model=ModelConfig(preset=tiny_preset),
        training=TrainingConfig(num_train_epochs=1),
    )
    done = subprocess.run(
        processes.command(config), timeout=300, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines
    assert all(line[8:].startswith((" INFO ", " WARNING ")) for line in lines), lines
    assert not any("tensorflow" in line.lower() for line in lines), lines
    assert "I0000" not in done.stdout


WRITTEN = [HEADER, ONEDNN, PROBLEM, FATAL, "no log line, and no new line"]
WRITE = (
    "import os\n"
    "from trainer import stack\n"
    "with stack._filtered_stderr():\n"
    f"    os.write(2, {chr(10).join(WRITTEN).encode()!r})\n"
)


@pytest.mark.parametrize(
    "level, passed_on",
    [("3", WRITTEN[3:]), ("2", WRITTEN[2:]), ("0", WRITTEN), ("all", WRITTEN)],
)
def test_log_lines_below_the_level_asked_for_are_left_out(
    level: str, passed_on: list[str]
) -> None:
    done = python(WRITE + "os.write(2, b' and after')", TF_CPP_MIN_LOG_LEVEL=level)
    assert done.returncode == 0
    assert done.stderr == "\n".join(passed_on) + " and after"


def test_an_error_of_the_import_is_shown_with_what_was_logged() -> None:
    end = "raise ImportError('no such library')"
    done = python(f"{WRITE}    {end}\n", TF_CPP_MIN_LOG_LEVEL="3")
    assert done.returncode == 1
    assert done.stderr.startswith("\n".join(WRITTEN[3:]))
    assert done.stderr.rstrip().endswith("ImportError: no such library")
    assert ONEDNN not in done.stderr


def test_standard_error_may_be_closed() -> None:
    done = python(
        "import os\n"
        "os.close(2)\n"
        "from trainer import stack\n"
        "with stack._filtered_stderr():\n"
        "    print('done')\n"
    )
    assert done.returncode == 0
    assert done.stdout == "done\n"


def test_an_error_is_not_hidden_where_nobody_reads_standard_error() -> None:
    done = python(
        "import os\n"
        "from trainer import stack\n"
        "reader, writer = os.pipe()\n"
        "os.dup2(writer, 2)\n"
        "os.close(reader)\n"
        "try:\n"
        "    with stack._filtered_stderr():\n"
        "        os.write(2, b'a problem')\n"
        "        raise ImportError('the cause')\n"
        "except ImportError as error:\n"
        "    print(error)\n",
        TF_CPP_MIN_LOG_LEVEL="3",
    )
    assert done.stdout == "the cause\n"
