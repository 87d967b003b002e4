"""The last stage: answers, report and summary; and what a finished run does.

    report = record.unpublished(run, material, ...)     # the chief, before the export
    result = record.run(run, material, after, report, exported)     # and after it
    result = record.wait_for_chief(run)             # the other workers
    result = record.finished(folder, config, load)  # of a run that is asked again

report.json is written last: where it is, the run is finished. The page and the summary
are there before the export, which is checked and may be refused: hours of training do
not end without a report.

A finished run that is started again compares first. On other data it refuses, for its
results are not of these. With other settings of how the model is published (formats,
calibration, thresholds, abstaining), which a run may change, it goes through the
stages once more: nothing is left to train, so the best weights are measured, decided
on and published as a new version. Otherwise there is nothing to do.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import shlex
import statistics
import sys
from typing import Any, Literal, Mapping, Sequence, cast

from trainer import environment, run_folder, storage, trackers, wording
from trainer.config import (
    DataConfig,
    ExperimentConfig,
    LabellingConfig,
    ServingConfig,
    settings,
)
from trainer.data import source_files
from trainer.data.sources import Load
from trainer.evaluation import report as pages
from trainer.evaluation import doubts, number_report, schema, to_label
from trainer.evaluation.schema import Doubt
from trainer.messages import message
from trainer.run_folder import RunFolder
from trainer.serving.manifest import HELD
from trainer.stages import number_record, predictions, prepare, samples, start
from trainer.stages.baselines import Compared
from trainer.stages.build import Built
from trainer.stages.context import Run, Stopwatch
from trainer.stages.measure import After, Before
from trainer.stages.prepare import Material
from trainer.stages.pretrain import Pretrained
from trainer.stages.publish import Exported, title
from trainer.stages.remedies import Remedies
from trainer.stages.train import Trained
from trainer.trackers import TrackedRun

_logger = logging.getLogger(__name__)

AnyReport = schema.Report | schema.NumbersReport


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
      report: the content of report.json.
      report_path: the page to read, report.html.
      saved_model: the folder of the exported model; None: nothing is exported.
      summary: a small table for people, as text.
    """

    report: Mapping[str, Any]
    report_path: storage.Path
    saved_model: storage.Path | None
    summary: str


def unpublished(
    run: Run,
    material: Material,
    built: Built,
    before: Before,
    pretrained: Pretrained,
    trained: Trained,
    after: After,
    compared: Compared,
    challenge: schema.Challenge | schema.NumberChallenge | None,
    kept: schema.Kept | None,
    explanations: tuple[schema.Explanation, ...],
    groups: schema.Groups | None,
    error_causes: schema.ErrorCauses | None,
) -> AnyReport:
    """All but the export, and written: what a run that publishes again has, stays."""
    history, all_doubts = run.folder.history(), _doubts(run, after, kept, groups)
    common: dict[str, Any] = {
        "title": title(run),
        "status": "unpublished",
        "training": _training(material, built, trained),
        "data": material.facts(),
        "config": dataclasses.asdict(run.config),
        "environment": environment.facts(_reasons(run, built)),
        "timing": _timing(run.stopwatch, trained, history["train"]),
        "export": None,
        "paths": schema.Paths(
            report=str(run.folder.report_page),
            saved_model=None,
            predictions=predictions.paths(run.folder, after),
        ),
        "commands": schema.Commands(predict=None),
        "settings_in_words": built.settings_in_words,
        "pretraining": pretrained.facts(),
        "kept": kept,
        "champion": challenge,
        **compared.facts(),
    }
    if after.decision.gives_numbers:
        found = (run, material, before, after)
        of_numbers = number_record.report(
            *found, history=history, doubts=all_doubts, start=built.start, **common
        )
        return _with_pages(run, material, after, of_numbers)
    report = schema.Report(
        before=before.facts(),
        after=after.facts(),
        samples=samples.shown(run, material, before, after),
        decision=after.decision_facts(),
        warnings=doubts.messages(all_doubts),
        doubts=all_doubts,
        history=schema.from_mapping(schema.History, history),
        start=built.start,
        explanations=explanations,
        groups=groups,
        task=_task_of_labels(run),
        error_causes=error_causes,
        **common,
    )
    return _with_pages(run, material, after, report)


def _task_of_labels(run: Run) -> Literal["single_label", "multi_label", "ordinal"]:
    # The report of numbers is another.
    return cast(Literal["single_label", "multi_label", "ordinal"], run.task.name)


def _with_pages(
    run: Run, material: Material, after: After, report: AnyReport
) -> AnyReport:
    """The report, its pages written where none are yet."""
    if not run.folder.is_finished:
        predictions.write(run.folder, material, after)
        _write_pages(run.folder, **_pages_of(report))
        _logger.info("the results so far are in %s", run.folder.report_page)
    return report


