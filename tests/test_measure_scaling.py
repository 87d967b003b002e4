"""The formulas of scaling give what a hand computes, and the measuring script runs."""

from __future__ import annotations

import json
import pathlib

import pytest

from scripts.benchmarks import measure_scaling, scaling
from tests import tiny
from trainer.config import TrainingConfig

DOCUMENT = pathlib.Path(__file__).parent.parent / "docs" / "scaling.md"
TWO_HOSTS = scaling.Machines("two hosts of two", network=1e9, replicas_per_host=2)


@pytest.mark.parametrize(
    ("num_members", "expected"), [(1, 0.0), (2, 400.0), (4, 600.0), (8, 700.0)]
)
def test_bytes_in_a_ring(num_members: int, expected: float) -> None:
    assert scaling.ring_bytes(400, num_members) == expected


def test_seconds_in_a_ring() -> None:
    # Four members send 6 MB each, at 80% of 10 MB/s, in 6 hops.
    secs = scaling.ring_secs(4e6, 4, bandwidth=10e6, hop_secs=0.01)
    assert secs == pytest.approx(0.75 + 0.06)


@pytest.mark.parametrize(
    ("num_replicas", "expected"),
    [
        (1, 0.0),
        # Two send 0.8 GB each, at 360 GB/s, in 2 hops.
        (2, 0.8 / 360 + 2 * 3.4e-6),
        # Then two hosts send 0.8 GB each, at 0.8 GB/s.
        (4, 0.8 / 360 + 2 * 3.4e-6 + 1.0 + 2 * 14e-6),
    ],
)
def test_seconds_within_and_between_hosts(num_replicas: int, expected: float) -> None:
    secs = scaling.all_reduce_secs(0.8e9, num_replicas, TWO_HOSTS)
    assert secs == pytest.approx(expected)


@pytest.mark.parametrize(
    ("adding_secs", "hidden_secs", "expected"),
    [(0.0, 0.0, 1.0), (1.0, 0.0, 0.75), (6.0, 0.0, 1 / 3), (2.0, 1.0, 0.75), (1, 2, 1)],
)
def test_efficiency(adding_secs: float, hidden_secs: float, expected: float) -> None:
    found = scaling.efficiency(3.0, adding_secs, hidden_secs=hidden_secs)
    assert found == pytest.approx(expected)


def test_seconds_of_computing() -> None:
    assert scaling.compute_secs(512, num_parts=4) == pytest.approx(128 / 705)


def test_steps_between_saves_are_those_of_the_program() -> None:
    assert scaling.SAVE_EVERY_STEPS == TrainingConfig().save_every_steps


def test_interval_between_saves() -> None:
    assert scaling.save_interval_secs(2.0, secs_between_failures=10_000.0) == 200.0


def test_parameters_of_published_sizes() -> None:
    # Hugging Face's BertModel has 109,482,240 and 335,141,888; the head is on top.
    assert sum(scaling.variable_sizes(scaling.BASE)) == 109_482_240 + 2 * 768 + 2
    assert sum(scaling.variable_sizes(scaling.LARGE)) == 335_141_888 + 2 * 1024 + 2
    assert scaling.gradient_bytes(scaling.BASE) == 4 * 109_483_778


def test_variables_are_those_of_the_classifier() -> None:
    variables = measure_scaling._classifier(scaling.SMALL).trainable_variables
    found = sorted(int(variable.numpy().size) for variable in variables)
    assert found == sorted(scaling.variable_sizes(scaling.SMALL))


def test_document_has_the_tables_that_the_script_computes() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, table in scaling.paper_tables().items():
        assert f"<!-- table: {name} -->\n{table}\n<!-- end -->" in text


@pytest.mark.parametrize("name", ["output", "document", "figure"])
def test_a_place_that_cannot_be_written_is_refused_before_measuring(
    name: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as caught:
        measure_scaling.main([f"--{name}={tmp_path}/file/a"])
    assert caught.value.code == 2
    assert f"--{name} must be a place that can be written" in capsys.readouterr().err


def test_figure_is_drawn(tmp_path: pathlib.Path) -> None:
    scaling.draw(tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_it_runs(
    tmp_path: pathlib.Path, tiny_hugging_face: str, capfd: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "scaling.md"
    document.write_text("a\n<!-- table: measured -->\nold\n<!-- end -->\nz\n")
    arguments = [
        "--small",
        "--num_texts=80",
        "--num_repeats=1",
        f"--preset={tiny_hugging_face}",
        f"--dataset={tiny.write_reviews(tmp_path / 'reviews.csv', count=100)}",
        f"--folder={tmp_path}",
        f"--output={tmp_path / 'measured.json'}",
        f"--document={document}",
    ]
    assert measure_scaling.main(arguments) == 0
    measured = json.loads((tmp_path / "measured.json").read_text())
    sizes = scaling.variable_sizes(scaling.SMALL)
    assert measured["num_texts"] == 80
    assert measured["num_parameters"] == sum(sizes)
    assert measured["all_reduce_bytes"] == 4 * sum(sizes)
    # Weights and both moments, and what the format adds.
    assert measured["checkpoint_bytes"] > 3 * 4 * sum(sizes)
    assert all(value > 0 for name, value in measured.items() if "secs" in name)
    assert min(measured["fed_examples_per_sec"].values()) > 0
    printed = capfd.readouterr().out
    for name, table in scaling.measured_tables(measured).items():
        assert f"{name}:\n\n{table}" in printed
    expected = scaling.measured_tables(measured)["measured"]
    start, end = "<!-- table: measured -->", "<!-- end -->"
    assert document.read_text() == f"a\n{start}\n{expected}\n{end}\nz\n"
    # Nothing but what was asked for is left.
    assert not list(tmp_path.glob("tmp*"))
