"""The stage that exports: trained weights become a version that a server takes.

    exported = publish.run(run, material, built, after, compared, pretrained)
    exported.facts().path       # with --export=false there are no facts

What is written, and how, is in `trainer/serving`. An export is checked twice before it
is published: its variables are those of the trained classifier, bit for bit; and its
answers to held-out texts are those that the trained classifier itself gave in the
evaluation, not those of a copy.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import Any, Iterator, Mapping, Sequence

import keras
import numpy as np

from trainer.data.strings import taken
from trainer.data.augmented import without_copies
from trainer.drift.reference import TrainingTexts, count_tokens
from trainer.evaluation import group_sentences, schema
from trainer.evaluation.schema import Doubt, ExportFacts

from trainer.modeling import adapters, ensemble, lora
from trainer.serving import export as exports
from trainer.serving.formats.exportable import Exportable
from trainer.stages import copies, start
from trainer.stages.baselines import Compared
from trainer.serving import promotion as promotions
from trainer.serving.promotion import Promotion
from trainer.stages.build import Built
from trainer.stages.challenge import Challenged
from trainer.stages.context import Run
from trainer.stages.measure import After
from trainer.stages.prepare import Material
from trainer.stages.pretrain import Pretrained

_logger = logging.getLogger(__name__)

# Texts the export is checked on, besides held-out ones.
_HOSTILE_TEXTS = (
    "",
    "   ",
    "\u200b\ufffd\x00",
    "caf\u00e9 na\u00efve \u03a3\u03a3 \u0130 \u4f60\u597d \U0001f600",
    "a" * 101,
    "[SEP] [CLS] [MASK]",
    "word " * 3000,
)
_CHECK_BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Exported:
    """The version that was published.

    Attributes:
      export: path, version, and what was measured of each format; None with --export=false.
      doubts: of the formats that were not published.
    """

    export: ExportFacts | None
    doubts: tuple[Doubt, ...]

    def facts(self) -> ExportFacts | None:
        """The report's `export`."""
        return self.export


def run(
    run: Run,
    material: Material,
    built: Built,
    after: After,
    compared: Compared,
    pretrained: Pretrained,
    challenged: Challenged,
    kept: schema.Kept | None,
    measured_groups: schema.Groups | None,
) -> Exported:
    """Publishes the weights in all formats wanted, checked against memory.

    Raises:
      ValueError: the export does not compute what the classifier does.
    """
    if not run.config.serving.export:
        run.stopwatch.lap("export_secs")
        return Exported(None, ())
    export = publish(
        run,
        material,
        [built.classifier],
        after,
        settings_in_words=built.settings_in_words,
        facts={
            **compared.public_facts(),
            **pretrained.public_facts(),
            "kept": kept and kept.sentence,
            "groups": (
                group_sentences.public(measured_groups) if measured_groups else []
            ),
            "champion": challenged.challenge and challenged.challenge.sentence,
            "start": built.start and dataclasses.asdict(built.start),
        },
        promotion=challenged.promotion,
    )
    run.stopwatch.lap("export_secs")
    return Exported(export, tuple(_refusals(export, run)))


def publish(
    run: Run,
    material: Material,
    trained: Sequence[keras.Model],
    after: After,
    *,
    settings_in_words: Mapping[str, str],
    facts: Mapping[str, Any],
    promotion: Promotion = promotions.ALWAYS,
) -> ExportFacts:
    """Publishes classifiers as one model: the only one, or an ensemble of several.

    Args:
      trained: with the weights to export.
      after: of what is exported: of an ensemble, all its logits are the ensemble's.
      settings_in_words: for the model card.
      facts: likewise, besides what run and material tell, or instead of it.
      promotion: whether the version is to serve.

    Raises:
      ValueError: the export does not compute what the classifiers do.
    """
    makers = tuple(
        functools.partial(copies.classifier, run.config.model, material, each)
        for each in trained
    )
    exportable = Exportable(
        make_classifiers=makers,
        preset=material.preset,
        encoder=material.encoder,
        label_names=material.label_names,
        bucket_lengths=material.bucket_lengths,
        decision=after.decision,
        data=run.config.data,
        task=run.task.name,
        scale=run.task.scale,
        seen_texts=start.seen(run.folder, material, is_ensemble=len(trained) > 1),
        adapter=(
            adapters.of(trained[0])
            if "peft" in run.config.serving.export_formats
            else None
        ),
        training=_training_texts(run, material),
        explains=run.config.serving.export_explain,
    )
    published = exports.publish(
        exportable,
        run.resolved.export_folder,
        config=run.config.serving,
        checks=_checks(
            run, material, trained, after, [make("float32") for make in makers]
        ),
        facts={**_manifest_facts(run, material, settings_in_words, after), **facts},
        promotion=promotion,
    )
    return schema.from_mapping(ExportFacts, published)


