"""Other kinds of encoders than BERT: their numbers are Hugging Face's."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any, Callable

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from tests import tiny
from tests.test_encoders import FOLDERS, KINDS
from trainer.config import EXPORT_FORMATS
from trainer.data import pairs
from trainer.data.tokens import TextEncoder
from trainer.modeling import (
    attributions,
    encoders,
    freezing,
    layer_rates,
    masked_lm,
    presets,
)
from trainer.modeling.classifier import (
    build_classifier,
    model_inputs,
    new_weights,
    pooler_of,
)
from trainer.modeling.forward import Forward, Fusion
from trainer.modeling.presets import Preset, load_preset
from trainer.modeling.size import EncoderSize
from trainer.serving import formats

LONG = 4096


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def preset(kind: str) -> Preset:
    return load_preset(str(FOLDERS / kind))


@pytest.fixture(scope="module")
def stored(kind: str) -> dict[str, Any]:
    """What tests/reference/make_encoders_reference.py wrote."""
    texts = json.loads((FOLDERS / f"{kind}.json").read_text())
    with np.load(FOLDERS / f"{kind}.npz") as arrays:
        return {**texts, **arrays}


@pytest.fixture(scope="module")
def classifier(preset: Preset) -> keras.Model:
    model = build_classifier(
        preset, num_classes=3, pooling="first", dropout=None, seed=0
    )
    tensors = load_file(pathlib.Path(preset.handle) / "model.safetensors")
    head = model.get_layer("logits")
    head.kernel.assign(tensors[f"{preset.kind.head}.weight"].T)
    head.bias.assign(tensors[f"{preset.kind.head}.bias"])
    return model


def is_token(stored: dict[str, Any]) -> np.ndarray:
    """bool [texts, length]."""
    result: np.ndarray = (
        np.arange(stored["ids"].shape[1]) < stored["num_tokens"][:, None]
    )
    return result


def ids_of(encoder: TextEncoder, texts: list[str]) -> list[list[int]]:
    rows: list[list[int]] = encoder.traced(tf.constant(texts)).token_ids.to_list()
    return rows


def test_token_ids(preset: Preset, stored: dict[str, Any]) -> None:
    encoder = preset.text_encoder(window_length=LONG)
    texts = [each["text"] for each in stored["texts"]]
    assert len(texts) > 30
    for text, found, row in zip(texts, ids_of(encoder, texts), stored["texts"]):
        if preset.kind.pieces == "sentence" and "<mask>" in text:
            # tokenizers' Unigram reads it as the special token even if told not to;
            # SentencePiece itself, and so this, as text.
            assert not set(found[1:-1]) & {0, 1, 2, preset.vocabulary.index("<mask>")}
            continue
        assert found == row["ids"], repr(text)
        # Not only beside the others.
        assert ids_of(encoder, [text]) == [row["ids"]], repr(text)


def test_no_texts(preset: Preset) -> None:
    encoder = preset.text_encoder(window_length=LONG)
    empty = encoder.traced(tf.constant([], tf.string))
    assert empty.token_ids.shape[0] == 0 and empty.full_lengths.shape == (0,)
    assert encoder.locate(tf.constant([], tf.string)).token_ids.nrows() == 0


def test_pairs(preset: Preset, stored: dict[str, Any]) -> None:
    encoder = preset.text_encoder(window_length=24, reads_pairs=True)
    # Of a pair without a second text transformers makes one with an empty second.
    wanted = [each for each in stored["pairs"] if each["second"] and each["first"]]
    assert len(wanted) == 4
    texts = [f"{each['first']}{pairs.SEPARATOR}{each['second']}" for each in wanted]
    assert ids_of(encoder, texts) == [each["ids"] for each in wanted]
    single = preset.text_encoder(window_length=24)
    assert ids_of(encoder, [f"good film{pairs.SEPARATOR}"]) == ids_of(
        single, ["good film"]
    )


def test_hidden_states(classifier: keras.Model, stored: dict[str, Any]) -> None:
    vectors = Forward(classifier).encode(
        tf.constant(stored["ids"]), tf.constant(stored["num_tokens"])
    )
    rows = is_token(stored)
    np.testing.assert_allclose(vectors.numpy()[rows], stored["hidden"][rows], atol=1e-5)


def test_logits_of_a_classifiers_checkpoint(
    classifier: keras.Model, stored: dict[str, Any]
) -> None:
    """The layer between the first token and the head is read as well."""
    inputs = tf.constant(stored["ids"]), tf.constant(stored["num_tokens"])
    logits = Forward(classifier)(*inputs)
    np.testing.assert_allclose(logits, stored["classes"], atol=1e-5)


def test_masked_lm_of_a_checkpoint(preset: Preset, stored: dict[str, Any]) -> None:
    head = masked_lm.read_head(preset)
    assert head is not None
    backbone = preset.make_backbone()
    model = masked_lm.build_masked_lm(backbone, head)
    logits = masked_lm.token_logits(
        model.get_layer("masked_lm_head"), tf.constant(stored["hidden"][:, 1])
    )
    np.testing.assert_allclose(logits, stored["masked_lm"], atol=2e-5)


def test_the_heads_activation_is_not_always_the_encoders(
    preset: Preset, stored: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    """A RoBERTa's guesses by GELU, whatever its layers compute; DistilBERT's by theirs."""
    folder = tmp_path / "relu"
    shutil.copytree(preset.handle, folder)
    name = preset.kind.config_names.get("hidden_act", "hidden_act")
    config = json.loads((folder / "config.json").read_text())
    assert name in config
    (folder / "config.json").write_text(json.dumps(config | {name: "relu"}))
    other = load_preset(str(folder))
    head = masked_lm.read_head(other)
    assert head is not None
    model = masked_lm.build_masked_lm(other.make_backbone(), head)
    logits = masked_lm.token_logits(
        model.get_layer("masked_lm_head"), tf.constant(stored["hidden"][:, 1])
    )
    difference = np.abs(logits.numpy() - stored["masked_lm"]).max()
    assert (difference < 2e-5) == (preset.kind.pieces != "word")


@pytest.mark.parametrize("fusion", ["none", "pieces"])
def test_forward_is_kerashubs(
    fusion: Fusion, classifier: keras.Model, stored: dict[str, Any]
) -> None:
    ids, num_tokens = tf.constant(stored["ids"]), tf.constant(stored["num_tokens"])
    inputs = encoders.inputs_of(classifier.backbone, model_inputs(ids, num_tokens))
    expected = classifier(inputs, training=False)
    forward = Forward(classifier, fusion=fusion)
    np.testing.assert_allclose(forward(ids, num_tokens), expected, atol=2e-5)
    # By way of the tokens' embeddings, as explanations go.
    by_vectors = forward.of_vectors(forward.look_up(ids), num_tokens)
    np.testing.assert_allclose(by_vectors, expected, atol=2e-5)


def test_gradients_are_kerashubs(
    classifier: keras.Model, stored: dict[str, Any]
) -> None:
    ids, num_tokens = tf.constant(stored["ids"]), tf.constant(stored["num_tokens"])
    inputs = encoders.inputs_of(classifier.backbone, model_inputs(ids, num_tokens))
    variables = classifier.trainable_variables
    calls: list[Callable[[], tf.Tensor]] = [
        lambda: classifier(inputs, training=False),
        lambda: Forward(classifier)(ids, num_tokens),
    ]
    gradients = []
    for call in calls:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(call()))
        gradients.append(tape.gradient(loss, [each.value for each in variables]))
    for variable, one, other in zip(variables, *gradients, strict=True):
        assert one is not None and other is not None, variable.path
        one, other = map(tf.convert_to_tensor, (one, other))
        np.testing.assert_allclose(one, other, atol=2e-4, err_msg=variable.path)


def test_attributions_add_up(classifier: keras.Model, preset: Preset) -> None:
    """With steps enough: what is left to 32 of them is the path's steepness."""
    encoder = preset.text_encoder(window_length=64)
    rows = encoder(
        tf.constant(["the film was good and the plot is so weak."])
    ).token_ids
    explain = attributions.IntegratedGradients(
        Forward(classifier, differentiable=False),
        mask_id=attributions.require_mask(encoder),
        kept_ids=(encoder.pad_id, *encoder.end_ids),
        choose=lambda logits: tf.argmax(logits, axis=-1),
        contrast=lambda logits, chosen: 10 * tf.gather(logits, chosen, batch_dims=1),
        num_steps=512,
    )
    found = tf.function(explain)(
        rows.to_tensor(encoder.pad_id), tf.cast(rows.row_lengths(), tf.int32)
    )
    assert abs(float(found.difference[0])) > 0.5
    np.testing.assert_allclose(
        tf.reduce_sum(found.attribution, axis=1), found.difference, rtol=0.02
    )


