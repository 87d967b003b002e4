"""The report's types: the keys of report.json, and the way there and back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tests.evaluation.tiny_report import NAMES, emptied_report, tiny_report
from trainer.evaluation import schema

# The keys whose names are data: splits, labels, metrics and so on.
FREE = {
    *("before", "after", "quality", "splits", "per_class", "confidence_intervals_95"),
    *("class_counts", "length_percentiles", "fingerprint", "environment", "config"),
    *("settings_in_words", "predictions", "baselines", "comparisons", "settings"),
}
# Where a sample has an evaluation's name for one prediction.
NOT_FREE = {"samples[].before", "samples[].after"} | {
    f"{part}.{when}"
    for part in ("decision.quality.*", "pretraining.masked_loss")
    for when in ("before", "after")
}
EVALUATION = (
    "num_examples loss accuracy precision_macro recall_macro f1_macro mcc roc_auc "
    "brier_score expected_calibration_error majority_class_accuracy per_class "
    "confusion_matrix reliability confidence_intervals_95 accuracy_by_length "
    "most_confident_errors risk_coverage roc precision_recall words_of_errors "
    "label_sets top_k ordinal"
)
CALIBRATION = "expected_calibration_error loss brier_score"
# Other programs read these: path of an object in report.json → its keys, in order.
KEYS = {
    "": (
        "title status before after samples decision training data warnings doubts "
        "config environment history timing export paths commands settings_in_words "
        "baselines comparisons worth kept champion pretraining start "
        "explanations groups task error_causes"
    ),
    **{
        f"{when}.*{part}": keys
        for when in ("before", "after")
        for part, keys in {
            "": EVALUATION,
            ".per_class.*": (
                "precision recall f1 support expected expected_p_holm "
                "calibration_error precision_interval_95 recall_interval_95"
            ),
            ".top_k[]": "k accuracy confidence_interval_95",
            ".reliability[]": "lower upper count mean_confidence accuracy",
            ".accuracy_by_length[]": (
                "name lower upper is_truncated count accuracy confidence_interval_95"
            ),
            ".most_confident_errors[]": "text label predicted score length file line",
            ".words_of_errors[]": (
                "word num_texts num_errors confidence_interval_95 expected_errors "
                "p_value"
            ),
            ".risk_coverage[]": "name x y area",
            ".roc[]": "name x y area",
            ".precision_recall[]": "name x y area",
        }.items()
    },
    "baselines.*": (
        "title validation test secs peak_memory_bytes num_features settings"
    ),
    **{
        f"baselines.*.{split}": (
            "num_examples loss accuracy f1_macro mcc roc_auc brier_score "
            "expected_calibration_error confidence_intervals_95 ordinal"
        )
        for split in ("validation", "test")
    },
    "comparisons.*": (
        "split num_examples difference interval_95 mcnemar_p num_discordant "
        "num_only_model_right num_only_baseline_right verdict cost_ratio "
        "only_model_right only_baseline_right mae_difference "
        "mae_difference_interval_95"
    ),
    **{
        f"comparisons.*.only_{who}_right[]": "text label model baseline file line"
        for who in ("model", "baseline")
    },
    "doubts[]": "kind message",
    "samples[]": "text before after label why",
    "samples[].before": "label score probabilities expected",
    "samples[].after": "label score probabilities expected",
    "decision": "temperature thresholds abstain_below split warnings quality",
    "decision.quality.*": (
        "num_examples before after equal_thresholds thresholds accuracy coverage "
        "accuracy_of_covered accuracy_of_covered_interval_95 accuracy_of_abstained"
    ),
    "decision.quality.*.equal_thresholds": "accuracy f1_macro mcc",
    "decision.quality.*.thresholds": "accuracy f1_macro mcc",
    "decision.quality.*.before": CALIBRATION,
    "decision.quality.*.after": CALIBRATION,
    "training": (
        "total_steps num_steps_run stopped_early num_train_examples num_parameters "
        "num_trainable_parameters best_metric best_step weights class_weights "
        "lora_init_sha256 accumulation_steps reweighed"
    ),
    "training.reweighed[]": "group label num_texts weight",
    "data": (
        "label_names splits num_contradicting_texts num_copies_left_out "
        "num_validation_texts_in_train num_test_texts_in_train "
        "num_test_texts_in_validation num_validation_groups_in_train "
        "num_test_groups_in_train num_test_groups_in_validation source fingerprint "
        "bucket_lengths padded_fraction longest_text findings replayed "
        "augmented"
    ),
    "data.splits.*": (
        "num_examples num_available class_counts num_duplicates num_groups "
        "length_percentiles truncated_fraction unknown_fraction num_unknown_texts "
        "length_histogram"
    ),
    "data.splits.*.length_histogram[]": "lower upper count",
    "data.source": "splits notes warnings corrections",
    "data.source.splits.*": (
        "source files num_rows num_skipped_rows skipped_rows num_blank_lines "
        "num_placeholder_texts placeholder_texts"
    ),
    "data.source.splits.*.files[]": "name num_rows settled",
    "pretraining": (
        "source num_read num_held_out num_blank num_skipped num_without_words num_texts "
        "num_steps head masked_loss train_secs"
    ),
    "pretraining.masked_loss": "split num_texts num_masked_tokens before after",
    "history": "train validation pretraining",
    "history.pretraining[]": (
        "step loss learning_rate gradient_norm examples_per_sec secs_left "
        "input_wait_fraction"
    ),
    "history.train[]": (
        "step loss learning_rate gradient_norm examples_per_sec secs_left "
        "input_wait_fraction"
    ),
    "history.validation[]": "step loss accuracy f1_macro mcc",
    "timing": (
        "prepare_data_secs build_model_secs compile_secs evaluate_before_secs "
        "baselines_secs pretraining_secs secs_to_first_step train_and_validate_secs "
        "evaluate_after_secs export_secs general_secs explain_secs slices_secs "
        "labelling_secs train_steps_secs "
        "train_examples_per_sec "
        "input_wait_fraction peak_host_memory_bytes peak_device_memory_bytes"
    ),
    "export": (
        "path version status status_reason num_parity_texts parity_max_difference "
        "formats"
    ),
    "export.formats[]": (
        "format bytes latency_ms texts_per_sec num_texts accuracy max_difference "
        "num_other_labels num_ties accuracy_drop mae value_shift status path"
    ),
    "paths": "report saved_model predictions",
    "commands": "predict",
    "kept": (
        "sentence texts layers chance_overlap masked_words probe watched stopped_at"
    ),
    "kept.masked_words": (
        "head num_texts num_tokens before after difference interval_95 "
        "difference_of_halves realigned"
    ),
    **{
        f"kept{part}.texts": "source num_available num_left_out num_texts"
        for part in ("", ".probe")
    },
    "kept.layers[]": (
        "layer alikeness alikeness_of_halves neighbour_overlap "
        "neighbour_overlap_of_halves"
    ),
    "kept.probe": (
        "texts num_labels commonest before after difference interval_95 mcnemar_p "
        "difference_of_halves old_probe_after verdict"
    ),
    "kept.watched[]": "step probe_accuracy probe_drop alikeness",
    "data.replayed": (
        "num_rows num_held_out_here num_new num_held_out_there num_drawn "
        "wanted_fraction fraction"
    ),
    "data.augmented": "kinds num_added num_held_out num_there num_disagreeing",
    "explanations[]": (
        "text label predicted explained score why words difference completeness_gap "
        "file line"
    ),
    "explanations[].words[]": "begin end attribution",
    "error_causes": (
        "sentence split num_texts num_errors clusters neighbours num_train_texts "
        "num_train_available"
    ),
    "error_causes.clusters[]": (
        "num_texts num_errors confidence_interval_95 expected_errors errors_by_scores "
        "p_value stands_out words errors"
    ),
    "error_causes.neighbours[]": "error neighbours",
    "error_causes.neighbours[].neighbours[]": "text label similarity file line",
    **{
        f"error_causes.{place}": "text label predicted score file line"
        for place in ("clusters[].errors[]", "neighbours[].error")
    },
    "start": "source path sha256 label_names new_labels notes tells_seen_texts",
    "champion": (
        "verdict margin num_texts num_left_out champion champion_interval_95 "
        "challenger challenger_interval_95 difference interval_95 mcnemar_p "
        "num_discordant num_only_champion_right num_only_challenger_right "
        "texts_to_settle slices path sentence split"
    ),
    "champion.slices[]": (
        "slice value num_texts champion challenger difference interval_95 p_holm "
        "is_worse blocks"
    ),
}


def _keys(value: Any, path: str = "") -> dict[str, str]:
    """The keys of all objects in a JSON value, by path; free keys are a `*`."""
    if isinstance(value, list):
        children = [(f"{path}[]", item) for item in value]
    elif isinstance(value, dict):
        name = path.rpartition(".")[2]
        is_free = name in FREE and path not in NOT_FREE
        children = [
            (f"{path}.{'*' if is_free else key}".lstrip("."), item)
            for key, item in value.items()
        ]
    else:
        return {}
    result: dict[str, str] = {}
    if isinstance(value, dict) and not is_free:
        result[path] = " ".join(value)
    for child, item in children:
        for at, keys in _keys(item, child).items():
            assert result.setdefault(at, keys) == keys
    return result


def test_keys_of_the_file() -> None:
    content = json.loads(tiny_report().to_json())
    content["config"] = {}
    assert _keys(content) == KEYS


def test_no_key_is_missing_where_a_run_has_less() -> None:
    keys = _keys(json.loads(emptied_report().to_json()))
    assert keys == {path: KEYS[path] for path in keys}
    assert {"", "decision", "training", "data", "timing", "export"} <= set(keys)


@pytest.mark.parametrize("make", [tiny_report, emptied_report])
def test_there_and_back(make: Any) -> None:
    report = make()
    text = report.to_json()
    assert schema.Report.from_json(text) == report
    assert text.endswith("}\n") and json.loads(text)["title"] == report.title


def test_finished_parts_and_dicts_may_be_mixed() -> None:
    report = tiny_report()
    shallow = {
        field.name: getattr(report, field.name) for field in dataclasses.fields(report)
    }
    mixed = {**shallow, "timing": dataclasses.asdict(report.timing)}
    assert schema.from_mapping(schema.Report, mixed) == report


def test_values_are_as_the_types_say() -> None:
    record = {"step": 1, "loss": 1, "accuracy": 0.5, "f1_macro": 0.5, "mcc": -1}
    assert schema.from_mapping(schema.ValidationRecord, record).loss == 1.0
    facts = dataclasses.asdict(tiny_report().data.splits["train"])
    facts["class_counts"] = {}
    assert schema.from_mapping(schema.SplitFacts, facts).class_counts == {}


def test_what_may_be_left_out() -> None:
    """What stages leave out, as a TPU's log lines do, is None."""
    content = json.loads(tiny_report().to_json())
    del content["history"]["train"][0]["input_wait_fraction"]
    del content["timing"]["secs_to_first_step"]
    del content["export"]["formats"][0]["accuracy_drop"]
    del content["data"]["num_test_texts_in_train"]
    report = schema.from_mapping(schema.Report, content)
    assert report.history.train[0].input_wait_fraction is None
    assert report.timing.secs_to_first_step is None
    assert report.export is not None
    assert report.export.formats[0].accuracy_drop is None
    assert report.data.num_test_texts_in_train is None


