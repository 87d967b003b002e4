"""What has no meaning where texts have numbers instead of labels.

    refused(settings(config))["focal_gamma"]    # (False, "it weighs by the ...")

Each setting with its reason, for the message that refuses it beside --task=regression.
"""

from __future__ import annotations

from typing import Any, Mapping

from trainer.config.serving import MAX_ACCURACY_DROP

Whys = Mapping[str, tuple[bool, str]]


def refused(values: Mapping[str, Any]) -> Whys:
    """By the name of a setting: whether it is given, and why it may not be.

    Args:
      values: of all settings, by name.
    """
    return {**_of_training(values), **_of_serving(values), **_of_looking(values)}


def _of_training(values: Mapping[str, Any]) -> Whys:
    return {
        "class_weights": (
            values["class_weights"] != ("none",),
            "an example weighs by its label, and a number has no class",
        ),
        "label_smoothing": (
            values["label_smoothing"] > 0,
            "it spreads a target over all labels",
        ),
        "focal_gamma": (
            values["focal_gamma"] > 0,
            "it weighs by the probability of what is right",
        ),
        "best_metric": (
            # The default; and the squared distance, which has the same best weights.
            values["best_metric"] not in ("accuracy", "loss"),
            "the best weights are those of the least root mean squared error",
        ),
        "replay_dataset": (
            bool(values["replay_dataset"]),
            "old texts are drawn in the proportions of their labels",
        ),
        "reweigh_by": (
            bool(values["reweigh_by"]),
            "a group's texts weigh by their label",
        ),
        "augment_counterfactuals": (
            bool(values["augment_counterfactuals"]),
            "copies with swapped words keep a label, and a number may not stay right",
        ),
    }


def _of_serving(values: Mapping[str, Any]) -> Whys:
    return {
        "decision_metric": (
            values["decision_metric"] != "none",
            "it moves thresholds, and a number has none",
        ),
        "abstain_accuracy": (
            values["abstain_accuracy"] > 0,
            "a number is never just right; its interval says how sure it is",
        ),
        "max_accuracy_drop": (
            values["max_accuracy_drop"] != MAX_ACCURACY_DROP,
            "a number is never just right; --max_value_shift is of numbers",
        ),
        "export_explain": (
            values["export_explain"],
            "words are told to speak for a label",
        ),
        "max_slice_gap": (
            values["max_slice_gap"] > 0,
            "it is of accuracies and of rates of labels",
        ),
        "max_flips": (values["max_flips"] > 0, "it is of labels that change"),
    }


def _of_looking(values: Mapping[str, Any]) -> Whys:
    return {
        "explain": (bool(values["explain"]), "words are told to speak for a label"),
        "out_of_fold": (
            bool(values["out_of_fold"]),
            "labels that may be wrong are told by their probabilities",
        ),
        "audit_model": (
            values["audit_model"] == "tfidf",
            "labels that may be wrong are told by their probabilities",
        ),
        "slice_fields": (
            bool(values["slice_fields"]),
            "groups are compared by accuracy and by rates of labels",
        ),
        "positive_label": (
            bool(values["positive_label"]),
            "groups are compared by accuracy and by rates of labels",
        ),
        "counterfactuals": (
            bool(values["counterfactuals"]),
            "a swap is told by the label that changes",
        ),
        "error_causes": (
            values["error_causes"],
            "errors are labels that are wrong",
        ),
        "export_to_label": (
            bool(values["export_to_label"]),
            "texts are chosen by the probabilities of their labels",
        ),
    }
