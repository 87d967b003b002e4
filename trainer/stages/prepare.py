"""First stage: from rows to token ids and the plan of all batches.

    material = prepare.run(run)
    material.splits["test"].rows, material.tokens, material.plan.total_steps

Reads, splits, tokenizes; chooses the padded lengths; plans every step. The parts are
in `trainer/data`; here they are put in order.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from trainer import trackers
from trainer.config import (
    ChecksConfig,
    DataConfig,
    PretrainingConfig,
    TrainingConfig,
    settings,
)
from trainer.data import label_sets, plans, source_files, sources, splits, unlabelled
from trainer.data.audit.findings import Findings
from trainer.data.replay import MayReplay
from trainer.data.sources import Load, Sources
from trainer.data.class_weights import class_weights
from trainer.data.augmented import without_copies
from trainer.data.splits import Pool, Split
from trainer.data.tokens import TextEncoder, TokenizedTexts, encode_texts
from trainer.data.revealing import RevealingWord, revealing_words, sampled
from trainer.data.text_rows import TextRows
from trainer.data.unlabelled import Unlabelled
from trainer.evaluation import doubts, schema, slices
from trainer.evaluation.schema import DataFacts, Doubt
from trainer.modeling import adapters, attributions, presets
from trainer.modeling.adapters import Adapter
from trainer.modeling.presets import Preset
from trainer.runtime import agreement
from trainer.serving import formats
from trainer.groups.reweighing import Reweighed
from trainer.stages import look, pretraining_material, start
from trainer.stages.context import Run
from trainer.stages.look import LookedAt
from trainer.stages.pretraining_material import PretrainingMaterial
from trainer.stages.remedies import Remedies

_logger = logging.getLogger(__name__)

_PERCENTS = (5, 25, 50, 75, 95, 99)


@dataclasses.dataclass(frozen=True)
class Texts:
    """The labelled texts of a run, read and split.

    Attributes:
      label_names: the classes, in order.
      pool: all texts.
      splits: "train", and "validation" and "test" where there are any.
      source_facts: of the reading, JSON-able: see `Sources.facts`.
      reviewed: digests of texts whose label a person has reviewed.
      unlabelled: texts to train the encoder on first; None: without --pretrain_steps.
      reweighed: what a training text weighs by group and label; None: without
        --reweigh_by.
    """

    label_names: tuple[str, ...]
    pool: Pool
    splits: Mapping[str, Split]
    source_facts: Mapping[str, Any]
    reviewed: frozenset[bytes] = frozenset()
    unlabelled: Unlabelled | None = None
    reweighed: Reweighed | None = None

    def fingerprint(self) -> dict[str, str]:
        """A hash of texts and labels for each split, and of what has no labels."""
        result = splits.fingerprint(self.pool, self.splits)
        if self.unlabelled is not None:
            result["pretraining"] = self.unlabelled.fingerprint()
        if self.reweighed is not None:
            result["weights of the train"] = self.reweighed.fingerprint()
        return result


@dataclasses.dataclass(frozen=True)
class Material:
    """All that the model is trained and evaluated on.

    Attributes:
      preset: the pretrained model, its weights not yet loaded.
      encoder: makes token ids of texts.
      texts: the labelled texts.
      tokens: the token ids of `texts.pool`.
      bucket_lengths: the padded lengths, ascending.
      plan: the training batches of all epochs.
      class_weights: what a training example weighs, by label; None: all the same.
      reweighed: what it weighs by group and label besides; None: without --reweigh_by.
      data_facts: the report's `data`.
      doubts: what a user should know of the data before trusting the result.
      adapter: what LoRA begins with; None: it begins anew, or is off.
      pretraining: what the encoder is trained on first; None: without --pretrain_steps.
    """

    preset: Preset
    encoder: TextEncoder
    texts: Texts
    tokens: TokenizedTexts
    bucket_lengths: tuple[int, ...]
    plan: plans.TrainingPlan
    class_weights: Mapping[str, float] | None
    data_facts: DataFacts
    doubts: tuple[Doubt, ...]
    adapter: Adapter | None = None

    @property
    def adapter_sha256(self) -> str | None:
        """Of the file that LoRA begins with."""
        return None if self.adapter is None else self.adapter.sha256

    pretraining: PretrainingMaterial | None = None
    reweighed: Reweighed | None = None

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """A hash of each split's texts and labels."""
        return self.data_facts.fingerprint

    @property
    def files(self) -> dict[str, int]:
        """How many rows were read of each file, by its name."""
        return source_files.row_counts(self.texts.source_facts)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes, in order."""
        return self.texts.label_names

    @property
    def splits(self) -> Mapping[str, Split]:
        """Row numbers into the pool, by split."""
        return self.texts.splits

    @property
    def held_out(self) -> str | None:
        """The split that results are quoted on; None: no texts are held out."""
        return next(
            (name for name in ("test", "validation") if name in self.splits), None
        )

    def labels(self, split: str) -> np.ndarray:
        """Of a split; see `label_sets.pairs`."""
        labels: np.ndarray = self.texts.pool.labels[self.splits[split].rows]
        return labels

    def example_weights(self) -> np.ndarray | None:
        """float32 [n], of the training split; None if all weigh the same."""
        if self.class_weights is None:
            return None if self.reweighed is None else self.reweighed.weights
        by_label = [self.class_weights[name] for name in self.label_names]
        weights: np.ndarray = np.array(by_label, np.float32)[self.labels("train")]
        if self.reweighed is not None:
            weights = weights * self.reweighed.weights
            # Both have a mean of 1, their product need not.
            weights = weights / weights.mean()
        return weights

    def facts(self) -> DataFacts:
        """The report's `data`."""
        return self.data_facts


