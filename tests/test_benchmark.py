"""The benchmark compares as it says, and runs from rows to tables and a figure."""

from __future__ import annotations

import json
import pathlib
import sys

import numpy as np
import pytest

from scripts.benchmarks import benchmark, benchmark_contestant, benchmark_report
from scripts.benchmarks.benchmark_report import Measure, Spread
from tests import tiny
from trainer.data import plans

RATE = Measure("examples_per_sec", "examples/s", 2, better="more")
TIME = Measure("latency_ms", "a text, ms", 1, better="less")
RUNS = [
    {"contestant": "train.bert_trainer", "examples_per_sec": rate}
    for rate in (3.0, 9.0, 4.0)
] + [
    {
        "contestant": "train.keras_hub",
        "examples_per_sec": 2.0,
        "secs_to_first_step": 31.0,
        "peak_device_memory_bytes": None,
    },
    {"contestant": "predict.bert_trainer", "latency_ms": 10.0},
    {"contestant": "predict.hugging_face", "latency_ms": 25.0},
    {"contestant": "scale.bert_trainer.20", "secs": 2.0},
    {"contestant": "scale.hugging_face.20", "secs": 1.0},
    {"contestant": "scale.hugging_face.10", "secs": 1.0},
]


def test_medians_and_ranges() -> None:
    summary = benchmark_report.summarize(RUNS)
    assert summary["train.bert_trainer"] == {"examples_per_sec": Spread(4.0, 3.0, 9.0)}
    # What a contestant does not tell is left out.
    assert set(summary["train.keras_hub"]) == {"examples_per_sec", "secs_to_first_step"}


def test_ratios_are_above_one_where_this_program_is_better() -> None:
    assert benchmark_report.ratios(benchmark_report.summarize(RUNS)) == {
        "train.keras_hub": {"examples_per_sec": 2.0},
        "predict.hugging_face": {"latency_ms": 2.5},
        # Of the same number of rows; there is none for 10.
        "scale.hugging_face.20": {"secs": 0.5},
    }


@pytest.mark.parametrize(
    ("spread", "measure", "expected"),
    [
        (Spread(2.345, 2.3, 2.4), RATE, "2.35 (2.30 to 2.40)"),
        (Spread(12345.67, 12345.67, 12345.67), TIME, "12,345.7"),
        (Spread(1.5e9, 1e9, 2e9), Measure("b", "GB", 1, 1e9), "1.5 (1.0 to 2.0)"),
        (None, RATE, "–"),
    ],
)
def test_cells(spread: Spread | None, measure: Measure, expected: str) -> None:
    assert benchmark_report.cell(spread, measure) == expected


def test_tables_show_what_was_measured_and_nothing_else() -> None:
    text = benchmark_report.tables(benchmark_report.summarize(RUNS))
    training = text.split("\n\n")[1].splitlines()
    assert training[0] == (
        "| median (range) | examples/s | this program ÷ it | command to first step, s |"
    )
    assert training[2:] == [
        "| this program | 4.00 (3.00 to 9.00) | 1.00× | – |",
        "| KerasHub, fit | 2.00 | 2.00× | 31.0 |",
    ]
    assert "| Hugging Face tokenizers (Rust), 10 rows | 1.00 | – |" in text
    assert "Tokenization" not in text


def test_peers_get_the_batches_of_the_program() -> None:
    lengths = np.random.default_rng(1).integers(3, 129, 64)
    buckets = (32, 80, 128)
    plan = plans.plan_epoch(lengths, buckets, seed=0, epoch=0, batch_size=8)
    found = benchmark_contestant.bucketed_batches(lengths, buckets, batch_size=8)
    assert sorted(np.concatenate([rows for rows, _ in found])) == list(range(64))
    assert all(lengths[rows].max() <= length for rows, length in found)
    expected = sorted(np.take(buckets, plan.buckets))
    assert sorted(length for _, length in found) == expected


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("train.*hub,tokenize.*", ["tokenize.bert_trainer", "train.keras_hub"]),
        ("scale.*.30", ["scale.bert_trainer.30"]),
    ],
)
def test_contestants_are_chosen_by_pattern(only: str, expected: list[str]) -> None:
    options = benchmark._parse([f"--only={only}", "--num_rows", "20", "30"])
    assert benchmark._contestants(options, with_pytorch=False) == expected


def test_pattern_that_matches_nothing_is_refused() -> None:
    options = benchmark._parse(["--only=trainer"])
    with pytest.raises(ValueError, match="train.keras_hub.*Received: trainer"):
        benchmark._contestants(options, with_pytorch=True)


def test_what_was_given_goes_before_the_defaults() -> None:
    options = benchmark._parse(["--device=gpu", "--num_steps=7"])
    assert (options.num_steps, options.batch_size, options.repeats) == (7, 32, 3)
    options = benchmark._parse(["--quick", "--device=gpu", "--repeats=2"])
    assert (options.num_steps, options.batch_size, options.repeats) == (3, 4, 2)


def test_a_folder_that_cannot_be_written_is_refused_before_hours_of_measuring(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as caught:
        benchmark.main([f"--output_dir={tmp_path}/file/a"])
    assert caught.value.code == 2
    assert f"Not a directory: '{tmp_path}/file/a'" in capsys.readouterr().err


def test_peers_are_skipped_where_their_environment_cannot_be_used(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("no program")
    assert benchmark._peers_python(tmp_path) == ""
    assert f"--peers_env={tmp_path} cannot be used" in capsys.readouterr().err


def test_failure_says_what_the_contestant_wrote() -> None:
    with pytest.raises(RuntimeError, match="exit status 1.*(?s:.*)No module.*absent"):
        command = [sys.executable, "-c", "import absent"]
        benchmark._run(command, {"device": "cpu", "compile_cache": ""}, "")


@tiny.needs_keras_hub_of_checkpoints()
@pytest.mark.slow
def test_it_runs(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    # KerasHub asks for the architecture.
    preset = tiny.write_hugging_face(tmp_path / "preset", architectures=["BertModel"])
    arguments = [
        "--quick",
        "--device=cpu",
        "--peers_env=none",
        "--only=train.*,predict.*,scale.*",
        f"--preset={preset}",
        f"--dataset={tiny.write_reviews(tmp_path / 'reviews.csv', count=80)}",
        "--max_length=32",
        *("--num_rows", "80"),
        f"--output_dir={tmp_path / 'out'}",
    ]
    assert benchmark.main(arguments) == 0
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    names = ["train.bert_trainer", "train.keras_hub", "predict.bert_trainer"]
    assert list(content["summary"]) == [*names, "scale.bert_trainer.80"]
    assert content["ratios"]["train.keras_hub"]["examples_per_sec"] > 0
    for run in content["runs"]:
        section = run["contestant"].split(".")[0]
        compared = [m for m in benchmark_report.MEASURES[section] if m.better]
        assert compared and all(run[measure.key] > 0 for measure in compared)
    ours = content["runs"][0]
    assert ours["padded_lengths"][-1] == 32
    assert ours["secs_to_first_step"] > ours["compile_secs"] > 0
    assert content["hardware"]["processor"]
    summary = benchmark_report.summarize(content["runs"])
    assert benchmark_report.tables(summary) in capsys.readouterr().out
    picture = (tmp_path / "out" / "benchmark.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
