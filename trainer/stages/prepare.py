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

from trainer.config import DataConfig, ExperimentConfig, TrainingConfig, settings
from trainer.data import plans, sources, splits
from trainer.data.class_weights import class_weights
from trainer.data.splits import Pool, Split
from trainer.data.tokens import TextEncoder, TokenizedTexts, encode_texts
from trainer.evaluation import schema
from trainer.evaluation.schema import DataFacts
from trainer.modeling import presets
from trainer.modeling.presets import Preset
from trainer.runtime import agreement
from trainer.serving import formats
from trainer.stages.context import Run

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
    """

    label_names: tuple[str, ...]
    pool: Pool
    splits: Mapping[str, Split]
    source_facts: Mapping[str, Any]

    def fingerprint(self) -> dict[str, str]:
        """A hash of texts and labels for each split."""
        return splits.fingerprint(self.pool, self.splits)


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
      data_facts: the report's `data`.
      warnings: what a user should know before trusting the result, in sentences.
    """

    preset: Preset
    encoder: TextEncoder
    texts: Texts
    tokens: TokenizedTexts
    bucket_lengths: tuple[int, ...]
    plan: plans.TrainingPlan
    class_weights: Mapping[str, float] | None
    data_facts: DataFacts
    warnings: tuple[str, ...]

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """A hash of each split's texts and labels."""
        return self.data_facts.fingerprint

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes, in order."""
        return self.texts.label_names

    @property
    def splits(self) -> Mapping[str, Split]:
        """Row numbers into the pool, by split."""
        return self.texts.splits

    def labels(self, split: str) -> np.ndarray:
        """int32 [n], of a split."""
        labels: np.ndarray = self.texts.pool.labels[self.splits[split].rows]
        return labels

    def example_weights(self) -> np.ndarray | None:
        """float32 [n], of the training split; None if all weigh the same."""
        if self.class_weights is None:
            return None
        by_label = [self.class_weights[name] for name in self.label_names]
        weights: np.ndarray = np.array(by_label, np.float32)[self.labels("train")]
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
    preset = presets.load_preset(run.config.model.preset)
    material = make_material(run.config.data, run.config.training, preset)
    for line in (*run.runtime.reasons, *_summary(material)):
        _logger.info("%s", line)
    _refuse_differences(run, material)
    run.stopwatch.lap("prepare_data_secs")
    return material


def make_material(
    config: DataConfig, training: TrainingConfig, preset: Preset
) -> Material:
    """Reads, splits and tokenizes the data, and plans the batches.

    Raises:
      ValueError: the data cannot be used; the message says where and why.
    """
    texts = read_texts(config, seed=training.seed)
    weights = class_weights(
        training.class_weights,
        texts.pool.labels[texts.splits["train"].rows],
        texts.label_names,
    )
    encoder = make_encoder(config, preset)
    tokens = encode_texts(
        texts.pool.texts,
        encoder,
        digests=texts.pool.digests,
        cache_dir=config.cache_dir,
    )
    lengths = tokens.lengths[texts.splits["train"].rows]
    bucket_lengths = plans.choose_bucket_lengths(
        lengths,
        num_buckets=config.num_buckets,
        window_length=config.max_length,
        max_windows=config.num_windows,
        hidden_size=preset.hidden_size,
    )
    plan = _plan(training, lengths, bucket_lengths)
    facts = schema.from_mapping(
        DataFacts,
        {
            **_split_facts(texts, tokens, encoder),
            "source": texts.source_facts,
            "fingerprint": texts.fingerprint(),
            "bucket_lengths": bucket_lengths,
            "padded_fraction": plans.padded_fraction(
                plan.from_step(0), lengths, bucket_lengths
            ),
        },
    )
    return Material(
        preset=preset,
        encoder=encoder,
        texts=texts,
        tokens=tokens,
        bucket_lengths=bucket_lengths,
        plan=plan,
        class_weights=weights,
        data_facts=facts,
        warnings=tuple(_warnings(config, training, facts)),
    )


def read_texts(config: DataConfig, *, seed: int) -> Texts:
    """The labelled texts and their splits, not yet tokenized.

    Raises:
      ValueError: they cannot be used; the message says where and why.
    """
    read = sources.load(config)
    pool, parts = splits.make_splits(read, config=config, seed=seed)
    notes = [*read.facts["notes"], *_notes(parts)]
    texts = Texts(read.label_names, pool, parts, {**read.facts, "notes": notes})
    # What the splits need they have; Arrow would keep the room of the rest.
    del read
    pa.default_memory_pool().release_unused()
    return texts


def make_encoder(config: DataConfig, preset: Preset) -> TextEncoder:
    """The tokenizer of a preset, with the config's way with long texts."""
    return TextEncoder(
        preset.vocabulary,
        lowercase=preset.lowercase,
        strip_accents=preset.strip_accents,
        window_length=config.max_length,
        truncation=config.truncation,
        max_windows=config.num_windows,
        window_overlap=config.num_shared_tokens,
    )


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
    values = _settings_in_words(run.config) | {
        f"the {name} split": fingerprint
        for name, fingerprint in material.fingerprint.items()
    }
    with run.runtime.watchdog.watching("all workers to prepare the data"):
        agreement.refuse_differences(run.runtime.strategy, run.runtime.cluster, values)