def run(run: Run) -> Material:
    """The data of the run, the same on all workers.

    Raises:
      ValueError: the data cannot be used, or workers differ; the message says where.
    """
    formats.check_installed(run.config.serving.export_formats)
    trackers.check_installed(run.config.trackers)
    with run.runtime.watchdog.working("reading and tokenizing the texts"):
        preset = presets.load_preset(run.config.model.preset)
        formats.check_preset(run.config.serving.export_formats, preset)
        adapter = _adapter(run, preset)
        material = make_material(
            run.config.data,
            run.config.training,
            preset,
            pretraining=run.config.pretraining,
            checks=_checks_of_worker(run),
            load=run.load,
            may_replay=start.may_replay(run.folder, run.config.data, run.config.model),
            groups=Remedies(run.config.groups, run.config.checks.group_terms),
        )
    material = dataclasses.replace(material, adapter=adapter)
    if run.config.serving.given_decision:
        # Refused before the training, if at all.
        run.task.given_decision(
            run.config.serving.decision_numbers, num_classes=len(material.label_names)
        )
    train = material.splits["train"]
    notes = [each.note for each in (train.replayed, train.augmented) if each]
    for line in (*run.runtime.reasons, *_summary(material), *notes):
        _logger.info("%s", line)
    if run.config.explain or run.config.serving.export_explain:
        attributions.require_mask(material.encoder)
    _refuse_differences(run, material)
    run.stopwatch.lap("prepare_data_secs")
    return material


def _adapter(run: Run, preset: Preset) -> Adapter | None:
    """What LoRA begins with: the run's own copy, where it has been started before."""
    config, kept = run.config.model, run.folder.adapter
    if not config.lora_init_from:
        return None
    folder = str(kept) if kept.is_dir() else config.lora_init_from
    _logger.info("LoRA begins with the adapter in %s", folder)
    adapter = adapters.read(folder, preset.kind)
    adapters.refuse_other_settings(adapter, config)
    return adapter


