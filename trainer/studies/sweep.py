"""The sweep: which settings to take, chosen on validation, judged on test once.

    KIND.plan(config, sources, finished)        # trials, rung after rung; the winner
    KIND.record(config, folder, finished)       # study.json, study.html, winner.flags

The runs are planned in `sweep_plan.py`, the choice is made in `choice.py`, the page in
`sweep_page.py`.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from typing import Any, Mapping, Sequence

from trainer import environment, json_text, storage
from trainer.data import sources
from trainer.evaluation import schema as reports
from trainer.stages import range_test
from trainer.studies import (
    range_curve,
    scores,
    sweep_answers,
    sweep_effects,
    sweep_page,
    sweep_plan,
)
from trainer.studies.plan import FinishedRun, Kind
from trainer.studies.scores import Metric
from trainer.studies.study_folder import StudyFolder
from trainer.studies.sweep_plan import Sweep
from trainer.studies.sweep_schema import (
    ChoiceRun,
    Effect,
    RangeTest,
    RungFacts,
    Status,
    SweepStudy,
    Trial,
)
from trainer.study_config import StudyConfig

WINNER_FLAGS = "winner.flags"
_RANGE_TEST = "range_test.json"
_RANGE_TEST_STEPS = 100
# How far below and above --learning_rate a range test looks.
_RANGE_FACTOR = 100.0


def record(
    config: StudyConfig, folder: StudyFolder, finished: Sequence[FinishedRun]
) -> str:
    """Writes the results, and returns the closing table.

    Raises:
      FloatingPointError: every trial diverged.
    """
    ranged = _range_test(config, folder) if config.range_test else None
    study = results(config, finished, ranged)
    if study.flagfile is not None:
        (winner,) = (run for run in finished if run.planned.number == study.chosen_run)
        text = sweep_plan.flagfile(winner.planned)
        storage.write_text(folder.path / study.flagfile, text)
    table = f"{sweep_page.summary(study)}\n{'Report':<12}{folder.page}\n"
    if study.flagfile is not None:
        table += f"{'Winner':<12}{folder.path / study.flagfile}\n"
    storage.write_text(folder.page, sweep_page.render_html(study))
    storage.write_text(folder.summary, table)
    storage.write_text(folder.results, study.to_json())
    return table


def results(
    config: StudyConfig, finished: Sequence[FinishedRun], ranged: RangeTest | None
) -> SweepStudy:
    """What the runs came to.

    Args:
      ranged: of --range_test.

    Raises:
      FloatingPointError: every trial diverged.
    """
    if not config.axes:
        return _range_alone(config, ranged)
    sizes = [run.planned.num_train_examples for run in finished]
    sweep = sweep_plan.follow(
        config, num_texts=max(sizes, default=1), finished=finished
    )
    if sweep.winner is None:
        raise FloatingPointError(
            "every trial of the last rung diverged: sweep lower learning rates, with "
            "another --study_dir"
        )
    metric = scores.chosen_by(config)
    chosen = sweep.runs[sweep.winner_run]
    trials = tuple(_trial(sweep, trial, metric) for trial in range(len(sweep.trials)))
    effects, no_effects = _effects(config, sweep, trials)
    study = SweepStudy(
        title=f"Sweep: {chosen.report.title}",
        **chosen_facts(config, chosen, finished),
        winner=sweep.winner,
        trials=trials,
        effects=effects,
        no_effects=no_effects,
        range_test=ranged,
    )
    return dataclasses.replace(
        study,
        answers=sweep_answers.sentences(study, is_same=_is_same_training(sweep)),
    )


def _range_alone(config: StudyConfig, ranged: RangeTest | None) -> SweepStudy:
    """Of a study that sweeps nothing."""
    return SweepStudy(
        study=config.study,
        title=f"Range test: {config.model.preset} on {config.data.dataset}",
        answers=ranged.sentences if ranged else (),
        metric=scores.chosen_by(config).name,
        split=None,
        num_examples=None,
        num_validation_examples=None,
        mean=None,
        std=None,
        interval_95=None,
        chosen_run=None,
        flagfile=None,
        runs=(),
        config=dataclasses.asdict(config),
        environment=environment.facts(()),
        winner=None,
        trials=(),
        effects=(),
        no_effects=None,
        range_test=ranged,
    )


def chosen_facts(
    config: StudyConfig, chosen: FinishedRun, finished: Sequence[FinishedRun]
) -> dict[str, Any]:
    """What every study that chooses says of the run of what was chosen.

    Returns:
      The fields of `Chosen` but for the title; the answers are still to come.
    """
    metric = scores.chosen_by(config)
    split = "test" if "test" in chosen.report.after else "validation"
    after = chosen.report.after[split]
    return {
        "study": config.study,
        "answers": (),
        "metric": metric.name,
        "split": split,
        "num_examples": after.num_examples,
        "num_validation_examples": chosen.report.after["validation"].num_examples,
        "mean": scores.value_of(chosen.report, metric, split),
        "std": None,
        "interval_95": after.confidence_intervals_95.get(metric.name),
        "chosen_run": chosen.planned.number,
        "flagfile": WINNER_FLAGS,
        "runs": tuple(_choice_run(run, metric) for run in finished),
        "config": dataclasses.asdict(config),
        "environment": chosen.report.environment,
    }


def _choice_run(run: FinishedRun, metric: Metric) -> ChoiceRun:
    """What study.json says of a run."""
    return ChoiceRun(
        number=run.planned.number,
        name=run.planned.name,
        folder=f"runs/{run.planned.number:03}",
        num_train_examples=run.report.training.num_train_examples,
        seed=run.planned.config.training.seed,
        value=scores.value_of(run.report, metric, "validation"),
        secs=run.secs,
    )


def _trial(sweep: Sweep, trial: int, metric: Metric) -> Trial:
    rungs = tuple(
        _rung_facts(sweep, rung, trial, metric)
        for rung, entrants in enumerate(sweep.entrants)
        if trial in entrants
    )
    made = sweep.finished(len(rungs) - 1, trial)
    standing = sweep.standings.get(trial)
    return Trial(
        number=trial,
        settings=sweep.trials[trial],
        status=_status(sweep, trial, diverged=made is None),
        rungs=rungs,
        behind=standing.behind if standing else None,
        behind_interval_95=standing.behind_interval_95 if standing else None,
        cost=sweep_plan.cost(made[0].report) if made and standing else None,
        train_secs=(
            statistics.fmean(run.report.timing.train_steps_secs for run in made)
            if made and standing
            else None
        ),
    )


def _status(sweep: Sweep, trial: int, *, diverged: bool) -> Status:
    if diverged:
        return "diverged"
    if trial == sweep.winner:
        return "winner"
    standing = sweep.standings.get(trial)
    if standing is None:
        return "left_out"
    return "as_good" if standing.is_as_good else "behind"


def _rung_facts(sweep: Sweep, rung: int, trial: int, metric: Metric) -> RungFacts:
    made = sweep.finished(rung, trial)
    values = [scores.value_of(run.report, metric, "validation") for run in made or ()]
    return RungFacts(
        share=sweep.rungs[rung].share,
        num_train_examples=sweep.rungs[rung].size,
        value=statistics.fmean(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        runs=sweep.run_numbers(rung, trial),
    )


def _effects(
    config: StudyConfig, sweep: Sweep, trials: Sequence[Trial]
) -> tuple[tuple[Effect, ...], str | None]:
    sign = scores.chosen_by(config).sign
    known = [trial for trial in trials if trial.rungs[0].value is not None]
    return sweep_effects.effects_of(
        config.axes,
        [trial.settings for trial in known],
        [sign * (trial.rungs[0].value or 0.0) for trial in known],
    )


def _is_same_training(sweep: Sweep) -> bool:
    """Whether the winner's own run went as its trial's did, to the bit."""
    made = sweep.finished(len(sweep.rungs) - 1, sweep.winner or 0)
    if made is None:
        return False
    histories = [
        [(each.step, each.loss) for each in run.report.history.validation]
        for run in (made[0], sweep.runs[sweep.winner_run])
    ]
    return histories[0] == histories[1]


def _range_test(config: StudyConfig, folder: StudyFolder) -> RangeTest:
    """Made once; a study that continues has it."""
    place = folder.path / _RANGE_TEST
    if place.is_file():
        content: Mapping[str, Any] = json_text.parse(place.read_text(encoding="utf-8"))
        return reports.from_mapping(RangeTest, content)
    rate = config.optimizer.learning_rate
    rates, losses = range_test.run(
        config.run(0, seed=config.run_seeds[0]),
        low=rate / _RANGE_FACTOR,
        high=rate * _RANGE_FACTOR,
        num_steps=_RANGE_TEST_STEPS,
        load=sources.load,
    )
    curve = range_curve.suggest(rates, losses)
    storage.write_text(place, json.dumps(dataclasses.asdict(curve)) + "\n")
    return curve


KIND = Kind(plan=sweep_plan.plan, record=record, keeps_diverged=True)
