"""Runs that begin from the weights of others, and replay old texts."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import shutil
from typing import Any

import numpy as np
import pytest

from tests import processes, tiny
from tests.test_experiment import assert_equal_weights, make_config, weights_of
from trainer import experiment, storage
from trainer.data import sources
from trainer.config import ExperimentConfig, ServingConfig
from trainer.run_folder import RunFolder
from trainer.serving import manifest, seen_texts
from trainer.modeling import lora, weights
from trainer.stages import build, context, prepare
from trainer.training import checkpoints

ONE_EPOCH = {"num_train_epochs": 1}


@dataclasses.dataclass(frozen=True)
class Source:
    """A finished run of two labels, with its export."""

    config: ExperimentConfig
    report: Any

    @property
    def folder(self) -> pathlib.Path:
        return pathlib.Path(self.config.model_dir)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_preset: str) -> Source:
    folder = tmp_path_factory.mktemp("source")
    config = make_config(
        folder,
        tiny_preset,
        num_before_examples=0,
        training={"num_train_epochs": 2},
        serving=ServingConfig(),
    )
    return Source(config, experiment.run(config).report)


def config_from(
    source: Source, folder: pathlib.Path, init_from: object, **changes: Any
) -> ExperimentConfig:
    """A run of one epoch on the source's texts, from its weights."""
    changed = {
        section: dataclasses.replace(getattr(source.config, section), **values)
        for section, values in ({"model": {}, "training": ONE_EPOCH} | changes).items()
    }
    config = dataclasses.replace(
        source.config,
        model_dir=str(folder / "run"),
        **({"serving": ServingConfig(export=False)} | changed),
    )
    return processes.replaced(config, "model", init_from=str(init_from))


@dataclasses.dataclass(frozen=True)
class Begun:
    """What a run begins from, nothing of it trained."""

    facts: Any
    weights: dict[str, np.ndarray]
    doubts: list[str]


def begun(config: ExperimentConfig) -> Begun:
    folder = RunFolder(storage.path(config.model_dir))
    with context.started(config, folder, sources.load) as run:
        material = prepare.run(run)
        built = build.make(run, material)
        return Begun(
            built.start,
            lora.merged(built.classifier),
            [doubt.kind for doubt in built.doubts],
        )


