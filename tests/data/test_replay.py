"""Tests of trainer/data/replay.py, through the splits of a run."""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from typing import Any, Sequence

import numpy as np
import pyarrow as pa
import pytest

from tests import tiny
from trainer.config import DataConfig
from trainer.data import held_out, replay
from trainer.data.duplicates import normalized_digests
from trainer.data.plans import TrainingPlan
from trainer.serving import seen_texts
from trainer.stages import prepare

MARKER = "zyzzyva"


def digests(texts: Sequence[str]) -> np.ndarray:
    return normalized_digests(pa.chunked_array([pa.array(texts, pa.large_string())]))


def named(labels: np.ndarray) -> list[str]:
    return [("bad", "good")[label] for label in labels]


@dataclasses.dataclass(frozen=True)
class Data:
    """New texts and old ones; those that anybody holds out have the marker.

    Attributes:
      config: of a run that replays.
      old: texts of --replay_dataset, with copies of new ones among them.
      num_here: of them, held out in the run.
      num_there: of them, held out by the rule of the shares from the run before.
      num_new: of them, copies of new training texts.
    """

    config: DataConfig
    old: list[str]
    num_here: int
    num_there: int
    num_new: int


def marked(texts: Sequence[str]) -> list[str]:
    """The same, with the marker in those that stay held out for test with it."""
    result = []
    for text in texts:
        for candidate in (f"{text} {MARKER}", text):
            is_test = held_out.share(digests([candidate]), one_in=5)[0]
            if is_test == (MARKER in candidate):
                result.append(candidate)
                break
    return result


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("replay")
    texts, labels = tiny.labelled_sentences(400, seed=1)
    label_of = {}
    for text, name in zip(texts, named(labels)):
        label_of[text] = label_of[f"{text} {MARKER}"] = name
    new, old = marked(texts[:200]), marked(texts[200:])
    assert 20 < sum(MARKER in text for text in new) < 80
    # In other clothes, as a copy of a copy has.
    copied = [text.upper() for text in new[:60]]
    label_of |= {text.upper(): name for text, name in label_of.items()}
    tiny.write_csv(folder / "new.csv", new, [label_of[text] for text in new])
    both = old + copied
    tiny.write_csv(folder / "old.csv", both, [label_of[text] for text in both])
    config = DataConfig(
        dataset=f"files:{folder / 'new.csv'}",
        replay_dataset=f"files:{folder / 'old.csv'}",
        validation_one_in=0,
    )
    num_marked = sum(MARKER.upper() in text for text in copied)
    return Data(
        config=config,
        old=both,
        num_here=num_marked,
        num_there=sum(MARKER in text for text in old),
        num_new=len(copied) - num_marked,
    )


def train_texts(texts: prepare.Texts) -> list[str]:
    rows = texts.splits["train"].rows
    found: list[str] = texts.pool.texts.take(rows).to_pylist()
    return found


def test_what_anybody_holds_out_is_never_trained_on(data: Data) -> None:
    config = dataclasses.replace(data.config, replay_fraction=0.99)
    texts = prepare.read_texts(config, seed=0)
    replayed = texts.splits["train"].replayed
    assert replayed is not None
    # All that are left, and not so many as were asked for.
    assert (replayed.num_rows, replayed.num_held_out_here) == (
        len(data.old),
        data.num_here,
    )
    assert (replayed.num_held_out_there, replayed.num_new) == (
        data.num_there,
        data.num_new,
    )
    num_left = len(data.old) - data.num_here - data.num_there - data.num_new
    assert 0 < replayed.num_drawn == num_left
    assert "for there are no more" in replayed.note
    assert replayed.note in texts.source_facts["notes"]
    fed = train_texts(texts)
    # Every row of every batch of all epochs.
    plan = TrainingPlan(
        np.full(len(fed), 8), [16], seed=0, batch_size=8, num_epochs=2
    ).from_step(0)
    rows = plan.rows[plan.rows >= 0]
    assert len(rows) == 2 * len(fed)
    assert not any(MARKER in fed[row].lower() for row in rows)
    held = texts.pool.texts.take(texts.splits["test"].rows).to_pylist()
    assert all(MARKER in text for text in held) and len(held) > 20


