"""The trained classifier once more, on one device: whom the chief can ask alone.

    copied = copies.classifier(run.config.model, material, built.classifier, "float32")
    copies.logits(run, material, copied, ["A fine film."], name="export")

Of several workers the chief exports alone, and the steps that are compiled need all of
them.
"""

from __future__ import annotations

from typing import Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.config import ModelConfig
from trainer.data import splits
from trainer.data.tokens import encode_few
from trainer.evaluation.evaluator import make_evaluator
from trainer.modeling import classifier as classifiers
from trainer.modeling import lora, weights
from trainer.modeling.forward import Forward
from trainer.runtime import strategies
from trainer.stages.context import Run
from trainer.stages.prepare import Material
from trainer.training.steps import PredictStep


def classifier(
    config: ModelConfig, material: Material, trained: keras.Model, policy: str
) -> keras.Model:
    """The trained classifier once more, under a Keras precision policy."""
    with strategies.precision(policy):
        copied = classifiers.build_classifier(
            material.preset,
            num_classes=len(material.label_names),
            pooling=config.pooling,
            dropout=0.0,
            seed=0,
            separator_id=material.encoder.separator_id,
        )
    weights.assign(lora.merged(trained), copied)
    return copied


def logits(
    run: Run,
    material: Material,
    copied: keras.Model,
    texts: Sequence[str],
    *,
    batch_size: int,
    name: str,
) -> np.ndarray:
    """float32 [n, classes], computed on one device in float32.

    Args:
      batch_size: texts a step.
      name: what the progress line calls the texts.
    """
    pool = splits.unlabelled(texts)
    tokens = encode_few(texts, material.encoder)
    strategy = tf.distribute.get_strategy()
    evaluator = make_evaluator(
        pool,
        np.arange(len(pool)),
        tokens,
        material.bucket_lengths,
        strategy,
        batch_size=batch_size,
        scoring=run.task.scoring,
        label_names=material.label_names,
        name=name,
    )
    forward = Forward(
        copied, window_length=run.config.data.max_length, differentiable=False
    )
    return evaluator.logits(PredictStep(forward, strategy))
