"""Several classifiers of one architecture, served as one: an ensemble.

    forward = served([Forward(one), Forward(other)], combine=decision.graph_ensemble_logits)
    forward(token_ids, num_tokens)      # logits, of both
    forward.variables                   # "model_0/logits/kernel", "model_1/logits/kernel"

How several models' logits become one's is the task's business: `combine`. The models
have one vocabulary, so they read the same token ids, which are made once.
"""

from __future__ import annotations

from typing import Callable, Mapping, Protocol, Sequence, TypeVar

import tensorflow as tf

Combine = Callable[[Sequence[tf.Tensor]], tf.Tensor]
Value = TypeVar("Value")


class ServedForward(Protocol):
    """What a served model asks of a forward pass: see `Forward`, which is one."""

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """All that it reads, by path."""

    @property
    def hidden_size(self) -> int:
        """The width of the vectors that the head reads."""

    @property
    def vocabulary_size(self) -> int:
        """How many token ids there are, from 0."""

    @property
    def num_segments(self) -> int:
        """How many segment ids there are, from 0."""

    def __call__(self, token_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
        """The logits: float32 [batch, classes]."""

    def look_up(self, token_ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The embeddings of tokens, of each model: float32 [batch, length, hidden]."""

    def of_vectors(
        self, vectors: Sequence[tf.Tensor], num_tokens: tf.Tensor
    ) -> tf.Tensor:
        """The logits of texts of which `look_up`, say, gave embeddings."""

    def embed(self, token_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
        """The vectors that the head reads: float [batch, hidden]."""

    def pool(
        self,
        token_ids: tf.Tensor,
        is_token: tf.Tensor,
        *,
        segment_ids: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The same, of rows of one window."""

    def classify(self, pooled: tf.Tensor) -> tf.Tensor:
        """The logits of vectors that `pool` gave: float32 [batch, classes]."""


def served(models: Sequence[ServedForward], *, combine: Combine) -> ServedForward:
    """The models as one; a single one as it is.

    Args:
      combine: the logits of an ensemble, float32 [batch, classes], of its models'.
    """
    return models[0] if len(models) == 1 else EnsembleForward(models, combine=combine)


def named(models: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """What several models have by path, as one; of a single one its own paths.

    The paths are those of `EnsembleForward.variables`.
    """
    if len(models) == 1:
        return dict(models[0])
    return {
        f"model_{index}/{path}": value
        for index, values in enumerate(models)
        for path, value in values.items()
    }


class EnsembleForward:
    """Calls several classifiers, and combines what they answer.

    The vectors that their heads read stand side by side: k times the width of one
    model's. The square of a distance between them is the sum of the models'.

    Args:
      models: of one architecture and vocabulary; two or more.
      combine: as of `served`.
    """

    def __init__(self, models: Sequence[ServedForward], *, combine: Combine) -> None:
        self._models, self._combine = tuple(models), combine

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """All that the models read, by path."""
        return named([model.variables for model in self._models])

    @property
    def hidden_size(self) -> int:
        """The width of all vectors together."""
        return sum(model.hidden_size for model in self._models)

    @property
    def vocabulary_size(self) -> int:
        """How many token ids there are, from 0."""
        return self._models[0].vocabulary_size

    @property
    def num_segments(self) -> int:
        """How many segment ids there are, from 0."""
        return self._models[0].num_segments

    def __call__(self, token_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
        """The logits: float32 [batch, classes].

        Args:
          token_ids: int32 [batch, length].
          num_tokens: int [batch], how many of them are not padding.
        """
        return self._combine([model(token_ids, num_tokens) for model in self._models])

    def look_up(self, token_ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Each model's embeddings of tokens; arguments as of `Forward.look_up`."""
        return tuple(v for model in self._models for v in model.look_up(token_ids))

    def of_vectors(
        self, vectors: Sequence[tf.Tensor], num_tokens: tf.Tensor
    ) -> tf.Tensor:
        """The logits: float32 [batch, classes]; arguments as of `Forward.of_vectors`."""
        pairs = zip(self._models, vectors, strict=True)
        return self._combine(
            [model.of_vectors([own], num_tokens) for model, own in pairs]
        )

    def embed(self, token_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
        """The vectors that the heads read: float [batch, hidden]; arguments as above."""
        vectors = [model.embed(token_ids, num_tokens) for model in self._models]
        return tf.concat(vectors, axis=-1)

    def pool(
        self,
        token_ids: tf.Tensor,
        is_token: tf.Tensor,
        *,
        segment_ids: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The vectors that the heads read, of rows of one window: float [batch, hidden].

        Args:
          token_ids, is_token, segment_ids: as of `Forward.pool`.
        """
        vectors = [
            model.pool(token_ids, is_token, segment_ids=segment_ids)
            for model in self._models
        ]
        return tf.concat(vectors, axis=-1)

    def classify(self, pooled: tf.Tensor) -> tf.Tensor:
        """The logits of vectors that `pool` gave: float32 [batch, classes]."""
        sizes = [model.hidden_size for model in self._models]
        vectors = tf.split(pooled, sizes, axis=-1)
        return self._combine(
            [model.classify(part) for model, part in zip(self._models, vectors)]
        )
