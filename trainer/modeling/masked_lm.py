"""An encoder that guesses masked tokens: its head, and what training it makes small.

    head = read_head(preset) or starting_head(hidden_size, token_counts)
    model = build_masked_lm(backbone, head)
    objective = MaskedLM(model, forward, masking, seed=0)
    objective.losses(batch, dropout_seed=dropout_seed, step=step)    # float32 [batch]

The head is BERT's (Devlin et al. 2018; google-research/bert, run_pretraining.py,
get_masked_lm_output): a dense layer, the encoder's activation, LayerNorm, then the
product with the token embeddings, which are the encoder's own, plus a bias a token. The
other kinds of encoders have the same under other names.

KerasHub drops the head of a Hugging Face checkpoint without a word (keras-hub#2352):
`read_head` reads it. Where there is none, the dense layer begins as the identity and
the bias as the logarithm of each token's frequency. On held-out pieces of Brown, with a
3-layer MiniLM and 15% masked, that starts at 7.29 nats, where a random head starts at
10.46 and the frequencies alone are 7.13.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from typing import Any, Mapping, NamedTuple

import keras
import keras_nlp
import numpy as np
import safetensors
import tensorflow as tf

from trainer.data.batches import Batch
from trainer.messages import message
from trainer.modeling import encoders, layers
from trainer.modeling.forward import Forward
from trainer.modeling.masking import Masking
from trainer.modeling.pieces import Pieces, fold_in, shape_of
from trainer.modeling.presets import ACTIVATIONS, Preset

_logger = logging.getLogger(__name__)


class _Names(NamedTuple):
    """How the checkpoints of a kind call a head's weights, and what it computes.

    Attributes:
      prefix: of all of them, and of nothing else.
      weights: of each of `HeadWeights`, the names behind the prefix: new ones, and the
        original BERT's.
      own_embeddings: of the table that the product is with, behind the prefix.
      activation: of the head, whatever the encoder's is; None: the encoder's.
    """

    prefix: str
    weights: Mapping[str, tuple[str, ...]]
    own_embeddings: str
    activation: str | None = None


_ROBERTAS = _Names(
    "lm_head.",
    {
        "kernel": ("dense.weight",),
        "bias": ("dense.bias",),
        "gamma": ("layer_norm.weight",),
        "beta": ("layer_norm.bias",),
        "output_bias": ("bias", "decoder.bias"),
    },
    "decoder.weight",
    # transformers, modeling_roberta.py, RobertaLMHead.
    activation="gelu",
)
# By Hugging Face's model_type.
_NAMES: Mapping[str, _Names] = {
    "bert": _Names(
        "cls.predictions.",
        {
            "kernel": ("transform.dense.weight",),
            "bias": ("transform.dense.bias",),
            "gamma": ("transform.LayerNorm.weight", "transform.LayerNorm.gamma"),
            "beta": ("transform.LayerNorm.bias", "transform.LayerNorm.beta"),
            "output_bias": ("bias", "decoder.bias"),
        },
        "decoder.weight",
    ),
    "distilbert": _Names(
        "vocab_",
        {
            "kernel": ("transform.weight",),
            "bias": ("transform.bias",),
            "gamma": ("layer_norm.weight",),
            "beta": ("layer_norm.bias",),
            "output_bias": ("projector.bias",),
        },
        "projector.weight",
    ),
    "roberta": _ROBERTAS,
    "xlm-roberta": _ROBERTAS,
}
_TOKEN_EMBEDDINGS = "embeddings.word_embeddings.weight"
# Folded into the seed, so that masks are not drawn by dropout's numbers.
_MASKS = 1
# In the place of a step's number: the masks of an evaluation, always the same.
_EVALUATION = -1


@dataclasses.dataclass(frozen=True)
class HeadWeights:
    """The weights of a head, float32.

    Attributes:
      kernel: [hidden, hidden], inputs first.
      bias, gamma, beta: [hidden].
      output_bias: [vocabulary].
    """

    kernel: np.ndarray
    bias: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    output_bias: np.ndarray


def read_head(preset: Preset) -> HeadWeights | None:
    """The head that a Hugging Face checkpoint brings along; None: it has none.

    KerasHub's presets are backbones.

    Raises:
      ValueError: it has a part of one, or one of other shapes than the encoder.
    """
    if preset.hugging_face is None:
        return None
    path = pathlib.Path(preset.handle) / "model.safetensors"
    prefix, weights, *_ = _NAMES[preset.kind.model_type]
    with safetensors.safe_open(path, framework="tf") as file:
        names = {name for name in file.keys() if name.startswith(prefix)}
        if not names:
            return None
        found = {
            weight: next(
                (prefix + name for name in choices if prefix + name in names), None
            )
            for weight, choices in weights.items()
        }
        missing = [prefix + weights[each][0] for each in found if found[each] is None]
        if missing:
            raise ValueError(
                message(
                    f"--preset={preset.name}: expected a whole masked-LM head, or none",
                    place=str(path),
                    received=f"one without {', '.join(missing)}",
                    mend="fetch the file again",
                )
            )
        if not _is_tied(file, preset):
            _logger.warning(
                "the masked-LM head of %s has token embeddings of its own; those of the "
                "encoder are used",
                path,
            )
        values = {
            weight: np.asarray(file.get_tensor(name)).astype(np.float32)
            for weight, name in found.items()
            if name is not None
        }
    # PyTorch has outputs first.
    values["kernel"] = np.ascontiguousarray(values["kernel"].T)
    head = HeadWeights(**values)
    _refuse_other_shapes(preset, path, head)
    return head


def head_prefix(preset: Preset) -> str:
    """What the names of a head's tensors begin with in a preset's checkpoint."""
    return _NAMES[preset.kind.model_type].prefix


def _is_tied(file: Any, preset: Preset) -> bool:
    """Whether a head's token embeddings are the encoder's."""
    names = set(file.keys())
    with_prefix = f"{preset.kind.tensors_prefix}.{_TOKEN_EMBEDDINGS}"
    own = next((n for n in (with_prefix, _TOKEN_EMBEDDINGS) if n in names), None)
    of_kind = _NAMES[preset.kind.model_type]
    heads = of_kind.prefix + of_kind.own_embeddings
    if heads not in names or own is None:
        return True
    one, other = (np.asarray(file.get_tensor(n)) for n in (heads, own))
    return np.array_equal(one, other)


def _refuse_other_shapes(preset: Preset, path: pathlib.Path, head: HeadWeights) -> None:
    config = preset.hugging_face or {}
    names = _NAMES[preset.kind.model_type]
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    expected = dict.fromkeys(("bias", "gamma", "beta"), [hidden])
    expected |= {"kernel": [hidden, hidden], "output_bias": [vocabulary]}
    for name, shape in expected.items():
        received = list(getattr(head, name).shape)
        if received != shape:
            raise ValueError(
                message(
                    f"--preset={preset.name}: {names.prefix}{names.weights[name][0]} must have the "
                    f"shape {shape}, by its config.json",
                    place=str(path),
                    received=received,
                    mend="are both files of one model?",
                )
            )


def starting_head(hidden_size: int, token_counts: np.ndarray) -> HeadWeights:
    """A head that says of every place what tokens there are, and which is near.

    Args:
      token_counts: int [vocabulary], how often each token stands in the texts. Each
        counts once more, so that none is impossible.
    """
    frequencies = (token_counts + 1) / (token_counts.sum() + len(token_counts))
    return HeadWeights(
        kernel=np.eye(hidden_size, dtype=np.float32),
        bias=np.zeros(hidden_size, np.float32),
        gamma=np.ones(hidden_size, np.float32),
        beta=np.zeros(hidden_size, np.float32),
        output_bias=np.log(frequencies).astype(np.float32),
    )


def head_for(
    backbone: keras.Model, own: HeadWeights | None, token_counts: np.ndarray
) -> HeadWeights:
    """The checkpoint's own head, or one to start with where it has none.

    Args:
      token_counts: int [vocabulary], as of `starting_head`. Ids beyond, which some
        presets have, stand nowhere.
    """
    if own is not None:
        return own
    counts = np.zeros(backbone.vocabulary_size, np.int64)
    counts[: len(token_counts)] = token_counts
    return starting_head(backbone.hidden_dim, counts)


def build_masked_lm(backbone: keras.Model, head: HeadWeights) -> keras.Model:
    """An encoder with a head that guesses tokens, not yet compiled.

    The encoder's variables are those of `backbone`, but for its pooler, which no token
    is guessed by.

    Returns:
      A Keras model: its last layer is a KerasHub MaskedLMHead.
    """
    parts = layers.parts_of(backbone.transformer_layers[-1])
    own = _NAMES[encoders.of_backbone(backbone).model_type].activation
    layer = keras_nlp.layers.MaskedLMHead(
        token_embedding=backbone.token_embedding,
        intermediate_activation=(
            ACTIVATIONS[own] if own else parts.intermediate.activation
        ),
        layer_norm_epsilon=parts.output_norm.epsilon,
        name="masked_lm_head",
    )
    positions = keras.Input([None], dtype="int32", name="mask_positions")
    vectors = encoders.token_vectors(backbone.output)
    logits = layer(vectors, mask_positions=positions)
    # Keras numbers the names of models that are not given one.
    model = keras.Model(
        {**backbone.input, "mask_positions": positions}, logits, name="masked_lm"
    )
    layer._intermediate_dense.kernel.assign(head.kernel)
    layer._intermediate_dense.bias.assign(head.bias)
    layer._intermediate_layer_norm.gamma.assign(head.gamma)
    layer._intermediate_layer_norm.beta.assign(head.beta)
    layer._bias.assign(head.output_bias)
    return model


class MaskedLM:
    """Cross-entropy of masked tokens, in nats.

    The targets of its batches are the numbers of their texts, int32 [batch], by which
    masks are drawn.

    Args:
      model: as `build_masked_lm` gave it.
      forward: of a classifier that has the model's encoder.
      seed: of the masks.
    """

    def __init__(
        self, model: keras.Model, forward: Forward, masking: Masking, *, seed: int
    ) -> None:
        self._head = model.get_layer("masked_lm_head")
        self._forward = forward
        self._masking = masking
        self._seed = seed

    def losses(
        self, batch: Batch, *, dropout_seed: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        """The mean over each text's masked tokens: float32 [batch]."""
        losses, weights = self._of_tokens(batch, step=step, dropout_seed=dropout_seed)
        num_masked = tf.maximum(tf.reduce_sum(weights, axis=1), 1.0)
        return tf.reduce_sum(losses * weights, axis=1) / num_masked

    def sums(self, batch: Batch) -> tf.Tensor:
        """Of each text the sum over its masked tokens, and their number, to evaluate.

        Each text's masks are always the same.

        Returns:
          float32 [batch, 2].
        """
        losses, weights = self._of_tokens(
            batch, step=tf.constant(_EVALUATION), dropout_seed=None
        )
        sums = tf.reduce_sum(losses * weights, axis=1), tf.reduce_sum(weights, axis=1)
        return tf.stack(sums, axis=1)

    def _of_tokens(
        self, batch: Batch, *, step: tf.Tensor, dropout_seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss and weight of each masked token: float32 [batch, predictions]."""
        token_ids, num_tokens = batch.inputs
        seed = fold_in(tf.constant([self._seed, _MASKS]), step)
        masked = self._masking(token_ids, batch.targets, seed=seed)
        vectors = self._forward.encode(
            masked.token_ids, num_tokens, dropout_seed=dropout_seed
        )
        losses = keras.losses.sparse_categorical_crossentropy(
            masked.labels, self.logits(vectors, masked.positions), from_logits=True
        )
        return losses, masked.weights

    def logits(self, vectors: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        """What the head says of some places.

        Args:
          vectors: float [batch, length, hidden].
          positions: int32 [batch, predictions].

        Returns:
          float32 [batch, predictions, vocabulary].
        """
        _, length, size = shape_of(vectors)
        # As a product: the gradient of a gather is a scatter, which is slow on GPUs
        # where it has to be deterministic.
        chosen = tf.one_hot(positions, length, dtype=vectors.dtype) @ vectors
        logits = token_logits(self._head, tf.reshape(chosen, [-1, size]))
        _, num_predictions = shape_of(positions)
        return tf.reshape(logits, [-1, num_predictions, self._forward.vocabulary_size])


def token_logits(
    head: keras.layers.Layer, vectors: tf.Tensor, *, table: tf.Tensor | None = None
) -> tf.Tensor:
    """What a head says of tokens.

    Args:
      head: the `masked_lm_head` of `build_masked_lm`.
      vectors: float [n, hidden], the encoder's, where tokens are to be guessed.
      table: [vocabulary, hidden], of token embeddings; None: the encoder's present ones.

    Returns:
      float32 [n, vocabulary].
    """
    dense, norm = head._intermediate_dense, head._intermediate_layer_norm
    pieces = Pieces(compiled=False)
    x = tf.matmul(vectors, tf.cast(dense.kernel.value, vectors.dtype))
    x = pieces.activate(head.intermediate_activation)(x, dense.bias.value)
    x = pieces.normalize(norm.epsilon)(x, norm.gamma.value, norm.beta.value)
    if table is None:
        table = head.token_embedding.embeddings.value
    # In float32, as all that probabilities hang on.
    logits = tf.matmul(x, tf.cast(table, x.dtype), transpose_b=True)
    return tf.cast(logits, tf.float32) + head._bias.value
