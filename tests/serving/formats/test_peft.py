"""The adapter alone: what PEFT makes of ours, and what is made here of PEFT's."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib
import shutil
import stat
import subprocess
from typing import Any, Mapping

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from tests.serving import tiny_adapter, tiny_export
from trainer.config import LORA_TARGETS, ModelConfig
from trainer.modeling import adapters, lora, weights
from trainer.modeling.classifier import build_classifier
from trainer.modeling.encoders import BERT, DISTIL_BERT
from trainer.modeling.presets import load_preset
from trainer.serving import formats
from trainer.serving.formats import peft
from trainer.serving.formats.exportable import Exportable

REFERENCE = pathlib.Path(__file__).parents[2] / "reference"
REFERENCE_PYTHON = "BERT_TRAINER_REFERENCE_PYTHON"
RECORDED = REFERENCE / "peft"
THEIRS = RECORDED / "bert" / "theirs"
TOLERANCE = 1e-5
QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"


@pytest.fixture(
    scope="module",
    params=[
        "recorded",
        pytest.param(
            "anew",
            marks=[
                pytest.mark.slow,
                pytest.mark.reference,
                pytest.mark.skipif(
                    REFERENCE_PYTHON not in os.environ,
                    reason=f"{REFERENCE_PYTHON} names no Python with torch, "
                    "transformers and peft",
                ),
            ],
        ),
    ],
)
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A folder a kind: `base`, and adapters of both sides with what PEFT answers."""
    place = tmp_path_factory.mktemp(request.param) / "adapters"
    for name, kind in tiny_adapter.KINDS.items():
        tiny_adapter.write(place / name, kind)
        if request.param == "recorded":
            shutil.copytree(RECORDED / name / "theirs", place / name / "theirs")
            shutil.copy(RECORDED / name / "found.npz", place / name)
    if request.param == "anew":
        subprocess.run(
            [
                os.environ[REFERENCE_PYTHON],
                str(REFERENCE / "peft_adapters.py"),
                str(place),
            ],
            check=True,
            timeout=500,
            env={"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        )
    return place


@pytest.fixture(scope="module", params=tiny_adapter.KINDS)
def of_kind(request: pytest.FixtureRequest, folder: pathlib.Path) -> pathlib.Path:
    """That of one of them."""
    place: pathlib.Path = folder / request.param
    return place


def found(folder: pathlib.Path, name: str) -> np.ndarray:
    """The logits of PEFT."""
    with np.load(folder / "found.npz") as file:
        result: np.ndarray = file[name]
    return result


def begun(base: str, adapter: adapters.Adapter) -> keras.Model:
    """A classifier that begins with an adapter."""
    classifier = build_classifier(
        load_preset(base),
        num_classes=tiny_adapter.NUM_CLASSES,
        pooling="first",
        dropout=0,
        seed=1,
    )
    lora.add(
        classifier,
        rank=adapter.rank,
        alpha=adapter.alpha,
        targets=adapter.targets,
        seed=1,
    )
    adapters.assign(adapter, classifier)
    return classifier


@pytest.mark.parametrize("name", tiny_adapter.TARGETS)
def test_peft_reads_ours(name: str, of_kind: pathlib.Path) -> None:
    base, targets = str(of_kind / "base"), tiny_adapter.TARGETS[name]
    classifier = tiny_adapter.make_classifier(base, targets)
    expected = tiny_adapter.logits(classifier, base)
    np.testing.assert_allclose(
        found(of_kind, f"ours/{name}"), expected, rtol=0, atol=TOLERANCE
    )
    # All that was learned counts: without the factors the answers are others.
    for pair in lora.factors_of(classifier).values():
        pair.b.assign(tf.zeros(pair.b.shape))
    assert np.abs(tiny_adapter.logits(classifier, base) - expected).max() > 0.1


@pytest.mark.parametrize("name", tiny_adapter.TARGETS)
def test_what_peft_read_is_what_is_written(name: str, of_kind: pathlib.Path) -> None:
    """Else the recorded logits would be of other files."""
    recorded = RECORDED / of_kind.name / "ours" / name
    written = of_kind / "ours" / name
    for file in (adapters.CONFIG_FILE, adapters.TENSORS_FILE):
        assert (recorded / file).read_bytes() == (written / file).read_bytes()
        assert stat.S_IMODE((written / file).stat().st_mode) & 0o044


def test_theirs_is_read(of_kind: pathlib.Path) -> None:
    """All kernels, and a pooler of its own, which is then written as well."""
    base = str(of_kind / "base")
    kind = load_preset(base).kind
    adapter = adapters.read(str(of_kind / "theirs"), kind)
    assert (adapter.rank, adapter.alpha) == (2, 5.0)
    assert adapter.targets == LORA_TARGETS and adapter.base == "a/base"
    classifier = begun(base, adapter)
    np.testing.assert_allclose(
        tiny_adapter.logits(classifier, base),
        found(of_kind, "theirs"),
        rtol=0,
        atol=TOLERANCE,
    )
    again = adapters.of(classifier)
    assert again.tensors.keys() == adapter.tensors.keys()
    for each, tensor in adapter.tensors.items():
        np.testing.assert_array_equal(again.tensors[each], tensor)


def test_a_pooler_is_taken_over(folder: pathlib.Path) -> None:
    """Where the preset has one that is another."""
    pooler = load_preset(str(folder / "bert" / "base")).make_backbone().pooled_dense
    adapter = adapters.read(str(folder / "bert" / "theirs"), BERT)
    moved = adapter.tensors["base_model.model.bert.pooler.dense.weight"].T
    assert np.abs(moved - pooler.kernel).max() > 0.1


def test_ours_read_again_is_the_same(of_kind: pathlib.Path) -> None:
    kind = load_preset(str(of_kind / "base")).kind
    adapter = adapters.read(str(of_kind / "ours" / "pattern"), kind)
    again = adapters.of(begun(str(of_kind / "base"), adapter))
    assert (again.rank, again.alpha, again.targets) == (
        tiny_adapter.RANK,
        tiny_adapter.ALPHA,
        tiny_adapter.TARGETS["pattern"],
    )
    assert again.tensors.keys() == adapter.tensors.keys()
    for name, tensor in adapter.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


def test_a_new_pooler_must_be_there(of_kind: pathlib.Path) -> None:
    """What comes with no encoder's checkpoint; BERT's does."""
    base = str(of_kind / "base")
    kind = load_preset(base).kind
    adapter = adapters.read(str(of_kind / "theirs"), kind)
    name = f"base_model.model.{kind.pooler_name}"
    kept = {k: v for k, v in adapter.tensors.items() if not k.startswith(f"{name}.")}
    assert len(kept) == len(adapter.tensors) - 2
    without = dataclasses.replace(adapter, tensors=kept)
    if kind.has_pooler:
        assert adapters.of(begun(base, without)).tensors.keys() == kept.keys()
        return
    with pytest.raises(ValueError, match=rf"missing {name}\.(bias|weight)"):
        begun(base, without)


@pytest.fixture(scope="module")
def trained(tiny_hugging_face: str) -> keras.Model:
    """One that has the numbers of PEFT's adapter."""
    return begun(tiny_hugging_face, adapters.read(str(THEIRS), BERT))


@pytest.fixture(scope="module")
def source(trained: keras.Model, tiny_hugging_face: str) -> Exportable:
    """A classifier whose factors are merged, and its adapter."""

    def make(policy: str) -> keras.Model:
        copied = tiny_export.make_classifier(tiny_hugging_face, "first", policy)
        weights.assign(lora.merged(trained), copied)
        return copied

    return dataclasses.replace(
        tiny_export.make_source(tiny_hugging_face),
        make_classifiers=(make,),
        adapter=adapters.of(trained),
    )


TEXTS = ("A lovely film.", "bad, bad, bad!", "")


def test_the_format_answers_as_what_was_trained(
    source: Exportable, tmp_path: pathlib.Path
) -> None:
    """Temperature, thresholds and all; and the head in the file is the tempered one."""
    formats.write("peft", tmp_path, source)
    logits = tiny_export.logits_in_memory(source, TEXTS)
    answers = formats.reader("peft", tmp_path, source)(TEXTS)
    np.testing.assert_allclose(
        answers.probabilities, source.decision.probabilities(logits), atol=TOLERANCE
    )
    assert {path.name for path in tmp_path.iterdir()} == {
        adapters.CONFIG_FILE,
        adapters.TENSORS_FILE,
    }
    tensors = safetensors.numpy.load_file(tmp_path / adapters.TENSORS_FILE)
    assert source.adapter is not None
    for name, tensor in source.adapter.tensors.items():
        temperature = tiny_export.DECISION.temperature if "classifier" in name else 1
        np.testing.assert_array_equal(tensors[name], tensor / np.float32(temperature))


def test_without_lora_there_is_no_adapter(
    tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match="a classifier without LoRA"):
        formats.write("peft", tmp_path, tiny_export.make_source(tiny_hugging_face))


def test_a_preset_of_keras_is_no_base(tiny_preset: str, tiny_hugging_face: str) -> None:
    peft.check_preset(load_preset(tiny_hugging_face))
    formats.check_preset(["float32"], load_preset(tiny_preset))
    with pytest.raises(ValueError, match="needs a Hugging Face checkpoint.*KerasHub"):
        formats.check_preset(["float32", "peft"], load_preset(tiny_preset))


def changed(
    folder: pathlib.Path,
    tensors: Mapping[str, np.ndarray | None] = {},
    **settings: Any,
) -> str:
    """A copy of PEFT's adapter with some tensors (None: removed) and settings."""
    shutil.copytree(THEIRS, folder)
    place = folder / adapters.CONFIG_FILE
    place.write_text(json.dumps({**json.loads(place.read_text()), **settings}))
    all_tensors = safetensors.numpy.load_file(folder / adapters.TENSORS_FILE)
    kept = {k: v for k, v in {**all_tensors, **tensors}.items() if v is not None}
    safetensors.numpy.save_file(kept, folder / adapters.TENSORS_FILE)
    return str(folder)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_dora": True}, "use_dora True"),
        ({"use_rslora": True}, "use_rslora True"),
        ({"bias": "all"}, "bias 'all'"),
        ({"alpha_pattern": {"query": 3}}, "alpha_pattern {'query': 3}"),
        ({"rank_pattern": {"query": 3}}, "rank_pattern {'query': 3}"),
        ({"layers_to_transform": [0]}, r"layers_to_transform \[0\]"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"use_next_lora": 3}, "use_next_lora 3; merge the adapter"),
        ({"peft_type": "IA3"}, "peft_type LORA.*peft_type 'IA3'"),
        ({"task_type": "TOKEN_CLS"}, "task_type 'TOKEN_CLS'"),
        ({"r": 0}, "above 0.*r 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_compute_something_else(
    settings: dict[str, Any], said: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match=said):
        adapters.read(changed(tmp_path / "a", **settings), BERT)


def test_settings_without_effect(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = changed(tmp_path / "a", lora_alpha=7, megatron_core="x", use_next_lora={})
    with caplog.at_level(logging.INFO):
        assert adapters.read(folder, BERT).alpha == 7.0
    assert "lora_dropout 0.1" in caplog.text


def test_half_precision_is_read(tmp_path: pathlib.Path) -> None:
    """As PEFT saves what was trained in it; NumPy itself has no bfloat16."""
    expected = safetensors.numpy.load_file(THEIRS / adapters.TENSORS_FILE)
    folder = pathlib.Path(changed(tmp_path / "a"))
    header, data = {}, b""
    for name, value in expected.items():
        # Its upper half, little-endian.
        half = np.ascontiguousarray(value).view(np.uint16)[..., 1::2].tobytes()
        span = [len(data), len(data) + len(half)]
        header[name] = {"dtype": "BF16", "shape": value.shape, "data_offsets": span}
        data += half
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + data
    (folder / adapters.TENSORS_FILE).write_bytes(content)
    for name, value in adapters.read(str(folder), BERT).tensors.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected[name], rtol=2**-7)


def test_files_that_are_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        ValueError, match="without adapter_config.json; give the folder"
    ):
        adapters.read(str(tmp_path), BERT)
    folder = pathlib.Path(changed(tmp_path / "a"))
    tensors = folder / adapters.TENSORS_FILE
    tensors.write_bytes(tensors.read_bytes()[:500])
    with pytest.raises(ValueError, match="expected tensors.*SafetensorError"):
        adapters.read(str(folder), BERT)
    tensors.unlink()
    with pytest.raises(ValueError, match="without adapter_model.safetensors"):
        adapters.read(str(folder), BERT)
    (folder / adapters.CONFIG_FILE).write_text("[]")
    tensors.write_bytes(b"")
    with pytest.raises(ValueError, match="settings of a PEFT adapter"):
        adapters.read(str(folder), BERT)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({f"{QUERY}.lora_A.weight": None}, rf"missing {QUERY}.lora_A.weight; give"),
        (
            {f"{QUERY}.lora_A.weight": np.zeros((2, 24), np.float32)},
            rf"{QUERY}.lora_A.weight \[2, 24\] for \[2, 16\]; give.*'a/base'",
        ),
        (
            {"base_model.model.classifier.weight": np.zeros((2, 16), np.float32)},
            r"classifier.weight \[2, 16\] for \[3, 16\]",
        ),
        ({"base_model.model.classifier.bias": None}, "missing .*classifier.bias"),
        (
            {f"{QUERY.replace('.0.', '.2.')}.lora_B.weight": np.zeros(1, np.float32)},
            r"too many base_model.*layer\.2\.",
        ),
    ],
)
def test_another_model_is_named_by_its_tensors(
    tensors: dict[str, Any], said: str, trained: keras.Model, tmp_path: pathlib.Path
) -> None:
    """And nothing of it is taken over."""
    adapter = adapters.read(changed(tmp_path / "a", tensors), BERT)
    key = f"{QUERY.replace('query', 'key')}.lora_A.weight"
    other = {**adapter.tensors, key: adapter.tensors[key] + 1}
    with pytest.raises(ValueError, match=said):
        adapters.assign(dataclasses.replace(adapter, tensors=other), trained)
    np.testing.assert_array_equal(
        adapters.of(trained).tensors[key], adapter.tensors[key]
    )


