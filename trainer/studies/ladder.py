"""The ladder: models from small to large, all else equal; which is large enough?

    KIND.plan(config, sources, finished)        # a run for each preset and seed; the last
    KIND.record(config, folder, finished)       # study.json, study.html, winner.flags

All are compared on validation, the simple baselines too (`choice.py`), and what is
taken is the smallest that is not shown to be worse than the best. The smallest such
fine-tuned one is trained once more and asked for the test texts, which nothing else is.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

import numpy as np

from trainer import run_folder, storage
from trainer.data.sources import Sources
from trainer.evaluation.schema import Interval, NumbersReport, Report
from trainer.modeling import presets
from trainer.run_folder import RunFolder
from trainer.stages import measure
from trainer.studies import (
    choice,
    ladder_page,
    number_files,
    scores,
    sweep_answers,
    sweep_plan,
)
from trainer.studies.choice import Answered, Candidate, Standing
from trainer.studies.plan import FinishedRun, Kind, PlannedRun
from trainer.studies.study_folder import StudyFolder
from trainer.studies.sweep import WINNER_FLAGS, chosen_facts
from trainer.studies.sweep_schema import LadderStudy, Model, Status
from trainer.study_config import StudyConfig
from trainer.tasks.single_label import SingleLabel

# Of the same encoder the simpler use first.
_KINDS = ("commonest", "median", "tfidf", "frozen", "fine_tuned")
# What a run of the ladder does not do; it exports, for size and latency.
_RUN_SETTINGS: Mapping[str, Any] = {
    name: value
    for name, value in sweep_plan.TRIAL_SETTINGS.items()
    if name not in ("export", "baselines")
}


class _Contestant(NamedTuple):
    """A model of the ladder, with its runs (of a simple one: those it was made in).

    runs: one a seed.
    """

    kind: str
    preset: str | None
    candidate: Candidate
    runs: tuple[FinishedRun, ...]


def plan(
    config: StudyConfig, read: Sources, finished: Sequence[FinishedRun] = ()
) -> tuple[PlannedRun, ...]:
    """A run for each preset and seed, the smallest model first; then the chosen one's.

    Raises:
      ValueError: a preset is not there, or is no BERT.
    """
    if not finished:
        # Or the last of them would be found wrong when all others are trained.
        for preset in config.presets:
            presets.load_preset(preset)
    planned = [
        PlannedRun(
            number=number,
            name=f"{preset}, seed {seed}",
            config=config.run(number, preset=preset, seed=seed, **_RUN_SETTINGS),
        )
        for number, (preset, seed) in enumerate(_runs(config))
    ]
    made = {run.planned.number for run in finished}
    if all(run.number in made for run in planned):
        contestants = _contestants(config, finished)
        _, winner, _ = _chosen(config, contestants)
        chosen = contestants[winner].preset
        number = len(planned)
        planned.append(
            PlannedRun(
                number=number,
                name=f"the chosen model, {chosen}, on test",
                config=config.run(number, preset=chosen, seed=config.run_seeds[0]),
            )
        )
    return tuple(planned)


def _runs(config: StudyConfig) -> list[tuple[str, int]]:
    return [(preset, seed) for preset in config.presets for seed in config.run_seeds]


def _contestants(
    config: StudyConfig, finished: Sequence[FinishedRun]
) -> list[_Contestant]:
    """The smallest first."""
    by_number = {run.planned.number: run for run in finished}
    seeds = len(config.run_seeds)
    found: list[_Contestant] = []
    for index, preset in enumerate(config.presets):
        runs = tuple(by_number[index * seeds + place] for place in range(seeds))
        parameters = float(runs[0].report.training.num_parameters)
        answered = tuple(map(sweep_plan.answered, runs))
        cost = (parameters, float(_KINDS.index("fine_tuned")))
        found.append(_Contestant("fine_tuned", preset, Candidate(answered, cost), runs))
        for kind in runs[0].report.baselines:
            # Those without an encoder are the same beside every preset.
            if kind != "frozen" and index:
                continue
            simple = tuple(
                _answered_by(kind, run, own) for run, own in zip(runs, answered)
            )
            size = parameters if kind == "frozen" else 0.0
            cost = (size, float(_KINDS.index(kind)))
            known = tuple(each for each in simple if each is not None)
            if len(known) == seeds:
                of = preset if kind == "frozen" else None
                found.append(_Contestant(kind, of, Candidate(known, cost), runs))
    return sorted(found, key=lambda each: each.candidate.cost)


def _answered_by(kind: str, run: FinishedRun, own: Answered) -> Answered | None:
    """What a run's baseline answered of the validation texts; None: it is not there.

    own: what the run's own model answered, in the same order.
    """
    if isinstance(run.report, NumbersReport):
        values = number_files.of_baseline(run, kind, "validation")
        if values is None or len(values) != len(own.labels):
            return None
        return choice.of_numbers(own.texts, np.asarray(own.labels, np.float64), values)
    folder = RunFolder(storage.path(run.planned.config.model_dir))
    recorded = run_folder.read_kept(folder.baseline(kind))
    if recorded is None:
        return None
    logits = measure.unpacked(recorded["answers"]["logits"].get("validation"))
    if logits is None or len(logits) != len(own.labels):
        return None
    decision = SingleLabel().plain_decision(logits.shape[1])
    labels = own.labels.astype(np.int64)
    right = decision.probabilities(logits)[np.arange(len(logits)), labels]
    return dataclasses.replace(
        own,
        predicted=decision.labels(logits),
        losses=-np.log(np.maximum(right, choice.LEAST_PROBABILITY)),
    )


def _chosen(
    config: StudyConfig, contestants: Sequence[_Contestant]
) -> tuple[int, int, tuple[Standing, ...]]:
    """The smallest good one, the smallest good fine-tuned one, and all standings."""
    num_classes = len(contestants[0].runs[0].report.data.label_names)

    def rank(some: Sequence[_Contestant]) -> tuple[Standing, ...]:
        return choice.rank(
            [each.candidate for each in some],
            metric=scores.chosen_by(config).name,
            num_classes=num_classes,
        )

    standings = rank(contestants)
    smallest = choice.cheapest([each.candidate for each in contestants], standings)
    tuned = [n for n, each in enumerate(contestants) if each.kind == "fine_tuned"]
    good = [number for number in tuned if standings[number].is_as_good]
    if good:
        return smallest, good[0], standings
    # Where a simple model beats all of them, they are compared among themselves.
    among = [contestants[number] for number in tuned]
    place = choice.cheapest([each.candidate for each in among], rank(among))
    return smallest, tuned[place], standings


def record(
    config: StudyConfig, folder: StudyFolder, finished: Sequence[FinishedRun]
) -> str:
    """Writes the results, and returns the closing table."""
    study = results(config, finished)
    last = max(finished, key=lambda run: run.planned.number)
    storage.write_text(folder.path / WINNER_FLAGS, sweep_plan.flagfile(last.planned))
    table = (
        f"{ladder_page.summary(study)}\n{'Report':<12}{folder.page}\n"
        f"{'Winner':<12}{folder.path / WINNER_FLAGS}\n"
    )
    storage.write_text(folder.page, ladder_page.render_html(study))
    storage.write_text(folder.summary, table)
    storage.write_text(folder.results, study.to_json())
    return table


def results(config: StudyConfig, finished: Sequence[FinishedRun]) -> LadderStudy:
    """What the runs came to."""
    metric = scores.chosen_by(config).name
    contestants = _contestants(config, finished)
    smallest, winner, standings = _chosen(config, contestants)
    models = tuple(
        _model(contestant, standing, _status(number, smallest, standing), metric)
        for number, (contestant, standing) in enumerate(zip(contestants, standings))
    )
    chosen = max(finished, key=lambda run: run.planned.number)
    study = LadderStudy(
        title=f"Ladder of {len(config.presets)} models on {config.data.dataset}",
        **chosen_facts(config, chosen, finished),
        smallest=models[smallest].name,
        winner=models[winner].name,
        models=models,
    )
    answers = _sentences(study, models[smallest], models[winner], chosen.report)
    return dataclasses.replace(study, answers=tuple(answers))


def _status(number: int, smallest: int, standing: Standing) -> Status:
    if number == smallest:
        return "winner"
    return "as_good" if standing.is_as_good else "behind"


def _model(
    contestant: _Contestant, standing: Standing, status: Status, metric: str
) -> Model:
    reports = [run.report for run in contestant.runs]
    is_tuned = contestant.kind == "fine_tuned"
    baselines = (
        [] if is_tuned else [each.baselines[contestant.kind] for each in reports]
    )
    export = reports[0].export if is_tuned else None
    formats = export.formats[0] if export else None
    memory = (
        [each.timing.peak_host_memory_bytes for each in reports]
        if is_tuned
        else [each.peak_memory_bytes or 0 for each in baselines]
    )
    return Model(
        name=_name(contestant, reports[0]),
        kind=contestant.kind,
        preset=contestant.preset,
        status=status,
        value=standing.value,
        std=standing.std,
        interval_95=_interval(contestant, reports[0], metric),
        behind=standing.behind,
        behind_interval_95=standing.behind_interval_95,
        num_parameters=int(contestant.candidate.cost[0]),
        train_secs=statistics.fmean(
            [each.timing.train_steps_secs for each in reports]
            if is_tuned
            else [each.secs for each in baselines]
        ),
        peak_memory_bytes=max(memory),
        export_bytes=formats.bytes if formats else None,
        latency_ms=formats.latency_ms if formats else None,
    )


def _name(contestant: _Contestant, report: Report | NumbersReport) -> str:
    if contestant.kind == "fine_tuned":
        return contestant.preset or ""
    title = report.baselines[contestant.kind].title
    return f"{title}: {contestant.preset}" if contestant.preset else title


def _interval(
    contestant: _Contestant, report: Report | NumbersReport, metric: str
) -> Interval | None:
    if contestant.kind == "fine_tuned":
        return report.after["validation"].confidence_intervals_95.get(metric)
    scores = report.baselines[contestant.kind].validation
    return scores.confidence_intervals_95.get(metric) if scores else None


def _sentences(
    study: LadderStudy, smallest: Model, winner: Model, report: Report | NumbersReport
) -> Iterator[str]:
    best = min(study.models, key=lambda model: model.behind)
    metric = scores.METRICS[study.metric]
    value = metric.shown(best.value)
    texts = f"{study.num_validation_examples or 0:,} validation texts"
    if smallest is best:
        yield (
            f"The best model, {best.name} ({metric.title} {value} on {texts}), is also the "
            "smallest that is not shown to be worse: every smaller one is."
        )
    else:
        behind = metric.difference(smallest.behind, smallest.behind_interval_95)
        yield (
            f"The smallest model that is not shown to be worse than the best is "
            f"{smallest.name}: on {texts} it is {behind} behind {best.name}, whose "
            f"{metric.title} is {value}."
        )
    if smallest.kind != "fine_tuned":
        yield (
            "So fine-tuning buys nothing that these texts can show. The fine-tuned model "
            f"to take, if one is wanted, is {winner.name}."
        )
    yield from sweep_answers.measured(study, is_same=True)
    if report.worth:
        yield report.worth
    yield (
        "Not shown to be worse is not as good: more validation texts would tell models "
        "apart that these do not. The models are compared with the best one text by text, "
        "and no correction is made for how many there are."
    )


KIND = Kind(plan=plan, record=record)
