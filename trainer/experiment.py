"""The one place that puts the stages in order: config in, served-ready model out.

    result = run(config)
    result.report["after"]["test"]["accuracy"], result.saved_model

Read from top to bottom, `run` is the way of the data: rows → splits → token ids →
batches → steps → checkpoints → report → SavedModel. With --pretrain_steps the encoder
passes through steps twice: first to guess masked tokens, then to tell labels. Each stage
takes the run and the values of earlier stages, and gives one value (`trainer/stages`). A
run that was stopped resumes when `run` is called again with the same config; what one
that is finished does, `stages/record.py` says.

Of several workers all do the same up to the evaluation of the trained weights. Then
the first, the chief, exports and writes the results alone, and the others wait for it.
"""

from __future__ import annotations

import os

from trainer import run_folder, storage
from trainer.config import ExperimentConfig
from trainer.data import sources
from trainer.data.sources import Load
from trainer.runtime import cluster
from trainer.stages import (
    baselines,
    build,
    challenge,
    context,
    dry_run as dry_runs,
    explain,
    groups,
    kept,
    labelling,
    measure,
    prepare,
    pretrain,
    publish,
    record,
    train,
)
from trainer.run_folder import RunFolder
from trainer.stages.record import RunResult


def run(config: ExperimentConfig, *, load: Load = sources.load) -> RunResult:
    """Fine-tunes, evaluates, reports and exports, as the config says.

    Args:
      config: the settings.
      load: reads the rows, or has read them.

    Raises:
      ValueError: something the user gave does not fit; the message says what.
      FloatingPointError: training diverged.
      Preempted: the process was told to end (SIGTERM); what was done is saved.
      WorkerLost: another worker went away, hangs, or never came.
    """
    workers = cluster.find(os.environ)
    is_chief = workers is None or workers.is_chief
    with run_folder.opened(config.model_dir, is_chief=is_chief) as folder:
        run_folder.refuse_other_settings(
            folder.config, config, flag="model_dir", holds="run"
        )
        if folder.is_finished and (result := record.finished(folder, config, load)):
            return result
        with context.started(config, folder, load) as run:
            return _stages(run)


def dry_run(config: ExperimentConfig, *, load: Load = sources.load) -> str:
    """Says what `run` would take, and leaves no more than plan.json.

    Returns:
      A table.

    Raises:
      ValueError: something the user gave does not fit; the message says what.
    """
    folder = RunFolder(storage.path(config.model_dir))
    with context.started(config, folder, load) as run:
        return dry_runs.run(run)


def _stages(run: context.Run) -> RunResult:
    run = context.of_texts(run, (material := prepare.run(run)).labels("train"))
    champion = challenge.find(run, material)
    general, asked = kept.read(run, material), groups.read(run, material)
    candidates = labelling.read(run, material)
    built = build.run(run, material)
    started = kept.before(run, material, built, general)
    before = measure.before(run, material, built)
    simple = baselines.run(run, material, built)
    pretrained = pretrain.run(run, material, built)
    baselines.start_head(run, material, built)
    trained = train.run(run, material, built, watch=started.watch if started else None)
    after = measure.after(run, material, built)
    what_it_kept = kept.after(run, started, trained)
    causes = labelling.run(run, material, built, after, candidates)
    if not run.runtime.is_chief:
        return record.wait_for_chief(run)
    compared = baselines.compared(
        run, material, built, simple, pretrained, trained, after
    )
    on_groups = groups.run(run, material, built, after, asked)
    challenged = challenge.run(
        run, material, after, champion, columns=asked.columns, groups=on_groups
    )
    report = record.unpublished(
        *(run, material, built, before, pretrained, trained, after, compared),
        *(challenged.challenge, what_it_kept),
        *(explain.run(run, material, built, after), on_groups),
        causes,
    )
    exported = publish.run(
        *(run, material, built, after, compared, pretrained),
        *(challenged, what_it_kept, on_groups),
    )
    return record.run(run, material, after, report, exported)
