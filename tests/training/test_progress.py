"""The numbers of a run on their way: console, JSON Lines, TensorBoard."""

from __future__ import annotations

import io
import json
import os
import pathlib

import pytest
import tensorflow as tf

from trainer.training import progress

TRAIN = {
    "loss": 0.69314,
    "learning_rate": 1.25e-5,
    "gradient_norm": 2.0,
    "examples_per_sec": 61.25,
    "secs_left": 3725.4,
}
VALIDATION = {"loss": 0.5, "accuracy": 0.84375, "f1_macro": 0.84, "mcc": -0.25}


@pytest.mark.parametrize(
    ("split", "step", "values", "line"),
    [
        (
            "train",
            10,
            TRAIN,
            "step   10/1250  epoch 0.08  loss 0.6931  lr 1.25e-05  "
            "61.2 examples/s  1:02:05 left\n",
        ),
        (
            "validation",
            1250,
            VALIDATION,
            "step 1250/1250  epoch 10.00  validation: loss 0.5000  accuracy 0.8438  "
            "f1_macro 0.8400  mcc -0.2500\n",
        ),
    ],
)
def test_console_line(
    split: str, step: int, values: dict[str, float], line: str
) -> None:
    output = io.StringIO()
    writer = progress.ConsoleWriter(
        total_steps=1250, steps_per_epoch=125, output=output
    )
    writer.write(split, step=step, values=values)
    assert output.getvalue() == line


def test_console_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    writer = progress.ConsoleWriter(total_steps=2, steps_per_epoch=1)
    writer.write("train", step=1, values=TRAIN)
    assert capsys.readouterr().out.startswith("step 1/2  epoch 1.00  loss 0.6931")


def lines_of(path: pathlib.Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_json_lines_are_appended(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    writer = progress.JsonLinesWriter(path)
    assert path.read_text() == ""
    writer.write("train", step=10, values=TRAIN)
    # Each is on disk as soon as it is written.
    assert len(lines_of(path)) == 1
    writer.write("validation", step=10, values=VALIDATION)
    expected = [
        {"split": "train", "step": 10, **TRAIN},
        {"split": "validation", "step": 10, **VALIDATION},
    ]
    assert lines_of(path) == expected
    assert progress.read_json_lines(path) == expected


@pytest.mark.parametrize(
    ("from_step", "evaluated_step", "kept"),
    [(0, 0, 0), (9, 0, 0), (10, 0, 1), (10, 10, 2), (20, 10, 3), (99, 10, 4)],
)
@pytest.mark.parametrize("torn", ["", '{"split": "train", "st', '{"split": "train"}'])
def test_a_resumed_run_takes_back_what_it_will_do_again(
    torn: str, from_step: int, evaluated_step: int, kept: int, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    records = [
        {"split": "train", "step": 10, "loss": 0.1},
        {"split": "validation", "step": 10, "loss": 0.2},
        {"split": "train", "step": 20, "loss": 0.3},
        {"split": "train", "step": 30, "loss": 0.4},
    ]
    whole = "".join(json.dumps(record) + "\n" for record in records)
    path.write_text(whole + torn)
    assert progress.read_json_lines(path) == records
    writer = progress.JsonLinesWriter(
        path, from_step=from_step, evaluated_step=evaluated_step
    )
    assert lines_of(path) == records[:kept]
    writer.write("train", step=40, values={"loss": 0.5})
    assert lines_of(path)[kept:] == [{"split": "train", "step": 40, "loss": 0.5}]
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_no_json_lines_yet(tmp_path: pathlib.Path) -> None:
    assert progress.read_json_lines(tmp_path / "none.jsonl") == []


def scalars_in(folder: pathlib.Path) -> dict[tuple[str, int], float]:
    """(name, step) → value, from all event files of a folder."""
    return {
        (value.tag, event.step): float(tf.make_ndarray(value.tensor))
        for path in folder.glob("events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }


def test_tensorboard_files_hold_the_values(tmp_path: pathlib.Path) -> None:
    writer = progress.TensorBoardWriter(tmp_path / "logs")
    writer.write("train", step=10, values={"loss": 0.75, "learning_rate": 0.125})
    assert len(scalars_in(tmp_path / "logs" / "train")) == 2, "held back in memory"
    writer.write("validation", step=15, values={"loss": 0.25})
    writer.write("train", step=20, values={"loss": 0.5, "learning_rate": 0.0625})
    assert sorted(os.listdir(tmp_path / "logs")) == ["train", "validation"]
    assert scalars_in(tmp_path / "logs" / "train") == {
        ("loss", 10): 0.75,
        ("learning_rate", 10): 0.125,
        ("loss", 20): 0.5,
        ("learning_rate", 20): 0.0625,
    }
    assert scalars_in(tmp_path / "logs" / "validation") == {("loss", 15): 0.25}
