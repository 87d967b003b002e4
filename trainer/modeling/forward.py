"""The classifier's forward pass, written for speed, on KerasHub's own variables.

    forward = Forward(classifier, fusion="pieces")
    forward(token_ids, num_tokens)                              # to predict
    forward(token_ids, num_tokens, dropout_seed=[0, step])      # to train
    forward.embed(token_ids, num_tokens)                        # the pooled vectors

It computes what `classifier(inputs)` computes and holds no variables: weights are
loaded, saved and updated as KerasHub's. What is faster, and by how much, is in
docs/speed.md; in short:

- Attention's backward pass is written out. It keeps the probabilities and a byte of
  random bits for each, and goes from the rows' sums of dO * O (Dao et al. 2022,
  "FlashAttention", equation 4) instead of those over the probabilities' gradients.
- What is done element by element between two matrix products is one piece, which
  keeps its inputs for the backward pass and nothing else.
- Dropout draws 8 random bits for an element, not 32.

A mask is a function of the seed and the place alone, whatever is compiled how.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Callable, Literal, Sequence

import keras
import tensorflow as tf

from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from trainer.modeling.classifier import MeanPooledBertTextClassifier

Fusion = Literal["none", "pieces", "whole"]

# Scores of attention that are worked on at a time on a CPU, whose cache they should
# stay in: 4 million float32 are 16 MB, half of a server CPU's last level.
_MAX_SCORES_IN_CACHE = 4_000_000
_MASKED = -1e9


class Forward:
    """Calls a BERT classifier.

    Args:
      classifier: a KerasHub BertTextClassifier or a MeanPooledBertTextClassifier.
      fusion: what XLA compiles. "pieces": what lies between matrix products, and
        attention goes in blocks that fit a CPU's cache; for a CPU. "whole": the
        caller compiles all; for accelerators. "none": nothing.
      rematerialize: compute each layer again in the backward pass instead of keeping
        what it computed: memory for time.
    """

    def __init__(
        self,
        classifier: keras.Model,
        *,
        fusion: Fusion = "none",
        rematerialize: bool = False,
    ) -> None:
        self._classifier = classifier
        self._backbone = classifier.backbone
        self._fusion = fusion
        self._rematerialize = rematerialize

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
        pooled = self.embed(token_ids, num_tokens, dropout_seed=dropout_seed)
        rate = self._classifier.get_layer("classifier_dropout").rate
        pooled = _Dropout(rate, dropout_seed)(pooled, place=0)
        logits = self._classifier.get_layer("logits")(pooled)
        return tf.cast(logits, tf.float32)

    def embed(
        self,
        token_ids: tf.Tensor,
        num_tokens: tf.Tensor,
        *,
        dropout_seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The vectors that the head reads: float [batch, hidden]."""
        is_token = tf.sequence_mask(num_tokens, tf.shape(token_ids)[1])
        x = self._encode(token_ids, is_token, dropout_seed)
        if isinstance(self._classifier, MeanPooledBertTextClassifier):
            return mean_of_tokens(x, is_token)
        return self._backbone.pooled_dense(x[:, 0])

    def _encode(
        self,
        token_ids: tf.Tensor,
        is_token: tf.Tensor,
        dropout_seed: tf.Tensor | None,
    ) -> tf.Tensor:
        """The last layer's output: [batch, length, hidden]."""
        backbone = self._backbone
        dropout = _Dropout(backbone.dropout, dropout_seed)
        shape = [*_shape(token_ids), backbone.hidden_dim]
        pieces = _Pieces(compiled=self._fusion == "pieces")
        x = self._embeddings(token_ids, pieces)
        x = dropout(x, place=1)
        attend = _Attention(
            is_token, dropout, pieces, in_blocks=self._fusion == "pieces"
        )
        for index, layer in enumerate(backbone.transformer_layers):
            run = _Layer(
                layer,
                attend,
                dropout,
                pieces,
                num_heads=backbone.num_heads,
                shape=shape,
                place=3 * index + 2,
            )
            weights = run.weights
            if self._rematerialize:
                x = _rematerialized(run, barrier=self._fusion == "whole")(x, *weights)
            else:
                x = run(x, *weights)
        return tf.reshape(x, shape)

    def _embeddings(self, token_ids: tf.Tensor, pieces: "_Pieces") -> tf.Tensor:
        """Of texts of a single segment, normalized: [batch * length, hidden]."""
        backbone = self._backbone
        dtype = backbone.compute_dtype
        length = _shape(token_ids)[1]
        # Rows are taken first, then cast: not the whole table.
        tokens = tf.gather(_tensor(backbone.token_embedding.embeddings), token_ids)
        positions = _tensor(backbone.position_embedding.position_embeddings)[:length]
        segment = _tensor(backbone.segment_embedding.embeddings)[0]
        x = tf.cast(tokens, dtype) + tf.cast(positions + segment, dtype)
        norm = backbone.embeddings_layer_norm
        return pieces.normalize(norm.epsilon)(
            tf.reshape(x, [-1, backbone.hidden_dim]),
            _tensor(norm.gamma),
            _tensor(norm.beta),
        )