def test_what_is_new_and_what_stays(preset: Preset) -> None:
    model = build_classifier(
        preset, num_classes=2, pooling="first", dropout=0.0, seed=0
    )
    assert new_weights(model) == (
        *("logits/kernel", "logits/bias"),
        *("pooled_dense/kernel", "pooled_dense/bias"),
    )
    # The checkpoint is a classifier's.
    assert not model.has_new_pooler
    rates = layer_rates.factors(model, decay=0.5)
    tokens, positions, segments, norm = encoders.embeddings_of(model.backbone)
    assert segments is None
    assert rates[tokens.embeddings.path] == rates[norm.gamma.path] == 0.5**3
    assert rates[positions.position_embeddings.path] == 0.5**3
    assert rates["pooled_dense/kernel"] == 1
    freezing.freeze(model, num_layers=1)
    trained = {variable.path for variable in model.trainable_variables}
    assert not trained & {tokens.embeddings.path, positions.position_embeddings.path}
    assert not any(path.startswith("transformer_layer_0/") for path in trained)
    assert any(path.startswith("transformer_layer_1/") for path in trained)
    freezing.freeze(model, num_layers=freezing.ALL_BUT_HEAD)
    assert {variable.path for variable in model.trainable_variables} == set(
        new_weights(model)
    )