def _settings_in_words(config: ExperimentConfig) -> dict[str, str]:
    return {f"--{name}": repr(value) for name, value in settings(config).items()}


def _summary(material: Material) -> list[str]:
    """Two lines on what will be trained on."""
    counts = ", ".join(
        f"{len(split)} {name}" for name, split in material.splits.items()
    )
    padded_fraction = material.data_facts.padded_fraction
    return [
        f"{counts} texts; classes {', '.join(material.label_names)}",
        f"{material.plan.total_steps} steps at padded lengths "
        f"{', '.join(map(str, material.bucket_lengths))}; "
        f"{padded_fraction:.1%} of the tokens are padding",
    ]


def _split_facts(
    texts: Texts, tokens: TokenizedTexts, encoder: TextEncoder
) -> dict[str, Any]:
    """What the splits hold, with the lengths of their texts."""
    result = splits.facts(texts.pool, texts.splits, texts.label_names)
    for name, split in texts.splits.items():
        lengths = tokens.full_lengths[split.rows]
        values = np.percentile(lengths, _PERCENTS, method="inverted_cdf")
        result["splits"][name] |= {
            "length_percentiles": {str(p): int(v) for p, v in zip(_PERCENTS, values)},
            "truncated_fraction": float((lengths > encoder.longest_text).mean()),
        }
    return result


def _overlap_warnings(facts: DataFacts) -> Iterator[str]:
    """What splits share, which makes metrics look better than they are."""
    for kind in ("texts", "groups"):
        for name in ("validation", "test"):
            num_shared = getattr(facts, f"num_{name}_{kind}_in_train")
            if num_shared:
                yield (
                    f"{num_shared} {kind} of the {name} split are in the training "
                    f"split too: the {name} metrics are better than on new {kind}"
                )
        num_shared = getattr(facts, f"num_test_{kind}_in_validation")
        if num_shared:
            yield (
                f"{num_shared} {kind} of the test split are in the validation split "
                "too: what is chosen on validation has seen them"
            )


def _notes(parts: Mapping[str, Split]) -> list[str]:
    """What was left out of the splits, in sentences for the report."""
    return [
        f"{split.num_left_out} texts left out of the {name} split: they differ from "
        "held-out ones by case or white space alone"
        for name, split in parts.items()
        if split.num_left_out
    ]


def _warnings(
    config: DataConfig, training: TrainingConfig, facts: DataFacts
) -> list[str]:
    """What a user should know of the data before trusting the result."""
    warnings = list(facts.source.warnings)
    if facts.num_contradicting_texts:
        warnings.append(
            f"{facts.num_contradicting_texts} texts stand in the data with more "
            "than one label: check which is right"
        )
    warnings += _overlap_warnings(facts)
    for name, split in facts.splits.items():
        flag = "num_train_examples" if name == "train" else "num_eval_examples"
        if getattr(config, flag) > split.num_available:
            warnings.append(
                f"--{flag}={getattr(config, flag)} exceeds the "
                f"{split.num_available} texts of the {name} split: all of them "
                "are used"
            )
    num_train = facts.splits["train"].num_examples
    if num_train < training.global_batch_size and not training.tokens_per_batch:
        warnings.append(
            f"--global_batch_size={training.global_batch_size} exceeds the "
            f"{num_train} training texts: each epoch is one step, filled up with "
            "repeated rows of no weight"
        )
    for name, split in facts.splits.items():
        absent = [label for label, n in split.class_counts.items() if not n]
        if absent:
            warnings.append(
                f"the {name} split has no text labelled {', '.join(absent)}"
            )
    return warnings