def _training(
    material: Material, built: Built, trained: Trained
) -> schema.TrainingFacts:
    return schema.TrainingFacts(
        **trained.facts(),
        **built.facts(),
        class_weights=material.class_weights,
        reweighed=material.reweighed.cells if material.reweighed else (),
        lora_init_sha256=material.adapter_sha256,
    )


def _doubts(
    run: Run, after: After, kept: schema.Kept | None, groups: schema.Groups | None
) -> tuple[Doubt, ...]:
    """All before the export."""
    max_drop = run.config.kept.max_general_drop
    max_gap = run.config.serving.max_slice_gap
    return (
        *after.doubts,
        *doubts.of_kept(kept, max_drop=max_drop),
        *doubts.of_groups(groups, max_slice_gap=max_gap),
    )


def _reasons(run: Run, built: Built) -> tuple[str, ...]:
    """Sentences on what was chosen automatically."""
    of_model = filter(None, [built.compiled.reason, built.parts.reason])
    return (*run.runtime.reasons, *of_model)


def run(
    run: Run,
    material: Material,
    after: After,
    report: AnyReport,
    exported: Exported,
) -> RunResult:
    """Writes the results; the other workers learn that they are there.

    Args:
      report: as `unpublished` gave it.
    """
    if run.folder.is_finished:
        predictions.write(run.folder, material, after)
    published = _published(run, report, exported)
    _write(run.folder, published)
    trackers.record(run.config.trackers, _tracked(run, published))
    run.runtime.wait_for_all()
    return read(run.folder)


def _tracked(run: Run, report: AnyReport) -> TrackedRun:
    names: tuple[str, ...] = ("accuracy", "f1_macro", "mcc", "loss")
    of_simple = "accuracy"
    if isinstance(report, schema.NumbersReport):
        names, of_simple = ("mae", "rmse", "r2", "spearman", "loss"), "mae"
    measured = {
        f"{split}_{name}": getattr(evaluation, name)
        for split, evaluation in report.after.items()
        for name in names
    }
    simple = {
        f"{split}_{of_simple}_{name}": getattr(scores, of_simple)
        for name, baseline in report.baselines.items()
        for split in ("validation", "test")
        if (scores := getattr(baseline, split)) is not None
    }
    return TrackedRun(
        name=str(run.folder),
        settings={
            name: ",".join(value) if isinstance(value, tuple) else value
            for name, value in settings(run.config).items()
            if not wording.fields()[name].metadata["may_change"]
        },
        # What is undefined, as the correlation of a constant, is not told.
        metrics={
            name: value
            for name, value in {**measured, **simple}.items()
            if value is not None
        },
        logs=run.folder.logs,
        files=(run.folder.report_page, run.folder.report),
        saved_model=str(report.paths.saved_model),
    )


def _published(run: Run, report: AnyReport, exported: Exported) -> AnyReport:
    export = exported.facts()
    saved_model = export.path if export else None
    all_doubts = (*report.doubts, *exported.doubts)
    return dataclasses.replace(
        report,
        status="complete",
        warnings=doubts.messages(all_doubts),
        doubts=all_doubts,
        timing=schema.from_mapping(
            schema.Timing,
            {
                **dataclasses.asdict(report.timing),
                "export_secs": run.stopwatch.laps["export_secs"],
                **environment.peak_memory(),
            },
        ),
        export=export,
        paths=dataclasses.replace(report.paths, saved_model=saved_model),
        commands=schema.Commands(
            predict=(
                _predict_command(export.path, run.config.data)
                if export is not None and export.status != HELD
                else None
            )
        ),
    )


def _timing(
    stopwatch: Stopwatch, trained: Trained, records: Sequence[Mapping[str, Any]]
) -> schema.Timing:
    timing = {
        **stopwatch.laps,
        "train_steps_secs": trained.state.train_secs,
        "train_examples_per_sec": steady_rate(records),
        "input_wait_fraction": steady_input_wait(records),
        **environment.peak_memory(),
    }
    return schema.from_mapping(schema.Timing, timing)


def wait_for_chief(run: Run) -> RunResult:
    """What the chief writes, when it has: a worker's only wait without a limit.

    However long the chief exports, it is not taken for lost as long as it lives.
    """
    with run.runtime.watchdog.watching("the chief to export", patiently=True):
        run.runtime.wait_for_all()
    return read(run.folder)