def test_mean_pooling_has_no_pooler(preset: Preset, stored: dict[str, Any]) -> None:
    model = build_classifier(preset, num_classes=2, pooling="mean", dropout=0.0, seed=0)
    assert new_weights(model) == ("logits/kernel", "logits/bias")
    inputs = tf.constant(stored["ids"]), tf.constant(stored["num_tokens"])
    rows = is_token(stored)
    expected = [row[mask].mean(0) for row, mask in zip(stored["hidden"], rows)]
    np.testing.assert_allclose(Forward(model).embed(*inputs), expected, atol=1e-5)


def test_first_weights_of_a_new_pooler_depend_on_the_seed_only(
    preset: Preset, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(preset.handle, folder)
    tensors = load_file(folder / "model.safetensors")
    heads = (preset.kind.pooler, preset.kind.head)
    kept = {k: v for k, v in tensors.items() if not k.startswith(heads)}
    assert len(kept) == len(tensors) - 4
    save_file(kept, folder / "model.safetensors")
    bare = load_preset(str(folder))
    assert bare.read_pooler() is None and preset.read_pooler() is not None
    models = [
        build_classifier(bare, num_classes=2, pooling="first", dropout=0.0, seed=seed)
        for seed in (3, 3, 4)
    ]
    assert all(model.has_new_pooler for model in models)
    kernels = [pooler_of(model).kernel.numpy() for model in models]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0.01
    assert 0.01 < kernels[0].std() < 0.03


def test_size_is_that_of_the_weights(preset: Preset) -> None:
    backbone = preset.make_backbone()
    size = EncoderSize.of_hugging_face(preset.hugging_face or {})
    assert size == EncoderSize.of_backbone(backbone)
    assert size.num_parameters == backbone.count_params()


def test_keras_preset(preset: Preset, tmp_path: pathlib.Path) -> None:
    """One that KerasHub wrote is read as itself, not as a BERT."""
    backbone = preset.make_backbone()
    backbone.save_to_preset(str(tmp_path))
    write_keras_tokenizer(preset, tmp_path)
    again = load_preset(str(tmp_path))
    assert again.kind is preset.kind and again.hugging_face is None
    assert again.vocabulary == preset.vocabulary
    assert again.hidden_size == preset.hidden_size == 16
    # Of which an export writes the tokenizer's files.
    assert again.merges == preset.merges
    assert again.sentence_model == preset.sentence_model
    for one, other in zip(backbone.weights, again.make_backbone().weights):
        np.testing.assert_array_equal(one, other)
    text = ["The caf\u00e9 was good, don't you think?"]
    assert ids_of(again.text_encoder(window_length=LONG), text) == ids_of(
        preset.text_encoder(window_length=LONG), text
    )


def write_keras_tokenizer(
    preset: Preset, folder: pathlib.Path, **settings: Any
) -> None:
    if preset.kind.pieces == "sentence":
        made = keras_nlp.models.XLMRobertaTokenizer(proto=preset.sentence_model)
    elif preset.kind.pieces == "byte":
        made = keras_nlp.models.RobertaTokenizer(
            vocabulary={piece: i for i, piece in enumerate(preset.vocabulary)},
            merges=[" ".join(pair) for pair in preset.merges],
            **settings,
        )
    else:
        made = keras_nlp.models.DistilBertTokenizer(
            vocabulary=list(preset.vocabulary), lowercase=preset.lowercase
        )
    made.save_to_preset(str(folder))


def test_missing_and_misshapen_weights_are_refused(
    preset: Preset, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(preset.handle, folder)
    tensors = load_file(folder / "model.safetensors")
    prefix = f"{preset.kind.tensors_prefix}.{preset.kind.layers}.1"
    name = f"{prefix}.{preset.kind.dense['query']}.weight"
    lacking = {key: value for key, value in tensors.items() if key != name}
    save_file(lacking, folder / "model.safetensors")
    with pytest.raises(ValueError, match="none named .*1.*weight"):
        load_preset(str(folder)).make_backbone()
    save_file(tensors | {name: np.ones([3, 16], "f")}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"Received: \[16, 3\]"):
        load_preset(str(folder)).make_backbone()


def test_all_formats_can_be_exported(preset: Preset) -> None:
    formats.check_preset(EXPORT_FORMATS, preset)


def test_a_pair_needs_room_for_a_token_of_each(preset: Preset) -> None:
    """Between the texts of a RoBERTa's pair stand two ends."""
    num_ends = 3 if preset.kind.pieces == "word" else 4
    with pytest.raises(ValueError, match=f"at least {num_ends + 2} for pairs"):
        preset.text_encoder(window_length=num_ends + 1, reads_pairs=True)
    encoder = preset.text_encoder(window_length=num_ends + 2, reads_pairs=True)
    (ids,) = ids_of(encoder, [f"good film{pairs.SEPARATOR}bad film"])
    ends = set(encoder.end_ids)
    assert [index in ends for index in ids] == [
        *(True, False, *[True] * (num_ends - 2), False, True)
    ]
    preset.text_encoder(window_length=3)


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False}


@pytest.mark.parametrize(
    ("file", "content", "rule"),
    [
        ("tokenizer_config.json", {"add_prefix_space": True}, "add_prefix_space to be"),
        (
            "tokenizer.json",
            {"pre_tokenizer": BYTE_LEVEL | {"add_prefix_space": True}},
            "add_prefix_space to be",
        ),
        (
            "tokenizer.json",
            {"pre_tokenizer": BYTE_LEVEL | {"use_regex": False}},
            "ByteLevel with its own pattern",
        ),
        (
            "tokenizer.json",
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [BYTE_LEVEL]}},
            "ByteLevel with its own pattern",
        ),
        (
            "tokenizer.json",
            {"pre_tokenizer": BYTE_LEVEL, "normalizer": {"type": "NFC"}},
            "no normalizer",
        ),
    ],
)
def test_byte_pairs_of_other_words_are_refused(
    file: str, content: dict[str, Any], rule: str, tmp_path: pathlib.Path
) -> None:
    """Also where vocab.json and merges.txt lie beside what says so."""
    folder = tmp_path / "roberta"
    shutil.copytree(FOLDERS / "roberta", folder)
    (folder / "tokenizer.json").write_text(json.dumps({"pre_tokenizer": BYTE_LEVEL}))
    load_preset(str(folder))
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{file}: expected .*{rule}.*RoBERTa"):
        load_preset(str(folder))


