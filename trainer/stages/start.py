"""Where a run begins with --init_from: at the weights of another run, head included.

    may_replay = start.may_replay(folder, data, model)  # before the texts are split
    facts = start.begin(run, material, classifier)      # sets its weights; None: no flag
    start.keep(run, material, classifier, facts)        # once the folder is this run's

The source is read once. A copy of what the run begins from, with its digest and hashes of
the texts that the source has seen, lies in the run's folder from before the first step:
a run that resumes goes by that, and the source may be gone or be another by then.

| --init_from | is | its weights |
|---|---|---|
| a folder with model.json | a run | the best, else the last |
| a SavedModel's folder, or one of numbered ones | an export | all |
| PREFIX, with PREFIX.index beside it | a checkpoint in a run's folder | those |
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

import keras
import numpy as np

from trainer import run_folder, storage
from trainer.config import DataConfig, ModelConfig
from trainer.data.text_rows import TextRows
from trainer.data.duplicates import normalized_digests
from trainer.data.label_faults import names_flag
from trainer.data.replay import MayReplay
from trainer.evaluation import schema
from trainer.evaluation.schema import Doubt, StartFacts
from trainer.messages import message
from trainer.modeling import lora
from trainer.modeling import weights as weights_lib
from trainer.run_folder import RunFolder
from trainer.serving import manifest, seen_texts, versions
from trainer.tasks.task import Scale
from trainer.training import checkpoints

if TYPE_CHECKING:  # They import this module.
    from trainer.stages.context import Run
    from trainer.stages.prepare import Material

_logger = logging.getLogger(__name__)

_FACTS = "start.json"
_HEAD = ("logits/kernel", "logits/bias")
# Where a SavedModel keeps its variables.
_VARIABLES = "variables"
# What has to be equal, by its name in model.json, and what a user calls it.
_EQUAL = {
    "vocabulary_sha256": "vocabulary",
    "lowercase": "lowercase",
    "strip_accents": "strip_accents",
    "activation": "activation",
    "layer_norm_epsilon": "LayerNorm's epsilon",
    "pooling": "pooling",
}
# Settings of how texts are read that may differ, and are told.
_MAY_DIFFER = ("max_length", "truncation", "long_text", "max_windows", "window_overlap")


@dataclasses.dataclass(frozen=True)
class _Source:
    """A model that a run can begin from, its weights not yet read.

    Attributes:
      given: --init_from.
      path: the version or checkpoint.
      prefix: of the checkpoint that holds the weights.
      model: as `model_facts` has it.
      config: the settings it was trained with, as JSON has them.
      seen: the file with hashes of the texts that it has seen; it need not be there.
    """

    given: str
    path: storage.Path
    prefix: storage.Path
    model: Mapping[str, Any]
    config: Mapping[str, Any]
    seen: storage.Path


def model_facts(run: Run, material: Material) -> dict[str, Any]:
    """What a run that begins from this one's weights has to agree with, for JSON."""
    preset = material.preset
    vocabulary = "\n".join(preset.vocabulary).encode()
    strips = preset.lowercase if preset.strip_accents is None else preset.strip_accents
    config = preset.hugging_face or {}
    scale = run.task.scale
    return {
        "preset": preset.name,
        "vocabulary_sha256": hashlib.sha256(vocabulary).hexdigest(),
        "lowercase": preset.lowercase,
        "strip_accents": strips,
        "activation": config.get("hidden_act", "gelu") if config else "KerasHub's",
        "layer_norm_epsilon": config.get("layer_norm_eps", 1e-12),
        "pooling": run.config.model.pooling,
        "label_names": list(material.label_names),
        "task": run.task.name,
        # Of numbers: what an output of 0 and of 1 stands for.
        "scale": scale and {"mean": scale.mean, "spread": scale.spread},
    }