def make_material(
    config: DataConfig,
    training: TrainingConfig,
    preset: Preset,
    *,
    pretraining: PretrainingConfig = PretrainingConfig(),
    checks: ChecksConfig = ChecksConfig(),
    load: Load = sources.load,
    may_replay: MayReplay | None = None,
    groups: Remedies = Remedies(),
) -> Material:
    """Reads, splits and tokenizes the data, and plans the batches.

    Args:
      may_replay: as of `splits.make_splits`.
      groups: what is done about them before training.

    Raises:
      ValueError: the data cannot be used; the message says where and why.
    """
    texts = read_texts(
        config,
        seed=training.seed,
        pretraining=pretraining,
        load=load,
        may_replay=may_replay,
        groups=groups,
    )
    findings = look_at(texts, config, checks)
    encoder = make_encoder(config, preset)
    tokens = _encoded(texts, encoder, config)
    lengths = tokens.lengths[texts.splits["train"].rows]
    bucket_lengths = _bucket_lengths(config, lengths, preset)
    plan = _plan(training, lengths, bucket_lengths)
    facts = schema.from_mapping(
        DataFacts,
        {
            **_text_facts(texts, tokens, encoder),
            **_length_facts(plan, bucket_lengths, encoder),
            "findings": findings,
        },
    )
    return Material(
        preset=preset,
        encoder=encoder,
        texts=texts,
        tokens=tokens,
        bucket_lengths=bucket_lengths,
        plan=plan,
        class_weights=_class_weights(training, texts),
        reweighed=texts.reweighed,
        data_facts=facts,
        doubts=tuple(_doubts(config, training, texts, facts, plan.total_steps)),
        pretraining=_pretraining(
            pretraining, texts, preset, encoder, tokens, data=config, training=training
        ),
    )


def _class_weights(
    training: TrainingConfig, texts: Texts
) -> Mapping[str, float] | None:
    labels = texts.pool.labels[texts.splits["train"].rows]
    if label_sets.are_numbers(labels):
        return None
    return class_weights(training.class_weights, labels, texts.label_names)


def _text_facts(
    texts: Texts, tokens: TokenizedTexts, encoder: TextEncoder
) -> dict[str, Any]:
    """Where the texts come from, and what the splits hold."""
    return {
        **_split_facts(texts, tokens, encoder),
        "source": texts.source_facts,
        "fingerprint": texts.fingerprint(),
    }


def _length_facts(
    plan: plans.TrainingPlan,
    bucket_lengths: Sequence[int],
    encoder: TextEncoder,
) -> dict[str, Any]:
    """What the padded lengths are, and what they cost."""
    return {
        "bucket_lengths": bucket_lengths,
        "padded_fraction": plan.padded_fraction,
        "longest_text": encoder.longest_text,
    }


def _bucket_lengths(
    config: DataConfig, lengths: np.ndarray, preset: Preset
) -> tuple[int, ...]:
    return plans.choose_bucket_lengths(
        lengths,
        num_buckets=config.num_buckets,
        window_length=config.max_length,
        max_windows=config.num_windows,
        hidden_size=preset.hidden_size,
    )


def _pretraining(
    config: PretrainingConfig,
    texts: Texts,
    preset: Preset,
    encoder: TextEncoder,
    tokens: TokenizedTexts,
    *,
    data: DataConfig,
    training: TrainingConfig,
) -> PretrainingMaterial | None:
    if texts.unlabelled is None:
        return None
    return pretraining_material.make(
        config,
        texts.unlabelled,
        preset,
        encoder,
        data=data,
        training=training,
        pool_tokens=tokens if config.pretrain_on == "train" else None,
    )


