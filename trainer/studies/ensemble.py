"""The ensemble of a study of folds: one export that averages the folds' models.

    ensemble.publish(planned, folder, of_folds, load=load)
    ensemble.facts(folder).export.path      # STUDY_DIR/export/1

Its answer is by the mean over the models of their **probabilities**, not of their logits
(Lakshminarayanan et al. 2017), and then by the decision that was fitted out of fold: see
`Decision.ensemble_logits`. That decision was fitted to answers of one model each. Of the
ensemble there are none: each text was trained on by all of its models but one. So the
ensemble is not measured, unless the data set brings a test set along.

An export like any other: tokenizer once, weights once a model. `ensemble.json` is
written last. Where it has what would be published, nothing is done.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any, Mapping, Sequence

import keras

from trainer import run_folder, storage
from trainer.config import ServingConfig
from trainer.data.sources import Load
from trainer.evaluation import schema as reports
from trainer.evaluation.schema import ExportFacts
from trainer.modeling import classifier as classifiers
from trainer.run_folder import RunFolder
from trainer.serving import versions
from trainer.stages import build, context, measure, prepare, publish as publishing
from trainer.stages.context import Run
from trainer.stages.measure import After
from trainer.stages.prepare import Material
from trainer.studies.plan import FinishedRun, PlannedRun
from trainer.studies.schema import EnsembleFacts
from trainer.studies.study_folder import StudyFolder
from trainer.training import checkpoints

_logger = logging.getLogger(__name__)


def publish(
    planned: PlannedRun,
    folder: StudyFolder,
    of_folds: Sequence[FinishedRun],
    *,
    load: Load,
) -> None:
    """Publishes the next version in STUDY_DIR/export, unless that was done.

    Args:
      planned: a run on all texts, with the decision given, as far as it reads the data
        and exports; its --model_dir is the study's folder.
      of_folds: all folds, by number.
      load: reads the rows, or has read them.

    Raises:
      ValueError: weights of a run are gone, or the export does not compute what the
        models do; nothing is published.
      Preempted: the process was told to end (SIGTERM); the next start publishes.
    """
    made_of = _made_of(planned.config.serving, of_folds)
    if _is_published(folder, made_of):
        return
    _logger.info("study: %s", planned.name)
    with context.started(planned.config, RunFolder(folder.path), load) as run:
        material = prepare.run(run)
        models = [_trained(run, material, fold) for fold in of_folds]
        export = publishing.publish(
            run,
            material,
            models,
            _measured(run, material, models),
            settings_in_words=of_folds[0].report.settings_in_words,
            facts={
                "title": f"{publishing.title(run)}: an ensemble of {len(models)} models",
                "ensemble": made_of["models"],
            },
        )
    content = {"made_of": made_of, "export": dataclasses.asdict(export)}
    run_folder.write_kept(folder.ensemble, content)


def facts(folder: StudyFolder) -> EnsembleFacts:
    """What study.json has of the ensemble, which is published."""
    content = run_folder.read_json(folder.ensemble)
    export = reports.from_mapping(ExportFacts, content["export"])
    place = _place(folder, export.version)
    return EnsembleFacts(
        num_models=len(content["made_of"]["models"]),
        # Of a study whose folder was moved it has the old one.
        export=dataclasses.replace(export, path=str(place)),
    )


def _place(folder: StudyFolder, version: int) -> storage.Path:
    return RunFolder(folder.path).exports("") / str(version)


def _made_of(config: ServingConfig, of_folds: Sequence[FinishedRun]) -> dict[str, Any]:
    """What decides the export: models, decision, formats; as JSON has it."""
    content = {
        "models": [
            {
                "folder": f"runs/{run.planned.number:03}",
                "weights": run.report.training.weights,
                "step": run.report.training.best_step
                or run.report.training.num_steps_run,
            }
            for run in of_folds
        ],
        "serving": dataclasses.asdict(config),
    }
    made_of: dict[str, Any] = json.loads(json.dumps(content))
    return made_of


def _is_published(folder: StudyFolder, made_of: Mapping[str, Any]) -> bool:
    content = run_folder.read_kept(folder.ensemble)
    if content is None or content["made_of"] != made_of:
        return False
    return versions.is_version(_place(folder, content["export"]["version"]))


def _trained(run: Run, material: Material, fold: FinishedRun) -> keras.Model:
    """A fold's model, with the weights that its run chose."""
    with run.runtime.strategy.scope():
        classifier = classifiers.build_classifier(
            material.preset,
            num_classes=len(material.label_names),
            pooling=run.config.model.pooling,
            dropout=0.0,
            seed=0,
            separator_id=material.encoder.separator_id,
        )
        # Its checkpoint has what was trained beside the kernels.
        build.choose_trained(run.config.model, classifier, seed=0)
    of_fold = RunFolder(storage.path(fold.planned.config.model_dir))
    checkpoints.restore_chosen(
        of_fold.checkpoints,
        classifier,
        best_step=fold.report.training.best_step,
        io_device=run.runtime.io_device,
    )
    return classifier


def _measured(run: Run, material: Material, models: Sequence[keras.Model]) -> After:
    """The ensemble's answers to sample texts, and to what the data set brings along."""
    evaluators = build.make_evaluators(run, material)
    by_model = [
        measure.logits_of(
            run,
            material,
            evaluators,
            build.make_predict_step(run, model, fusion="none"),
        )
        for model in models
    ]
    decision = run.task.plain_decision(len(material.label_names))
    logits = {
        name: decision.ensemble_logits([each[name] for each in by_model])
        for name in by_model[0]
    }
    return measure.judged(
        run, material, evaluators, logits, doubts_so_far=material.doubts
    )
