"""Copies with swapped words and weights by group, from the table to the plan."""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from typing import Any, Sequence

import numpy as np
import pytest

from tests.test_experiment import make_config
from trainer import experiment
from trainer.config import (
    DataConfig,
    GroupsConfig,
    LabellingConfig,
    TrainingConfig,
)
from trainer.data.augmented import without_copies
from trainer.data.duplicates import content_digests
from trainer.modeling import presets
from trainer.stages import prepare
from trainer.stages.remedies import Remedies

LABELS = ("bad", "good")


def write(path: pathlib.Path, rows: Sequence[tuple[str, str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "shop"])
        writer.writerows(rows)


def config_of(folder: pathlib.Path, **changes: Any) -> DataConfig:
    """Validation and test in files of their own; half of the texts speak of people."""
    train = [
        (
            f"{('He', 'She', 'It')[row % 3]} wrote note {row}",
            LABELS[row % 3 == 0 if row % 5 else row % 7 < 3],
            ("north", "south")[row % 7 < 3],
        )
        for row in range(360)
    ]
    write(folder / "train.csv", train)
    held_out = [(f"He saw film {row}", LABELS[row % 2], "") for row in range(8)]
    # Swapped, the first of the training texts is one of these.
    write(folder / "test.csv", [("She wrote note 0", "bad", ""), *held_out])
    return DataConfig(
        dataset=f"files:{folder}/train.csv",
        test_dataset=f"files:{folder}/test.csv",
        max_length=32,
        cache_dir=str(folder / "cache"),
        **changes,
    )


def texts_of(data: DataConfig, **groups: Any) -> prepare.Texts:
    return prepare.read_texts(data, seed=0, groups=Remedies(GroupsConfig(**groups)))


def test_copies_join_the_training_texts_alone(tmp_path: pathlib.Path) -> None:
    """With the label and the place of their originals; none that is held out."""
    data = config_of(tmp_path)
    plain = texts_of(data)
    found = texts_of(data, augment_counterfactuals=("gender",))
    before, after = plain.splits["train"], found.splits["train"]
    facts = after.augmented
    assert facts is not None and before.augmented is None
    assert facts.num_added == len(after) - len(before) > 100
    assert facts.num_held_out == 1
    pool = found.pool
    originals = {
        plain.pool.texts[row].as_py(): (
            int(plain.pool.labels[row]),
            plain.pool.places.of(row),
        )
        for row in before.rows.tolist()
    }
    # Of what was read; and so is what is looked at for mistakes.
    assert after.num_available == before.num_available
    was, train = without_copies(pool, after)
    np.testing.assert_array_equal(train.rows, before.rows)
    assert was.texts.to_pylist() == plain.pool.texts.to_pylist()
    np.testing.assert_array_equal(was.digests, plain.pool.digests)
    np.testing.assert_array_equal(pool.digests, content_digests(pool.texts))
    held_out = {
        pool.texts[row].as_py()
        for name in ("validation", "test")
        for row in found.splits[name].rows.tolist()
    }
    for row in after.rows[len(before) :].tolist():
        text = pool.texts[row].as_py()
        turned = {"He": "She", "She": "He"}[text.split()[0]] + text[text.index(" ") :]
        assert originals[turned] == (int(pool.labels[row]), pool.places.of(row))
        assert text not in held_out
    for name in ("validation", "test"):
        assert found.splits[name].rows.tolist() == plain.splits[name].rows.tolist()
    assert plain.fingerprint()["train"] != found.fingerprint()["train"]
    assert any("copies with words of gender" in n for n in found.source_facts["notes"])


def test_a_copy_that_is_there_is_not_added_again(tmp_path: pathlib.Path) -> None:
    """As a training text, with a label of its own, or as the copy of another."""
    rows = [(f"a film of number {row}", LABELS[row % 2], "") for row in range(40)]
    rows += [("She wrote it", "bad", ""), ("He wrote it", "good", "")]
    # Both become "He left his": one normal form, and one label.
    rows += [("She left her", "bad", ""), ("SHE left her", "bad", "")]
    # Likewise, but of two labels.
    rows += [("She ate hers", "bad", ""), ("SHE ate hers", "good", "")]
    write(tmp_path / "train.csv", rows)
    data = DataConfig(
        dataset=f"files:{tmp_path}/train.csv",
        cache_dir=str(tmp_path / "cache"),
        max_length=32,
        test_one_in=0,
        validation_one_in=0,
    )
    found = texts_of(data, augment_counterfactuals=("gender",))
    train = found.splits["train"]
    facts = train.augmented
    assert facts is not None
    assert (facts.num_added, facts.num_held_out, facts.num_there) == (1, 0, 3)
    assert facts.num_disagreeing == 2
    numbers = found.pool.text_numbers
    by_text: dict[str, int] = {}
    for row, text in enumerate(found.pool.texts.to_pylist()):
        assert by_text.setdefault(text.lower(), int(numbers[row])) == numbers[row]
    assert len(set(by_text.values())) == len(by_text)


def test_copies_do_not_depend_on_the_order_of_rows(tmp_path: pathlib.Path) -> None:
    """Religion has seven groups: which one is drawn follows the text and the seed."""
    rows = [(f"a hindu said {row}", LABELS[row % 2], "") for row in range(40)]
    made = []
    for order in (rows, rows[::-1]):
        write(tmp_path / "train.csv", order)
        data = DataConfig(
            dataset=f"files:{tmp_path}/train.csv",
            cache_dir=str(tmp_path / "cache"),
            max_length=32,
        )
        found = texts_of(data, augment_counterfactuals=("religion",))
        made.append(sorted(found.pool.texts.to_pylist()))
    assert made[0] == made[1]
    assert len({text.split()[1] for text in made[0]}) > 4
    other = prepare.read_texts(
        data,
        seed=1,
        groups=Remedies(GroupsConfig(augment_counterfactuals=("religion",))),
    )
    assert sorted(other.pool.texts.to_pylist()) != made[0]


def test_each_kind_has_its_copies_and_groups_are_kept(tmp_path: pathlib.Path) -> None:
    rows = [(f"she was a hindu {row}", LABELS[row % 2], f"s{row}") for row in range(40)]
    write(tmp_path / "train.csv", rows)
    data = DataConfig(
        dataset=f"files:{tmp_path}/train.csv",
        group_field="shop",
        cache_dir=str(tmp_path / "cache"),
        max_length=32,
    )
    plain = texts_of(data)
    found = texts_of(data, augment_counterfactuals=("gender", "religion"))
    train = found.splits["train"]
    count = len(plain.splits["train"])
    assert len(train) == 3 * count
    pool = found.pool
    assert pool.group_numbers is not None
    by_number = {
        pool.texts[row].as_py().split()[-1]: int(pool.group_numbers[row])
        for row in train.rows[:count].tolist()
    }
    for row in train.rows[count:].tolist():
        text = pool.texts[row].as_py()
        assert int(pool.group_numbers[row]) == by_number[text.split()[-1]]
        assert text.startswith("he was a hindu") or text.startswith("she was a ")


@pytest.mark.parametrize(
    "groups, expected",
    [
        (
            dict(augment_counterfactuals=("gendre",)),
            ["--augment_counterfactuals must name kinds", "gendre", "gender"],
        ),
        (dict(augment_counterfactuals=("religion",)), ["none of", "leave it out"]),
        (dict(reweigh_by="terms:gendre"), ["--reweigh_by must name kinds", "gender"]),
        (dict(reweigh_by="column:shops"), ["shops"]),
        (dict(reweigh_by="terms:religion"), ["two groups of at least 50", "1 of 1"]),
    ],
)
def test_what_cannot_be_done_is_named(
    tmp_path: pathlib.Path,
    tiny_preset: str,
    groups: dict[str, Any],
    expected: list[str],
) -> None:
    with pytest.raises(ValueError) as caught:
        material(tmp_path, tiny_preset, groups)
    for part in expected:
        assert part in str(caught.value)


def material(
    folder: pathlib.Path, preset: str, groups: dict[str, Any], **training: Any
) -> prepare.Material:
    return prepare.make_material(
        config_of(folder),
        TrainingConfig(**training),
        presets.load_preset(preset),
        groups=Remedies(GroupsConfig(**groups)),
    )


@pytest.mark.parametrize("source", ["terms:gender", "column:shop"])
def test_examples_weigh_by_group_and_label(
    tmp_path: pathlib.Path, tiny_preset: str, source: str
) -> None:
    """Weighed, each label is as frequent in one group as in the other."""
    found = material(tmp_path, tiny_preset, {"reweigh_by": source})
    weights = found.example_weights()
    assert weights is not None and weights.dtype == np.float32
    assert weights.mean() == pytest.approx(1.0, abs=1e-5) and weights.std() > 0.05
    labels = found.labels("train")
    texts = found.texts.pool.texts.take(found.splits["train"].rows).to_pylist()
    numbers = [int(text.split()[-1]) for text in texts]
    group = np.array(
        [n % 3 if source == "terms:gender" else n % 7 < 3 for n in numbers]
    )
    shares = [
        np.average(labels[group == each], weights=weights[group == each])
        for each in np.unique(group)
    ]
    assert shares == pytest.approx([float(labels.mean())] * len(shares), abs=1e-4)
    plain = [labels[group == each].mean() for each in np.unique(group)]
    assert np.ptp(plain) > 0.05


def test_other_weights_are_other_data(tmp_path: pathlib.Path) -> None:
    """So that a run does not go on with them, nor a worker with others."""
    data = config_of(tmp_path)
    plain, by_gender, by_shop = (
        texts_of(data, reweigh_by=source).fingerprint()
        for source in ("", "terms:gender", "column:shop")
    )
    assert plain == {k: v for k, v in by_gender.items() if k in plain}
    assert by_gender != by_shop != plain


def test_what_weights_cannot_do_is_a_doubt(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    rows = [(f"he wrote {n}", "bad", "") for n in range(300)]
    rows += [(f"she wrote {n}", "good" if n else "bad", "") for n in range(300)]
    rows += [(f"it was {n}", LABELS[n % 2], "") for n in range(60)]
    write(tmp_path / "a.csv", rows)
    data = DataConfig(
        dataset=f"files:{tmp_path}/a.csv",
        cache_dir=str(tmp_path / "cache"),
        max_length=32,
        test_one_in=0,
        validation_one_in=0,
    )
    found = prepare.make_material(
        data,
        TrainingConfig(),
        presets.load_preset(tiny_preset),
        groups=Remedies(GroupsConfig(reweigh_by="terms:gender")),
    )
    messages = {doubt.kind: doubt.message for doubt in found.doubts}
    assert "male has no text labelled good" in messages["label_goes_with_group"]
    assert "female labelled bad weighs" in messages["heavy_texts"]
    weights = found.example_weights()
    assert weights is not None and weights.mean() == pytest.approx(1.0, abs=1e-5)


def test_class_weights_multiply(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    both = material(
        tmp_path,
        tiny_preset,
        {"reweigh_by": "terms:gender"},
        class_weights=("bad:3", "good:1"),
    ).example_weights()
    alone = material(
        tmp_path, tiny_preset, {"reweigh_by": "terms:gender"}
    ).example_weights()
    assert both is not None and alone is not None
    labels = material(tmp_path, tiny_preset, {}).labels("train")
    ratio = both / alone
    bad, good = ratio[labels == 0], ratio[labels == 1]
    assert np.ptp(bad) < 1e-5 and np.ptp(good) < 1e-5
    assert bad[0] / good[0] == pytest.approx(3.0, rel=1e-5)
    assert both.mean() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_the_training_loss_has_weights_and_focus(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """Of the first step, from the same weights and texts."""

    def first_loss(name: str, **changes: Any) -> float:
        training = {"num_train_epochs": 1, "logging_steps": 1}
        config = dataclasses.replace(
            make_config(
                tmp_path,
                tiny_preset,
                model_dir=str(tmp_path / name),
                training=training | changes.pop("training", {}),
                model={"dropout": 0.0},
            ),
            data=config_of(tmp_path),
            **changes,
        )
        losses = experiment.run(config).report["history"]["train"]
        return float(losses[0]["loss"])

    plain = first_loss("plain")
    focal = first_loss("focal", training={"focal_gamma": 3.0})
    # At first each label has a probability of about a half.
    assert focal == pytest.approx(plain / 8, rel=0.3)
    weighed = first_loss("weighed", groups=GroupsConfig(reweigh_by="terms:gender"))
    assert 1e-4 < abs(weighed - plain) < 0.5


@pytest.mark.slow
def test_a_run_says_what_it_did_and_is_not_run_twice(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config = dataclasses.replace(
        make_config(tmp_path, tiny_preset, training={"num_train_epochs": 1}),
        data=config_of(tmp_path),
        groups=GroupsConfig(
            reweigh_by="terms:gender", augment_counterfactuals=("gender",)
        ),
        labelling=LabellingConfig(error_causes=True),
    )
    report = experiment.run(config).report
    cells = report["training"]["reweighed"]
    assert {cell["group"] for cell in cells} == {"(none)", "female", "male"}
    # With a copy of nearly each, neither group has more of a label than the other.
    for label in LABELS:
        weights = [
            cell["weight"]
            for cell in cells
            if cell["group"] != "(none)" and cell["label"] == label
        ]
        assert len(weights) == 2 and np.ptp(weights) < 0.1
    augmented = report["data"]["augmented"]
    assert augmented["num_added"] > 100 and augmented["kinds"] == ["gender"]
    trained = report["data"]["splits"]["train"]["num_examples"]
    assert report["training"]["num_train_examples"] == trained
    # What is shown of the training stands in its file, at its line.
    lines = (tmp_path / "train.csv").read_text().splitlines()
    causes = report["error_causes"]
    assert causes["num_train_available"] == trained - augmented["num_added"]
    for each in causes["neighbours"]:
        for near in each["neighbours"]:
            assert lines[near["line"] - 1].startswith(f"{near['text']},")
    assert experiment.run(config).report == report