def begin(run: Run, material: Material, classifier: keras.Model) -> StartFacts | None:
    """Sets the weights that the run begins from.

    Args:
      classifier: new, without LoRA's factors.

    Returns:
      Whose they are; None: --init_from is not given.

    Raises:
      ValueError: they cannot be read, or are of a model that this run cannot go on from.
    """
    if not run.config.model.init_from:
        return None
    kept = _kept(run.folder)
    if kept is not None:
        checkpoints.restore_start(
            run.folder.start, _variables(classifier), io_device=run.runtime.io_device
        )
        return kept
    source = _find(run.config.model.init_from)
    _refuse_other_model(source, model_facts(run, material))
    values = _read(source, classifier)
    digest = weights_lib.digest(values)
    theirs, ours = tuple(source.model["label_names"]), material.label_names
    _refuse_vanished(source, ours, run.config.data.label_names)
    values = _with_head(values, classifier, theirs, ours)
    if run.task.scale is not None:
        values = _rescaled(values, source, run.task.scale)
    weights_lib.assign(values, classifier)
    facts = StartFacts(
        source=source.given,
        path=str(source.path),
        sha256=digest,
        label_names=theirs,
        new_labels=tuple(name for name in ours if name not in theirs),
        notes=tuple(_notes(source, run, ours)),
        tells_seen_texts=source.seen.is_file(),
    )
    _logger.info("beginning from the weights of %s (sha256 %s)", facts.path, digest)
    for note in facts.notes:
        _logger.info("%s", note)
    return facts


def keep(
    run: Run, material: Material, classifier: keras.Model, facts: StartFacts | None
) -> None:
    """Writes into the run's folder what it, and one that begins from it, will need.

    Args:
      classifier: as `begin` left it; LoRA's factors may have come on.
      facts: as `begin` gave them.
    """
    folder = run.folder
    model = json.dumps(model_facts(run, material), indent=2)
    storage.write_text(folder.model, f"{model}\n")
    if facts is not None and _kept(folder) is None:
        theirs = seen_texts.read(_find(facts.path).seen)
        if theirs is not None:
            seen_texts.write(folder.start / seen_texts.FILE_NAME, theirs)
        checkpoints.save_start(
            folder.start, _variables(classifier), io_device=run.runtime.io_device
        )
        # Last: where it is, all is.
        content = json.dumps(dataclasses.asdict(facts), indent=2)
        storage.write_text(folder.start / _FACTS, f"{content}\n")
    seen_texts.write(folder.seen_texts, seen(folder, material))


def seen(
    folder: RunFolder, material: Material, *, is_ensemble: bool = False
) -> np.ndarray:
    """What stands for the texts that weights or decision depend on: uint64 [n].

    Those that the source has seen are among them. Of an ensemble all are: each is held
    out by one of its models alone.
    """
    names = material.splits if is_ensemble else ("train", "validation")
    rows = [material.splits[name].rows for name in names if name in material.splits]
    texts = TextRows(material.texts.pool.texts, np.concatenate(rows))
    own = seen_texts.numbers(normalized_digests(texts))
    inherited = seen_texts.read(folder.start / seen_texts.FILE_NAME)
    return own if inherited is None else np.concatenate([own, inherited])


def may_replay(
    folder: RunFolder, data: DataConfig, model: ModelConfig
) -> MayReplay | None:
    """Tells which texts the source was not measured on: those that it has seen.

    None: nothing is replayed, or no source tells what it has seen.

    Raises:
      ValueError: there is none at --init_from.
    """
    if not (model.init_from and data.replay_dataset):
        return None
    return _seen(folder, model.init_from)


def _seen(folder: RunFolder, init_from: str) -> MayReplay | None:
    """Tells which texts the source has seen; None: it does not say."""
    if _kept(folder) is not None:
        file = folder.start / seen_texts.FILE_NAME
    else:
        file = _find(init_from).seen
    found = seen_texts.read(file)
    if found is None:
        return None
    return functools.partial(seen_texts.is_seen, found)


def doubts(run: Run, material: Material, facts: StartFacts | None) -> Iterator[Doubt]:
    """Of held-out texts that the weights may have been trained on already."""
    if facts is None or material.held_out is None:
        return
    check = _seen(run.folder, facts.source)
    if check is None:
        yield Doubt(
            kind="unknown_start_texts",
            message=f"--init_from={facts.source} does not tell which texts it was trained "
            "on: if held-out texts are among them, the results are too good; name a run "
            "or an export of this version to have them compared",
        )
        return
    name = material.held_out
    rows = material.splits[name].rows
    is_seen = check(normalized_digests(TextRows(material.texts.pool.texts, rows)))
    if is_seen.any():
        yield Doubt(
            kind="seen_by_start",
            message=f"{int(is_seen.sum()):,} of the {len(rows):,} {name} texts are among "
            f"those that the model of --init_from={facts.source} was trained or chosen "
            "on, so results on them are too good: split by the settings that it was "
            "split by, or bring other texts with --test_dataset",
        )


def _kept(folder: RunFolder) -> StartFacts | None:
    """What an earlier process of this run began from."""
    file = folder.start / _FACTS
    if not file.is_file():
        return None
    return schema.from_mapping(StartFacts, run_folder.read_json(file))


