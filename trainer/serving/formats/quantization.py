"""A classifier whose weights are stored in 8 bits: a quarter of the size.

    forward = Int8Forward(classifier, window_length=512)
    forward(token_ids, num_tokens)      # as `Forward`, nearly
    forward.variables                   # what to save

Kernels and the tokens' table are integers from -127 to 127 with a float32 scale for
each output, or for each token (symmetric, by the largest value; Jacob et al. 2018,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 2.1). They are made float32 again where they are used, and so is all
that is computed: Keras's own int8, which quantizes what is multiplied with them as well,
took three times as long on a CPU.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from trainer.modeling import encoders, weights
from trainer.modeling.forward import Forward
from trainer.modeling.layers import parts_of


class Int8Forward(Forward):
    """Calls a classifier of which it holds a copy in 8 bits.

    Args:
      classifier: in float32.
      window_length: as of `Forward`.
    """

    def __init__(self, classifier: keras.Model, *, window_length: int) -> None:
        super().__init__(classifier, window_length=window_length, differentiable=False)
        backbone = classifier.backbone
        # By path: a layer's kernel may be another object at each access (LoRA's is).
        self._stored: dict[str, _Int8] = {}
        for layer in backbone.transformer_layers:
            for dense in parts_of(layer).dense().values():
                kernel = super().kernel(dense).numpy()
                self._stored[dense.kernel.path] = _Int8(kernel, axis=0)
        table = encoders.embeddings_of(backbone).tokens.embeddings
        self._stored[table.path] = _Int8(table.numpy(), axis=1)
        self._variables = {
            path: variable.value
            for path, variable in weights.by_path(classifier).items()
            if path not in self._stored
        }
        for path, matrix in self._stored.items():
            self._variables[f"{path}/int8"] = matrix.numbers
            self._variables[f"{path}/scale"] = matrix.scale

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """The integers and their scales, and what is left in float32."""
        return self._variables

    def kernel(self, dense: keras.layers.Layer) -> tf.Tensor:
        """As `Forward.kernel`."""
        return self._stored[dense.kernel.path].whole()

    def rows(self, table: keras.Variable, indices: tf.Tensor) -> tf.Tensor:
        """As `Forward.rows`."""
        return self._stored[table.path].gather(indices)


class _Int8:
    """A matrix in 8 bits.

    Args:
      axis: along which all numbers have the same scale.

    Attributes:
      numbers: int8, of the matrix's shape.
      scale: float32, of that shape but 1 along the axis.
    """

    def __init__(self, values: np.ndarray, *, axis: int) -> None:
        largest = np.abs(values).max(axis=axis, keepdims=True)
        scale = np.where(largest > 0, largest, 1.0) / 127
        numbers = np.rint(values / scale).astype(np.int8)
        self.numbers = tf.Variable(numbers, trainable=False)
        self.scale = tf.Variable(scale.astype(np.float32), trainable=False)

    def whole(self) -> tf.Tensor:
        return tf.cast(self.numbers, tf.float32) * self.scale

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Some rows, of a matrix that has a scale for each."""
        # As tensors: to gather from a variable copies it.
        numbers, scale = map(tf.convert_to_tensor, (self.numbers, self.scale))
        return tf.cast(tf.gather(numbers, rows), tf.float32) * tf.gather(scale, rows)