def read_texts(
    config: DataConfig,
    *,
    seed: int,
    pretraining: PretrainingConfig = PretrainingConfig(),
    load: Load = sources.load,
    may_replay: MayReplay | None = None,
    groups: Remedies = Remedies(),
) -> Texts:
    """The labelled texts and their splits, and those without labels; no token ids yet.

    Args:
      may_replay: as of `splits.make_splits`.
      groups: whether copies with swapped words join the training split.

    Raises:
      ValueError: they cannot be used; the message says where and why.
    """
    read = load(config)
    pool, parts = splits.make_splits(
        read, config=config, seed=seed, may_replay=may_replay
    )
    others = None
    asks_for_copies = bool(groups.config.augment_counterfactuals)
    if pretraining.pretrain_steps or asks_for_copies:
        held_out = splits.held_out_digests(read, config=config)
    if pretraining.pretrain_steps:
        if pretraining.pretrain_on == "train":
            rows = parts["train"].rows
            others = unlabelled.of_pool(pool, rows, held_out=held_out)
        else:
            spec = pretraining.pretrain_dataset
            others = unlabelled.of_files(spec, config, held_out=held_out)
    if asks_for_copies:
        pool, parts["train"] = groups.with_swapped_copies(
            pool, parts["train"], held_out=held_out, seed=seed
        )
    notes = [*read.facts["notes"], *splits.notes(parts), *_fold_notes(config, read)]
    facts = {**read.facts, "notes": notes}
    weighed = groups.reweighed(
        pool, parts["train"], read.label_names, data=config, load=load
    )
    texts = Texts(read.label_names, pool, parts, facts, read.reviewed, others, weighed)
    # What the splits need they have; Arrow would keep the room of the rest.
    del read
    pa.default_memory_pool().release_unused()
    return texts


def _fold_notes(config: DataConfig, read: Sources) -> Iterator[str]:
    """What a reader should know of the test split of a fold."""
    if not config.num_folds:
        return
    yield f"test is fold {config.fold} of {config.num_folds} (from 0)"
    if "test" in read.splits:
        yield "the test set that the data set brings along is left out: it is no fold"


def look_at(texts: Texts, config: DataConfig, checks: ChecksConfig) -> Findings | None:
    """What --audit finds in the texts of a run; None if it is off.

    Raises:
      ValueError: there is what --audit=strict does not allow, or what a flag asks for
        cannot be looked at.
    """
    if checks.audit == "off":
        return None
    # What was read, not what was made of it.
    pool, train = without_copies(texts.pool, texts.splits["train"])
    parts = {**texts.splits, "train": train}
    looked_at = LookedAt(pool, parts, texts.label_names, texts.reviewed)
    findings = look.look(looked_at, config, checks, by_default=False)
    if checks.audit == "strict":
        look.refuse(findings)
    return findings


def make_encoder(config: DataConfig, preset: Preset) -> TextEncoder:
    """The tokenizer of a preset, with the config's way with long texts."""
    return preset.text_encoder(
        window_length=config.max_length,
        truncation=config.truncation,
        max_windows=config.num_windows,
        window_overlap=config.num_shared_tokens,
        reads_pairs=bool(config.second_text_field),
    )


def _encoded(texts: Texts, encoder: TextEncoder, config: DataConfig) -> TokenizedTexts:
    return encode_texts(
        texts.pool.texts,
        encoder,
        digests=texts.pool.digests,
        cache_dir=config.cache_dir,
        max_cache_bytes=round(config.max_cache_gb * 1e9),
    )


def _checks_of_worker(run: Run) -> ChecksConfig:
    """What all workers look for, which may refuse; the chief, who reports, the rest."""
    checks = run.config.checks
    return checks if run.runtime.is_chief else ChecksConfig(audit=checks.audit)


def _plan(
    config: TrainingConfig, lengths: np.ndarray, bucket_lengths: Sequence[int]
) -> plans.TrainingPlan:
    return plans.TrainingPlan(
        lengths,
        bucket_lengths,
        seed=config.seed,
        batch_size=config.global_batch_size,
        num_epochs=config.num_train_epochs,
        tokens_per_batch=config.tokens_per_batch,
    )


def _refuse_differences(run: Run, material: Material) -> None:
    """Raises ValueError on all workers where one has other settings or data."""
    if run.runtime.cluster is None:
        return
    # In words, in which workers' settings can be compared.
    values = {
        f"--{name}": repr(value) for name, value in settings(run.config).items()
    } | {
        f"the {name} split": fingerprint
        for name, fingerprint in material.fingerprint.items()
    }
    values["the adapter of --lora_init_from"] = str(material.adapter_sha256)
    # Patiently: one with a cold cache may take much longer than the others.
    with run.runtime.watchdog.watching(
        "all workers to prepare the data", patiently=True
    ):
        agreement.refuse_differences(run.runtime.strategy, run.runtime.cluster, values)


