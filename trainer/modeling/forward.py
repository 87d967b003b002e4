"""The classifier's forward pass, written for speed, on KerasHub's own variables.

    forward = Forward(classifier, fusion="pieces")
    forward(token_ids, num_tokens)                              # to predict
    forward(token_ids, num_tokens, dropout_seed=[0, step])      # to train
    forward.embed(token_ids, num_tokens)                        # the pooled vectors
    forward.encode(token_ids, num_tokens)                       # a vector a token
    forward.of_vectors(forward.look_up(token_ids), num_tokens)  # logits, of embeddings

It computes what `classifier(inputs)` computes and holds no variables: weights are
loaded, saved and updated as KerasHub's. What is faster, and by how much, is in
docs/speed.md; in short:

- Attention's backward pass is written out (`attention.py`).
- What is done element by element between two matrix products is one piece, which
  keeps its inputs for the backward pass and nothing else (`pieces.py`).
- Dropout draws 8 random bits for an element, not 32.

A mask is a function of the seed and the place alone, whatever is compiled how.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Literal, Sequence

import keras
import tensorflow as tf

from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from trainer.modeling import embedding, encoders, lora
from trainer.modeling import weights as weights_lib
from trainer.modeling.attention import Attention
from trainer.modeling.classifier import (
    mean_of_tokens,
    pooler_of,
    reads_mean,
    segments_of_pairs,
    separator_of,
)
from trainer.modeling.layers import (
    DenseWeights,
    LayerWeights,
    NormWeights,
    parts_of,
)
from trainer.modeling.pieces import Dropout, Pieces, shape_of

Fusion = Literal["none", "pieces", "whole"]


class Forward:
    """Calls a classifier on an encoder that has BERT's layer (`encoders.py`).

    Args:
      classifier: as `classifier.build_classifier` makes it.
      fusion: what XLA compiles. "pieces": what lies between matrix products; for a
        CPU. "whole": the caller compiles all; for accelerators. "none": nothing.
      rematerialize: compute each layer again in the backward pass instead of keeping
        what it computed: memory for time.
      window_length: a longer row is several windows of this length, back to back, each
        a text to the encoder; the mean of their results is the row's. None: a
        row is one window, however long.
      differentiable: whether there shall be gradients.
      sorts_gradient: whether the gradient of the tokens' embedding is added up in
        sorted order (`embedding.py`), for GPUs.
    """

    def __init__(
        self,
        classifier: keras.Model,
        *,
        fusion: Fusion = "none",
        rematerialize: bool = False,
        window_length: int | None = None,
        differentiable: bool = True,
        sorts_gradient: bool = False,
    ) -> None:
        self._classifier = classifier
        self._backbone = classifier.backbone
        self._factors = lora.factors_of(classifier)
        self._fusion = fusion
        self._rematerialize = rematerialize
        self._window_length = window_length
        self._separator_id = separator_of(classifier)
        self._differentiable = differentiable
        self._sorts_gradient = sorts_gradient and differentiable

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """All that it reads, by path."""
        named = weights_lib.by_path(self._classifier)
        return {path: variable.value for path, variable in named.items()}

    @property
    def hidden_size(self) -> int:
        """The width of the vectors that the head reads."""
        return int(self._backbone.hidden_dim)

    @property
    def vocabulary_size(self) -> int:
        """How many token ids there are, from 0."""
        return int(self._backbone.vocabulary_size)

    @property
    def num_segments(self) -> int:
        """How many segment ids there are, from 0; 0: the encoder does not take any."""
        return int(getattr(self._backbone, "num_segments", 0))

    def __call__(
        self,
        token_ids: tf.Tensor,
        num_tokens: tf.Tensor,
        *,
        dropout_seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The logits.

        Args:
          token_ids: int32 [batch, length].
          num_tokens: int [batch], how many of them are not padding.
          dropout_seed: int32 [2]; None: no dropout.

        Returns:
          float32 [batch, classes].
        """

        def compute(token_ids: tf.Tensor, is_token: tf.Tensor) -> tf.Tensor:
            pooled = self.pool(token_ids, is_token, dropout_seed=dropout_seed)
            return self.classify(pooled, dropout_seed=dropout_seed)

        return self._over_windows(compute, token_ids, num_tokens)

    def look_up(self, token_ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The embeddings of tokens, without positions and segments.

        Args:
          token_ids: int32 [batch, length].

        Returns:
          One tensor, float32 [batch, length, hidden]; an ensemble has one a model.
        """
        table = encoders.embeddings_of(self._backbone).tokens.embeddings
        return (tf.cast(self.rows(table, token_ids), tf.float32),)

    def of_vectors(
        self, vectors: Sequence[tf.Tensor], num_tokens: tf.Tensor
    ) -> tf.Tensor:
        """The logits of texts of which embeddings are given, for gradients to reach.

        Args:
          vectors: as `look_up` gives them, or any others of that shape.
          num_tokens: int [batch], how many of them are not padding.

        Returns:
          float32 [batch, classes].
        """
        (only,) = vectors
        return self._over_windows(
            lambda tokens, is_token: self.classify(self.pool(tokens, is_token)),
            only,
            num_tokens,
        )

    def embed(self, token_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
        """The vectors that the head reads: float [batch, hidden]."""
        return self._over_windows(self.pool, token_ids, num_tokens)

    def layer_means(self, token_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
        """The mean of the tokens after the embeddings and after each layer.

        Returns:
          float32 [batch, (layers + 1) * hidden], the embeddings' first.
        """

        def compute(token_ids: tf.Tensor, is_token: tf.Tensor) -> tf.Tensor:
            shape = [*shape_of(token_ids), self.hidden_size]
            means = [
                mean_of_tokens(tf.reshape(output, shape), is_token)
                for output in self._outputs(token_ids, is_token, None, None)
            ]
            return tf.cast(tf.concat(means, axis=-1), tf.float32)

        return self._over_windows(compute, token_ids, num_tokens)

    def pool(
        self,
        token_ids: tf.Tensor,
        is_token: tf.Tensor,
        *,
        segment_ids: tf.Tensor | None = None,
        dropout_seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The vectors that the head reads, of rows of one window.

        Args:
          token_ids: int32 [batch, length]; or the tokens' embeddings instead, float
            [batch, length, hidden].
          is_token: bool [batch, length], false where there is padding.
          segment_ids: int32 [batch, length]; None: of a classifier that reads pairs
            what stands after the first [SEP] is of the second segment, else all of the
            first. An encoder without segments does not read them.

        Returns:
          float [batch, hidden].
        """
        x = self._encode(token_ids, is_token, segment_ids, dropout_seed)
        if reads_mean(self._classifier):
            return mean_of_tokens(x, is_token)
        return pooler_of(self._classifier)(x[:, 0])

    def classify(
        self, pooled: tf.Tensor, *, dropout_seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The logits of vectors that `pool` gave: float32 [batch, classes]."""
        rate = self._classifier.get_layer("classifier_dropout").rate
        pooled = Dropout(rate, dropout_seed)(pooled, place=0)
        logits = self._classifier.get_layer("logits")(pooled)
        return tf.cast(logits, tf.float32)

    def encode(
        self,
        token_ids: tf.Tensor,
        num_tokens: tf.Tensor,
        *,
        dropout_seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The last layer's output for each token, each window by itself.

        Args:
          token_ids: int32 [batch, length].
          num_tokens: int [batch], how many of them are not padding.
          dropout_seed: int32 [2]; None: no dropout.

        Returns:
          float [batch, length, hidden].
        """
        length = shape_of(token_ids)[1]
        windows, is_token, _ = self._windows(token_ids, num_tokens)
        x = self._encode(windows, is_token, None, dropout_seed)
        return tf.reshape(x, [-1, length, self.hidden_size])

    def _over_windows(
        self,
        compute: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        token_ids: tf.Tensor,
        num_tokens: tf.Tensor,
    ) -> tf.Tensor:
        """The mean over each row's windows of what is computed of them."""
        windows, is_token, is_there = self._windows(token_ids, num_tokens)
        if is_there is None:
            return compute(windows, is_token)
        result = tf.cast(compute(windows, is_token), tf.float32)
        count = shape_of(is_there)[1]
        result = tf.reshape(result, [-1, count, result.shape[-1]])
        total = tf.reduce_sum(result * tf.expand_dims(is_there, -1), axis=1)
        return total / tf.reduce_sum(is_there, axis=1, keepdims=True)

    def _windows(
        self, token_ids: tf.Tensor, num_tokens: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Rows of several windows as rows of one.

        Returns:
          int32 [batch * windows, size], and bool, false where there is padding;
          float32 [batch, windows], 1 where a row has a window, or None: of each row
          there is one.
        """
        length = shape_of(token_ids)[1]
        count = 1 if self._window_length is None else -(-length // self._window_length)
        if isinstance(count, int) and count == 1:
            return token_ids, tf.sequence_mask(num_tokens, length), None
        size = length // count
        starts = tf.range(count) * size
        num_left = tf.expand_dims(tf.cast(num_tokens, tf.int32), 1) - starts
        # A row of fewer windows than others has some without a token, which are
        # computed as if they had one, and do not count.
        num_here = tf.reshape(tf.clip_by_value(num_left, 1, size), [-1])
        return (
            tf.reshape(token_ids, [-1, size, *token_ids.shape[2:]]),
            tf.sequence_mask(num_here, size),
            tf.cast(num_left > 0, tf.float32),
        )

    def _encode(
        self,
        token_ids: tf.Tensor,
        is_token: tf.Tensor,
        segment_ids: tf.Tensor | None,
        dropout_seed: tf.Tensor | None,
    ) -> tf.Tensor:
        """The last layer's output: [batch, length, hidden]."""
        last = self._outputs(token_ids, is_token, segment_ids, dropout_seed)[-1]
        return tf.reshape(last, [*shape_of(token_ids)[:2], self.hidden_size])

    def _outputs(
        self,
        token_ids: tf.Tensor,
        is_token: tf.Tensor,
        segment_ids: tf.Tensor | None,
        dropout_seed: tf.Tensor | None,
    ) -> list[tf.Tensor]:
        """Of the embeddings and of each layer: [batch * length, hidden]."""
        backbone = self._backbone
        shape = [*shape_of(token_ids)[:2], backbone.hidden_dim]
        pieces = Pieces(
            compiled=self._fusion == "pieces", differentiable=self._differentiable
        )
        x = self._embeddings(token_ids, segment_ids, pieces)
        x = Dropout(backbone.dropout, dropout_seed)(x, place=1)
        outputs = [x]
        # The seed is an input of the layers, as are their weights: what computes them
        # again has to draw again as well, not to keep what was drawn.
        seed = [] if dropout_seed is None else [tf.convert_to_tensor(dropout_seed)]
        for index, layer in enumerate(backbone.transformer_layers):
            run: Callable[..., tf.Tensor] = _Layer(
                layer,
                is_token,
                pieces,
                num_heads=backbone.num_heads,
                dropout=backbone.dropout,
                shape=shape,
                place=3 * index + 2,
            )
            # One tensor after the other: what gradients are asked for has to be given
            # so to a function with a gradient of its own.
            weights = tf.nest.flatten(self._weights(layer))
            if self._rematerialize:
                run = _rematerialized(run, barrier=self._fusion == "whole")
            x = run(x, *weights, *seed)
            outputs.append(x)
        return outputs

    def _embeddings(
        self, token_ids: tf.Tensor, segment_ids: tf.Tensor | None, pieces: Pieces
    ) -> tf.Tensor:
        """Normalized: [batch * length, hidden]."""
        layers = encoders.embeddings_of(self._backbone)
        dtype = self._backbone.compute_dtype
        length = shape_of(token_ids)[1]
        tokens = token_ids
        if not token_ids.dtype.is_floating:
            # Rows are taken first, then cast: not the whole table.
            tokens = self.rows(layers.tokens.embeddings, token_ids)
        places = _tensor(layers.positions.position_embeddings)[:length]
        if layers.segments is not None:
            places += self._segments(layers.segments, token_ids, segment_ids)
        x = tf.cast(tokens, dtype) + tf.cast(places, dtype)
        return pieces.normalize(layers.norm.epsilon)(
            tf.reshape(x, [-1, self.hidden_size]),
            _tensor(layers.norm.gamma),
            _tensor(layers.norm.beta),
        )

    def _segments(
        self,
        layer: keras.layers.Layer,
        token_ids: tf.Tensor,
        segment_ids: tf.Tensor | None,
    ) -> tf.Tensor:
        """The embedding of each token's segment, [batch, length, hidden]; or of all
        tokens' one, [hidden]."""
        segments = _tensor(layer.embeddings)
        if segment_ids is None and self._separator_id is not None:
            segment_ids = segments_of_pairs(token_ids, self._separator_id)
        return segments[0] if segment_ids is None else tf.gather(segments, segment_ids)

    def kernel(self, dense: keras.layers.Layer) -> tf.Tensor:
        """What a layer's inputs are multiplied with: float [in, out]."""
        num_outputs = math.prod(dense.bias.shape)
        kernel = tf.reshape(_tensor(dense.kernel), [-1, num_outputs])
        factors = self._factors.get(dense.kernel.path)
        return kernel if factors is None else kernel + factors.product()

    def rows(self, table: keras.Variable, indices: tf.Tensor) -> tf.Tensor:
        """Rows of a table [rows, size] at any indices: float [..., size]."""
        if self._sorts_gradient:
            return embedding.rows(_tensor(table), indices)
        return tf.gather(_tensor(table), indices)

    def _weights(self, layer: keras.layers.Layer) -> LayerWeights:
        """What one transformer layer computes with."""
        parts = parts_of(layer)
        maps: dict[str, Any] = {
            name: DenseWeights(
                self.kernel(dense), tf.reshape(_tensor(dense.bias), [-1])
            )
            for name, dense in parts.dense().items()
        }
        norms: dict[str, Any] = {
            name: NormWeights(_tensor(norm.gamma), _tensor(norm.beta))
            for name, norm in parts.norms().items()
        }
        return LayerWeights(**maps, **norms)


class _Layer:
    """One transformer layer as a function of its input, its weights and the seed.

    Args:
      is_token: bool [batch, length].
      dropout: the rate.
      shape: of a batch: batch, length, hidden.
      place: of the first of the three places where it drops.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        is_token: tf.Tensor,
        pieces: Pieces,
        *,
        num_heads: int,
        dropout: float,
        shape: Sequence[Any],
        place: int,
    ) -> None:
        parts = parts_of(layer)
        self._activation = parts.intermediate.activation
        self._attention_epsilon = parts.attention_norm.epsilon
        self._output_epsilon = parts.output_norm.epsilon
        self._is_token, self._pieces, self._rate = is_token, pieces, dropout
        self._num_heads, self._shape, self._place = num_heads, shape, place

    def __call__(self, x: tf.Tensor, *weights_and_seed: tf.Tensor) -> tf.Tensor:
        """One layer's output: float [batch * length, hidden].

        Args:
          x: float [batch * length, hidden]. Rows of texts lie one below the other, for
            a matrix product of two dimensions is the fastest there is.
          weights_and_seed: the tensors of a `LayerWeights`, one after the other; then
            the seed, int32 [2], or nothing where nothing is dropped.
        """
        tensors = weights_and_seed[: LayerWeights.num_tensors()]
        seed = weights_and_seed[len(tensors) :]
        weights = LayerWeights.of(tensors)
        dropout = Dropout(self._rate, seed[0] if seed else None)
        attend = Attention(self._is_token, dropout, self._pieces)
        query, key, value = (
            self._heads(_linear(x, dense) + tf.cast(dense.bias, x.dtype))
            for dense in (weights.query, weights.key, weights.value)
        )
        # Vaswani et al. 2017, "Attention Is All You Need": by the root of a head's
        # size, or softmax would have next to no gradient.
        scale = math.sqrt(self._num_heads / self._shape[-1])
        # In float32, as in `drop`: most scales are none that bfloat16 has.
        query = tf.cast(tf.cast(query, tf.float32) * scale, x.dtype)
        attended = attend(query, key, value, place=self._place)
        attended = tf.transpose(attended, [0, 2, 1, 3])
        attended = tf.reshape(attended, [-1, self._shape[-1]])
        x = self._add_and_normalize(
            _linear(attended, weights.attention_output),
            weights.attention_output.bias,
            x,
            weights.attention_norm,
            epsilon=self._attention_epsilon,
            dropout=dropout,
            place=self._place + 1,
        )
        activate = self._pieces.activate(self._activation)
        wide = activate(_linear(x, weights.intermediate), weights.intermediate.bias)
        return self._add_and_normalize(
            _linear(wide, weights.output),
            weights.output.bias,
            x,
            weights.output_norm,
            epsilon=self._output_epsilon,
            dropout=dropout,
            place=self._place + 2,
        )

    def _heads(self, x: tf.Tensor) -> tf.Tensor:
        """[batch * length, hidden] → [batch, heads, length, size]."""
        split = [*self._shape[:2], self._num_heads, self._shape[2] // self._num_heads]
        return tf.transpose(tf.reshape(x, split), [0, 2, 1, 3])

    def _add_and_normalize(
        self,
        x: tf.Tensor,
        bias: tf.Tensor,
        residual: tf.Tensor,
        norm: NormWeights,
        *,
        epsilon: float,
        dropout: Dropout,
        place: int,
    ) -> tf.Tensor:
        """LayerNorm(residual + dropout(x + bias)), as one piece."""
        add = self._pieces.add_and_normalize(epsilon)
        bits: tuple[tf.Tensor, ...] = ()
        if dropout.is_on:
            bits = dropout.draw(shape_of(x), place=place)
        return add(x, bias, residual, norm.gamma, norm.beta, *bits)


def _linear(x: tf.Tensor, dense: DenseWeights) -> tf.Tensor:
    """The product with the kernel; the bias is added with what follows it."""
    return tf.matmul(x, tf.cast(dense.kernel, x.dtype))


def _rematerialized(
    compute: Callable[..., tf.Tensor], *, barrier: bool
) -> Callable[..., tf.Tensor]:
    """A function of tensors that keeps its inputs for the backward pass, no more.

    Args:
      barrier: whether XLA compiles it, which would find that it computes the same
        twice and keep the first, were there no barrier between.
    """

    @tf.custom_gradient
    def run(*inputs: tf.Tensor) -> Any:
        def gradient_of(gradient: tf.Tensor) -> list[tf.Tensor | None]:
            if barrier:
                again = gen_xla_ops.xla_optimization_barrier([gradient, *inputs])[1:]
            else:
                with tf.control_dependencies([gradient]):
                    again = [tf.identity(x) for x in inputs]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([x for x in again if x.dtype.is_floating])
                result = compute(*again)
            gradients: list[tf.Tensor | None] = tape.gradient(result, again, gradient)
            return gradients

        return compute(*inputs), gradient_of

    rematerialized: Callable[..., tf.Tensor] = run
    return rematerialized


def _tensor(variable: Any) -> tf.Tensor:
    """A Keras variable's value; a tensor made of several as it is."""
    return tf.convert_to_tensor(getattr(variable, "value", variable))
