"""What a run says of groups of texts, and what it holds back for their sake."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.test_experiment import make_config
from trainer import experiment
from trainer.config import (
    CompareConfig,
    DataConfig,
    ExperimentConfig,
    GroupsConfig,
    ServingConfig,
)
from trainer.data import columns, sources
from trainer.evaluation import doubts, schema
from trainer.groups import gates
from trainer.serving import manifest
from trainer.serving.promotion import Promotion
from trainer.stages import challenge
from trainer.stages.record import RunResult

# Words that are the label: swapping them turns the answers.
TONE = {"tone": {"glad": tiny.GOOD, "sad": tiny.BAD}}
COUNTRIES = ("UK", "US", "")


def config_of(
    folder: pathlib.Path, preset: str, name: str, **changes: Any
) -> ExperimentConfig:
    table, terms = folder / "reviews.csv", folder / "terms.json"
    if not table.is_file():
        texts, labels = tiny.labelled_sentences(240)
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label", "country"])
            for row, (text, label) in enumerate(zip(texts, labels)):
                country = COUNTRIES[row % len(COUNTRIES)]
                writer.writerow([text, ("bad", "good")[label], country])
        terms.write_text(json.dumps(TONE))
    config = make_config(folder, preset, model_dir=str(folder / name))
    groups = GroupsConfig(
        slice_fields=("country",),
        positive_label="good",
        counterfactuals=("tone", "direction"),
        num_counterfactual_texts=30,
    )
    checks = dataclasses.replace(config.checks, group_terms=str(terms))
    sections: dict[str, Any] = {"groups": groups, "checks": checks, **changes}
    return dataclasses.replace(config, **sections)


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> tuple[pathlib.Path, RunResult, list[schema.Groups]]:
    """A run that was killed after its groups were measured, and went on; and these."""
    folder, before = tmp_path_factory.mktemp("groups"), []
    serving = ServingConfig(min_slice=5, max_flips=0.2)
    config = config_of(folder, tiny_preset, "run", serving=serving)

    def die(*_: Any, groups: schema.Groups, **__: Any) -> Any:
        before.append(groups)
        raise RuntimeError("killed")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(challenge, "run", die)
        with pytest.raises(RuntimeError, match="killed"):
            experiment.run(config)
    return folder, experiment.run(config), before


Measured = tuple[pathlib.Path, RunResult, list[schema.Groups]]


@pytest.mark.slow
def test_the_report_has_rates_gaps_and_swaps(
    measured: Measured,
) -> None:
    _, result, _ = measured
    found = result.report["groups"]
    assert (found["split"], found["positive_label"]) == ("test", "good")
    tone, country = found["slices"]
    assert [each["name"] for each in tone["groups"]] == ["glad", "sad"]
    assert [each["name"] for each in country["groups"]] == ["UK", "US"]
    after = result.report["after"]["test"]
    counted = sum(each["num_texts"] for each in country["groups"])
    assert counted + country["num_without"] == after["num_examples"]
    assert {each["measure"] for each in country["gaps"]} == {
        *("accuracy", "tpr", "fpr", "share_chosen", "equalized_odds")
    }
    (swapped,) = found["counterfactuals"]
    assert swapped["changes"]["num_texts"] == 30
    assert swapped["changes"]["flips"] > 0.8 and swapped["is_beyond_floor"]
    assert found["floor"]["flips"] < 0.2
    glad, sad = swapped["signed"]
    assert glad["mean"] == pytest.approx(-sad["mean"]) and glad["mean"] > 0.5
    praise, blame = found["directions"]
    assert praise["num_texts"] == blame["num_texts"] == 30
    assert found["num_predictions"] > 2 * 30 + 3 * 30
    assert result.report["timing"]["slices_secs"] > 0
    mentioned = result.report["data"]["findings"]["mentions"]
    assert [each["group"] for each in mentioned] == ["glad", "sad"]
    assert mentioned[0]["odds_ratio"] > 5 and mentioned[1]["odds_ratio"] < 0.2


@pytest.mark.slow
def test_the_version_is_held_by_name_and_pages_say_so(
    measured: Measured,
) -> None:
    folder, result, _ = measured
    export = result.report["export"]
    assert export["status"] == "held"
    assert "when words of tone are swapped; --max_flips allows 20.0%" in (
        export["status_reason"]
    )
    assert manifest.status(folder / "run" / "export" / "1") == "held"
    assert any("words of tone that are swapped" in d for d in result.report["warnings"])
    page = result.report_path.read_text(encoding="utf-8")
    for words in ('<h2 id="groups">Groups', "harmless synonyms", "tone: accuracy"):
        assert words in page
    card = (folder / "run/export/1/MODEL_CARD.md").read_text(encoding="utf-8")
    assert "## Groups" in card and "tone: " in card
    # A value of a column need not be anybody's to publish.
    assert "country" in card and "UK" not in card


@pytest.mark.slow
def test_a_run_that_was_killed_gives_the_same_numbers(measured: Measured) -> None:
    _, result, (before,) = measured
    assert schema.from_mapping(schema.Groups, result.report["groups"]) == before


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"slice_fields": ("contry",)},
            r"'contry'. Received: columns .*did you mean 'country'\?\); .*--slice_fields",
        ),
        ({"positive_label": "god"}, r"must be one of bad, good. Received: god \(did"),
        (
            {"counterfactuals": ("tune",)},
            r"kinds of --group_terms=.*: tone, direction. Received: tune \(did you",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(
    tmp_path: pathlib.Path, tiny_preset: str, changes: dict[str, Any], words: str
) -> None:
    config = config_of(tmp_path, tiny_preset, "run", groups=GroupsConfig(**changes))
    with pytest.raises(ValueError, match=words):
        experiment.run(config)
    assert not (tmp_path / "run" / "config.json").exists()


def test_groups_need_held_out_texts(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    config = config_of(tmp_path, tiny_preset, "run")
    data = dataclasses.replace(config.data, test_one_in=0, validation_one_in=0)
    with pytest.raises(ValueError, match="measured on held-out texts. Received: --sl"):
        experiment.run(dataclasses.replace(config, data=data))


def test_values_of_a_column_go_by_place_whatever_the_order(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    data = config_of(tmp_path, tiny_preset, "run").data
    places = sources.load(data).splits["train"].places
    rows = np.array([7, 0, 2, 4])
    assert columns.values_of("country", data, places.take(rows)) == [
        *("US", "UK", "", "US")
    ]


def gap_of(**changes: Any) -> schema.SliceGap:
    values: dict[str, Any] = {
        "measure": "tpr",
        "label": "good",
        "value": 0.2,
        "largest": "UK",
        "smallest": "US",
        "interval_95": (0.12, 0.3),
        "by_chance_95": 0.05,
        "p_holm": 0.01,
        "is_shown": True,
    }
    return schema.SliceGap(**values | changes)


def groups_of(*gaps: schema.SliceGap, source: Any = "terms") -> schema.Groups:
    kind = schema.GroupSlices(
        kind="country",
        source=source,
        num_without=0,
        num_left_out=0,
        groups=(),
        gaps=gaps,
    )
    return schema.Groups(
        sentence="",
        split="test",
        positive_label="good",
        min_slice=50,
        num_labels_left_out=0,
        slices=(kind,),
        counterfactuals=(),
        floor=None,
        directions=(),
        num_predictions=0,
    )


@pytest.mark.parametrize(
    "changes, limit, is_held",
    [
        ({}, 0.1, True),
        ({}, 0.0, False),
        # Its interval reaches below the limit.
        ({}, 0.15, False),
        # By chance others are as large.
        ({"is_shown": False}, 0.1, False),
        ({"measure": "share_chosen"}, 0.1, False),
        ({"interval_95": None}, 0.1, False),
    ],
)
def test_a_gap_holds_a_version(
    changes: dict[str, Any], limit: float, is_held: bool
) -> None:
    decided = Promotion("promoted", "--promote=always", None)
    config = ServingConfig(max_slice_gap=limit)
    groups = groups_of(gap_of(**changes))
    found = challenge.gated(decided, groups, config)
    assert found.status == ("held" if is_held else "promoted")
    if is_held:
        assert found.reason.startswith(
            "--promote=always, but the true positive rate of"
        )
        assert "UK above US" in found.reason
        assert found.reason.endswith("--max_slice_gap allows 10.0")
        # What is held already, for another reason, keeps that.
        held = Promotion("held", "--promote=never", None)
        assert challenge.gated(held, groups, config) == held
    assert challenge.gated(decided, None, config) == decided


def test_values_of_a_column_are_not_in_what_a_gate_says() -> None:
    (said,) = gates.broken(
        groups_of(gap_of(), source="column"), ServingConfig(max_slice_gap=0.1)
    )
    assert "country" in said and "UK" not in said and "US" not in said


def test_doubts_of_gaps() -> None:
    (said,) = doubts.of_groups(groups_of(gap_of(), gap_of(value=0.3)), max_slice_gap=0)
    assert said.kind == "group_gap" and "differs by 30.0 points" in said.message
    assert not list(
        doubts.of_groups(groups_of(gap_of(is_shown=False)), max_slice_gap=0.1)
    )
    (unjudged,) = doubts.of_groups(groups_of(), max_slice_gap=0.1)
    assert unjudged.kind == "unjudged_gap" and "--max_slice_gap=0.1" in unjudged.message
    assert not list(doubts.of_groups(None, max_slice_gap=0.1))


def counterfactual_of(
    *, is_beyond_floor: bool, low: float, high: float, floor: float
) -> schema.Counterfactual:
    """Of texts and of sentences, female words make the class more probable."""
    signed = schema.SignedGap(
        group="female", num_pairs=6, mean=(low + high) / 2, interval_95=(low, high)
    )
    return schema.Counterfactual(
        kind="gender",
        changes=schema.Changes(
            num_available=9,
            num_texts=9,
            words_per_text=1.0,
            mean_change=0.05,
            mean_change_interval_95=(0.04, 0.06),
            num_flips=1,
            flips=1 / 9,
            flips_interval_95=(0.02, 0.4),
            accuracy_before=1.0,
            accuracy_after=0.9,
        ),
        num_approximate=0,
        signed=(signed,),
        is_beyond_floor=is_beyond_floor,
        templates=schema.TemplateFacts(
            sentences=("{term} is a person.",),
            groups=(),
            gap=0.2,
            floor=floor,
            signed=(signed,),
        ),
    )


@pytest.mark.parametrize(
    "low, high, is_beyond_floor, floor, kinds",
    [
        (0.02, 0.06, True, 0.01, ["counterfactual_gap", "template_gap"]),
        (-0.06, -0.02, True, 0.01, ["counterfactual_gap", "template_gap"]),
        # The interval excludes 0, and synonyms move as much.
        (0.02, 0.06, False, 0.03, []),
        # More than synonyms move, and the interval holds 0.
        (-0.01, 0.06, True, 0.03, []),
    ],
)
def test_doubts_of_swapped_words(
    low: float, high: float, is_beyond_floor: bool, floor: float, kinds: list[str]
) -> None:
    found = counterfactual_of(
        is_beyond_floor=is_beyond_floor, low=low, high=high, floor=floor
    )
    groups = dataclasses.replace(groups_of(), counterfactuals=(found,))
    told = list(doubts.of_groups(groups, max_slice_gap=0))
    assert [each.kind for each in told] == kinds
    for each in told:
        assert "female" in each.message and "judge" in each.message


def test_compare_names_a_column_once() -> None:
    with pytest.raises(ValueError, match="--slice_fields must name columns once each"):
        CompareConfig(
            champion="a",
            challenger="b",
            data=DataConfig(dataset="files:a.csv"),
            slice_fields=("country", "country"),
        )
