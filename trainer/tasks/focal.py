"""The focal loss: what is answered well already teaches less.

    focal_loss(losses, gamma=2.0)       # losses: float32 [...], in nats

For any loss that is the negative logarithm of the probability of what is right: of one
label a text, and of each label where a text has several.
"""

from __future__ import annotations

import tensorflow as tf

# Below it the derivative of a power of less than 1 would leave float32.
_SMALLEST = 1e-7


def focal_loss(losses: tf.Tensor, *, gamma: float) -> tf.Tensor:
    """(1 - p)^gamma * -log(p), of -log(p) (Lin et al. 2017, "Focal Loss", eq. 4).

    Args:
      losses: float32 [...], -log(p), in nats; not negative.
      gamma: 0 gives the losses as they are.

    Returns:
      float32 [...].
    """
    return tf.maximum(-tf.math.expm1(-losses), _SMALLEST) ** gamma * losses