class _Dropout:
    """Sets elements to 0 with a probability, and scales up the others.

    Eight random bits decide, so a single draw has one of 256 rates. Which of the two
    nearest to the wanted one, is drawn as well, in proportion: each element is dropped
    with exactly the wanted probability, and the scale is that of the rate drawn.

    Args:
      seed: int32 [2]; None: nothing is dropped.
    """

    def __init__(self, rate: float, seed: tf.Tensor | None) -> None:
        self._rate = rate
        self._seed = seed

    @property
    def is_on(self) -> bool:
        """Whether anything is dropped."""
        return self._rate > 0 and self._seed is not None

    def draw(self, shape: Sequence[Any], *, place: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Bits to drop by.

        Args:
          place: another number for each use of a seed.

        Returns:
          bits: uint8 of the shape; those below the threshold are dropped.
          threshold: int32 scalar from 0 to 255.
        """
        seed = tf.random.experimental.stateless_fold_in(self._seed, place)
        size = math.prod(shape)
        # A word more, for the threshold.
        words = tf.random.stateless_uniform(
            [-(-size // 4) + 1], seed, None, None, tf.uint32, alg="philox"
        )
        share = tf.cast(words[-1], tf.float32) / 2**32
        threshold = tf.cast(tf.floor(self._rate * 256 + share), tf.int32)
        bits = tf.reshape(tf.bitcast(words[:-1], tf.uint8), [-1])[:size]
        return tf.reshape(bits, shape), tf.minimum(threshold, 255)

    def __call__(self, x: tf.Tensor, *, place: int) -> tf.Tensor:
        """Drops elements of x, of any shape and float dtype."""
        if not self.is_on:
            return x
        return _drop(x, *self.draw(_shape(x), place=place))


def _drop(x: tf.Tensor, bits: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    scale = tf.cast(256.0 / tf.cast(256 - threshold, tf.float32), x.dtype)
    return tf.where(
        bits >= tf.cast(threshold, tf.uint8), x * scale, tf.zeros((), x.dtype)
    )


class _Pieces:
    """What lies between matrix products, element by element or row by row.

    A piece is computed again in the backward pass, from its inputs, which is next to
    nothing, and saves what a gradient would otherwise keep of it. Made anew for each
    trace: a tf.function that meets many shapes warns of retracing.

    Args:
      compiled: whether XLA makes one loop over the memory of each piece.
    """

    def __init__(self, *, compiled: bool) -> None:
        self._compiled = compiled
        self._made: dict[Any, Callable[..., Any]] = {}

    def normalize(self, epsilon: float) -> Callable[..., tf.Tensor]:
        """(x, gamma, beta) → LayerNorm(x)."""
        return self._differentiable(
            ("normalize", epsilon),
            lambda x, gamma, beta: _layer_norm(x, gamma, beta, epsilon),
        )

    def add_and_normalize(self, epsilon: float) -> Callable[..., tf.Tensor]:
        """(x, bias, residual, gamma, beta, *bits to drop by) → LayerNorm(x + ...)."""

        def compute(
            x: tf.Tensor,
            bias: tf.Tensor,
            residual: tf.Tensor,
            gamma: tf.Tensor,
            beta: tf.Tensor,
            *bits: tf.Tensor,
        ) -> tf.Tensor:
            x = x + tf.cast(bias, x.dtype)
            if bits:
                x = _drop(x, *bits)
            return _layer_norm(x + residual, gamma, beta, epsilon)

        return self._differentiable(("add_and_normalize", epsilon), compute)

    def activate(
        self, activation: Callable[[tf.Tensor], tf.Tensor]
    ) -> Callable[..., tf.Tensor]:
        """(x, bias) → activation(x + bias)."""
        return self._differentiable(
            ("activate", activation),
            lambda x, bias: activation(x + tf.cast(bias, x.dtype)),
        )

    def fused(self, name: Any, compute: Callable[..., Any]) -> Callable[..., Any]:
        """A function of tensors as one piece, without a gradient."""
        if not self._compiled:
            return compute
        if name not in self._made:
            self._made[name] = tf.function(compute, autograph=False, jit_compile=True)
        return self._made[name]

    def _differentiable(
        self, name: Any, compute: Callable[..., tf.Tensor]
    ) -> Callable[..., tf.Tensor]:
        def backward(gradient: tf.Tensor, *inputs: tf.Tensor) -> list[tf.Tensor]:
            watched = [x for x in inputs if x.dtype.is_floating]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(watched)
                result = compute(*inputs)
            gradients: list[tf.Tensor] = tape.gradient(result, watched, gradient)
            return gradients

        @tf.custom_gradient
        def run(*inputs: tf.Tensor) -> Any:
            def gradient_of(gradient: tf.Tensor) -> list[tf.Tensor | None]:
                found = self.fused((name, "backward"), backward)(gradient, *inputs)
                gradients = iter(found)
                return [
                    next(gradients) if x.dtype.is_floating else None for x in inputs
                ]

            return self.fused((name, "forward"), compute)(*inputs), gradient_of

        piece: Callable[..., tf.Tensor] = run
        return piece


class _Attention:
    """Softmax(q kᵀ) v, heads apart, its backward pass written out.

    Args:
      is_token: bool [batch, length]; other keys get no attention.
      in_blocks: whether to go through the batch in parts that fit a cache.
    """

    def __init__(
        self,
        is_token: tf.Tensor,
        dropout: _Dropout,
        pieces: _Pieces,
        *,
        in_blocks: bool,
    ) -> None:
        self._mask = tf.where(is_token, 0.0, _MASKED)[:, tf.newaxis, tf.newaxis]
        self._dropout = dropout
        self._pieces = pieces
        self._in_blocks = in_blocks

    def __call__(
        self, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, *, place: int
    ) -> tf.Tensor:
        """Each [batch, heads, length, size], the query scaled; the result likewise."""
        batch_size, num_heads, length, _ = _shape(query)
        bits, rate = [], []
        if self._dropout.is_on:
            scores_shape = [batch_size, num_heads, length, length]
            drawn, threshold = self._dropout.draw(scores_shape, place=place)
            bits, rate = [drawn], [threshold]
        num_blocks = 1
        if self._in_blocks and query.shape.is_fully_defined():
            num_blocks = _num_blocks(batch_size, num_heads * length * length)
        split = functools.partial(tf.split, num_or_size_splits=num_blocks)

        @tf.custom_gradient
        def run(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> Any:
            blocks = list(zip(*map(split, (query, key, value, self._mask, *bits))))
            results, kept = zip(
                *_one_after_the_other(lambda *b: self._forward(*b, *rate), blocks)
            )

            def gradient_of(gradient: tf.Tensor) -> list[tf.Tensor]:
                blocks = [(g, *k) for g, k in zip(split(gradient), kept)]
                gradients = _one_after_the_other(self._backward, blocks)
                return [tf.concat(g, axis=0) for g in zip(*gradients)]

            return tf.concat(results, axis=0), gradient_of

        return run(query, key, value)

    def _forward(
        self,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        mask: tf.Tensor,
        *bits: tf.Tensor,
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """The result, and what `_backward` needs."""
        scores = tf.matmul(query, key, transpose_b=True)
        probabilities = tf.nn.softmax(tf.cast(scores, tf.float32) + mask)
        probabilities = tf.cast(probabilities, query.dtype)
        kept = probabilities
        if bits:
            kept = self._pieces.fused("drop", _drop)(probabilities, *bits)
        result = tf.matmul(kept, value)
        return result, (result, query, key, value, probabilities, *bits)

    def _backward(
        self,
        gradient: tf.Tensor,
        result: tf.Tensor,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        probabilities: tf.Tensor,
        *bits: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The gradients of query, key and value."""
        rows = tf.reduce_sum(
            tf.cast(gradient, tf.float32) * tf.cast(result, tf.float32),
            axis=-1,
            keepdims=True,
        )
        towards = tf.matmul(gradient, value, transpose_b=True)
        kept, scores = self._pieces.fused("scores", _gradient_of_scores)(
            probabilities, towards, rows, *bits
        )
        return (
            tf.matmul(scores, key),
            tf.matmul(scores, query, transpose_a=True),
            tf.matmul(kept, gradient, transpose_a=True),
        )


def _gradient_of_scores(
    probabilities: tf.Tensor, towards: tf.Tensor, rows: tf.Tensor, *bits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The probabilities after dropout, and the gradient of what softmax was taken of.

    Args:
      towards: the gradient of the probabilities after dropout.
      rows: float32 [..., length, 1], sums over the result's elements times gradient.
    """
    kept = probabilities
    if bits:
        kept, towards = _drop(probabilities, *bits), _drop(towards, *bits)
    difference = tf.cast(towards, tf.float32) - rows
    return kept, tf.cast(
        tf.cast(probabilities, tf.float32) * difference, probabilities.dtype
    )


class _Layer:
    """One transformer layer as a function of its input and its weights.

    Args:
      shape: of a batch: batch, length, hidden.
      place: of the first of the three places where it drops.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        attend: _Attention,
        dropout: _Dropout,
        pieces: _Pieces,
        *,
        num_heads: int,
        shape: Sequence[Any],
        place: int,
    ) -> None:
        attention = layer._self_attention_layer
        self._dense_layers = (
            attention._query_dense,
            attention._key_dense,
            attention._value_dense,
            attention._output_dense,
            layer._feedforward_intermediate_dense,
            layer._feedforward_output_dense,
        )
        self._norms = (layer._self_attention_layer_norm, layer._feedforward_layer_norm)
        self._attend, self._dropout, self._pieces = attend, dropout, pieces
        self._num_heads, self._shape, self._place = num_heads, shape, place

    @property
    def weights(self) -> list[tf.Tensor]:
        """Kernels [in, out], then biases [out], then gammas and betas [hidden]."""
        hidden = self._shape[-1]
        dense = self._dense_layers
        kernels = [_tensor(each.kernel) for each in dense]
        into = [hidden] * 5 + [dense[4].bias.shape[0]]
        return [
            *(tf.reshape(k, [n, -1]) for k, n in zip(kernels, into)),
            *(tf.reshape(_tensor(each.bias), [-1]) for each in dense),
            *(_tensor(norm.gamma) for norm in self._norms),
            *(_tensor(norm.beta) for norm in self._norms),
        ]

    def __call__(self, x: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
        """x: [batch * length, hidden]; the result likewise."""
        kernels = [tf.cast(kernel, x.dtype) for kernel in weights[:6]]
        biases, gammas, betas = weights[6:12], weights[12:14], weights[14:]
        size = self._shape[-1] // self._num_heads
        scaled = 1.0 / math.sqrt(size)
        query, key, value = (
            self._heads((tf.matmul(x, kernel) + tf.cast(bias, x.dtype)))
            for kernel, bias in zip(kernels[:3], biases)
        )
        attended = self._attend(
            query * tf.cast(scaled, x.dtype), key, value, place=self._place
        )
        attended = tf.reshape(
            tf.transpose(attended, [0, 2, 1, 3]), [-1, self._shape[-1]]
        )
        x = self._add(0, tf.matmul(attended, kernels[3]), biases[3], x, gammas, betas)
        activate = self._pieces.activate(self._dense_layers[4].activation)
        wide = activate(tf.matmul(x, kernels[4]), biases[4])
        return self._add(1, tf.matmul(wide, kernels[5]), biases[5], x, gammas, betas)

    def _heads(self, x: tf.Tensor) -> tf.Tensor:
        """[batch * length, hidden] → [batch, heads, length, size]."""
        split = [*self._shape[:2], self._num_heads, self._shape[2] // self._num_heads]
        return tf.transpose(tf.reshape(x, split), [0, 2, 1, 3])

    def _add(
        self,
        which: int,
        x: tf.Tensor,
        bias: tf.Tensor,
        residual: tf.Tensor,
        gammas: Sequence[tf.Tensor],
        betas: Sequence[tf.Tensor],
    ) -> tf.Tensor:
        """LayerNorm(residual + dropout(x + bias))."""
        add = self._pieces.add_and_normalize(self._norms[which].epsilon)
        bits: tuple[tf.Tensor, ...] = ()
        if self._dropout.is_on:
            bits = self._dropout.draw(_shape(x), place=self._place + 1 + which)
        return add(x, bias, residual, gammas[which], betas[which], *bits)


def mean_of_tokens(x: tf.Tensor, is_token: tf.Tensor) -> tf.Tensor:
    """The mean of the vectors that are not padding: float32 [batch, hidden].

    In float32 also under mixed precision: bfloat16 cannot count past 256.

    Args:
      x: float [batch, length, hidden].
      is_token: bool [batch, length].
    """
    mask = tf.cast(is_token, tf.float32)[:, :, tf.newaxis]
    total = tf.reduce_sum(tf.cast(x, tf.float32) * mask, axis=1)
    return total / tf.reduce_sum(mask, axis=1)


def _layer_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tf.Tensor:
    """Over the last axis, in float32."""
    wide = tf.cast(x, tf.float32)
    centred = wide - tf.reduce_mean(wide, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    return tf.cast(centred * tf.math.rsqrt(variance + epsilon) * gamma + beta, x.dtype)


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
        def gradient_of(gradient: tf.Tensor) -> list[tf.Tensor]:
            if barrier:
                again = gen_xla_ops.xla_optimization_barrier([gradient, *inputs])[1:]
            else:
                with tf.control_dependencies([gradient]):
                    again = [tf.identity(x) for x in inputs]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(again)
                result = compute(*again)
            gradients: list[tf.Tensor] = tape.gradient(result, again, gradient)
            return gradients

        return compute(*inputs), gradient_of

    rematerialized: Callable[..., tf.Tensor] = run
    return rematerialized


def _one_after_the_other(
    compute: Callable[..., Any], blocks: Sequence[Sequence[tf.Tensor]]
) -> list[Any]:
    """Computes block by block, which TensorFlow would start all at once."""
    results: list[Any] = []
    for first, *others in blocks:
        with tf.control_dependencies(tf.nest.flatten(results[-1:])):
            first = tf.identity(first)
        results.append(compute(first, *others))
    return results


def _num_blocks(batch_size: int, scores_per_row: int) -> int:
    """The fewest equal parts of a batch whose scores fit the cache."""
    fitting = max(1, _MAX_SCORES_IN_CACHE // scores_per_row)
    return next(
        n
        for n in range(1, batch_size + 1)
        if batch_size % n == 0 and batch_size // n <= fitting
    )


def _shape(x: tf.Tensor) -> list[Any]:
    """The shape, as numbers where they are known."""
    dynamic = tf.shape(x)
    return [dynamic[i] if n is None else n for i, n in enumerate(x.shape.as_list())]


def _tensor(variable: Any) -> tf.Tensor:
    """A Keras variable's value; a tensor made of several (LoRA) as it is."""
    return tf.convert_to_tensor(getattr(variable, "value", variable))
