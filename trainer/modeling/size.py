"""How large an encoder is, and what its steps take, from its shape alone.

size = EncoderSize.of_backbone(classifier.backbone)
size.num_parameters                                 # 22_713_216 for MiniLM-L6
size.num_operations(rows=16, length=128)            # of a forward pass
size.kept_bytes(rows=16, length=128, bytes_per_number=4, rematerializes=False)
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping

import keras

from trainer.modeling import encoders
from trainer.modeling.encoders import EncoderKind

# What a layer keeps for its backward pass: numbers a token for each of its outputs, and
# numbers for each attention score. Fitted to the peaks of MiniLM-L6's steps on a CPU,
# 16 and 32 rows of 64 to 512 tokens, to within 17%; the products, their inputs, both
# normalizations, GELU's and the dropout's masks are among them.
_KEPT_PER_OUTPUT = 34.0
_KEPT_PER_SCORE = 2.3
# With rematerialization: of each layer its input, and what one layer keeps, both as
# measured there at 256 tokens.
_KEPT_PER_OUTPUT_REMATERIALIZED = 2.0
_LAYERS_AT_ONCE_REMATERIALIZED = 1.6


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderSize:
    """The shape of an encoder.

    Attributes:
      hidden_size: numbers a token, between the layers.
      intermediate_size: of the feed-forward part.
      vocabulary_size: word pieces.
      num_positions: the longest text in tokens.
      num_segments: kinds of tokens; 0: they are not told apart.
      has_pooler: whether it comes with a layer between the first token and the head.
    """

    num_layers: int
    num_heads: int
    hidden_size: int
    intermediate_size: int
    vocabulary_size: int
    num_positions: int
    num_segments: int = 2
    has_pooler: bool = True

    @classmethod
    def of_backbone(cls, backbone: keras.Model) -> EncoderSize:
        """Of a KerasHub backbone."""
        kind = encoders.of_backbone(backbone)
        return cls.of_keras_config(backbone.get_config(), kind=kind)

    @classmethod
    def of_keras_config(
        cls, config: Mapping[str, Any], *, kind: EncoderKind = encoders.BERT
    ) -> EncoderSize:
        """Of the `config` in a KerasHub preset's config.json.

        Raises:
          KeyError: it is of another kind of model.
        """
        return cls(
            num_layers=config["num_layers"],
            num_heads=config["num_heads"],
            hidden_size=config["hidden_dim"],
            intermediate_size=config["intermediate_dim"],
            vocabulary_size=config["vocabulary_size"],
            num_positions=config["max_sequence_length"],
            num_segments=config.get("num_segments", 2) if kind.has_segments else 0,
            has_pooler=kind.has_pooler,
        )

    @classmethod
    def of_hugging_face(cls, config: Mapping[str, Any]) -> EncoderSize:
        """Of a Hugging Face config.json, in BERT's words.

        Raises:
          KeyError: it is of another kind of model.
        """
        return cls(
            num_layers=config["num_hidden_layers"],
            num_heads=config["num_attention_heads"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            vocabulary_size=config["vocab_size"],
            num_positions=config["max_position_embeddings"],
            num_segments=config.get("type_vocab_size", 2),
            # Hugging Face's BERT alone has both.
            has_pooler=config.get("type_vocab_size", 2) > 0,
        )

    @property
    def num_parameters(self) -> int:
        """Weights of embeddings, layers and pooler; a head's come on top."""
        hidden, inner = self.hidden_size, self.intermediate_size
        tables = self.vocabulary_size + self.num_positions + self.num_segments
        square = hidden * hidden + hidden
        feed_forward = hidden * inner + inner + inner * hidden + hidden
        layer = 4 * square + feed_forward + 4 * hidden
        pooler = square if self.has_pooler else 0
        return tables * hidden + 2 * hidden + self.num_layers * layer + pooler

    def num_operations(self, *, rows: int, length: int) -> int:
        """Of a forward pass; a training step takes three times as many.

        A multiplication and an addition for each weight of a layer and token, and for
        each score and value of the attention (Narayanan et al. 2021, appendix).
        """
        hidden, inner = self.hidden_size, self.intermediate_size
        of_token = 2 * (4 * hidden * hidden + 2 * hidden * inner) + 4 * length * hidden
        return rows * length * self.num_layers * of_token

    def kept_bytes(
        self, *, rows: int, length: int, bytes_per_number: int, rematerializes: bool
    ) -> int:
        """About what a training step keeps from its forward to its backward pass.

        Args:
          rows: that one device computes at a time.
          length: padded, in tokens.
        """
        layer = (
            _KEPT_PER_OUTPUT * self.hidden_size
            + _KEPT_PER_SCORE * self.num_heads * length
        )
        numbers = self.num_layers * layer
        if rematerializes:
            inputs = _KEPT_PER_OUTPUT_REMATERIALIZED * self.hidden_size
            numbers = self.num_layers * inputs + _LAYERS_AT_ONCE_REMATERIALIZED * layer
        return round(rows * length * numbers * bytes_per_number)