def settings(**changes: Any) -> ModelConfig:
    """Those that PEFT's adapter was made with."""
    values: dict[str, Any] = {
        **{"preset": "a/base", "lora_init_from": str(THEIRS)},
        **{"lora_rank": 2, "lora_alpha": 5.0, "lora_targets": LORA_TARGETS},
    }
    return ModelConfig(**values | changes)


def test_flags_must_be_the_adapters(caplog: pytest.LogCaptureFixture) -> None:
    adapter = adapters.read(str(THEIRS), BERT)
    with caplog.at_level(logging.WARNING):
        # In any order.
        adapters.refuse_other_settings(
            adapter, settings(lora_targets=LORA_TARGETS[::-1])
        )
        assert not caplog.text
        adapters.refuse_other_settings(adapter, settings(preset="b"))
    assert "made on 'a/base'" in caplog.text and "--preset=b" in caplog.text
    given = "give --lora_rank=2 --lora_alpha=5 --lora_targets=query,key,value,att"
    for change in (
        {"lora_rank": 3},
        {"lora_alpha": 16.0},
        {"lora_targets": ("query",)},
    ):
        with pytest.raises(ValueError, match=given):
            adapters.refuse_other_settings(adapter, settings(**change))


def test_another_model_is_named(tmp_path: pathlib.Path) -> None:
    names = safetensors.numpy.load_file(THEIRS / adapters.TENSORS_FILE)
    other = np.zeros((2, 16), np.float32)
    adapter = adapters.read(
        changed(
            tmp_path / "a",
            {**dict.fromkeys(names), "base_model.model.gpt.lora_A.weight": other},
        ),
        BERT,
    )
    with pytest.raises(ValueError, match="BertForSequenceClassification.*gpt.lora_A"):
        adapters.refuse_other_settings(adapter, settings())


def test_another_kind_is_named() -> None:
    adapter = adapters.read(str(THEIRS), DISTIL_BERT)
    with pytest.raises(ValueError, match="of a DistilBert.*layer.0.attention.q_lin"):
        adapters.refuse_other_settings(adapter, settings())
