"""What a sweep says, in sentences: what was chosen, why, and with what doubt.

for sentence in sentences(study, is_same=True):
    print(sentence)
"""

from __future__ import annotations

from typing import Iterator

from trainer.studies.scores import METRICS
from trainer.studies.sweep_schema import Chosen, SweepStudy, Trial
from trainer.sweep_space import flag_value

# Of these an interval of a difference is wider than 5 points, if a tenth is discordant.
_FEW_TEXTS = 150


def sentences(study: SweepStudy, *, is_same: bool) -> tuple[str, ...]:
    """The answers, the most important one first.

    Args:
      is_same: whether the winner's own run went as its trial's did, to the bit.
    """
    winner = next(trial for trial in study.trials if trial.number == study.winner)
    return (
        f"Trial {winner.number} wins: {in_words(winner)}.",
        *measured(study, is_same=is_same),
        *_why(study, winner),
        *_doubts(study),
    )


def in_words(trial: Trial) -> str:
    """ "learning_rate=4.472e-05, num_train_epochs=3"."""
    settings = trial.settings.items()
    return ", ".join(f"{name}={flag_value(value)}" for name, value in settings)


def measured(study: Chosen, *, is_same: bool) -> Iterator[str]:
    """What the chosen model came to on test, which was asked for it alone."""
    mean, metric = study.mean or 0.0, METRICS[study.metric]
    interval = ""
    if study.interval_95 is not None:
        low, high = map(metric.shown, study.interval_95)
        interval = f" ({low} to {high})"
    value = f"{metric.shown(mean)}{interval}"
    if study.split == "test":
        yield (
            f"On the {study.num_examples or 0:,} test texts, which nothing else of the "
            f"study was asked, its {metric.title} is {value}."
        )
    else:
        yield (
            f"There is no test split: its {metric.title} of {value} is on the validation texts "
            "that it was chosen on, and flatters it."
        )
    if not is_same:
        yield (
            "Its own run did not train exactly as its trial's did: was it made on another "
            "machine, or by another version?"
        )


def _why(study: SweepStudy, winner: Trial) -> Iterator[str]:
    """How the choice came about."""
    last = len(study.trials[study.winner or 0].rungs)
    finalists = [trial for trial in study.trials if trial.behind is not None]
    best = min(finalists, key=lambda trial: (trial.behind or 0.0, trial.number))
    good = [trial for trial in finalists if trial.status in ("winner", "as_good")]
    texts = f"{study.num_validation_examples or 0:,} validation texts"
    metric = METRICS[study.metric]
    best_value = f"{metric.title} {metric.shown(best.rungs[-1].value or 0.0)}"
    if last > 1:
        shares = ", ".join(f"{rung.share:.0%}" for rung in winner.rungs)
        yield (
            f"{len(study.trials)} trials began on {winner.rungs[0].share:.0%} of the "
            f"training texts; {len(finalists)} came through to all of them ({shares})."
        )
    if len(finalists) == 1:
        yield f"It alone was trained on all training texts: {best_value} on the {texts}."
        return
    if len(good) == 1:
        yield (
            f"It is the best on the {texts} ({best_value}), and every other of "
            f"the {len(finalists)} trials on all texts is shown to be worse."
        )
        return
    yield (
        f"On the {texts}, {len(good)} of {len(finalists)} trials are not shown to be "
        f"worse than the best one, trial {best.number} ({best_value})."
    )
    costs = [trial.cost or 0.0 for trial in good]
    if winner.number == best.number:
        cheaper = (
            "none of them is cheaper to train"
            if len(set(costs)) > 1
            else ("all of them cost the same to train")
        )
        yield f"It is taken because {cheaper}."
        return
    behind = metric.difference(winner.behind or 0.0, winner.behind_interval_95)
    yield (
        f"Trial {winner.number} is the cheapest of these: it takes "
        f"{(winner.cost or 0.0) / max(best.cost or 0.0, 1.0):.0%} of the arithmetic of "
        f"trial {best.number}, and is {behind} behind it."
    )


def _doubts(study: SweepStudy) -> Iterator[str]:
    num_diverged = sum(trial.status == "diverged" for trial in study.trials)
    if num_diverged:
        yield f"The training of {num_diverged} of the trials diverged."
    for trial in study.trials:
        if trial.number == study.winner and trial.rungs[-1].std is None:
            yield (
                "Each trial had one seed: other first weights and another order would "
                "rank near ones otherwise. --seeds=0,1,2 trains the last ones with each."
            )
    if (study.num_validation_examples or 0) < _FEW_TEXTS:
        yield (
            f"{study.num_validation_examples} validation texts tell little apart: with "
            "more of them (--validation_one_in, --validation_dataset) fewer trials would "
            "count as good as the best."
        )
    yield (
        "The best of many is the best by luck, too: what the trials came to on validation "
        f"is {METRICS[study.metric].better} than they would on new texts."
    )