def test_a_keras_tokenizer_with_a_blank_before_texts_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    preset = load_preset(str(FOLDERS / "roberta"))
    preset.make_backbone().save_to_preset(str(tmp_path))
    write_keras_tokenizer(preset, tmp_path, add_prefix_space=True)
    with pytest.raises(ValueError, match="its tokenizer: expected add_prefix_space"):
        load_preset(str(tmp_path))


@pytest.mark.parametrize("model_type", ["albert", "electra", "deberta-v2", "gpt2"])
def test_other_hugging_face_models_are_refused(
    model_type: str, tmp_path: pathlib.Path
) -> None:
    folder = pathlib.Path(tiny.write_hugging_face(tmp_path, model_type=model_type))
    with pytest.raises(ValueError, match=f"{model_type}.*take a BERT.*DistilBERT"):
        load_preset(str(folder))


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("albert_base_en_uncased", "AlbertBackbone"),
        ("electra_base_discriminator_uncased_en", "ElectraBackbone"),
        ("deberta_v3_base_en", "DebertaV3Backbone"),
        ("gpt2_base_en", "GPT2Backbone"),
    ],
)
def test_other_keras_presets_are_refused_before_a_download(
    name: str, class_name: str
) -> None:
    with pytest.raises(ValueError, match=f"{class_name}.*distil_bert_base_en_uncased"):
        load_preset(name)


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("bert_base_en_uncased", "BertBackbone"),
        ("distil_bert_base_en", "DistilBertBackbone"),
        ("roberta_base_en", "RobertaBackbone"),
        ("xlm_roberta_base_multi", "XLMRobertaBackbone"),
    ],
)
def test_keras_presets_are_known_by_name(name: str, class_name: str) -> None:
    assert presets._keras_class(name) == class_name