def _training_texts(run: Run, material: Material) -> TrainingTexts | None:
    """What the export keeps of them; None with --drift_reference=false.

    Nor where a text may have several labels: drift is told by a table of labels and
    answers, one of each a text.
    """
    if not run.config.serving.drift_reference:
        return None
    if not run.task.has_one_label:
        _logger.info(
            "no drift reference is kept: it is of models that give one label a text"
        )
        return None
    # As they come, without what was made of them.
    pool, train = without_copies(material.texts.pool, material.splits["train"])
    rows = train.rows
    num_unknown = material.tokens.count([material.encoder.unknown_id])
    counts = np.bincount(pool.labels[rows], minlength=len(material.label_names))
    return TrainingTexts(
        tokens=count_tokens(
            material.tokens.full_lengths[rows],
            material.tokens.lengths[rows],
            num_unknown[rows],
        ),
        labels=counts,
        held_out=held_out_split(material),
    )


def held_out_split(material: Material) -> str:
    """The split an export is checked on: training texts where nothing is held out."""
    return material.held_out or "train"


def _checks(
    run: Run,
    material: Material,
    trained: Sequence[keras.Model],
    after: After,
    copied_models: Sequence[keras.Model],
) -> exports.Checks:
    """Held-out texts with the trained classifiers' logits, and hostile texts.

    What a hostile text gives is asked of copies: of several workers the chief is alone
    here, and the steps that are compiled need all of them. Where nothing was held out
    the copies are asked for all.
    """
    split = held_out_split(material)
    rows = material.splits[split].rows
    # From all over it: a data set may hold one class after the other.
    count = min(run.config.serving.num_export_examples or len(rows), len(rows))
    chosen = np.linspace(0, len(rows) - 1, count).round().astype(np.int64)
    pool = material.texts.pool
    texts = taken(pool.texts, rows[chosen]).to_pylist()
    has_logits = split in after.logits
    asked = _HOSTILE_TEXTS if has_logits else (*texts, *_HOSTILE_TEXTS)
    logits = after.decision.ensemble_logits(
        [
            copies.logits(
                run,
                material,
                copied,
                asked,
                batch_size=_CHECK_BATCH_SIZE,
                name="export",
            )
            for copied in copied_models
        ]
    )
    if has_logits:
        logits = np.concatenate([after.logits[split][chosen], logits])
    return exports.Checks(
        texts=(*texts, *_HOSTILE_TEXTS),
        labels=pool.labels[rows[chosen]],
        probabilities=after.decision.probabilities(logits),
        weights=ensemble.named([lora.merged(each) for each in trained]),
        precision=run.runtime.precision,
        largest_logit=float(np.abs(after.decision.calibrated(logits)).max()),
        scale=run.task.scale,
    )


def _manifest_facts(
    run: Run, material: Material, settings_in_words: Mapping[str, str], after: After
) -> dict[str, Any]:
    """What manifest and model card say of the run."""
    is_number = after.decision.gives_numbers
    decision = dataclasses.asdict(
        after.number_decision() if is_number else after.decision_facts()
    )
    # Not where it was fitted: a choice made on a split is judged on another.
    measured_on = next(
        (name for name in ("test", "validation") if name in decision["quality"]), None
    )
    return {
        "title": title(run),
        "model": start.model_facts(run, material),
        "config": dataclasses.asdict(run.config),
        # The findings quote texts, which need not be anybody's to publish.
        "data": dataclasses.asdict(
            dataclasses.replace(material.facts(), findings=None)
        ),
        "doubts": [dataclasses.asdict(doubt) for doubt in after.doubts],
        "settings_in_words": dict(settings_in_words),
        "data_fingerprint": dict(material.fingerprint),
        "lora_init_sha256": material.adapter_sha256,
        "metrics": {
            split: {
                name: value
                for name, value in dataclasses.asdict(evaluation).items()
                if isinstance(value, (int, float))
                or name == "confidence_intervals_95"
                or (name in ("label_sets", "ordinal") and value)
            }
            for split, evaluation in after.facts().items()
        },
        "decision_split": decision["split"],
        "decision_measured_on": measured_on,
        "decision_quality": decision["quality"].get(measured_on),
        "checked_on": held_out_split(material),
        "samples": _public_samples(run.resolved.sample_texts, after),
    }


def _public_samples(texts: Sequence[str], after: After) -> list[dict[str, Any]]:
    """Texts to show beside the model, with its answers.

    Held-out texts are not among them: whoever publishes a model need not have the
    right, or the wish, to publish what is in its data.
    """
    return [
        (
            {"text": text, **dataclasses.asdict(answer)}
            if after.decision.gives_numbers
            else {"text": text, "label": answer.label, "score": answer.score}
        )
        for text, answer in zip(texts, after.answers, strict=True)
    ]


def title(run: Run) -> str:
    """What the run is called in its report and its model card."""
    return f"{run.config.model.preset} on {run.config.data.dataset}"


def _refusals(export: ExportFacts, run: Run) -> Iterator[Doubt]:
    """Of the formats that were not published."""
    reference, *others = map(dataclasses.asdict, export.formats)
    for measured in others:
        if measured["status"] == "refused":
            why = exports.too_lossy(
                measured,
                reference,
                config=run.config.serving,
                scale=run.task.scale,
            )
            yield Doubt(
                kind="refused_format",
                message=f"{measured['format']} was not published: {why}",
            )