def _remove(content: dict[str, Any]) -> None:
    del content["training"]["weights"]


def _add(content: dict[str, Any]) -> None:
    content["export"]["formats"][1]["sizes"] = 3


def _rename_in_mapping(content: dict[str, Any]) -> None:
    scores = content["after"]["test"]["per_class"][NAMES[1]]
    scores["f_1"] = scores.pop("f1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_remove, r"Report.training: .*TrainingFacts.*without \['weights'\]"),
        (_add, r"Report.export.formats\[1\]: .*with \['sizes'\] besides"),
        (
            _rename_in_mapping,
            r"Report.after.test.per_class.positive: .*\['f1'\], and with \['f_1'\]",
        ),
        (
            lambda content: content["training"].update(weights="worst"),
            r"Report.training.weights: .*one of 'best', 'last'.*'worst'",
        ),
        (
            lambda content: content["training"].update(total_steps=True),
            r"Report.training.total_steps: .*must be int. Received: True",
        ),
        (
            lambda content: content["training"].update(stopped_early=1),
            r"Report.training.stopped_early: .*must be bool. Received: 1",
        ),
        (
            lambda content: content["timing"].update(compile_secs="1.0"),
            r"Report.timing.compile_secs: .*must be float. Received: '1.0'",
        ),
        (
            lambda content: content["timing"].update(compile_secs=None),
            r"Report.timing.compile_secs: .*must be float. Received: None",
        ),
        (
            lambda content: content["warnings"].append(3),
            r"Report.warnings\[1\]: .*must be str. Received: 3",
        ),
        (
            lambda content: content.update(warnings="one"),
            r"Report.warnings: .*must be an array. Received: 'one'",
        ),
        (
            lambda content: content.update(before=[]),
            r"Report.before: .*must be an object. Received: \[\]",
        ),
        (
            lambda content: content.update(paths=None),
            r"Report.paths: .*an object with the keys of Paths. Received: None",
        ),
        (
            lambda content: content["after"]["test"]["confidence_intervals_95"].update(
                mcc=[0.1]
            ),
            r"Report.after.test.confidence_intervals_95.mcc: .*array of 2 values",
        ),
    ],
)
def test_other_content_is_refused_by_its_path(change: Any, words: str) -> None:
    content = json.loads(tiny_report().to_json())
    change(content)
    with pytest.raises(ValueError, match=words) as error:
        schema.Report.from_json(json.dumps(content))
    assert "version of the program that wrote it" in str(error.value)
    with pytest.raises(ValueError, match="^a/report.json") as error:
        schema.from_mapping(schema.Report, content, place="a/report.json")


def test_no_number_that_json_does_not_have() -> None:
    report = tiny_report()
    timing = dataclasses.replace(report.timing, export_secs=float("nan"))
    with pytest.raises(ValueError, match="JSON compliant"):
        dataclasses.replace(report, timing=timing).to_json()


@pytest.mark.parametrize("value", [5, 2.5, "folds"])
def test_a_value_of_several_types_keeps_its_own(value: Any) -> None:
    facts = dataclasses.asdict(tiny_report().baselines["tfidf"])
    made = schema.from_mapping(
        schema.BaselineFacts, {**facts, "settings": {"a": value}}
    )
    assert made.settings["a"] == value and type(made.settings["a"]) is type(value)


def test_a_value_of_none_of_several_types_is_refused() -> None:
    facts = dataclasses.asdict(tiny_report().baselines["tfidf"])
    refused: tuple[Any, ...] = (None, True, [])
    for value in refused:
        with pytest.raises(ValueError, match="settings.a"):
            schema.from_mapping(
                schema.BaselineFacts, {**facts, "settings": {"a": value}}
            )
