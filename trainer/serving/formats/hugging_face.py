"""Classifier → Hugging Face checkpoint, the temperature folded into its head.

Of a model of numbers mean and spread are folded in instead: its only logit is the value.

    write(folder, classifier, preset, label_names,
          temperature=1.3, window_length=128, truncation="head")

    # elsewhere, with PyTorch and transformers:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    inputs = AutoTokenizer.from_pretrained(folder)(texts, truncation=True, padding=True,
                                                   return_tensors="pt")
    model(**inputs).logits.softmax(-1)      # the calibrated probabilities

What a checkpoint cannot say: truncation to `head_tail` (written as `head`, with a
warning), windows over long texts, decision thresholds, the abstain band, a number's interval.
"""

from __future__ import annotations

import pathlib
import shutil
from typing import Any, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from trainer.messages import message
from trainer.config import TaskName, Truncation
from trainer.modeling import encoders, hugging_face_weights
from trainer.modeling.classifier import build_classifier, pooler_of, reads_mean
from trainer.modeling.forward import Forward
from trainer.modeling.layers import parts_of
from trainer.modeling.presets import ACTIVATIONS, Preset, load_preset
from trainer.serving.formats import tokenizer_files
from trainer.serving.formats.exportable import Answers, Classify, Exportable
from trainer.tasks.task import Scale

# What transformers calls a task; it knows no order of labels.
_PROBLEM_TYPES: Mapping[TaskName, str] = {
    "single_label": "single_label_classification",
    "ordinal": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


def write(
    folder: pathlib.Path,
    classifier: keras.Model,
    preset: Preset,
    label_names: Sequence[str],
    *,
    temperature: float,
    window_length: int,
    truncation: Truncation,
    task: TaskName = "single_label",
    scale: Scale | None = None,
) -> None:
    """Writes config.json, model.safetensors and the tokenizer's files.

    Args:
      folder: is there, and holds nothing by these names.
      classifier: as `build_classifier` makes it, in float32.
      preset: what it was made of: vocabulary, dropout.
      temperature: what the logits are divided by before they become probabilities.
      window_length: longest input in tokens, [CLS] and [SEP] included.
      task: says whether transformers makes probabilities by softmax or by sigmoids, or
        takes the logit for a number.
      scale: of numbers, what turns the classifier's output into one.

    Raises:
      ValueError: the classifier's head is not Hugging Face's.
    """
    if reads_mean(classifier):
        raise ValueError(
            message(
                "a Hugging Face checkpoint needs --pooling=first: its"
                f" {preset.kind.architecture} reads the first token",
                received="a classifier made with --pooling=mean",
            )
        )
    tokenizer_files.write(
        folder, preset, window_length=window_length, truncation=truncation
    )
    config = {
        **_config(classifier.backbone, preset, label_names),
        "problem_type": _PROBLEM_TYPES[task],
    }
    tokenizer_files.write_json(folder / "config.json", config)
    save_file(
        _tensors(classifier, temperature, scale),
        folder / "model.safetensors",
        # Without it older releases of transformers refuse the file.
        metadata={"format": "pt"},
    )
    # safetensors lets nobody but its own user read what it writes.
    shutil.copymode(folder / "config.json", folder / "model.safetensors")


def _config(
    backbone: keras.Model, preset: Preset, label_names: Sequence[str]
) -> dict[str, Any]:
    """Of the kind's classifier; dropout as the preset's own."""
    kind, source = preset.kind, preset.hugging_face or {}
    dropout = source.get("hidden_dropout_prob", 0.1)
    embeddings = encoders.embeddings_of(backbone)
    config = {
        "architectures": [kind.architecture],
        "model_type": kind.model_type,
        "vocab_size": backbone.vocabulary_size,
        "hidden_size": backbone.hidden_dim,
        "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_heads,
        "intermediate_size": backbone.intermediate_dim,
        "max_position_embeddings": backbone.max_sequence_length,
        "position_embedding_type": "absolute",
        "hidden_act": _activation_name(backbone),
        "layer_norm_eps": embeddings.norm.epsilon,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": source.get(
            "attention_probs_dropout_prob", dropout
        ),
        "classifier_dropout": source.get("classifier_dropout"),
        "initializer_range": 0.02,
        "pad_token_id": preset.vocabulary.index(preset.special.pad),
        "id2label": dict(enumerate(label_names)),
        "label2id": {name: index for index, name in enumerate(label_names)},
    }
    if kind.has_segments:
        config["type_vocab_size"] = backbone.num_segments
    elif kind.first_position:
        # The table of one row that `encoder_tensors` writes; else it would be of two.
        config["type_vocab_size"] = 1
    return kind.in_own_words(config)


