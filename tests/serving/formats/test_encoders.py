"""What lies beside an export of another kind of encoder than BERT, for its readers."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from tests.serving import tiny_export
from tests.test_encoders import FOLDERS, KINDS
from trainer.modeling.presets import Preset, load_preset
from trainer.serving import formats
from trainer.serving.formats import tokenizer_files

LONG = 4096


@pytest.fixture(scope="module", params=KINDS)
def preset(request: pytest.FixtureRequest) -> Preset:
    return load_preset(str(FOLDERS / request.param))


@pytest.fixture(scope="module")
def stored(preset: Preset) -> dict[str, Any]:
    """What tests/reference/make_encoders_reference.py wrote of the tokenizer."""
    content: dict[str, Any] = json.loads(
        pathlib.Path(f"{preset.handle}.json").read_text()
    )
    return content


@pytest.fixture(scope="module")
def hugging_face(
    preset: Preset, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("hugging_face")
    formats.write("huggingface", folder, tiny_export.make_source(preset.handle))
    return folder


def test_the_tokenizers_files_give_the_ids(
    preset: Preset, stored: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    """To Hugging Face's Rust library, which transformers and phones read them with."""
    tokenizer_files.write(tmp_path, preset, window_length=LONG, truncation="head")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    spelled = [*preset.special.names(), "<mask>"]
    texts = [
        each
        for each in stored["texts"]
        # There it is a token, even for transformers where it is told otherwise.
        if not any(name in each["text"] for name in spelled)
    ]
    assert len(texts) > 30
    for each in texts:
        assert tokenizer.encode(each["text"]).ids == each["ids"], repr(each["text"])
    # Which may say so of a pair without a second text too, as this program never does.
    wanted = [each for each in stored["pairs"] if each["first"] and each["second"]]
    tokenizer.enable_truncation(24)
    for each in wanted:
        found = tokenizer.encode(each["first"], each["second"])
        assert found.ids == each["ids"], each
        assert set(found.type_ids) == {0}


def test_what_was_written_is_read_again(
    preset: Preset, hugging_face: pathlib.Path
) -> None:
    again = load_preset(str(hugging_face))
    assert again.kind is preset.kind and again.vocabulary == preset.vocabulary
    assert again.merges == preset.merges
    assert again.sentence_model == preset.sentence_model


def test_its_config_is_that_of_its_kind(
    preset: Preset, hugging_face: pathlib.Path
) -> None:
    """Of the stored ones, which transformers wrote, each size and setting."""
    expected = json.loads((pathlib.Path(preset.handle) / "config.json").read_text())
    found = json.loads((hugging_face / "config.json").read_text())
    own = {"architectures", "dtype", "id2label", "label2id", "transformers_version"}
    same = (found.keys() & expected.keys()) - own
    assert {name: found[name] for name in same} == {n: expected[n] for n in same}
    assert {"vocab_size", "max_position_embeddings", "pad_token_id"} <= same
    assert found["architectures"] == [preset.kind.architecture]
    assert list(found["id2label"].values()) == list(tiny_export.LABELS)
    tokenizer = json.loads((hugging_face / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == preset.kind.tokenizer


def test_its_tensors_have_the_shapes_of_the_checkpoint(
    preset: Preset, hugging_face: pathlib.Path
) -> None:
    """Which transformers reads by its config: a table of another size ends it."""
    source = load_file(pathlib.Path(preset.handle) / "model.safetensors")
    found = load_file(hugging_face / "model.safetensors")
    assert found.keys() <= source.keys()
    for name, tensor in found.items():
        assert tensor.shape == source[name].shape, name
    config = json.loads((hugging_face / "config.json").read_text())
    segments = [
        v for k, v in found.items() if k.endswith("token_type_embeddings.weight")
    ]
    assert [len(each) for each in segments] == [
        config[name] for name in ["type_vocab_size"] if name in config
    ]
