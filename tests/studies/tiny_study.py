"""A study made of tiny reports, its numbers planted: no run is needed.

study = tiny_study(fine_tuned=[(100, 0.7), (300, 0.8)], tfidf=[(100, 0.75), ...])
"""

from __future__ import annotations

from typing import Sequence

from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.schema import Comparison
from trainer.studies import answers, curves
from trainer.studies.curves import Measured
from trainer.studies.schema import Curve, RunFacts, Study

NUM_TEXTS = 1000
TITLES = {
    "fine_tuned": "fine-tuning",
    "tfidf": "TF-IDF with logistic regression",
    "frozen": "the frozen encoder with logistic regression",
    "median": "the training median",
    "commonest": "the commonest label",
}
RISING = ((100, 0.7), (300, 0.8), (1000, 0.86), (3000, 0.89))
Accuracies = Sequence[tuple[int, float]]


def measured(accuracies: Accuracies) -> list[Measured]:
    """Runs of (size, accuracy), with two labels of equal share."""
    return [
        Measured(
            size=size,
            value=accuracy,
            interval_95=wilson_interval(round(accuracy * NUM_TEXTS), NUM_TEXTS),
            num_examples=NUM_TEXTS,
            guessing=0.5,
        )
        for size, accuracy in accuracies
    ]


def make_curve(
    accuracies: Accuracies, *, title: str = "a model", resamples: int = 200
) -> Curve:
    """A curve with binomial resamples."""
    runs = measured(accuracies)
    simulated = curves.simulated(runs, num_resamples=resamples)
    return curves.make_curve(title, runs, errors_resampled=simulated)


def comparison(difference: float) -> Comparison:
    """A difference of accuracies, give or take a point."""
    return Comparison(
        split="test",
        num_examples=NUM_TEXTS,
        difference=difference,
        interval_95=(difference - 0.01, difference + 0.01),
        mcnemar_p=0.01,
        num_discordant=100,
        num_only_model_right=60,
        num_only_baseline_right=40,
        verdict="better",
        cost_ratio=300.0,
        only_model_right=(),
        only_baseline_right=(),
    )


def tiny_study(**accuracies: Accuracies) -> Study:
    """By model, (size, accuracy) of each run; "fine_tuned" is among them."""
    all_curves = {
        name: make_curve(values, title=TITLES[name])
        for name, values in accuracies.items()
    }
    runs = tuple(
        RunFacts(
            number=number,
            name=f"{size:,} texts, seed 0",
            folder=f"runs/{number:03}",
            num_train_examples=size,
            seed=0,
            accuracy=accuracy,
            value=accuracy,
            secs=60.0,
            comparisons={
                name: comparison(accuracy - values[number][1])
                for name, values in accuracies.items()
                if name != "fine_tuned"
            },
        )
        for number, (size, accuracy) in enumerate(accuracies["fine_tuned"])
    )
    return Study(
        study="learning_curve",
        title="Learning curve: tiny BERT on <reviews>",
        answers=answers.sentences(all_curves, runs),
        split="test",
        num_examples=NUM_TEXTS,
        metric="accuracy",
        curves=all_curves,
        runs=runs,
        config={"study_dir": "studies/a", "seeds": ["0", "1"], "training": {"seed": 3}},
        environment={"python": "3.12"},
    )