def _variables(classifier: keras.Model) -> dict[str, Any]:
    """All but LoRA's factors, by path."""
    pairs = lora.factors_of(classifier).values()
    factors = {each.path for pair in pairs for each in (pair.a, pair.b)}
    return {
        path: variable.value
        for path, variable in weights_lib.by_path(classifier).items()
        if path not in factors
    }


# Finding a source.


def _find(given: str) -> _Source:
    """What --init_from names.

    Raises:
      ValueError: nothing that a run can begin from.
    """
    place = storage.path(given)
    if (place.parent / f"{place.name}.index").is_file():
        return _checkpoint(given, place)
    if (place / "checkpoints").is_dir() and (place / "config.json").is_file():
        return _run(given, RunFolder(place))
    is_there = place.is_dir()
    if is_there and (versions.is_version(place) or versions.numbers(place)):
        return _export(given, versions.find(given, may_be_held=True))
    raise ValueError(
        message(
            "--init_from must be the --model_dir of a run, the folder of an export, or a "
            "checkpoint, as in runs/a, runs/a/export/3 or "
            "runs/a/checkpoints/best/step-63",
            received=f"{given}, {'none of these' if is_there else 'which is not there'}",
        )
    )


def _run(given: str, folder: RunFolder) -> _Source:
    try:
        prefix = checkpoints.chosen_prefix(folder.checkpoints)
    except ValueError as error:
        raise ValueError(
            message(
                f"--init_from={given} must be a run with a checkpoint",
                received=error,
                mend="let it train, or name its export",
            )
        ) from error
    source = _of_folder(given, folder, prefix)
    if source.config["optimizer"]["ema"] and prefix.parent.name == "latest":
        raise ValueError(
            message(
                f"--init_from={given} must have best weights, for the last ones are not "
                "the mean that its --ema exports",
                received="a run without them",
                mend=f"name its export, such as --init_from={folder}/export",
            )
        )
    return source


def _checkpoint(given: str, prefix: storage.Path) -> _Source:
    # RUN/checkpoints/best/step-63
    return _of_folder(given, RunFolder(prefix.parent.parent.parent), prefix)


def _of_folder(given: str, folder: RunFolder, prefix: storage.Path) -> _Source:
    if not (folder.model.is_file() and folder.config.is_file()):
        raise ValueError(
            message(
                "--init_from must be of a run that says what its model reads, in "
                "config.json and model.json of its folder",
                received=f"{given}, without these in {folder}",
                mend="name a checkpoint where its run wrote it, and a run of this version "
                "of the program",
            )
        )
    return _Source(
        given=given,
        path=prefix,
        prefix=prefix,
        model=run_folder.read_json(folder.model),
        config=run_folder.read_json(folder.config),
        seen=folder.seen_texts,
    )


def _export(given: str, folder: storage.Path) -> _Source:
    facts = manifest.read(folder)
    kind = facts.get("format")
    if kind != "float32":
        raise ValueError(
            message(
                "--init_from must be an export in float32, which has all numbers of the "
                "weights",
                received=f"{given}, in {kind}",
                mend=f"name the folder above, such as {folder.parent.parent}",
            )
        )
    if "model" not in facts or facts.get("ensemble"):
        what = "an ensemble of several models" if facts.get("ensemble") else "another"
        raise ValueError(
            message(
                "--init_from must be an export of one model, by a version of the program "
                "that says what it reads",
                received=f"{given}, {what}",
                mend="name a run of one model, or export again",
            )
        )
    return _Source(
        given=given,
        path=folder,
        prefix=folder / _VARIABLES / "variables",
        model=facts["model"],
        config=facts["config"],
        seen=folder / seen_texts.FILE_NAME,
    )


# What has to be equal, and what may differ.


def _refuse_other_model(source: _Source, ours: Mapping[str, Any]) -> None:
    theirs = {"task": "single_label", **source.model}
    if theirs["task"] != ours["task"]:
        raise ValueError(
            message(
                f"--init_from={source.given} must be of the same task, for its head is",
                received=f"task {theirs['task']} there, {ours['task']} here",
                mend=f"set --task={theirs['task']}, or begin from another model",
            )
        )
    others = [
        (
            f"another {called}"
            if name.endswith("sha256")
            else f"{called} {theirs.get(name)} there, {ours[name]} here"
        )
        for name, called in _EQUAL.items()
        if theirs.get(name) != ours[name]
    ]
    if others:
        raise ValueError(
            message(
                f"--init_from={source.given} must be of the same preset and pooling",
                received="; ".join(others),
                mend=f"set --preset={theirs.get('preset')} "
                f"--pooling={theirs.get('pooling')}, or begin from another model",
            )
        )


