"""A whole run on each other kind of encoder, from a CSV to what its export answers."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from typing import Any, Mapping

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from tests.test_experiment import make_config
from trainer import experiment
from trainer.config import ExperimentConfig, PredictConfig, ServingConfig
from trainer.modeling import encoders
from trainer.modeling.presets import load_preset
from trainer.serving import predictor

FOLDERS = pathlib.Path(__file__).parent / "reference" / "encoders"
KINDS = ("distilbert", "roberta", "xlm-roberta")
FORMATS: Mapping[str, tuple[str, ...]] = {
    "distilbert": ("float32", "int8", "tokens", "huggingface"),
    "roberta": ("float32", "tokens", "huggingface"),
    "xlm-roberta": ("float32", "tokens", "litert", "huggingface"),
}
# What nobody has written with the tiny models in mind.
HOSTILE = ("", " ", "\u0001", "caf\u00e9 \u4f60\u597d \U0001f600", "good " * 500)


@dataclasses.dataclass(frozen=True)
class Finished:
    kind: str
    config: ExperimentConfig
    report: Mapping[str, Any]

    @property
    def export(self) -> pathlib.Path:
        return pathlib.Path(self.config.model_dir) / "export"


def write_calm(kind: str, folder: pathlib.Path) -> str:
    """A stored checkpoint with weights as training begins with, of about 0.02."""
    shutil.copytree(FOLDERS / kind, folder)
    tensors = load_file(folder / "model.safetensors")
    for name, value in tensors.items():
        if "norm" not in name.lower():
            tensors[name] = value / 15
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


@pytest.fixture(scope="module", params=KINDS)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    folder = tmp_path_factory.mktemp(request.param)
    config = make_config(
        folder,
        write_calm(request.param, folder / "preset"),
        serving=ServingConfig(
            export_formats=FORMATS[request.param],
            export_explain=True,
            max_accuracy_drop=0.1,
        ),
    )
    return Finished(request.param, config, experiment.run(config).report)


def test_it_learns(finished: Finished) -> None:
    before, after = finished.report["before"]["test"], finished.report["after"]["test"]
    assert after["accuracy"] > max(0.85, before["accuracy"] + 0.1)
    assert after["loss"] < before["loss"]


def test_all_formats_are_published_and_answer_alike(finished: Finished) -> None:
    formats = {each["format"]: each for each in finished.report["export"]["formats"]}
    assert tuple(formats) == FORMATS[finished.kind]
    for name, measured in formats.items():
        assert measured["status"] == "published", name
        if name not in ("int8", "litert"):
            assert measured["max_difference"] < 1e-5, name
            assert not measured["num_other_labels"], name


def test_an_app_is_told_of_its_own_tokenizer(finished: Finished) -> None:
    if "litert" not in FORMATS[finished.kind]:
        pytest.skip("litert is written of one kind, for it takes long")
    readme = (finished.export / "litert" / "1" / "README.md").read_text()
    assert "rows from <s> to </s>, padded at the end with 1 (<pad>)" in readme
    assert "`sentencepiece.bpe.model` is what it is made of" in readme
    assert "<s> first </s></s> second </s>" in readme
    assert "[SEP]" not in readme and "segments" not in readme


def test_tokens_of_an_encoder_without_segments(finished: Finished) -> None:
    """It would be asked for what no answer depends on."""
    model = tf.saved_model.load(str(finished.export / "1"))
    preset = load_preset(finished.config.model.preset)
    encoder = preset.text_encoder(window_length=finished.config.data.max_length)
    rows = encoder(tf.constant(["a good film", "so very dull and bad."])).token_ids
    ask = model.signatures["tokens"]
    assert set(ask.structured_input_signature[1]) == {"token_ids", "padding_mask"}
    padded = {
        "token_ids": rows.to_tensor(encoder.pad_id),
        "padding_mask": tf.sequence_mask(rows.row_lengths(), dtype=tf.int32),
    }
    by_text = model.signatures["serving_default"](
        text=tf.constant(["a good film", "so very dull and bad."])
    )
    found = ask(**padded)
    np.testing.assert_allclose(
        found["probabilities"], by_text["probabilities"], atol=1e-6
    )
    assert found["label"].numpy().tolist() == [b"good", b"bad"]


def test_the_export_answers_what_nobody_expects(finished: Finished) -> None:
    model = tf.saved_model.load(str(finished.export / "1"))
    ask = model.signatures["serving_default"]
    together = ask(text=tf.constant(HOSTILE))["probabilities"].numpy()
    for row, text in enumerate(HOSTILE):
        alone = ask(text=tf.constant([text]))["probabilities"].numpy()
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)
    assert ask(text=tf.constant([], tf.string))["probabilities"].shape == (0, 2)
    damaged = ask(text=tf.constant([b"a good\xff film"]))["probabilities"]
    whole = ask(text=tf.constant(["a good film"]))["probabilities"]
    np.testing.assert_allclose(damaged, whole, atol=1e-6)


def test_explain_names_the_bytes_of_the_text(finished: Finished) -> None:
    text = "the film was very good and the plot is so weak."
    explain = tf.saved_model.load(str(finished.export / "1")).signatures["explain"]
    found = {k: v.numpy() for k, v in explain(text=tf.constant([text])).items()}
    assert np.abs(found["attribution"]).max() > 0.1
    pieces = zip(found["begin"][0], found["end"][0])
    assert "".join(text[b:e] for b, e in pieces).replace(" ", "") == text.replace(
        " ", ""
    )


def test_predict_says_which_words_counted(
    finished: Finished, tmp_path: pathlib.Path
) -> None:
    source, target = tmp_path / "texts.txt", tmp_path / "answers.jsonl"
    source.write_text("a wonderful film.\nthe plot is dreadful\n")
    predictor.predict_file(
        PredictConfig(
            saved_model=str(finished.export),
            input=str(source),
            output=str(target),
            explain=True,
        )
    )
    answers = [json.loads(line) for line in target.read_text().splitlines()]
    assert [each["label"] for each in answers] == ["good", "bad"]
    assert answers[0]["words"] == ["a", "wonderful", "film", "."]
    assert answers[1]["words"] == ["the", "plot", "is", "dreadful"]


def test_every_kind_is_run() -> None:
    kinds = {kind.model_type for kind in encoders.KINDS} - {"bert"}
    assert kinds == set(KINDS)
