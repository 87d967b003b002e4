"""The encoders that have BERT's layer, and in what they differ around it.

    kind = of_model_type("distilbert")          # None: it has another layer
    kind = of_backbone(backbone)
    embeddings = embeddings_of(backbone)
    embeddings.tokens, embeddings.segments      # layers; None: it has no segments
    kind.in_berts_words(config)["hidden_size"]  # Hugging Face's config.json

The layer (`layers.py`, `forward.py`) is one and the same: attention, LayerNorm after the
sum, feed-forward, LayerNorm after the sum (Devlin et al. 2018). A further kind is an
entry of `KINDS`; one with another layer, such as DeBERTa's, is none.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, NamedTuple

import keras

from trainer.data.special_tokens import Pieces
from trainer.modeling.layers import HUGGING_FACE_DENSE

# Hugging Face's names of a layer's norms in BERT, by `LayerParts`'.
_BERT_NORMS = {
    "attention_norm": "attention.output.LayerNorm",
    "output_norm": "output.LayerNorm",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderKind:
    """What is true of all encoders of a kind.

    Attributes:
      name: in the words of its paper.
      model_type: Hugging Face's, of config.json.
      tensors_prefix: what the names of its tensors begin with in a classifier.
      backbone, tokenizer: KerasHub's classes, in keras_hub.models.
      pieces: how its tokenizer cuts words.
      has_segments: whether an embedding says of which text of a pair a token is.
      has_pooler: whether it comes with the layer between the first token and a head;
        else that is new for each classifier, unless the checkpoint is a classifier's.
      pooler_activation: of that layer.
      first_position: rows of Hugging Face's table of positions before that of the
        first token. RoBERTa's come after the padding's id, 1.
      layer_norm_epsilon: where config.json does not say.
      config_names: Hugging Face's keys of config.json, by BERT's, where they differ.
      layers: the name of the layers' list among the tensors.
      dense, norms: names of a layer's parts there, by `LayerParts`'.
      pooler, head: names there of the pooler and of a classifier's last layer; the
        pooler's begins with the prefix where `has_pooler`.
      architecture: Hugging Face's class of a classifier.
    """

    name: str
    model_type: str
    tensors_prefix: str
    backbone: str
    tokenizer: str
    pieces: Pieces = "word"
    has_segments: bool = False
    has_pooler: bool = False
    pooler_activation: str = "tanh"
    first_position: int = 0
    layer_norm_epsilon: float = 1e-12
    config_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    layers: str = "encoder.layer"
    dense: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: HUGGING_FACE_DENSE
    )
    norms: Mapping[str, str] = dataclasses.field(default_factory=lambda: _BERT_NORMS)
    pooler: str
    head: str
    architecture: str

    @property
    def pooler_name(self) -> str:
        """Of the pooler in a classifier's checkpoint."""
        return (
            f"{self.tensors_prefix}.{self.pooler}" if self.has_pooler else self.pooler
        )

    def in_berts_words(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A Hugging Face config.json with BERT's keys.

        `max_position_embeddings` is how many tokens can be read, and `type_vocab_size`
        how many kinds of them are told apart, 0 where none are.
        """
        names = {theirs: berts for berts, theirs in self.config_names.items()}
        result = {names.get(key, key): value for key, value in config.items()}
        result.setdefault("layer_norm_eps", self.layer_norm_epsilon)
        positions = result.get("max_position_embeddings")
        if positions is not None:
            result["max_position_embeddings"] = positions - self.first_position
        if not self.has_segments:
            result["type_vocab_size"] = 0
        return result

    def in_own_words(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What `in_berts_words` was made of: the keys of the kind's config.json."""
        result = {self.config_names.get(k, k): v for k, v in config.items()}
        result["max_position_embeddings"] += self.first_position
        return result


BERT = EncoderKind(
    name="BERT",
    model_type="bert",
    tensors_prefix="bert",
    backbone="BertBackbone",
    tokenizer="BertTokenizer",
    has_segments=True,
    has_pooler=True,
    pooler="pooler.dense",
    head="classifier",
    architecture="BertForSequenceClassification",
)
# Sanh et al. 2019, "DistilBERT, a distilled version of BERT".
DISTIL_BERT = EncoderKind(
    name="DistilBERT",
    model_type="distilbert",
    tensors_prefix="distilbert",
    backbone="DistilBertBackbone",
    tokenizer="DistilBertTokenizer",
    pooler_activation="relu",
    config_names={
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "classifier_dropout": "seq_classif_dropout",
    },
    layers="transformer.layer",
    dense={
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "attention_output": "attention.out_lin",
        "intermediate": "ffn.lin1",
        "output": "ffn.lin2",
    },
    norms={"attention_norm": "sa_layer_norm", "output_norm": "output_layer_norm"},
    pooler="pre_classifier",
    head="classifier",
    architecture="DistilBertForSequenceClassification",
)
# Liu et al. 2019, "RoBERTa: A Robustly Optimized BERT Pretraining Approach".
ROBERTA = EncoderKind(
    name="RoBERTa",
    model_type="roberta",
    tensors_prefix="roberta",
    backbone="RobertaBackbone",
    tokenizer="RobertaTokenizer",
    pieces="byte",
    first_position=2,
    layer_norm_epsilon=1e-5,
    pooler="classifier.dense",
    head="classifier.out_proj",
    architecture="RobertaForSequenceClassification",
)
# Conneau et al. 2019, "Unsupervised Cross-lingual Representation Learning at Scale".
XLM_ROBERTA = dataclasses.replace(
    ROBERTA,
    name="XLM-RoBERTa",
    model_type="xlm-roberta",
    backbone="XLMRobertaBackbone",
    tokenizer="XLMRobertaTokenizer",
    pieces="sentence",
    architecture="XLMRobertaForSequenceClassification",
)
KINDS = (BERT, DISTIL_BERT, ROBERTA, XLM_ROBERTA)


class Embeddings(NamedTuple):
    """The layers that make a vector of a token, of its place and of its segment.

    Attributes:
      tokens: its `embeddings`: [vocabulary, hidden].
      positions: its `position_embeddings`: [positions, hidden].
      segments: its `embeddings`: [segments, hidden]; None: the kind has none.
      norm: LayerNorm of their sum.
    """

    tokens: keras.layers.Layer
    positions: keras.layers.Layer
    segments: keras.layers.Layer | None
    norm: keras.layers.Layer

    def layers(self) -> list[keras.layers.Layer]:
        """Those that there are."""
        return [layer for layer in self if layer is not None]


def names() -> str:
    """Of all kinds, for a sentence."""
    first = [kind.name for kind in KINDS]
    return f"{', '.join(first[:-1])} or {first[-1]}"


def of_model_type(model_type: object) -> EncoderKind | None:
    """The kind that Hugging Face's config.json names; None: it is none of ours."""
    return next((kind for kind in KINDS if kind.model_type == model_type), None)


def of_class(class_name: str) -> EncoderKind | None:
    """The kind of a KerasHub backbone's class; None: it is none of ours."""
    return next((kind for kind in KINDS if kind.backbone == class_name), None)


def of_backbone(backbone: keras.Model) -> EncoderKind:
    """The kind of a KerasHub backbone.

    Raises:
      KeyError: it is none of ours.
    """
    kind = of_class(type(backbone).__name__)
    if kind is None:
        raise KeyError(type(backbone).__name__)
    return kind


def embeddings_of(backbone: keras.Model) -> Embeddings:
    """Where a KerasHub backbone keeps them."""
    if of_backbone(backbone).has_segments:
        return Embeddings(
            backbone.token_embedding,
            backbone.position_embedding,
            backbone.segment_embedding,
            backbone.embeddings_layer_norm,
        )
    both = backbone.embeddings
    return Embeddings(
        both.token_embedding,
        both.position_embedding,
        None,
        backbone.embeddings_layer_norm,
    )


def inputs_of(backbone: keras.Model, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the inputs that the backbone takes."""
    return {name: inputs[name] for name in backbone.input}


def token_vectors(outputs: Any) -> Any:
    """The last layer's vectors, [batch, length, hidden], of what a backbone gives."""
    return outputs["sequence_output"] if isinstance(outputs, dict) else outputs
