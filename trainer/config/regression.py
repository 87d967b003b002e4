"""What has no meaning where texts have numbers instead of labels.

    refused(config)["focal_gamma"]      # (False, "it weighs by the probability ...")

Each setting with its reason, for the message that refuses it beside --task=regression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping

if TYPE_CHECKING:  # It imports this module.
    from trainer.config.experiment import ExperimentConfig

Whys = Mapping[str, tuple[bool, str]]


def refused(config: ExperimentConfig) -> Whys:
    """By the name of a setting: whether it is given, and why it may not be."""
    return {**_of_training(config), **_of_serving(config), **_of_looking(config)}


def _of_training(config: ExperimentConfig) -> Whys:
    training = config.training
    return {
        "class_weights": (
            training.class_weights != ("none",),
            "an example weighs by its label, and a number has no class",
        ),
        "label_smoothing": (
            training.label_smoothing > 0,
            "it spreads a target over all labels",
        ),
        "focal_gamma": (
            training.focal_gamma > 0,
            "it weighs by the probability of what is right",
        ),
        "best_metric": (
            # The default; and the squared distance, which has the same best weights.
            training.best_metric not in ("accuracy", "loss"),
            "the best weights are those of the least root mean squared error",
        ),
        "head_start": (
            config.model.head_start != "random",
            "the head of the frozen encoder is a logistic regression",
        ),
        "init_from": (
            bool(config.model.init_from),
            "the head of another model is in the unit of its own numbers",
        ),
        "replay_dataset": (
            bool(config.data.replay_dataset),
            "old texts are drawn in the proportions of their labels",
        ),
        "reweigh_by": (
            bool(config.groups.reweigh_by),
            "a group's texts weigh by their label",
        ),
        "augment_counterfactuals": (
            bool(config.groups.augment_counterfactuals),
            "copies with swapped words keep a label, and a number may not stay right",
        ),
    }


def _of_serving(config: ExperimentConfig) -> Whys:
    serving = config.serving
    return {
        "decision_metric": (
            serving.decision_metric != "none",
            "it moves thresholds, and a number has none",
        ),
        "abstain_accuracy": (
            serving.abstain_accuracy > 0,
            "a number is never just right; its interval says how sure it is",
        ),
        "given_decision": (
            bool(serving.given_decision),
            "it is a temperature and thresholds",
        ),
        "export_formats": (
            serving.export_formats != ("float32",),
            "what a format loses is told by its accuracy",
        ),
        "export_explain": (
            serving.export_explain,
            "words are told to speak for a label",
        ),
        "promote": (
            serving.promote in ("better", "not_worse"),
            "a run compares accuracies; trainer.compare compares distances",
        ),
        "champion": (
            bool(serving.champion),
            "a run compares accuracies; trainer.compare compares distances",
        ),
        "max_slice_gap": (
            serving.max_slice_gap > 0,
            "it is of accuracies and of rates of labels",
        ),
        "max_flips": (serving.max_flips > 0, "it is of labels that change"),
    }


def _of_looking(config: ExperimentConfig) -> Whys:
    checks, kept = config.checks, config.kept
    of_kept = "what the encoder keeps is told in the report of labels alone"
    return {
        "explain": (bool(config.explain), "words are told to speak for a label"),
        "out_of_fold": (
            bool(checks.out_of_fold),
            "labels that may be wrong are told by their probabilities",
        ),
        "audit_model": (
            checks.audit_model == "tfidf",
            "labels that may be wrong are told by their probabilities",
        ),
        "slice_fields": (
            bool(config.groups.slice_fields),
            "groups are compared by accuracy and by rates of labels",
        ),
        "positive_label": (
            bool(config.groups.positive_label),
            "groups are compared by accuracy and by rates of labels",
        ),
        "counterfactuals": (
            bool(config.groups.counterfactuals),
            "a swap is told by the label that changes",
        ),
        "general_texts": (bool(kept.general_texts), of_kept),
        "general_probe": (bool(kept.general_probe), of_kept),
        "error_causes": (
            config.labelling.error_causes,
            "errors are labels that are wrong",
        ),
        "export_to_label": (
            bool(config.labelling.export_to_label),
            "texts are chosen by the probabilities of their labels",
        ),
        "trackers": (bool(config.trackers), "they are told accuracies"),
    }