def _summary(material: Material) -> list[str]:
    """Two lines on what will be trained on, or three."""
    counts = ", ".join(
        f"{len(split)} {name}" for name, split in material.splits.items()
    )
    padded_fraction = material.data_facts.padded_fraction
    first = []
    if material.pretraining is not None:
        read = material.pretraining.read_facts
        first = [
            f"{material.pretraining.plan.total_steps} steps first to guess masked tokens "
            f"of {read['num_texts']} texts of {read['source']}; {read['num_held_out']} "
            "are left out, being validation or test texts"
        ]
    return [
        *first,
        f"{counts} texts; {_classes_in_words(material)}",
        f"{material.plan.total_steps} steps at padded lengths "
        f"{', '.join(map(str, material.bucket_lengths))}; "
        f"{padded_fraction:.1%} of the tokens are padding",
    ]


def _classes_in_words(material: Material) -> str:
    labels = material.labels("train")
    if label_sets.are_numbers(labels):
        return f"numbers from {labels.min():g} to {labels.max():g} in training"
    return f"classes {', '.join(material.label_names)}"


def _split_facts(
    texts: Texts, tokens: TokenizedTexts, encoder: TextEncoder
) -> dict[str, Any]:
    """What the splits hold, with the lengths of their texts."""
    result = splits.facts(texts.pool, texts.splits, texts.label_names)
    num_unknown = tokens.count([encoder.unknown_id])
    num_words = tokens.lengths - tokens.count(encoder.end_ids)
    for name, split in texts.splits.items():
        lengths = tokens.full_lengths[split.rows]
        unknown, words = num_unknown[split.rows], num_words[split.rows]
        values = np.percentile(lengths, _PERCENTS, method="inverted_cdf")
        result["splits"][name] |= {
            "length_percentiles": {str(p): int(v) for p, v in zip(_PERCENTS, values)},
            "truncated_fraction": float((lengths > encoder.longest_text).mean()),
            "unknown_fraction": float(unknown.sum() / max(words.sum(), 1)),
            "num_unknown_texts": int((unknown == words).sum()),
            "length_histogram": slices.length_histogram(
                lengths, longest_text=encoder.longest_text
            ),
        }
    return result


def _doubts(
    config: DataConfig,
    training: TrainingConfig,
    texts: Texts,
    facts: DataFacts,
    total_steps: int,
) -> Iterator[Doubt]:
    """What a user should know of the data before trusting the result."""
    split_facts = dataclasses.asdict(facts)
    yield from doubts.of_rows(texts.source_facts)
    if label_sets.are_numbers(texts.pool.labels):
        yield from doubts.of_splits(split_facts, has_classes=False)
    else:
        has_one_label = texts.pool.labels.ndim == 1
        yield from doubts.of_splits(split_facts, has_one_label=has_one_label)
        yield from doubts.of_words(_revealing_words(texts))
    yield from doubts.of_tokens(split_facts["splits"])
    if texts.reweighed:
        yield from doubts.of_weights(texts.reweighed.cells, texts.label_names)
    if facts.findings:
        yield from doubts.of_findings(facts.findings)
    limits = {name: config.num_eval_examples for name in texts.splits}
    limits["train"] = config.num_train_examples
    yield from doubts.of_draws(split_facts["splits"], limits)
    yield from doubts.of_training(
        total_steps=total_steps,
        global_batch_size=(
            0 if training.tokens_per_batch else training.global_batch_size
        ),
        num_train_examples=facts.splits["train"].num_examples,
    )


def _revealing_words(texts: Texts) -> list[RevealingWord]:
    pool, train = without_copies(texts.pool, texts.splits["train"])
    # Of millions of texts only those that are looked at are copied.
    rows = train.rows[sampled(len(train))]
    return revealing_words(
        TextRows(pool.texts, rows),
        pool.labels[rows],
        label_names=texts.label_names,
    )
