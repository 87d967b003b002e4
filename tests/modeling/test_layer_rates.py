"""Which share of the learning rate each variable has."""

from __future__ import annotations

import math

import pytest

from trainer.modeling import classifier as classifiers
from trainer.modeling import freezing, layer_rates, lora, presets

# Of two layers; depth by what a variable's path has in it.
DEPTHS = {
    "logits": 0,
    "pooled_dense": 0,
    "transformer_layer_1": 1,
    "transformer_layer_0": 2,
    "embedding": 3,
    "layer_1.query": 1,
    "layer_0.query": 2,
}


@pytest.mark.parametrize("has_lora", [False, True])
def test_shares_fall_from_the_head_down(has_lora: bool, tiny_preset: str) -> None:
    classifier = classifiers.build_classifier(
        presets.load_preset(tiny_preset),
        num_classes=2,
        pooling="first",
        dropout=None,
        seed=0,
    )
    if has_lora:
        lora.add(classifier, rank=2, alpha=2.0, targets=("query",), seed=0)
    found = layer_rates.factors(classifier, decay=0.5)
    assert len(found) == 41 + 4 * has_lora
    for path, factor in found.items():
        (depth,) = {depth for name, depth in DEPTHS.items() if name in path}
        assert factor == 0.5**depth, path
    assert set(layer_rates.factors(classifier, decay=1.0).values()) == {1.0}
    first = layer_rates.first_updates(classifier, every=10)
    trained = [variable.path for variable in classifier.trainable_variables]
    assert first == [10 * round(-math.log2(found[path])) for path in trained]
    assert set(first) == ({0, 10, 20} if has_lora else {0, 10, 20, 30})


def test_without_a_layer_to_let_go_of_it_is_refused(tiny_preset: str) -> None:
    classifier = classifiers.build_classifier(
        presets.load_preset(tiny_preset),
        num_classes=2,
        pooling="first",
        dropout=None,
        seed=0,
    )
    freezing.freeze(classifier, num_layers=2)
    assert set(layer_rates.first_updates(classifier, every=0)) == {0}
    with pytest.raises(ValueError, match="--unfreeze_every must have a layer .* lower"):
        layer_rates.first_updates(classifier, every=10)