def _read(source: _Source, classifier: keras.Model) -> dict[str, np.ndarray]:
    """The source's weights by path, LoRA's products merged.

    Raises:
      ValueError: they cannot be read, or are of another encoder.
    """
    values = lora.merged_values(
        checkpoints.read_weights(source.prefix),
        classifier,
        alpha=source.config["model"]["lora_alpha"],
    )
    num_labels = len(source.model["label_names"])
    expected = {
        path: [*variable.shape[:-1], num_labels] if path in _HEAD else variable.shape
        for path, variable in weights_lib.by_path(classifier).items()
    }
    difference = weights_lib.difference(
        [f"{path} {list(shape)}" for path, shape in expected.items()],
        [f"{path} {list(value.shape)}" for path, value in values.items()],
    )
    if difference:
        raise ValueError(
            message(
                f"--init_from={source.given} must be of an encoder of the same shape",
                received=difference,
                mend=f"set --preset={source.model['preset']}, or begin from another model",
            )
        )
    return values


def _refuse_vanished(
    source: _Source, ours: Sequence[str], given: Sequence[str]
) -> None:
    """Raises ValueError where labels of the source are none of this run."""
    theirs = source.model["label_names"]
    vanished = [name for name in theirs if name not in ours]
    if vanished:
        raise ValueError(
            message(
                f"the labels of --init_from={source.given} ({', '.join(theirs)}) must "
                "all be labels of this run",
                received=f"{', '.join(ours)}, without {', '.join(vanished)}",
                mend="if the new texts just have none of them, name them too: "
                f"{names_flag([*(given or ours), *vanished])}",
            )
        )


def _with_head(
    values: Mapping[str, np.ndarray],
    classifier: keras.Model,
    theirs: Sequence[str],
    ours: Sequence[str],
) -> dict[str, np.ndarray]:
    """The weights, the head's in the order of our labels; those of new ones are new."""
    result = dict(values)
    old = [theirs.index(name) for name in ours if name in theirs]
    here = [position for position, name in enumerate(ours) if name in theirs]
    fresh = weights_lib.by_path(classifier)
    for path in _HEAD:
        head = fresh[path].numpy().copy()
        head[..., here] = values[path][..., old]
        result[path] = head
    return result


def _rescaled(
    values: Mapping[str, np.ndarray], source: _Source, ours: Scale
) -> dict[str, np.ndarray]:
    """The weights, the head's such that it gives the same numbers in our scale.

    Raises:
      ValueError: the source does not say what its outputs stand for.
    """
    theirs = source.model.get("scale")
    if not theirs:
        raise ValueError(
            message(
                f"--init_from={source.given} must say what an output of its head stands "
                "for, in model.json or manifest.json",
                received="a model of numbers without it, of an older version",
                mend="train it again by this version, or begin from the preset",
            )
        )
    ratio = theirs["spread"] / ours.spread
    shift = (theirs["mean"] - ours.mean) / ours.spread
    kernel, bias = _HEAD
    return {
        **values,
        kernel: values[kernel] * ratio,
        bias: values[bias] * ratio + shift,
    }


def _notes(source: _Source, run: Run, ours: Sequence[str]) -> Iterator[str]:
    theirs = source.model["label_names"]
    common = [name for name in ours if name in theirs]
    if common != list(theirs):
        yield (
            f"the labels there are in another order ({', '.join(theirs)}): its head is "
            "put in the order of this run"
        )
    new = [name for name in ours if name not in theirs]
    if new:
        yield (
            f"new labels: {', '.join(new)}; their part of the head begins as a new "
            "head's, the rest as it was"
        )
    if source.config["model"]["lora_rank"]:
        yield "its LoRA products were merged into its kernels"
    now = dataclasses.asdict(run.config.data)
    read_pairs = bool(source.config["data"].get("second_text_field"))
    if read_pairs != bool(run.config.data.second_text_field):
        kinds = ("single texts", "pairs of texts")
        yield f"it read {kinds[read_pairs]} there, and reads {kinds[not read_pairs]} here"
    for name in _MAY_DIFFER:
        before = source.config["data"].get(name, now[name])
        if before != now[name]:
            yield f"--{name} was {before} there, and is {now[name]} here"
