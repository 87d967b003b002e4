"""Which runs a sweep makes: trials, rung after rung, and at the end the winner's.

    plan(config, sources, finished)     # as far as the finished ones tell
    sweep = follow(config, num_texts=1000, finished=finished)
    sweep.winner, runs_of(config, sweep)[-1].name

A trial is a function of (space, seed, number), and with --sampler=optuna of how earlier
trials did: `sweep_draws.py`. Who goes on from one
share of the texts to the next: `sweep_rungs.py`. Who wins: `choice.py`. No trial
answers the test texts or exports anything; the winner's run is made once more, with
both, under a number of its own.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any, Mapping, Sequence

from trainer import storage, wording
from trainer.config import ExperimentConfig
from trainer.data import splits
from trainer.data.sources import Sources
from trainer.evaluation.schema import NumbersReport, Report
from trainer.messages import message
from trainer.run_folder import RunFolder
from trainer.studies import (
    choice,
    number_files,
    scores,
    study_folder,
    sweep_draws,
    sweep_rungs,
)
from trainer.studies.choice import Candidate, Standing
from trainer.studies.plan import FinishedRun, PlannedRun
from trainer.studies.study_folder import StudyFolder
from trainer.studies.sweep_draws import Settings
from trainer.studies.sweep_rungs import Rung
from trainer.study_config import StudyConfig
from trainer.sweep_space import flag_value

# What no run does that is only made to choose.
TRIAL_SETTINGS: Mapping[str, Any] = {
    "evaluate_test": False,
    "export": False,
    "baselines": (),
    # Thresholds fitted on the texts that trials are compared on would flatter them.
    "decision_metric": "none",
    "abstain_accuracy": 0.0,
    "given_decision": (),
}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """How far a sweep has come, as its runs so far tell.

    Attributes:
      trials: their settings, as far as they are known.
      rungs: all of them.
      entrants: of each rung that was reached, the numbers of the trials on it.
      runs: the finished ones, by number.
      candidates: of the last rung, by trial, when all of it is finished: those that did
        not diverge.
      standings: likewise.
      winner: the number of a trial; None: it is not known yet, or all diverged.
    """

    trials: tuple[Settings, ...]
    rungs: tuple[Rung, ...]
    entrants: tuple[tuple[int, ...], ...]
    runs: Mapping[int, FinishedRun]
    candidates: Mapping[int, Candidate]
    standings: Mapping[int, Standing]
    winner: int | None

    @property
    def winner_run(self) -> int:
        """The number of the run that is made of the winner."""
        return self.rungs[-1].first_run + self.rungs[-1].num_runs

    def run_numbers(self, rung: int, trial: int) -> tuple[int, ...]:
        """The runs of a trial on a rung that it is on, one a seed."""
        place = self.entrants[rung].index(trial)
        of_rung = self.rungs[rung]
        return tuple(of_rung.run_number(place, seed) for seed in of_rung.seeds)

    def finished(self, rung: int, trial: int) -> tuple[FinishedRun, ...] | None:
        """The same, finished; None where one is not, or diverged."""
        numbers = self.run_numbers(rung, trial)
        if not all(number in self.runs for number in numbers):
            return None
        return tuple(self.runs[number] for number in numbers)


def plan(
    config: StudyConfig, read: Sources, finished: Sequence[FinishedRun] = ()
) -> tuple[PlannedRun, ...]:
    """The trials of the rungs reached so far; at the end the winner's run.

    Raises:
      ValueError: settings of a trial do not go together.
    """
    if not config.axes:
        return ()
    num_texts = _num_texts(config, read)
    return runs_of(config, follow(config, num_texts=num_texts, finished=finished))


def runs_of(config: StudyConfig, sweep: Sweep) -> tuple[PlannedRun, ...]:
    """The runs that are known so far, by number."""
    planned = [
        _trial_run(config, sweep, rung, trial, seed)
        for rung, entrants in enumerate(sweep.entrants)
        for trial in entrants
        for seed in sweep.rungs[rung].seeds
    ]
    if sweep.winner is not None:
        planned.append(
            PlannedRun(
                number=sweep.winner_run,
                name=f"the winner, trial {sweep.winner}, on test",
                config=winner_config(config, sweep),
            )
        )
    return tuple(planned)


def follow(
    config: StudyConfig,
    *,
    num_texts: int,
    finished: Sequence[FinishedRun],
) -> Sweep:
    """How far the sweep is; runs that diverged are those that the folder names.

    Args:
      num_texts: to train on at most.
      finished: in any order.
    """
    folder = study_folder.at(config.study_dir)
    rungs = sweep_rungs.rungs_of(
        num_trials=config.num_trials,
        shares=config.rung_shares,
        sizes=[max(1, round(share * num_texts)) for share in config.rung_shares],
        seeds=config.run_seeds,
        keep_fraction=config.keep_fraction,
    )
    runs = {run.planned.number: run for run in finished}
    trials = _trials(config, rungs[0], runs)
    entrants = [tuple(range(len(trials)))]
    for index in range(len(rungs)):
        sweep = Sweep(trials, rungs, tuple(entrants), runs, {}, {}, None)
        numbers = [
            number
            for trial in entrants[index]
            for number in sweep.run_numbers(index, trial)
        ]
        if len(trials) < config.num_trials or not _is_over(folder, numbers, runs):
            return sweep
        through = {
            trial: made
            for trial in entrants[index]
            if (made := sweep.finished(index, trial)) is not None
        }
        if index == len(rungs) - 1:
            return _decided(config, sweep, through)
        found = {
            trial: statistics.fmean(_score(config, run.report) for run in made)
            for trial, made in through.items()
        }
        keep = rungs[index + 1].num_trials
        entrants.append(sweep_rungs.survivors(found, keep=keep))
    return sweep


def _is_over(
    folder: StudyFolder, numbers: Sequence[int], runs: Mapping[int, FinishedRun]
) -> bool:
    """Whether each of the runs is finished or diverged."""
    return all(
        number in runs or folder.why_diverged(number) is not None for number in numbers
    )


def _trials(
    config: StudyConfig, rung: Rung, runs: Mapping[int, FinishedRun]
) -> tuple[Settings, ...]:
    """As far as they are known: Optuna's wait for the results of earlier ones."""
    num_trials, seed = config.num_trials, config.training.seed
    if config.sampler == "sobol":
        return sweep_draws.draw(config.axes, num_trials=num_trials, seed=seed)
    return sweep_draws.draw_by_optuna(
        config.axes,
        num_trials=num_trials,
        seed=seed,
        scores=_scores(config, rung, runs),
    )


