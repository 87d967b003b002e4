"""Any number of labels a text: loss, metrics, thresholds, against other computations."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from sklearn import metrics as sklearn_metrics

from trainer.data import places
from trainer.data.batches import Batch, Inputs
from trainer.evaluation.schema import SplitEvaluation
from trainer.tasks import multi_label_decision as decisions
from trainer.tasks.multi_label import LabelSetScoring, MultiLabel
from trainer.tasks.multi_label_decision import Decision, plain

NAMES = ("anger", "fear", "joy", "trust")


def draw(
    num_texts: int, *, scale: float = 1.0, seed: int = 0, num_labels: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the sigmoids of logits, and these logits times `scale`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-0.5, 2.0, [num_texts, num_labels])
    has = generator.random(logits.shape) < scipy.special.expit(logits)
    return has.astype(np.float32), (logits * scale).astype(np.float32)


def losses(logits: np.ndarray, targets: np.ndarray, **settings: Any) -> np.ndarray:
    """Of a classifier that gives these logits whatever it reads."""
    task = MultiLabel()
    classifier = keras.Sequential([keras.layers.Dense(logits.shape[1])])
    classifier.compile(loss=task.loss())
    objective = task.objective(
        classifier, lambda *_, dropout_seed: tf.constant(logits), **settings
    )
    inputs = Inputs(np.zeros([len(targets), 4]), np.full([len(targets)], 4))
    batch = Batch(inputs, tf.constant(targets), None)
    result: np.ndarray = objective.losses(
        batch, dropout_seed=tf.zeros(2), step=tf.constant(0)
    ).numpy()
    return result


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_and_gradient_are_those_of_independent_labels(smoothing: float) -> None:
    """The mean of binary cross-entropies, each label by itself; to rounding."""
    labels, logits = draw(64, scale=2.0)
    found = losses(logits, labels, label_smoothing=smoothing)
    assert found.shape == (64,) and found.dtype == np.float32
    each = np.stack(
        [
            losses(logits[:, [index]], labels[:, [index]], label_smoothing=smoothing)
            for index in range(4)
        ]
    )
    np.testing.assert_allclose(found, each.mean(axis=0), rtol=1e-6)
    targets = labels * (1 - smoothing) + smoothing / 2
    exact = logits.astype(np.float64)
    expected = -(
        targets * scipy.special.log_expit(exact)
        + (1 - targets) * scipy.special.log_expit(-exact)
    ).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_focal_loss_is_that_of_independent_labels() -> None:
    labels, logits = draw(64, scale=2.0)
    found = losses(logits, labels, focal_gamma=2.0)
    exact = logits.astype(np.float64)
    right = scipy.special.expit(np.where(labels == 1, exact, -exact))
    expected = (-((1 - right) ** 2) * np.log(right)).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_one_label_a_text_equals_binary_losses() -> None:
    """Of K labels of which each text has one: K independent problems."""
    _, logits = draw(32)
    one_hot = np.eye(4, dtype=np.float32)[np.arange(32) % 4]
    expected = keras.losses.BinaryCrossentropy(from_logits=True, reduction="none")
    each = [expected(one_hot[:, [k]], logits[:, [k]]).numpy() for k in range(4)]
    np.testing.assert_allclose(
        losses(logits, one_hot), np.mean(each, axis=0), rtol=1e-6
    )


def report(
    labels: np.ndarray, logits: np.ndarray, decision: Decision, *, resamples: int = 50
) -> SplitEvaluation:
    count = len(labels)
    return LabelSetScoring().report(
        labels,
        logits,
        decision=decision,
        label_names=NAMES,
        texts=[f"text {n}" for n in range(count)],
        lengths=np.arange(1, count + 1),
        places=places.unknown(count),
        longest_text=64,
        num_resamples=resamples,
        seed=0,
    )


def test_metrics_are_those_of_scikit_learn() -> None:
    labels, logits = draw(300, scale=1.5)
    decision = Decision(2.0, (0.5, 0.3, 0.7, 0.4), "validation")
    found = report(labels, logits, decision)
    given, probabilities = decision.labels(logits), decision.probabilities(logits)
    sets = found.label_sets
    assert sets is not None and found.confusion_matrix == ()
    for name, value in (
        ("f1_macro", found.f1_macro),
        ("f1_micro", sets.f1_micro),
    ):
        average = name.removeprefix("f1_")
        expected = sklearn_metrics.f1_score(labels, given, average=average)
        assert value == pytest.approx(expected), name
    assert found.accuracy == sklearn_metrics.accuracy_score(labels, given)
    assert sets.hamming_loss == pytest.approx(
        sklearn_metrics.hamming_loss(labels, given)
    )
    assert found.roc_auc == pytest.approx(
        sklearn_metrics.roc_auc_score(labels, logits, average="macro")
    )
    assert sets.average_precision == pytest.approx(
        sklearn_metrics.average_precision_score(labels, logits, average="macro")
    )
    assert found.loss == pytest.approx(
        sklearn_metrics.log_loss(labels.ravel(), probabilities.ravel())
    )
    assert found.mcc == pytest.approx(
        sklearn_metrics.matthews_corrcoef(labels.ravel(), given.ravel())
    )
    for index, (name, row) in enumerate(sets.per_label.items()):
        assert name == NAMES[index] and row.threshold == decision.thresholds[index]
        assert row.support == labels[:, index].sum()
        assert row.recall == pytest.approx(
            sklearn_metrics.recall_score(labels[:, index], given[:, index])
        )
        low, high = row.roc_auc_interval_95 or (0, 0)
        assert row.roc_auc is not None and low < row.roc_auc < high
    intervals = found.confidence_intervals_95
    for name in ("f1_macro", "loss", "mcc", "roc_auc", "accuracy"):
        assert intervals[name][0] < getattr(found, name) < intervals[name][1], name
    for name in ("f1_micro", "hamming_loss"):
        assert intervals[name][0] < getattr(sets, name) < intervals[name][1], name
    pair = sets.together[0]
    both = labels[:, NAMES.index(pair.label)] * labels[:, NAMES.index(pair.other)]
    assert pair.num_texts == both.sum()
    is_right = (labels == given).all(axis=1)
    of_lengths = found.accuracy_by_length
    assert sum(b.accuracy * b.count for b in of_lengths) == pytest.approx(
        is_right.sum()
    )
    surest = found.most_confident_errors[0]
    assert not is_right[int(surest.text.removeprefix("text "))]
    assert surest.label != surest.predicted


def test_a_label_of_one_value_has_no_area() -> None:
    labels, logits = draw(40)
    labels[:, 1], labels[:, 2] = 0, 1
    found = report(labels, logits, plain(4))
    sets = found.label_sets
    assert sets is not None
    for name in ("fear", "joy"):
        row = sets.per_label[name]
        assert (row.roc_auc, row.average_precision) == (None, None)
        assert row.roc_auc_interval_95 is None
    assert sets.per_label["fear"].recall is None
    assert found.roc_auc is not None and "roc_auc" not in found.confidence_intervals_95
    assert {curve.name for curve in found.roc} == {"anger", "trust"}


def test_of_few_texts_accuracy_alone_has_an_interval() -> None:
    labels, logits = draw(9)
    assert set(report(labels, logits, plain(4)).confidence_intervals_95) == {"accuracy"}
    assert not report(labels, logits, plain(4), resamples=0).confidence_intervals_95


@pytest.mark.slow
@pytest.mark.parametrize("num_texts", [50, 400])
def test_intervals_hold(num_texts: int) -> None:
    """In 92% of 200 samples at least, where 95 are meant; as in `metrics.py`."""
    labels, logits = draw(100_000, seed=1)
    decision = plain(4)
    scoring = LabelSetScoring()
    true = scoring.metrics(labels, logits, label_names=NAMES)
    generator = np.random.default_rng(2)
    held: dict[str, list[bool]] = {}
    for _ in range(200):
        rows = generator.integers(0, len(labels), num_texts)
        found = report(labels[rows], logits[rows], decision, resamples=200)
        for name, (low, high) in found.confidence_intervals_95.items():
            sets = true["label_sets"]
            value = getattr(sets, name) if hasattr(sets, name) else true[name]
            held.setdefault(name, []).append(low <= value <= high)
    assert len(held) == 11
    shares = {name: np.mean(each) for name, each in held.items()}
    assert min(shares.values()) >= 0.92 - 0.02, shares


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_temperature_is_found_again(scale: float) -> None:
    labels, logits = draw(5000, scale=scale)
    assert decisions.fit_temperature(labels, logits) == pytest.approx(scale, rel=0.08)


def test_best_threshold_is_the_best_of_all() -> None:
    labels, logits = draw(80, seed=3)
    has, scores = labels[:, 0] > 0, scipy.special.expit(logits[:, 0].astype(float))
    for metric, of in (
        ("f1_macro", sklearn_metrics.f1_score),
        ("accuracy", sklearn_metrics.accuracy_score),
        ("mcc", sklearn_metrics.matthews_corrcoef),
    ):
        found = decisions.best_threshold(has, scores, metric=metric)  # type: ignore
        tried = [of(has, scores >= t) for t in np.linspace(0.001, 0.999, 2000)]
        assert of(has, scores >= found) == pytest.approx(max(tried)), metric


def test_thresholds_are_fitted_where_texts_tell() -> None:
    """A label that is hardly ever probable gets a lower one; one of few texts 0.5."""
    labels, logits = draw(800, seed=4)
    logits[:, 1] -= 3.0
    labels[:, 2] = 0
    labels[:9, 2] = 1
    found = decisions.fit(
        labels, logits, calibrate=False, metric="f1_macro", label_names=NAMES
    )
    assert 0.02 < found.thresholds[1] < 0.2
    assert found.thresholds[2] == 0.5
    assert any("too few texts for joy, of 4 labels" in each for each in found.warnings)
    before = report(labels, logits, plain(4)).f1_macro
    assert report(labels, logits, found).f1_macro > before + 0.05
    off = decisions.fit(labels, logits, calibrate=False, label_names=NAMES)
    assert off == dataclasses.replace(plain(4), split="validation")


def test_graph_and_numpy_decide_alike() -> None:
    labels, logits = draw(200, seed=5)
    decision = Decision(1.7, (0.5, 0.2, 0.8, 0.4), "validation")
    outputs = decision.graph_outputs(
        tf.constant(logits), decision.constants(), label_names=tf.constant(NAMES)
    )
    values = {name: value.numpy() for name, value in outputs.items()}
    assert set(values) == {"probabilities", "chosen"}
    assert values["probabilities"].dtype == np.float32
    assert values["chosen"].dtype == bool
    np.testing.assert_allclose(
        values["probabilities"], decision.probabilities(logits), atol=1e-6
    )
    told = decision.labels_told(values, label_names=NAMES)
    assert (told == decision.labels(logits)).all()


def test_an_ensemble_is_the_mean_of_probabilities() -> None:
    parts = [draw(50, seed=seed, scale=4.0)[1] for seed in range(3)]
    decision = plain(4)
    mean = np.mean([decision.probabilities(each) for each in parts], axis=0)
    joined = decision.ensemble_logits(parts)
    np.testing.assert_allclose(decision.probabilities(joined), mean, rtol=1e-9)
    in_graph = decision.graph_ensemble_logits([tf.constant(each) for each in parts])
    np.testing.assert_allclose(in_graph.numpy(), joined, rtol=1e-4, atol=1e-4)


def test_quality_of_a_split() -> None:
    labels, logits = draw(300, seed=6)
    decision = Decision(1.0, (0.1,) * 4, "validation")
    quality = decision.quality(labels, logits)
    given = decision.labels(logits)
    assert quality["accuracy"] == (labels == given).all(axis=1).mean()
    assert quality["thresholds"]["f1_macro"] == pytest.approx(
        sklearn_metrics.f1_score(labels, given, average="macro")
    )
    assert quality["equal_thresholds"]["f1_macro"] == pytest.approx(
        sklearn_metrics.f1_score(labels, logits >= 0, average="macro")
    )


def test_what_is_explained_is_the_most_probable_label() -> None:
    """By its log-odds."""
    _, logits = draw(20)
    decision = dataclasses.replace(plain(4), temperature=1.7)
    constants = decision.constants()
    chosen = decision.graph_chosen(tf.constant(logits), constants)
    np.testing.assert_array_equal(chosen, logits.argmax(axis=1))
    contrast = decision.graph_contrast(tf.constant(logits), constants, chosen=chosen)
    highest = decision.probabilities(logits).max(axis=1)
    np.testing.assert_allclose(contrast, scipy.special.logit(highest), rtol=1e-5)
