"""From a trained classifier to what a server takes: decide, check, export.

    decision = decide(config, data, logits)         # on validation
    facts = export(config, preset, data, classifier, decision, report)
    facts["path"]                                   # of the SavedModel

What is written, and how, is in `serving/`; the wiring is in `experiment.py`.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Mapping

import keras
import numpy as np
import tensorflow as tf

from trainer import storage
from trainer.config import ExperimentConfig
from trainer.data.preparation import PreparedData
from trainer.evaluation import calibration
from trainer.evaluation.evaluator import make_evaluator, unlabelled_split
from trainer.modeling import classifier as classifiers
from trainer.modeling import presets
from trainer.serving import export as exports
from trainer.serving import formats
from trainer.serving.formats import litert
from trainer.runtime import strategies
from trainer.training.steps import PredictStep

_logger = logging.getLogger(__name__)

# Texts the export is checked on, besides held-out ones.
_HOSTILE_TEXTS = (
    "",
    "   ",
    "\u200b\ufffd\x00",
    "caf\u00e9 na\u00efve \u03a3\u03a3 \u0130 \u4f60\u597d \U0001f600",
    "a" * 101,
    "[SEP] [CLS] [MASK]",
    "word " * 3000,
)
_CHECK_BATCH_SIZE = 8


def check(config: ExperimentConfig) -> None:
    """Raises ValueError where a format cannot be exported here, before all the work."""
    if "litert" in config.serving.export_formats:
        litert.check_installed()


def refusals(config: ExperimentConfig, export: Mapping[str, Any]) -> list[str]:
    """Warnings of the formats that were not published."""
    limit = config.serving.max_accuracy_drop
    return [
        f"{found['format']} was not published: its accuracy on {found['num_texts']} "
        f"held-out texts is {found['accuracy']:.2%}, {found['accuracy_drop']:.2%} below "
        f"that of float32, and --max_accuracy_drop={limit}"
        for found in export["formats"]
        if found["status"] == "refused"
    ]


def decide(
    config: ExperimentConfig, data: PreparedData, logits: Mapping[str, np.ndarray]
) -> calibration.Decision:
    """How the exported model decides, fitted on validation where there is one."""
    if "validation" not in logits:
        return calibration.plain(len(data.label_names))
    decision = calibration.fit(
        data.splits["validation"].data.labels,
        logits["validation"],
        calibrate=config.serving.calibrate,
        metric=config.serving.decision_metric,
        target_accuracy=config.serving.abstain_accuracy,
    )
    _logger.info(
        "temperature %.3f, thresholds %s, abstain below %.3f",
        decision.temperature,
        ", ".join(f"{threshold:.3f}" for threshold in decision.thresholds),
        decision.abstain_below,
    )
    return decision


def decision_facts(
    data: PreparedData,
    decision: calibration.Decision,
    logits: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """The decision, and what it gives on each held-out split."""
    return {
        **dataclasses.asdict(decision),
        "quality": {
            name: calibration.quality(decision, data.splits[name].data.labels, each)
            for name, each in logits.items()
            if name != "samples"
        },
    }


def export(
    config: ExperimentConfig,
    preset: presets.Preset,
    data: PreparedData,
    classifier: keras.Model,
    decision: calibration.Decision,
    report: Mapping[str, Any],
) -> dict[str, Any]:
    """Publishes the weights in all formats wanted, checked against memory."""

    def make_classifier(policy: str) -> keras.Model:
        with strategies.precision(policy):
            served = classifiers.build_classifier(
                preset,
                num_classes=len(data.label_names),
                pooling=config.model.pooling,
                dropout=0.0,
                seed=config.training.seed,
            )
        for target, source in zip(
            served.trainable_variables, classifier.trainable_variables, strict=True
        ):
            target.assign(source.numpy())
        return served

    source = formats.Source(
        make_classifier=make_classifier,
        preset=preset,
        encoder=data.encoder,
        label_names=data.label_names,
        bucket_lengths=data.bucket_lengths,
        decision=decision,
        data=config.data,
    )
    place = storage.path(config.serving.export_dir or f"{config.model_dir}/export")
    return exports.publish(
        source,
        place,
        config=config.serving,
        checks=_checks(config, data, make_classifier("float32"), decision),
        facts=_manifest_facts(report, checked_on=_held_out(data)),
    )


def _manifest_facts(report: Mapping[str, Any], *, checked_on: str) -> dict[str, Any]:
    """What manifest and model card say of the run, from what its report will hold."""
    decision = report["decision"]
    return {
        **{name: report[name] for name in ("title", "config", "data", "warnings")},
        "data_fingerprint": report["data"]["fingerprint"],
        "metrics": {
            split: {
                name: value
                for name, value in found.items()
                if isinstance(value, (int, float)) or name == "confidence_intervals_95"
            }
            for split, found in report["after"].items()
        },
        "decision_split": decision["split"],
        "decision_quality": decision["quality"].get(decision["split"]),
        "checked_on": checked_on,
    }


def _checks(
    config: ExperimentConfig,
    data: PreparedData,
    classifier: keras.Model,
    decision: calibration.Decision,
) -> exports.Checks:
    """Held-out and hostile texts, and what the classifier makes of them."""
    held_out = data.splits[_held_out(data)].data
    # From all over it: a data set may hold one class after the other.
    count = min(config.serving.num_export_examples or len(held_out), len(held_out))
    rows = np.linspace(0, len(held_out) - 1, count).round().astype(np.int64)
    texts = (*held_out.texts.take(rows).to_pylist(), *_HOSTILE_TEXTS)
    strategy = tf.distribute.get_strategy()
    split, tokens = unlabelled_split(texts, data, cache_dir=config.data.cache_dir)
    evaluator = make_evaluator(
        split, tokens, data, strategy, batch_size=_CHECK_BATCH_SIZE, name="export"
    )
    predict = PredictStep(classifier, strategy, window_length=config.data.max_length)
    return exports.Checks(
        texts,
        held_out.labels[rows],
        decision.probabilities(evaluator.logits(predict)),
    )


def _held_out(data: PreparedData) -> str:
    """The split that an export is checked on: the training texts if there is no other."""
    return next(name for name in ("test", "validation", "train") if name in data.splits)