def _scores(
    config: StudyConfig, rung: Rung, runs: Mapping[int, FinishedRun]
) -> dict[int, float | None]:
    """Of the trials before the first one that is not over; None: it diverged.

    Later ones are left out: nothing is drawn from them yet, and to look for each in a
    distant folder takes time.
    """
    folder = study_folder.at(config.study_dir)
    found: dict[int, float | None] = {}
    for trial in range(rung.num_trials):
        numbers = [rung.run_number(trial, seed) for seed in rung.seeds]
        if not _is_over(folder, numbers, runs):
            break
        found[trial] = (
            statistics.fmean(_score(config, runs[number].report) for number in numbers)
            if all(number in runs for number in numbers)
            else None
        )
    return found


def _decided(
    config: StudyConfig,
    sweep: Sweep,
    through: Mapping[int, tuple[FinishedRun, ...]],
) -> Sweep:
    """With the last rung's standings."""
    if not through:
        return sweep
    candidates = {
        trial: Candidate(tuple(map(answered, made)), _costs(made[0].report))
        for trial, made in through.items()
    }
    standings = choice.rank(
        list(candidates.values()),
        metric=scores.chosen_by(config).name,
        num_classes=len(next(iter(through.values()))[0].report.data.label_names),
    )
    place = choice.cheapest(list(candidates.values()), standings)
    return dataclasses.replace(
        sweep,
        candidates=candidates,
        standings=dict(zip(candidates, standings)),
        winner=list(candidates)[place],
    )


def answered(run: FinishedRun) -> choice.Answered:
    """What a run answered of the validation texts."""
    if isinstance(run.report, NumbersReport):
        given = number_files.read(run, "validation")
        return choice.of_numbers(given.places, given.numbers, given.values)
    folder = RunFolder(storage.path(run.planned.config.model_dir))
    return choice.read(folder.predictions("validation"), run.report.data.label_names)


def _costs(report: Report | NumbersReport) -> tuple[float, ...]:
    """What makes one trial cheaper than another: see `cost`. Then the smaller model."""
    return cost(report), float(report.training.num_parameters)


def cost(report: Report | NumbersReport) -> float:
    """A measure of a training's arithmetic, the same whenever it is made.

    Seconds would be another number at each start, and with them the winner.
    """
    training = report.training
    epochs: int = report.config["training"]["num_train_epochs"]
    seen = training.num_train_examples * epochs
    share = training.num_steps_run / training.total_steps
    longest = max(report.data.bucket_lengths)
    return float(seen * share * training.num_parameters * longest)


def _score(config: StudyConfig, report: Report | NumbersReport) -> float:
    """Higher is better."""
    metric = scores.chosen_by(config)
    return metric.sign * scores.value_of(report, metric, "validation")


def _trial_run(
    config: StudyConfig, sweep: Sweep, rung: int, trial: int, seed: int
) -> PlannedRun:
    of_rung = sweep.rungs[rung]
    number = of_rung.run_number(sweep.entrants[rung].index(trial), seed)
    settings = {**sweep.trials[trial], **TRIAL_SETTINGS}
    return PlannedRun(
        number=number,
        name=f"trial {trial} on {of_rung.size:,} texts, seed {seed}: "
        f"{in_words(sweep.trials[trial])}",
        config=_run(
            config,
            number,
            trial,
            {**settings, "num_train_examples": of_rung.size, "seed": seed},
        ),
    )


def winner_config(config: StudyConfig, sweep: Sweep) -> ExperimentConfig:
    """The winner's run, in its place within the study: as the base, all is done."""
    trial = sweep.winner or 0
    settings = {**sweep.trials[trial], "seed": config.run_seeds[0]}
    return _run(config, sweep.winner_run, trial, settings)


def _run(
    config: StudyConfig, number: int, trial: int, settings: Settings
) -> ExperimentConfig:
    try:
        return config.run(number, **settings)
    except ValueError as error:
        raise ValueError(
            message(
                "the settings of every trial must go together",
                received=f"trial {trial}, of which a run says: {error}",
                mend="change --sweep, or what it does not go with",
            )
        ) from error


def in_words(settings: Settings) -> str:
    """ "learning_rate=4.472e-05, num_train_epochs=3"."""
    return ", ".join(f"{name}={flag_value(each)}" for name, each in settings.items())


def _num_texts(config: StudyConfig, read: Sources) -> int:
    _, parts = splits.make_splits(
        read,
        config=dataclasses.replace(config.data, num_train_examples=0),
        seed=config.run_seeds[0],
    )
    available = parts["train"].num_new
    return min(config.data.num_train_examples or available, available)


def flagfile(planned: PlannedRun) -> str:
    """A run's settings as `trainer.main --flagfile` takes them."""
    config = dataclasses.asdict(planned.config)
    lines = wording.flag_lines(config, all_of_them=False)
    return "".join(f"{line}\n" for line in lines)