def saved(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The weights that a run chose."""
    return checkpoints.read_weights(checkpoints.chosen_prefix(folder / "checkpoints"))


def test_a_run_its_export_and_its_checkpoint_are_one_source(
    source: Source, tmp_path: pathlib.Path
) -> None:
    export = pathlib.Path(source.report["export"]["path"])
    best = source.report["training"]["best_step"]
    named = [source.folder, export, export.parent]
    named.append(source.folder / "checkpoints" / "best" / f"step-{best}")
    expected = saved(source.folder)
    digests = set()
    for init_from in named:
        found = begun(config_from(source, tmp_path, init_from))
        assert found.weights.keys() == expected.keys() and len(expected) > 20
        for path, value in expected.items():
            np.testing.assert_array_equal(found.weights[path], value, err_msg=path)
        facts = found.facts
        assert facts.source == str(init_from) and facts.tells_seen_texts
        assert facts.label_names == ("bad", "good") and not facts.new_labels
        assert not facts.notes and not {"seen_by_start"} & set(found.doubts)
        digests.add(facts.sha256)
    assert digests == {weights.digest(expected)}
    # Nothing of it is this run's folder yet.
    assert not (tmp_path / "run" / "start").exists()


@pytest.mark.slow
def test_lora_products_are_merged(source: Source, tmp_path: pathlib.Path) -> None:
    config = config_from(
        source,
        tmp_path / "lora",
        source.folder,
        model={"lora_rank": 2},
        serving={"export": True},
        training={**ONE_EPOCH, "early_stopping_patience": 0},
    )
    report = experiment.run(config).report
    folder = pathlib.Path(config.model_dir)
    assert any(path.startswith("lora/") for path in saved(folder))
    found = [
        begun(config_from(source, tmp_path, name))
        for name in (folder, report["export"]["path"])
    ]
    assert "its LoRA products were merged into its kernels" in found[0].facts.notes
    assert found[0].facts.sha256 == found[1].facts.sha256
    query = "transformer_layer_0/self_attention_layer/query/kernel"
    assert np.abs(found[0].weights[query] - saved(folder)[query]).max() > 1e-6
    np.testing.assert_array_equal(found[0].weights[query], found[1].weights[query])


def test_labels_in_another_order_and_new_ones(
    source: Source, tmp_path: pathlib.Path
) -> None:
    names = ("neither", "good", "bad")
    init = config_from(source, tmp_path, source.folder, data={"label_names": names})
    found, expected = begun(init), saved(source.folder)
    assert found.facts.new_labels == ("neither",)
    order, new = found.facts.notes
    assert "another order (bad, good)" in order and "new labels: neither" in new
    for path in ("logits/kernel", "logits/bias"):
        old = expected[path]
        np.testing.assert_array_equal(found.weights[path][..., [2, 1]], old)
    fresh = begun(dataclasses.replace(init, model=source.config.model))
    np.testing.assert_array_equal(
        found.weights["logits/kernel"][:, 0], fresh.weights["logits/kernel"][:, 0]
    )
    assert found.weights["logits/kernel"][:, 0].any() and fresh.facts is None


def test_labels_that_vanished_are_refused_and_the_mend_works(
    source: Source, tmp_path: pathlib.Path
) -> None:
    texts, labels = tiny.labelled_sentences(80, seed=3)
    names = [("fine", "good")[label] for label in labels]
    dataset = tiny.write_csv(tmp_path / "new.csv", texts, names)
    config = config_from(source, tmp_path, source.folder, data={"dataset": dataset})
    with pytest.raises(ValueError, match="fine, good, without bad; if") as caught:
        begun(config)
    mend = str(caught.value).rpartition("--label_names=")[2]
    mended = processes.replaced(config, "data", label_names=tuple(mend.split(",")))
    facts = begun(mended).facts
    assert facts.new_labels == ("fine",)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("pooling", ["pooling first there, mean here", "--pooling=first"]),
        ("preset", ["another vocabulary", "--preset=PRESET --pooling=first"]),
        ("nowhere", ["must be the --model_dir of a run", "which is not there"]),
        ("data", ["must be the --model_dir of a run", "none of these"]),
        ("int8", ["an export in float32", "in int8; name the folder above, such as"]),
        ("torn", ["expected weights that can be read", "variables"]),
        ("empty", ["must be a run with a checkpoint", "let it train"]),
    ],
)
def test_what_a_run_cannot_begin_from(
    what: str, words: list[str], source: Source, tmp_path: pathlib.Path
) -> None:
    place = tmp_path / "given"
    changes: dict[str, Any] = {"model": {}}
    if what == "pooling":
        place, changes = source.folder, {"model": {"pooling": "mean"}}
    elif what == "preset":
        preset = tiny.write_hugging_face(tmp_path / "other")
        words_file = tmp_path / "other" / "vocab.txt"
        words_file.write_text(words_file.read_text().replace("superb", "superber"))
        place, changes = source.folder, {"model": {"preset": preset}}
    elif what == "data":
        (place / "1").mkdir(parents=True)
        place = place.parent
    elif what in ("int8", "torn"):
        shutil.copytree(source.report["export"]["path"], place)
        file = place / "manifest.json"
        if what == "int8":
            facts = json.loads(file.read_text())
            file.write_text(json.dumps({**facts, "format": "int8"}))
        else:
            (data,) = (place / "variables").glob("*.data*")
            data.write_bytes(data.read_bytes()[:100])
    elif what == "empty":
        (place / "checkpoints").mkdir(parents=True)
        (place / "config.json").write_text(source.config.to_json())
    with pytest.raises(ValueError) as caught:
        begun(config_from(source, tmp_path, place, **changes))
    for word in words:
        assert word.replace("PRESET", source.config.model.preset) in str(caught.value)


def test_what_may_differ_is_told(source: Source, tmp_path: pathlib.Path) -> None:
    config = config_from(
        source, tmp_path, source.folder, data={"max_length": 24, "test_one_in": 3}
    )
    found = begun(config)
    assert found.facts.notes == ("--max_length was 48 there, and is 24 here",)
    # Its test texts are others than those of the source.
    assert "seen_by_start" in found.doubts


def test_other_settings_are_refused_and_the_way_on_works(
    source: Source, tmp_path: pathlib.Path
) -> None:
    longer = processes.replaced(source.config, "training", num_train_epochs=3)
    with pytest.raises(ValueError, match="num_train_epochs: 2 there, 3") as caught:
        experiment.run(longer)
    way = re.search(r"another --model_dir \(with --init_from=(\S+) ", str(caught.value))
    assert way and way[1] == str(source.folder)
    config = dataclasses.replace(longer, model_dir=str(tmp_path / "run"))
    found = begun(processes.replaced(config, "model", init_from=way[1]))
    assert found.facts.sha256 == weights.digest(saved(source.folder))
    # Not where it would be refused.
    other = processes.replaced(source.config, "model", pooling="mean")
    with pytest.raises(ValueError, match="other settings") as refused:
        experiment.run(other)
    assert "--init_from" not in str(refused.value)


def test_before_is_what_the_source_came_to(
    source: Source, tmp_path: pathlib.Path
) -> None:
    """On the same test texts: all of the classifier is the source's."""
    config = config_from(
        source, tmp_path, source.folder, optimizer={"learning_rate": 1e-30}
    )
    report = experiment.run(config).report
    quality = source.report["decision"]["quality"]["test"]["before"]
    for part in ("before", "after"):
        assert report[part]["test"]["accuracy"] == (
            source.report["after"]["test"]["accuracy"]
        )
    assert report["before"]["test"]["loss"] == pytest.approx(quality["loss"], abs=1e-6)
    # The last answers, which a rate of nothing leaves as they were.
    one, other = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in (
            folder / "predictions" / "test.jsonl"
            for folder in (source.folder, tmp_path / "run")
        )
    )
    assert len(one) > 20
    for mine, theirs in zip(other, one, strict=True):
        assert mine["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-6)
    folder = RunFolder(storage.path(config.model_dir))
    assert report["start"]["sha256"] == weights.digest(saved(source.folder))
    # Started again without the source, which is not needed any more.
    folder.report.unlink()
    hidden = source.folder.with_name("hidden")
    source.folder.rename(hidden)
    try:
        again = experiment.run(config).report
    finally:
        hidden.rename(source.folder)
    assert again["after"] == report["after"] and again["start"] == report["start"]
    # A copy that is of other weights is not taken for it.
    folder.report.unlink()
    facts = json.loads((folder.start / "start.json").read_text())
    changed = json.dumps({**facts, "sha256": "0" * 64})
    storage.write_text(folder.start / "start.json", changed)
    with pytest.raises(ValueError, match="holds a run that began from other weights"):
        experiment.run(config)


def config_of_update(source: Source, folder: pathlib.Path) -> ExperimentConfig:
    """On new texts, from the source's export, with old ones and these replayed."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder.parent / "new.csv"
    if not new.is_file():
        tiny.write_reviews(new, count=120, seed=11)
    old = source.config.data.dataset
    return config_from(
        source,
        folder,
        source.report["export"]["path"],
        data={"dataset": f"files:{new}", "replay_dataset": f"{old},{new}"},
        optimizer={"decay_towards": "start", "weight_decay": 10.0},
        training={"num_train_epochs": 2, "save_every_steps": 5},
        serving={"export": True},
    )


@pytest.mark.slow
def test_killed_and_continued_without_its_source_equals_undisturbed(
    source: Source, tmp_path: pathlib.Path
) -> None:
    """To the last bit: the old texts, the start that is pulled to, and the digest."""
    whole = config_of_update(source, tmp_path / "whole")
    processes.finish([processes.start(whole)])
    killed = config_of_update(source, tmp_path / "killed")
    folder = pathlib.Path(killed.model_dir)
    metrics = folder / "metrics.jsonl"
    processes.kill_when(
        processes.start(killed),
        lambda: metrics.is_file() and '"step": 12' in metrics.read_text(),
    )
    hidden = source.folder.with_name("hidden")
    source.folder.rename(hidden)
    try:
        (output,) = processes.finish([processes.start(killed)])
    finally:
        hidden.rename(source.folder)
    assert "resuming from step" in output
    assert_equal_weights(pathlib.Path(whole.model_dir), folder)
    one, other = (
        json.loads((pathlib.Path(config.model_dir) / "report.json").read_text())
        for config in (whole, killed)
    )
    for part in ("before", "after", "training", "start"):
        assert one[part] == other[part]
    assert one["data"] == other["data"]
    replayed = other["data"]["replayed"]
    for name in ("num_held_out_here", "num_held_out_there", "num_new", "num_drawn"):
        assert replayed[name] > 0
    assert replayed["fraction"] == pytest.approx(0.3, abs=0.01)
    assert f"{replayed['num_drawn']} of the training texts are old ones (30%)" in output
    # The export says it too, and has seen what its source has.
    version = pathlib.Path(other["export"]["path"])
    facts = manifest.read(version)
    assert facts["start"] == other["start"]
    assert facts["data"]["replayed"] == replayed
    before = seen_texts.read(
        pathlib.Path(source.report["export"]["path"]) / seen_texts.FILE_NAME
    )
    after = seen_texts.read(version / seen_texts.FILE_NAME)
    assert before is not None and after is not None
    assert np.isin(before, after).all() and len(after) > len(before)
    assert (folder / "seen_texts.bin").read_bytes() == after.tobytes()


@pytest.mark.slow
def test_two_workers_begin_and_replay_as_one(
    source: Source, tmp_path: pathlib.Path
) -> None:
    one, two = (
        processes.replaced(
            processes.replaced(
                processes.replaced(
                    config_of_update(source, tmp_path / name), "model", dropout=0.0
                ),
                "runtime",
                strategy=strategy,
            ),
            "serving",
            export=False,
        )
        for name, strategy in (("one", "one_device"), ("two", "multi_worker"))
    )
    of_one = experiment.run(one).report
    processes.finish(processes.start_workers([two, two]))
    of_two = json.loads((pathlib.Path(two.model_dir) / "report.json").read_text())
    of_one = json.loads(json.dumps(of_one))
    assert of_one["start"] == of_two["start"] and of_one["data"] == of_two["data"]
    weights = [weights_of(pathlib.Path(each.model_dir)) for each in (one, two)]
    difference = max(np.abs(weights[0][n] - weights[1][n]).max() for n in weights[0])
    assert difference < 2e-4