def finished(
    folder: RunFolder, config: ExperimentConfig, load: Load
) -> RunResult | None:
    """The results of a finished run; None where there is something to publish again.

    Raises:
      ValueError: the data are not those of the run, or its weights are gone.
    """
    result = read(folder)
    texts = prepare.read_texts(
        config.data,
        seed=config.training.seed,
        pretraining=config.pretraining,
        load=load,
        may_replay=start.may_replay(folder, config.data, config.model),
        groups=Remedies(config.groups, config.checks.group_terms),
    )
    recorded = result.report["data"]
    folder.refuse_other_data(
        texts.fingerprint(),
        recorded["fingerprint"],
        files=source_files.row_counts(texts.source_facts),
        recorded_files=source_files.row_counts(recorded["source"]),
    )
    if config.checks.audit == "strict":
        prepare.look_at(texts, config.data, config.checks)
    changed = _unpublished(result.report["config"], config.serving)
    _refuse_to_label(config.labelling, result)
    if not changed:
        _logger.info("%s holds this run, finished: nothing to do", folder)
        return result
    if not folder.has_checkpoint:
        raise ValueError(
            message(
                f"--model_dir={folder} must have the weights of its run, to publish "
                f"with {', '.join(changed)}",
                received=f"no checkpoint in {folder.checkpoints}",
                mend="train again with another --model_dir, or leave these settings "
                "as they were",
            )
        )
    _logger.info("%s is finished: publishing again with %s", folder, ", ".join(changed))
    return None


def _refuse_to_label(config: LabellingConfig, result: RunResult) -> None:
    """Raises ValueError where a file is asked for that the run did not write."""
    place = config.export_to_label
    if not place or to_label.is_there(place):
        return
    model = result.saved_model or "SAVED_MODEL"
    inputs = config.unlabelled.removeprefix("files:")
    raise ValueError(
        message(
            "--export_to_label is written by a run that is not finished yet",
            received=f"{place}, and a finished run",
            mend=f"ask its model: python -m trainer.predict --saved_model={model} "
            f"--input={inputs} --export_to_label={place}",
        )
    )


def _unpublished(recorded: Mapping[str, Any], config: ServingConfig) -> list[str]:
    """The settings, as flags, with which the run was not published yet."""
    if not config.export:
        return []
    # What a run did not know yet, it did as the default has it.
    old = {**settings(ServingConfig()), **recorded["serving"]}
    return [
        f"--{name}={_as_flag(value)}"
        for name, value in settings(config).items()
        if _as_flag(old[name]) != _as_flag(value)
    ]


def _as_flag(value: Any) -> str:
    is_list = isinstance(value, (list, tuple))
    return ",".join(map(str, value)) if is_list else str(value)


def read(folder: RunFolder) -> RunResult:
    """The results of a finished run."""
    report = run_folder.read_json(folder.report)
    export = report["export"]
    return RunResult(
        report=report,
        report_path=folder.report_page,
        saved_model=storage.path(export["path"]) if export else None,
        summary=folder.summary.read_text(encoding="utf-8"),
    )


def _write(folder: RunFolder, report: AnyReport) -> None:
    """Writes the three files, the one that says that the run is finished last."""
    _write_files(folder, text=report.to_json(), **_pages_of(report))


def _pages_of(report: AnyReport) -> dict[str, str]:
    """All made before any is written: a report that cannot be made leaves nothing."""
    if isinstance(report, schema.NumbersReport):
        return {
            "page": number_report.render_html(report),
            "summary": number_report.summary_table(report),
        }
    return {
        "page": pages.render_html(report),
        "summary": pages.summary_table(report),
    }


def _write_files(folder: RunFolder, *, text: str, page: str, summary: str) -> None:
    # Published again, a run is not finished until all three say the same.
    storage.remove(folder.report)
    _write_pages(folder, page=page, summary=summary)
    storage.write_text(folder.report, text)


def _write_pages(folder: RunFolder, *, page: str, summary: str) -> None:
    storage.write_text(folder.report_page, page)
    storage.write_text(folder.summary, summary)


def _predict_command(saved_model: str, data: DataConfig) -> str:
    # Of pairs each text has a column, and a file of text lines has none.
    is_pair = bool(data.second_text_field)
    flags = [
        f"--saved_model={saved_model}",
        f"--input={'PAIRS.csv' if is_pair else 'TEXTS.txt'}",
        *([f"--text_field={data.text_field}"] if is_pair else []),
        *([f"--second_text_field={data.second_text_field}"] if is_pair else []),
        "--output=-",
    ]
    return shlex.join([_interpreter(), "-m", "trainer.predict", *flags])


def _interpreter() -> str:
    """This Python, as one would call it from the current folder."""
    executable, here = pathlib.Path(sys.executable), pathlib.Path.cwd()
    if executable.is_relative_to(here):
        return str(executable.relative_to(here))
    return str(executable)


def steady_rate(records: Sequence[Mapping[str, Any]]) -> float:
    """Training examples a second: the median over the log lines.

    The first one, during which pipelines fill and memory is allocated, is left out
    where there are others. What is compiled, is before all of them.
    """
    rates = [record["examples_per_sec"] for record in records]
    rate: float = statistics.median(rates[1:] or rates)
    return rate


def steady_input_wait(records: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of the training time in which steps waited for their batches.

    The mean over the log lines, without the first one as in `steady_rate`. An upper
    bound: devices that have work queued need not have waited when the host did. None:
    it was not measured, as on a TPU.
    """
    name = "input_wait_fraction"
    shares = [record[name] for record in records if name in record]
    return statistics.fmean(shares[1:] or shares) if shares else None