def _activation_name(backbone: keras.Model) -> str:
    """Hugging Face's name of what the feed-forward layers compute."""
    activation = parts_of(backbone.transformer_layers[0]).intermediate.activation
    points = np.linspace(-4.0, 4.0, 101, dtype=np.float32)
    expected = np.asarray(activation(points))
    for name, candidate in ACTIVATIONS.items():
        # The two forms of GELU are up to 5e-4 apart.
        if np.abs(np.asarray(candidate(points)) - expected).max() < 1e-5:
            return name
    raise ValueError(
        message(
            "a Hugging Face checkpoint needs one of the activations"
            f" {', '.join(ACTIVATIONS)}",
            received=activation,
        )
    )


def _tensors(
    classifier: keras.Model, temperature: float, scale: Scale | None = None
) -> dict[str, np.ndarray]:
    """All weights by Hugging Face's names, float32."""
    kind = encoders.of_backbone(classifier.backbone)
    encoder = hugging_face_weights.encoder_tensors(classifier.backbone)
    result = {f"{kind.tensors_prefix}.{name}": each for name, each in encoder.items()}
    result |= hugging_face_weights.dense_tensors(
        kind.pooler_name, pooler_of(classifier)
    )
    head = hugging_face_weights.dense_tensors(kind.head, classifier.get_layer("logits"))
    return result | folded(head, temperature=temperature, scale=scale)


def folded(
    head: Mapping[str, np.ndarray], *, temperature: float, scale: Scale | None
) -> dict[str, np.ndarray]:
    """A head whose logits are calibrated, or the numbers themselves: float32 by name.

    Args:
      head: weight and bias, named with these words at their ends.
      temperature: that logits of labels are divided by.
      scale: of numbers.
    """
    if scale is None:
        return {name: value / temperature for name, value in head.items()}
    return {
        name: np.asarray(
            value * scale.spread + (scale.mean if name.endswith("bias") else 0.0),
            np.float32,
        )
        for name, value in head.items()
    }


def write_format(folder: pathlib.Path, exportable: Exportable) -> None:
    """Writes what is exported, as `write` does."""
    write(
        folder,
        exportable.make_classifier("float32"),
        exportable.preset,
        exportable.label_names,
        temperature=exportable.decision.temperature,
        window_length=exportable.data.max_length,
        truncation=exportable.data.truncation,
        task=exportable.task,
        scale=exportable.scale,
    )


def reader(folder: pathlib.Path, exportable: Exportable) -> Classify:
    """A function that asks what `write_format` wrote.

    By this program's own loader: transformers is not among what it needs.
    """
    preset = load_preset(str(folder))
    classifier = build_classifier(
        preset,
        num_classes=len(exportable.label_names),
        pooling="first",
        dropout=0.0,
        seed=0,
        separator_id=exportable.encoder.separator_id,
    )
    tensors = load_file(folder / "model.safetensors")
    head = classifier.get_layer("logits")
    head.kernel.assign(tensors[f"{preset.kind.head}.weight"].T)
    head.bias.assign(tensors[f"{preset.kind.head}.bias"])
    return asking(classifier, preset, exportable)


def asking(classifier: keras.Model, preset: Preset, exportable: Exportable) -> Classify:
    """A function that asks a classifier into whose head the temperature is folded.

    Args:
      preset: of which the tokenizer is.
      exportable: how texts are cut, and how a label follows from probabilities.
    """
    encoder = preset.text_encoder(
        window_length=exportable.data.max_length,
        truncation=exportable.data.truncation,
        reads_pairs=exportable.encoder.reads_pairs,
    )
    forward = Forward(classifier)

    def classify(texts: Sequence[str]) -> Answers:
        ids = encoder(tf.constant(list(texts))).token_ids
        logits = forward(ids.to_tensor(encoder.pad_id), ids.row_lengths())
        if exportable.scale is not None:
            # Mean and spread are folded in likewise.
            values = logits.numpy().astype(np.float64)
            return Answers(values, values[:, 0])
        # The temperature is folded into the head that was loaded.
        calibrated = logits.numpy() * exportable.decision.temperature
        probabilities = exportable.decision.probabilities(calibrated)
        return Answers(probabilities, exportable.decision.choose(probabilities))

    return classify