def test_a_share_of_the_training_rows_is_drawn(data: Data) -> None:
    plain = prepare.read_texts(
        dataclasses.replace(data.config, replay_dataset=""), seed=0
    )
    num_new = len(plain.splits["train"])
    for fraction in (-1.0, 0.1):
        config = dataclasses.replace(data.config, replay_fraction=fraction)
        texts = prepare.read_texts(config, seed=0)
        wanted = 0.3 if fraction == -1 else fraction
        train = texts.splits["train"]
        assert train.replayed is not None and len(train.rows) == len(set(train.rows))
        assert train.replayed.num_drawn == round(num_new * wanted / (1 - wanted))
        assert len(train) == num_new + train.replayed.num_drawn
        assert train.num_new == num_new == plain.splits["train"].num_new
        assert train.replayed.fraction == pytest.approx(wanted, abs=0.01)
        # The new ones are all there, and what is held out is what it was.
        assert set(train_texts(plain)) <= set(train_texts(texts))
        assert plain.fingerprint()["test"] == texts.fingerprint()["test"]
    assert replay.num_wanted(700, fraction=0.3) == 300


def test_the_draw_goes_by_seed_and_text(data: Data, tmp_path: pathlib.Path) -> None:
    """Not by the order of the rows, so every start and worker draws the same."""
    first = set(train_texts(prepare.read_texts(data.config, seed=0)))
    again = set(train_texts(prepare.read_texts(data.config, seed=0)))
    other = set(train_texts(prepare.read_texts(data.config, seed=1)))
    assert first == again != other
    old = pathlib.Path(data.config.replay_dataset.removeprefix("files:"))
    with open(old, encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    with open(tmp_path / "old.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *reversed(rows)])
    turned = dataclasses.replace(
        data.config, replay_dataset=f"files:{tmp_path / 'old.csv'}"
    )
    assert set(train_texts(prepare.read_texts(turned, seed=0))) == first


def test_what_the_model_before_has_seen_goes_before_the_rule(data: Data) -> None:
    """It may have held out others: it was split by other settings."""
    seen = seen_texts.numbers(digests(data.old[:30]))
    config = dataclasses.replace(data.config, replay_fraction=0.99)
    texts = prepare.read_texts(
        config, seed=0, may_replay=lambda of: seen_texts.is_seen(seen, of)
    )
    replayed = texts.splits["train"].replayed
    assert replayed is not None and replayed.num_drawn == 30
    assert set(data.old[:30]) <= set(train_texts(texts))


def test_no_row_left_is_refused(data: Data) -> None:
    with pytest.raises(ValueError, match="--replay_dataset must have rows") as caught:
        prepare.read_texts(
            data.config, seed=0, may_replay=lambda of: np.zeros(len(of), bool)
        )
    num_there = len(data.old) - data.num_here - data.num_new
    for words in (f"{data.num_here} are held out in this run", f"{num_there} were"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("label", "changes", "words"),
    [
        ("ugly", {}, ["old.csv:2", "expected a label of bad, good", "ugly=CLASS"]),
        ("good", {"replay_dataset": "old"}, ["--replay_dataset must be files:"]),
    ],
)
def test_old_texts_that_do_not_fit_are_named(
    label: str,
    changes: dict[str, Any],
    words: list[str],
    data: Data,
    tmp_path: pathlib.Path,
) -> None:
    old = tiny.write_csv(tmp_path / "old.csv", ["a plot"], [label])
    config = dataclasses.replace(data.config, **{"replay_dataset": old} | changes)
    with pytest.raises(ValueError) as caught:
        prepare.read_texts(config, seed=0)
    for word in words:
        assert word in str(caught.value)


def test_a_group_that_is_held_out_is_not_replayed(tmp_path: pathlib.Path) -> None:
    def write(name: str, texts: Sequence[str], authors: Sequence[str]) -> str:
        with open(tmp_path / name, "w", encoding="utf-8", newline="") as file:
            rows = zip(texts, named(np.arange(len(texts)) % 2), authors)
            csv.writer(file).writerows([("text", "label", "author"), *rows])
        return f"files:{tmp_path / name}"

    texts, _ = tiny.labelled_sentences(160, seed=4)
    authors = [f"author {row // 4}" for row in range(80)]
    # Each author once more, by other texts; and some of nobody.
    old = write("old.csv", texts[80:], [*authors[::4], *[""] * 60])
    config = DataConfig(
        dataset=write("new.csv", texts[:80], authors),
        replay_dataset=old,
        group_field="author",
        validation_one_in=0,
        test_one_in=3,
        replay_fraction=0.9,
    )
    read = prepare.read_texts(config, seed=0)
    pool, parts = read.pool, read.splits
    replayed = parts["train"].replayed
    assert replayed is not None and pool.group_numbers is not None
    held = pool.group_numbers[parts["test"].rows]
    assert replayed.num_held_out_here == len(np.unique(held)) > 0
    trained = pool.group_numbers[parts["train"].rows]
    assert not np.isin(trained[trained >= 0], held).any()
    assert (trained < 0).any()
