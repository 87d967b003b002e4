"""The pretraining of a run: what it reads, where it goes on, what comes after it."""

from __future__ import annotations

import csv
import json
import pathlib
import re
from typing import Any, Callable

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.test_experiment import (
    assert_equal_weights,
    make_config,
    without_times,
)
from trainer import experiment
from trainer.config import ExperimentConfig, PretrainingConfig
from trainer.data.batches import BatchFeeder
from trainer.modeling import presets
from trainer.modeling import weights as weights_lib
from trainer.stages import baselines, prepare, train
from trainer.stages.prepare import Material
from trainer.training.checkpoints import Checkpoints

NUM_STEPS = 14


def config_of(
    folder: pathlib.Path, preset: str, name: str, **changes: Any
) -> ExperimentConfig:
    """A run of a few steps of each phase, on unlabelled texts beside the reviews."""
    file = folder / "unlabelled.txt"
    if not file.is_file():
        texts, _ = tiny.labelled_sentences(60, seed=9)
        file.write_text("\n".join(texts) + "\n")
    settings: dict[str, Any] = {
        "training": {"num_train_epochs": 1, "save_every_steps": 5},
        "data": {"num_train_examples": 60, "num_eval_examples": 30},
        "pretraining": PretrainingConfig(
            pretrain_steps=NUM_STEPS,
            pretrain_dataset=f"files:{file}",
            pretrain_learning_rate=1e-2,
        ),
    }
    for section, values in changes.items():
        old = settings.get(section)
        settings[section] = old | values if isinstance(old, dict) else values
    return make_config(folder, preset, model_dir=str(folder / name), **settings)


def last_weights(
    folder: pathlib.Path, phase: str, *steps: int
) -> dict[str, np.ndarray]:
    """Of the newest state of a phase, by path."""
    (path,) = (folder / "checkpoints" / phase).glob(f"step-{steps[0]}.index")
    reader = tf.train.load_checkpoint(str(path).removesuffix(".index"))
    return {
        weights_lib.name_of_key(name).removeprefix("weights/"): reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith("weights")
    }


class Killed(Exception):
    """In the place of SIGKILL."""


def kill_at(
    monkeypatch: pytest.MonkeyPatch, config: ExperimentConfig, moment: str
) -> None:
    """Runs up to a moment of a phase."""

    def die_after(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **settings: Any) -> None:
            function(*arguments, **settings)
            raise Killed

        return run

    with monkeypatch.context() as patched:
        if moment == "border":
            start = die_after(lambda *_: None)
            patched.setattr(baselines, "start_head", start)
        else:
            patched.setattr(
                Checkpoints, "save_latest", die_after(Checkpoints.save_latest)
            )
        with pytest.raises(Killed):
            experiment.run(config)


