"""What is published, when, under which number; and what lies beside it."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import pathlib
import re
import shutil
from typing import Any

import jinja2
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.serving import tiny_export
from tests.serving.tiny_export import DECISION, LABELS
from trainer import storage
from trainer.config import ServingConfig
from trainer.drift import reference as drift_reference
from trainer.drift.reference import TrainingTexts
from trainer.modeling import weights as weights_lib
from trainer.serving import export as export_lib
from trainer.serving import formats, manifest, model_card, versions, warmup
from trainer.serving.formats.exportable import Exportable

TEXTS = tuple(tiny.labelled_sentences(40)[0])
FACTS: dict[str, Any] = {
    "title": "tiny on a table | of <texts>",
    "config": {
        "model": {"preset": "tiny", "pooling": "first"},
        "data": {
            "dataset": "files:a.csv",
            "max_length": 32,
            "long_text": "truncate",
            "truncation": "head",
        },
    },
    "data": {"splits": {"test": {"num_examples": 40, "class_counts": {"bon": 40}}}},
    "data_fingerprint": {"test": "abc"},
    "metrics": {
        "test": {
            "num_examples": 40,
            "accuracy": 0.75,
            "mcc": 0.5,
            "confidence_intervals_95": {"mcc": [0.25, 0.625]},
        }
    },
    "doubts": [{"kind": "rows", "message": "check the labels"}],
    "decision_split": "validation",
    "decision_measured_on": "test",
    "decision_quality": {
        "num_examples": 30,
        "before": {"expected_calibration_error": 0.125},
        "after": {"expected_calibration_error": 0.03125},
        "equal_thresholds": {"accuracy": 0.75, "f1_macro": 0.5},
        "thresholds": {"accuracy": 0.7, "f1_macro": 0.625},
        "coverage": 0.9,
        "accuracy_of_covered": None,
        "accuracy_of_covered_interval_95": None,
    },
    "checked_on": "test",
}


@pytest.fixture(scope="module")
def source(tiny_hugging_face: str) -> Exportable:
    tokens = drift_reference.count_tokens(*np.ones([3, 40], np.int64))
    return dataclasses.replace(
        tiny_export.make_source(tiny_hugging_face),
        training=TrainingTexts(tokens, np.array([20, 10, 10]), "test"),
    )


def make_checks(
    source: Exportable, *, num_texts: int = 20, num_unlabelled: int = 2
) -> export_lib.Checks:
    """With labels that the classifier gets right, all but every fourth."""
    texts = TEXTS[:num_texts]
    logits = tiny_export.logits_in_memory(source, texts)
    labels = DECISION.labels(logits)[: num_texts - num_unlabelled]
    labels[::4] = (labels[::4] + 1) % len(LABELS)
    classifier = source.make_classifier("float32")
    trained = {p: v.numpy() for p, v in weights_lib.by_path(classifier).items()}
    probabilities = source.decision.probabilities(logits)
    return export_lib.Checks(texts, labels, probabilities, trained)


@pytest.mark.parametrize("path", ["pooled_dense/kernel", "logits/bias"])
def test_a_weight_that_was_not_copied_is_refused(
    path: str,
    source: Exportable,
    checks: export_lib.Checks,
    tmp_path: pathlib.Path,
) -> None:
    """Also one that no answer of this model depends on: it would be served one day."""
    other = dict(checks.weights) | {path: checks.weights[path] + 1e-3}
    with pytest.raises(ValueError, match=f"not published.* other ones for {path}"):
        publish(source, tmp_path, dataclasses.replace(checks, weights=other))
    assert not (tmp_path / "1").exists() and not (tmp_path / "latest").exists()


@pytest.fixture(scope="module")
def checks(source: Exportable) -> export_lib.Checks:
    return make_checks(source)


def publish(
    source: Exportable,
    folder: storage.Path,
    checks: export_lib.Checks,
    **settings: Any,
) -> dict[str, Any]:
    return export_lib.publish(
        source, folder, config=ServingConfig(**settings), checks=checks, facts=FACTS
    )


@pytest.fixture(scope="module")
def published(
    source: Exportable,
    checks: export_lib.Checks,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[pathlib.Path, dict[str, Any]]:
    """All formats; and what was found of them."""
    folder = tmp_path_factory.mktemp("all") / "not" / "there"
    names = ("float32", "bfloat16", "int8", "tokens", "litert", "huggingface")
    found = publish(source, folder, checks, export_formats=names, max_accuracy_drop=1)
    return folder, found


def test_each_format_that_reads_text_has_its_own_reference(
    published: tuple[pathlib.Path, dict[str, Any]],
) -> None:
    """Of drift: its own vectors, of the 18 texts that have a label."""
    folder, found = published
    vectors = {}
    for each in found["formats"]:
        place = pathlib.Path(each["path"])
        if not (place / drift_reference.FILE_NAME).is_file():
            continue
        assert drift_reference.FILE_NAME in manifest.read(place)["files"]
        reference = drift_reference.read(place)
        assert reference.confusion.sum() == reference.scores.sum() == 18
        assert len(reference.vectors) == 18
        vectors[each["format"]] = reference.vectors
    assert vectors.keys() == {"float32", "bfloat16", "int8"}
    assert (vectors["float32"] != vectors["int8"]).any()


# How far a format's probabilities may be from the model in memory.
TOLERANCE = {
    "float32": 1e-6,
    "tokens": 1e-6,
    "huggingface": 1e-5,
    "bfloat16": 0.05,
    "int8": 0.05,
    "litert": 0.05,
}


def test_formats_and_what_is_said_of_them(
    published: tuple[pathlib.Path, dict[str, Any]],
    checks: export_lib.Checks,
    source: Exportable,
) -> None:
    folder, found = published
    assert (found["path"], found["version"]) == (str(folder / "1"), 1)
    assert found["num_parity_texts"] == len(checks.texts)
    assert [each["format"] for each in found["formats"]] == [
        "float32",
        "bfloat16",
        "int8",
        "tokens",
        "litert",
        "huggingface",
    ]
    right = source.decision.choose(checks.probabilities)[:18] == checks.labels
    for each in found["formats"]:
        name = each["format"]
        place = folder / "1" if name == "float32" else folder / name / "1"
        assert (each["path"], each["status"]) == (str(place), "published")
        assert 0 <= each["max_difference"] < TOLERANCE[name], name
        assert each["num_texts"] == 18
        assert each["latency_ms"] > 0 and each["texts_per_sec"] > 0
        classify = formats.reader(name, place, source)
        answers = classify(checks.texts)
        difference = np.abs(answers.probabilities - checks.probabilities).max()
        assert difference == pytest.approx(each["max_difference"], abs=1e-6)
        accuracy = (answers.labels[:18] == checks.labels).mean()
        assert each["accuracy"] == pytest.approx(accuracy)
    reference = found["formats"][0]
    assert reference["accuracy"] == right.mean() < 1
    assert reference["num_other_labels"] == 0
    sizes = {
        each["format"]: sum(
            path.stat().st_size
            for path in pathlib.Path(each["path"]).rglob("*")
            if "variables.data" in path.name
        )
        for each in found["formats"][:3]
    }
    assert sizes["bfloat16"] < sizes["float32"]
    json.dumps(found, allow_nan=False)


def test_what_lies_beside_them(
    published: tuple[pathlib.Path, dict[str, Any]], source: Exportable
) -> None:
    folder, found = published
    assert sorted(os.listdir(folder)) == sorted(
        ["1", "bfloat16", "int8", "tokens", "litert", "huggingface"]
        + ["latest", "history", "batching_parameters.txt"]
    )
    assert (folder / "latest").read_text() == "1\n"
    batching = (folder / "batching_parameters.txt").read_text()
    allowed = re.findall(r"^allowed_batch_sizes: (\d+)$", batching, re.MULTILINE)
    for each in found["formats"]:
        place = pathlib.Path(each["path"])
        manifest.verify(place)
        content = manifest.read(place)
        assert content["format"] == each["format"]
        assert content["version"] == 1
        assert content["accuracy"] == each["accuracy"]
        assert content["constants"] == {
            "labels": list(LABELS),
            "temperature": DECISION.temperature,
            "decision_thresholds": list(DECISION.thresholds),
            "abstain_below": DECISION.abstain_below,
        }
        assert content["data_fingerprint"] == FACTS["data_fingerprint"]
        assert content["packages"]["tensorflow"] == tf.__version__
        assert re.fullmatch(
            "[0-9a-f]{40}(-dirty)?", content["git_revision"] or "0" * 40
        )
        if each["format"] in formats.SAVED_MODELS:
            sizes = {
                tf.make_ndarray(tensor).shape[0]
                for request in warmup.read(place)
                for tensor in request.inputs.values()
            }
            assert sizes == {int(size) for size in allowed}
            assert set(content["signatures"]) == {
                request.model_spec.signature_name for request in warmup.read(place)
            }


@pytest.mark.parametrize(
    ("name", "num_signatures"),
    [("float32", 6), ("bfloat16", 6), ("int8", 6), ("tokens", 2)],
)
def test_warm_up_requests_run(
    name: str, num_signatures: int, published: tuple[pathlib.Path, dict[str, Any]]
) -> None:
    folder, _ = published
    place = folder / "1" if name == "float32" else folder / name / "1"
    # Two buckets, and two more sizes of a batch.
    assert tiny_export.replay(place) == num_signatures * (2 + 2)


def test_signatures_in_the_manifest_are_those_of_the_model(
    published: tuple[pathlib.Path, dict[str, Any]],
) -> None:
    folder, _ = published
    said = manifest.read(folder / "1")["signatures"]
    for name, signature in tf.saved_model.load(str(folder / "1")).signatures.items():
        for kind, specs in (
            ("inputs", signature.structured_input_signature[1]),
            ("outputs", signature.structured_outputs),
        ):
            assert said[name][kind] == {
                key: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
                for key, spec in specs.items()
            }


def test_model_card(published: tuple[pathlib.Path, dict[str, Any]]) -> None:
    folder, _ = published
    card = (folder / "1" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for words in (
        "# tiny on a table \\| of &lt;texts>",
        "Version 1, format float32",
        "`pas bon`, `bon`, `tr\u00e8s bon`",
        "Of 40 held-out test texts of `files:a.csv`",
        "| accuracy | 0.7500 | too few texts to say |\n| mcc | 0.5000 | 0.2500 to 0.6250 |\n\n",
        "fitted on the validation split. On the 30 test texts it gives:",
        "calibration error 12.5% before, 3.1% after",
        "Thresholds 0.500, 0.300, 0.200: accuracy 70.0%, macro F1 0.6250; "
        "with equal ones 75.0%, 0.5000",
        "answers 90.0% of the texts, \u2013 of these right",
        "- check the labels",
        "| `embed` | `text` string [batch] | `embedding` float32 [batch, 16] |",
        "token_ids` int32 [batch, length]",
    ):
        assert words in card, words
    assert " None" not in card and "\n\n\n" not in card
    checkpoint = (folder / "huggingface" / "1" / "README.md").read_text()
    assert 'library_name: "transformers"\n' in checkpoint.partition("\n---\n")[0]


def test_card_of_a_decision_judged_where_it_was_fitted(
    published: tuple[pathlib.Path, dict[str, Any]],
) -> None:
    folder, _ = published
    facts = manifest.read(folder / "1")
    facts |= {"decision_measured_on": "validation"}
    facts["decision_quality"] |= {
        "accuracy_of_covered": 0.8,
        "accuracy_of_covered_interval_95": [0.7, 0.85],
    }
    card = model_card.render(facts)
    assert "30 validation texts, which are the ones it was fitted on, it gives" in card
    assert "80.0% of these right (95% interval: 70.0% to 85.0%)" in card


def test_card_of_a_run_without_held_out_texts(
    published: tuple[pathlib.Path, dict[str, Any]],
) -> None:
    folder, _ = published
    facts = manifest.read(folder / "1") | {
        "metrics": {},
        "decision_split": None,
        "decision_measured_on": None,
        "decision_quality": None,
        "checked_on": "train",
    }
    card = model_card.render(facts)
    assert "how good it is was not measured" in card
    assert "on 18 train texts" in card
    assert "The decision" not in card and "None" not in card


def test_card_shows_the_texts_that_may_be_shown(
    published: tuple[pathlib.Path, dict[str, Any]],
) -> None:
    folder, _ = published
    facts = manifest.read(folder / "1")
    samples = [{"text": "a | b\n<c>", "label": "bon", "score": 0.875}] * 2
    card = model_card.render(facts | {"samples": samples})
    row = "| a \\| b &lt;c> | bon | 87.5% |\n"
    assert f"\n\n| text | label | probability |\n|---|---|---|\n{row}{row}\n#" in card
    assert "\n\n\n" not in card and "| text |" not in model_card.render(facts)


# What the card reads of a manifest; to take one of them away makes it fail.
CARD_KEYS = {
    "": (
        "title config data metrics doubts decision_split decision_measured_on "
        "decision_quality checked_on "
        "version created constants git_revision packages format bytes latency_ms "
        "texts_per_sec num_texts accuracy max_difference"
    ),
    "config": "model data",
    "config model": "preset pooling",
    "config data": "dataset max_length long_text truncation",
    "data": "splits",
    "data splits test": "num_examples class_counts",
    "metrics test": "num_examples confidence_intervals_95",
    "decision_quality": (
        "num_examples before after equal_thresholds thresholds coverage "
        "accuracy_of_covered accuracy_of_covered_interval_95"
    ),
    "decision_quality thresholds": "accuracy f1_macro",
    "decision_quality equal_thresholds": "accuracy f1_macro",
    "decision_quality before": "expected_calibration_error",
    "decision_quality after": "expected_calibration_error",
    "constants": "labels temperature decision_thresholds abstain_below",
    "signatures embed": "inputs outputs",
    "signatures embed inputs text": "dtype shape",
}


def test_card_fails_without_what_it_reads(
    published: tuple[pathlib.Path, dict[str, Any]],
) -> None:
    folder, _ = published
    for path, keys in CARD_KEYS.items():
        for key in keys.split():
            facts = owner = manifest.read(folder / "1")
            for name in path.split():
                owner = owner[name]
            del owner[key]
            with pytest.raises(jinja2.UndefinedError, match=key):
                model_card.render(facts)


def test_card_says_how_to_call_a_checkpoint(
    published: tuple[pathlib.Path, dict[str, Any]],
) -> None:
    """Which has no signatures, and reads one window alone."""
    folder, _ = published
    facts = manifest.read(folder / "huggingface" / "1")
    assert "signatures" not in facts
    card = model_card.render(facts)
    assert 'pipeline("text-classification"' in card and "| signature |" not in card
    assert "the first window alone" not in card
    facts["config"]["data"] |= {"long_text": "windows", "max_windows": 4}
    card = model_card.render(facts)
    assert "the first window alone" in card
    assert "in up to 4 overlapping windows" in card
    assert "LoRA" not in card


def test_card_says_how_to_call_an_adapter(
    published: tuple[pathlib.Path, dict[str, Any]],
) -> None:
    """And what of it was learned, beginning with what."""
    folder, _ = published
    facts = manifest.read(folder / "huggingface" / "1") | {"format": "peft"}
    facts["config"]["model"] |= {
        **{"lora_rank": 2, "lora_alpha": 8.0, "lora_targets": ["query", "value"]},
        "lora_init_from": "a_b",
    }
    card = model_card.render(facts)
    assert "- Trained by LoRA: rank 2, alpha 8.0, on query, value.\n" in card
    assert 'from_pretrained("BASE", num_labels=3)' in card
    assert "the first window alone" not in card
    card = model_card.render(facts | {"lora_init_sha256": "abc"})
    assert "query, value; it began with the adapter `a_b`, sha256 abc.\n" in card


def test_versions_go_up_and_old_ones_go(
    source: Exportable, checks: export_lib.Checks, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "export"
    # A gap stays a gap; numbers are not words; other names are none.
    others = ["10.old", ".12.tmp-x", "notes"]
    for name in ("2", "9", *others):
        (folder / name).mkdir(parents=True)
    # A version of which one format alone came to be: its number is taken.
    (folder / "int8" / "10").mkdir(parents=True)
    settings: Any = dict(export_formats=("float32", "int8"), max_accuracy_drop=1)
    assert publish(source, folder, checks, keep_exports=2, **settings)["version"] == 11
    kept = ["9", "11", "int8", "latest", "history", "batching_parameters.txt"]
    kept += others
    assert sorted(os.listdir(folder)) == sorted(kept)
    assert sorted(os.listdir(folder / "int8")) == ["10", "11"]
    assert versions.find(str(folder)) == folder / "11"
    assert publish(source, folder, checks, keep_exports=0)["version"] == 12
    assert {"9", "11", "12"} < set(os.listdir(folder))
    assert (folder / "latest").read_text() == "12\n"


@pytest.mark.parametrize("change", [0.25, -2e-5, float("nan")])
def test_nothing_is_published_that_differs(
    change: float,
    source: Exportable,
    checks: export_lib.Checks,
    tmp_path: pathlib.Path,
) -> None:
    """Also in the last of several batches."""
    assert len(checks.texts) > export_lib._CHECK_BATCH_SIZE
    expected = checks.probabilities.copy()
    expected[-1, 0] += change
    folder = tmp_path / "export"
    (folder / "4").mkdir(parents=True)
    (folder / "latest").write_text("4\n")
    with pytest.raises(ValueError, match="was not published") as error:
        publish(source, folder, dataclasses.replace(checks, probabilities=expected))
    found = re.search("a difference of ([^ ]+) among 20 texts", str(error.value))
    assert found
    # To the rounding of the probabilities themselves.
    difference = pytest.approx(abs(change), abs=1e-6, nan_ok=True)
    assert float(found[1]) == difference
    assert sorted(os.listdir(folder)) == ["4", "latest"]
    assert (folder / "latest").read_text() == "4\n"


def test_nothing_is_published_that_decides_otherwise(
    source: Exportable, checks: export_lib.Checks, tmp_path: pathlib.Path
) -> None:
    """It is written with other thresholds than it is checked by."""
    other = dataclasses.replace(DECISION, thresholds=(0.2, 0.4, 0.4))
    graph = dataclasses.replace(source, decision=other)
    written = formats.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "write", lambda name, at, _: written(name, at, graph))
        with pytest.raises(ValueError, match="Received: [1-9][0-9]* other labels"):
            publish(source, tmp_path / "export", checks)
    assert os.listdir(tmp_path / "export") == []


def test_label_of_a_tie_may_be_either(
    source: Exportable, checks: export_lib.Checks
) -> None:
    thresholds = np.array(DECISION.thresholds)
    probabilities = np.stack([thresholds, thresholds + (0, 1e-9, -1e-9)])
    tied = export_lib.Checks(("a", "b"), np.zeros(2, int), probabilities, {})
    for labels, num_ties in (([0, 1], 0), ([2, 2], 2)):
        found = export_lib._other_labels(np.array(labels), source, tied)
        assert found == {"num_other_labels": 0, "num_ties": num_ties}
    sure = dataclasses.replace(tied, probabilities=np.eye(3)[:2])
    found = export_lib._other_labels(np.array([1, 1]), source, sure)
    assert found == {"num_other_labels": 1, "num_ties": 0}


def test_labels_of_ties_are_said(
    source: Exportable,
    checks: export_lib.Checks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured = {"max_difference": 0.0, "num_other_labels": 0, "num_ties": 3}
    with caplog.at_level(logging.INFO, logger=export_lib.__name__):
        export_lib._refuse_differences(measured, checks)
    assert "3 of 20 texts get another label from the export: ties" in caplog.text


@pytest.mark.parametrize(
    ("precision", "largest_logit", "tolerance"),
    [
        ("float32", 0.0, 1e-5),
        ("float32", 2.0, 1e-5),
        # A sure model, or one whose temperature is small.
        ("float32", 60.0, 3e-4),
        ("mixed_bfloat16", 1.0, 0.05),
        ("mixed_bfloat16", 10.0, 0.1),
    ],
)
def test_tolerance_follows_from_precision_and_logits(
    precision: str,
    largest_logit: float,
    tolerance: float,
    checks: export_lib.Checks,
) -> None:
    checks = dataclasses.replace(
        checks, precision=precision, largest_logit=largest_logit
    )
    assert checks.tolerance == pytest.approx(tolerance)
    facts = {"num_other_labels": 0, "num_ties": 0}
    export_lib._refuse_differences(
        {"max_difference": 0.99 * tolerance, **facts}, checks
    )
    for difference in (1.01 * tolerance, math.nan):
        with pytest.raises(ValueError, match="was not published"):
            export_lib._refuse_differences(
                {"max_difference": difference, **facts}, checks
            )


@pytest.mark.parametrize("size", [1.0, 10.0, 100.0])
def test_tolerance_holds_what_rounding_of_logits_makes(
    size: float, checks: export_lib.Checks
) -> None:
    """However the logits are off by as much as is allowed, relative to the largest."""
    generator = np.random.default_rng(0)
    logits = generator.uniform(-size, size, [20_000, 3])
    relative = export_lib.ROUNDINGS["float32"].relative
    off = generator.choice([-1.0, 1.0], logits.shape) * relative * size
    decision = dataclasses.replace(DECISION, temperature=1.0)
    before, after = (decision.probabilities(each) for each in (logits, logits + off))
    checks = dataclasses.replace(checks, largest_logit=size)
    assert np.abs(before - after).max() <= checks.tolerance


def test_format_that_loses_accuracy_is_refused(
    source: Exportable, checks: export_lib.Checks, tmp_path: pathlib.Path
) -> None:
    """One is broken on purpose: bfloat16 gets another head."""
    (make,) = source.make_classifiers

    def broken(policy: str) -> Any:
        model = make(policy)
        if policy == "bfloat16":
            head = model.get_layer("logits")
            head.kernel.assign(-head.kernel)
        return model

    source = dataclasses.replace(source, make_classifiers=(broken,))
    names = ("float32", "bfloat16", "huggingface")
    found = publish(source, tmp_path, checks, export_formats=names)
    by_name = {each["format"]: each for each in found["formats"]}
    assert by_name["bfloat16"]["status"] == "refused"
    assert by_name["bfloat16"]["path"] is None
    drop = by_name["float32"]["accuracy"] - by_name["bfloat16"]["accuracy"]
    assert by_name["bfloat16"]["accuracy_drop"] == drop > 0.01
    assert by_name["huggingface"]["status"] == "published"
    assert os.listdir(tmp_path / "bfloat16") == []
    assert (tmp_path / "latest").read_text() == "1\n"


def test_latest_never_names_what_failed(
    source: Exportable, checks: export_lib.Checks, tmp_path: pathlib.Path
) -> None:
    """A later format fails: the version as a whole is not there."""
    publish(source, tmp_path, checks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "trainer.serving.formats.hugging_face.write",
            lambda *_, **__: (_ for _ in ()).throw(OSError("no room")),
        )
        names = ("float32", "bfloat16", "huggingface")
        with pytest.raises(OSError, match="no room"):
            publish(source, tmp_path, checks, export_formats=names, max_accuracy_drop=1)
    assert (tmp_path / "latest").read_text() == "1\n"
    assert not (tmp_path / "2").exists()
    assert os.listdir(tmp_path / "huggingface") == []
    # Its number is not used again: a server may have seen the format that succeeded.
    assert os.listdir(tmp_path / "bfloat16") == ["2"]
    found = publish(source, tmp_path, checks, export_formats=names, max_accuracy_drop=1)
    assert found["version"] == 3


def test_a_changed_file_is_found(
    published: tuple[pathlib.Path, dict[str, Any]], tmp_path: pathlib.Path
) -> None:
    folder, _ = published
    copy = tmp_path / "moved"
    shutil.copytree(folder / "1", copy)
    manifest.verify(copy)
    warm_up = copy / warmup.FILE
    warm_up.write_bytes(warm_up.read_bytes()[:-1] + b"\0")
    with pytest.raises(ValueError, match="tf_serving_warmup_requests"):
        manifest.verify(copy)


@pytest.mark.parametrize(
    ("largest", "sizes"), [(32, [1, 8, 32]), (1, [1]), (5, [1, 5]), (8, [1, 8])]
)
def test_batch_sizes(largest: int, sizes: list[int]) -> None:
    config = ServingConfig(max_serving_batch_size=largest)
    assert export_lib._batch_sizes(config) == sizes
