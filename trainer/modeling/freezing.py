"""Which of an encoder's weights stay as they came.

freezing.freeze(classifier, num_layers=4)   # embeddings and the first four layers
freezing.freeze(classifier, num_layers=-1)  # all but the head
"""

from __future__ import annotations

import keras

from trainer.messages import message
from trainer.modeling import encoders

ALL_BUT_HEAD = -1


def freeze(classifier: keras.Model, *, num_layers: int) -> None:
    """Freezes embeddings and lower layers, before the optimizer is built.

    What is frozen has no gradient, no moments and no decay.

    Args:
      classifier: not compiled.
      num_layers: 0: nothing is frozen; ALL_BUT_HEAD: pooler and all layers, too.

    Raises:
      ValueError: there are no so many layers.
    """
    backbone = classifier.backbone
    layers = backbone.transformer_layers
    if num_layers > len(layers):
        raise ValueError(
            message(
                f"--freeze_layers must be at most {len(layers)}, the layers of the "
                "preset",
                received=num_layers,
                mend="--freeze_layers=-1 freezes all but the head",
            )
        )
    if num_layers == ALL_BUT_HEAD:
        backbone.trainable = False
    elif num_layers:
        embeddings = encoders.embeddings_of(backbone).layers()
        for layer in (*embeddings, *layers[:num_layers]):
            layer.trainable = False