@pytest.mark.slow
def test_killed_in_either_phase_it_goes_on(
    tmp_path: pathlib.Path, tiny_preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit; also what decay pulls to, and the head of the frozen encoder."""
    settings: dict[str, Any] = {
        "model": {"dropout": 0.1, "head_start": "frozen"},
        "optimizer": {"decay_towards": "start", "weight_decay": 10.0},
        "baselines": ("frozen",),
    }
    whole = config_of(tmp_path, tiny_preset, "whole", **settings)
    pulled_to: list[list[np.ndarray]] = []
    begin = train.run

    def look(run: Any, material: Any, built: Any, **others: Any) -> Any:
        optimizer, variables = built.classifier.optimizer, built.classifier.variables
        centers = [c.numpy() for c in optimizer.decay_centers if c is not None]
        now = {v.numpy().tobytes() for v in variables}
        assert len(centers) > 30 and {c.tobytes() for c in centers} <= now
        pulled_to.append(centers)
        return begin(run, material, built, **others)

    monkeypatch.setattr(train, "run", look)
    report = experiment.run(whole).report
    killed = config_of(tmp_path, tiny_preset, "killed", **settings)
    folder = tmp_path / "killed"
    for moment, newest in (
        ("pretraining", "pretraining/latest/step-5.index"),
        ("border", f"pretraining/latest/step-{NUM_STEPS}.index"),
        ("fine-tuning", "latest/step-5.index"),
    ):
        kill_at(monkeypatch, killed, moment)
        assert (folder / "checkpoints" / newest).is_file(), moment
        assert (folder / "checkpoints/latest").is_dir() is (moment == "fine-tuning")
    other = experiment.run(killed).report
    assert_equal_weights(tmp_path / "whole", folder)
    # Of the two runs, and of the one that was killed in fine-tuning.
    for one, again, last in zip(*pulled_to, strict=True):
        np.testing.assert_array_equal(one, again)
        np.testing.assert_array_equal(one, last)
    for part in ("before", "after", "training", "samples"):
        assert other[part] == report[part], part
    for split in ("pretraining", "train", "validation"):
        records = [without_times(r["history"][split]) for r in (report, other)]
        assert records[0] == records[1] and records[0], split
    facts = [
        {k: v for k, v in r["pretraining"].items() if k != "train_secs"}
        for r in (report, other)
    ]
    assert facts[0] == facts[1]
    assert {path.name for path in (folder / "logs").iterdir()} == {
        *("pretraining", "train", "validation"),
    }
    # The baseline is of the encoder as it came, the head of the pretrained one.
    kept = [
        json.loads((tmp_path / "whole" / "baselines" / f"{name}.json").read_text())
        for name in ("frozen", "head")
    ]
    heads = [each["answers"]["head"][0]["base64"] for each in kept]
    assert heads[0] != heads[1] and not kept[1]["answers"]["logits"]


@pytest.mark.slow
def test_two_replicas_are_as_one_and_fine_tuning_begins_there(
    tmp_path: pathlib.Path,
) -> None:
    """Of a checkpoint with a head of its own; in two parts a replica."""
    preset = tiny.write_hugging_face(tmp_path / "preset")
    tiny.add_masked_lm_head(tmp_path / "preset")
    reports, ends = [], []
    for name, runtime, parts in (
        ("one", {"strategy": "one_device"}, 1),
        ("two", {"strategy": "mirrored", "num_virtual_devices": 2}, 2),
    ):
        config = config_of(
            tmp_path,
            preset,
            name,
            model={"dropout": 0.0},
            # So low that nothing is fine-tuned.
            optimizer={"learning_rate": 1e-12},
            runtime=runtime,
            training={"accumulation_steps": parts},
            pretraining=PretrainingConfig(
                pretrain_steps=NUM_STEPS,
                pretrain_on="train",
                pretrain_learning_rate=1e-3,
                mask_whole_words=True,
                masked_lm_head="checkpoint",
            ),
        )
        reports.append(experiment.run(config).report)
        folder = tmp_path / name
        ends.append(last_weights(folder, "pretraining/latest", NUM_STEPS))
        steps = reports[-1]["training"]["total_steps"]
        tuned = last_weights(folder, "latest", steps)
        shared = tuned.keys() & ends[-1].keys()
        assert len(shared) > 30
        for path in shared:
            np.testing.assert_allclose(tuned[path], ends[-1][path], atol=1e-8)
    one, two = ends
    assert one.keys() == two.keys() and any("masked_lm_head" in path for path in one)
    # Adam makes much of a gradient that is rounding: a few numbers are off by 5e-5.
    differences = np.concatenate([np.abs(one[p] - two[p]).ravel() for p in one])
    assert differences.max() < 2e-4 and differences.mean() < 1e-6
    losses = [report["pretraining"]["masked_loss"] for report in reports]
    for key in ("before", "after"):
        assert losses[0][key] == pytest.approx(losses[1][key], abs=1e-4)
    assert losses[0]["after"] < losses[0]["before"] - 0.01
    assert {report["pretraining"]["head"] for report in reports} == {"checkpoint"}
    records = [r["history"]["pretraining"] for r in reports]
    for each, other in zip(*records, strict=True):
        assert each["loss"] == pytest.approx(other["loss"], abs=1e-4)


# What is read.


def material_of(config: ExperimentConfig) -> Material:
    """The data of a run."""
    return prepare.make_material(
        config.data,
        config.training,
        presets.load_preset(config.model.preset),
        pretraining=config.pretraining,
    )


def fed(material: Material) -> list[list[int]]:
    """The token ids of every text that the steps read, as they read them."""
    pretraining = material.pretraining
    assert pretraining is not None
    feeder = BatchFeeder(
        pretraining.tokens,
        np.arange(len(pretraining.tokens)),
        pretraining.bucket_lengths,
        tf.distribute.get_strategy(),
        rows=pretraining.rows,
        example_weights=pretraining.num_masked,
        share_batches=True,
    )
    rows: dict[int, list[int]] = {}
    for _, batch in feeder(pretraining.plan.from_step(0)):
        assert float(tf.reduce_sum(batch.weights)) == pytest.approx(1.0)
        for number, ids in zip(batch.targets.numpy(), batch.inputs.token_ids.numpy()):
            rows[int(number)] = ids[ids > 0].tolist()
    return [rows[number] for number in sorted(rows)]


@pytest.mark.parametrize(
    "changes",
    [{"evaluate_test": False, "num_eval_examples": 5}, {"num_folds": 3, "fold": 1}],
    ids=["test_kept_fresh", "folds"],
)
def test_held_out_texts_are_never_read(
    changes: dict[str, Any], tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """Nor those that are not even evaluated; not in batches, nor in the frequencies."""
    # All that is held out, whatever of it is evaluated.
    folds = {name: changes[name] for name in ("num_folds", "fold") if name in changes}
    data = {"num_train_examples": 0, "num_eval_examples": 0}
    whole = config_of(tmp_path, tiny_preset, "run", data=data | folds)
    texts = prepare.read_texts(whole.data, seed=whole.training.seed)
    rows = [texts.splits[name].rows for name in ("validation", "test")]
    held_out = texts.pool.texts.take(np.concatenate(rows)).to_pylist()
    own, _ = tiny.labelled_sentences(30, seed=5)
    others = tmp_path / "others.txt"
    others.write_text("\n".join([*own, *(text.upper() for text in held_out)]) + "\n")
    config = config_of(
        tmp_path,
        tiny_preset,
        "run",
        data=data | changes,
        pretraining=PretrainingConfig(
            pretrain_steps=8, pretrain_dataset=f"files:{others}"
        ),
    )
    material = material_of(config)
    assert material.pretraining is not None
    facts = material.pretraining.read_facts
    assert facts["num_held_out"] == len(held_out) > 40
    found = fed(material)
    expected = material.encoder(tf.constant(own)).token_ids.to_list()
    assert sorted(found) == sorted(expected)
    num_words = sum(len(ids) - 2 for ids in expected)
    assert material.pretraining.token_counts().sum() == num_words
    assert "pretraining" in material.fingerprint


def test_training_texts_that_are_test_texts_too_are_not_read(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """Of a test set that is brought along, and that shares some with training."""
    pretraining = PretrainingConfig(pretrain_steps=40, pretrain_on="train")
    data = {"num_train_examples": 0, "num_eval_examples": 0}
    config = config_of(tmp_path, tiny_preset, "run", data=data, pretraining=pretraining)
    with open(tmp_path / "reviews.csv", encoding="utf-8") as file:
        reviews = list(csv.DictReader(file))
    brought = tiny.write_csv(
        tmp_path / "test.csv",
        [review["text"] for review in reviews[:20]],
        [review["label"] for review in reviews[:20]],
    )
    config = config_of(
        tmp_path,
        tiny_preset,
        "run",
        data=data | {"test_dataset": brought},
        pretraining=pretraining,
    )
    material = material_of(config)
    assert material.pretraining is not None
    facts = material.pretraining.read_facts
    train = material.splits["train"].rows
    assert facts["num_read"] == len(train)
    assert 10 < facts["num_held_out"] == len(train) - facts["num_texts"]
    texts = material.texts.pool.texts.take(train).to_pylist()
    unread = {review["text"] for review in reviews[:20]}
    wanted = [text for text in texts if text not in unread]
    expected = material.encoder(tf.constant(wanted)).token_ids.to_list()
    assert sorted(fed(material)) == sorted(expected)


def test_a_head_that_is_demanded(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    config = config_of(
        tmp_path,
        tiny_preset,
        "run",
        pretraining=PretrainingConfig(
            pretrain_steps=5, pretrain_on="train", masked_lm_head="checkpoint"
        ),
    )
    expected = (
        f"Received: --preset={tiny_preset}, a KerasHub preset without one; "
        "set --masked_lm_head=auto"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        material_of(config)
