"""From a data config to everything the steps read: splits, token ids, plan.

    data = prepare(config, encoder)
    data.splits["test"], data.tokens["test"], data.plan.total_steps
    data.facts, data.warnings       # for the report

The parts are in the modules beside this one; here they are put one after the other.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Sequence

import numpy as np
import pyarrow as pa

from trainer.config import ExperimentConfig
from trainer.data import plans, sources, splits
from trainer.data.splits import Split
from trainer.data.tokens import TextEncoder, TokenizedTexts, encode_texts

_PERCENTS = (5, 25, 50, 75, 95, 99)


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """The data of a run.

    Attributes:
      splits: "train", and "validation" and "test" where there are any.
      tokens: the same splits' token ids.
      encoder: what made them.
      bucket_lengths: the padded lengths, ascending.
      plan: the training batches of all epochs.
      facts: for the report, JSON-able.
      warnings: what a user should know before trusting the result, in sentences.
    """

    label_names: tuple[str, ...]
    splits: Mapping[str, Split]
    tokens: Mapping[str, TokenizedTexts]
    encoder: TextEncoder
    bucket_lengths: tuple[int, ...]
    plan: plans.TrainingPlan
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]


def prepare(
    config: ExperimentConfig, encoder: TextEncoder, *, hidden_size: int = 768
) -> PreparedData:
    """Reads, splits and tokenizes the data, and plans the batches.

    Args:
      hidden_size: the model's, for what a text of some length costs.

    Raises:
      ValueError: the data cannot be used; the message says where and why.
    """
    read = sources.load(config.data)
    parts = splits.make_splits(read, config=config.data, seed=config.training.seed)
    label_names, read_facts = read.label_names, read.facts
    # What the splits need they have; Arrow would keep the room of the rest.
    del read
    pa.default_memory_pool().release_unused()
    encoded = {
        name: encode_texts(
            split.data.texts,
            encoder,
            digests=split.digests,
            cache_dir=config.data.cache_dir,
            description=f"{name} texts",
        )
        for name, split in parts.items()
    }
    lengths = encoded["train"].lengths
    bucket_lengths = plans.choose_bucket_lengths(
        lengths,
        num_buckets=config.data.num_buckets,
        window_length=config.data.max_length,
        max_windows=config.data.num_windows,
        hidden_size=hidden_size,
    )
    plan = _plan(config, lengths, bucket_lengths)
    facts = {
        **splits.facts(parts, label_names),
        "source": read_facts,
        "fingerprint": splits.fingerprint(parts),
        "bucket_lengths": list(bucket_lengths),
        "padded_fraction": plans.padded_fraction(
            plan.from_step(0), lengths, bucket_lengths
        ),
    }
    for name, part in encoded.items():
        facts["splits"][name].update(_length_facts(part, encoder))
    return PreparedData(
        label_names=label_names,
        splits=parts,
        tokens=encoded,
        encoder=encoder,
        bucket_lengths=bucket_lengths,
        plan=plan,
        facts=facts,
        warnings=(*read_facts["warnings"], *_warnings(config, facts)),
    )


def _plan(
    config: ExperimentConfig, lengths: np.ndarray, bucket_lengths: Sequence[int]
) -> plans.TrainingPlan:
    return plans.TrainingPlan(
        lengths,
        bucket_lengths,
        seed=config.training.seed,
        batch_size=config.training.global_batch_size,
        num_epochs=config.training.num_train_epochs,
        tokens_per_batch=config.training.tokens_per_batch,
    )


def summary(data: PreparedData) -> list[str]:
    """Two lines on what will be trained on."""
    counts = ", ".join(f"{len(split)} {name}" for name, split in data.splits.items())
    return [
        f"{counts} texts; classes {', '.join(data.label_names)}",
        f"{data.plan.total_steps} steps at padded lengths "
        f"{', '.join(map(str, data.bucket_lengths))}; "
        f"{data.facts['padded_fraction']:.1%} of the tokens are padding",
    ]


def _length_facts(part: TokenizedTexts, encoder: TextEncoder) -> dict[str, Any]:
    values = np.percentile(part.full_lengths, _PERCENTS, method="inverted_cdf")
    return {
        "length_percentiles": {str(p): int(v) for p, v in zip(_PERCENTS, values)},
        "truncated_fraction": float((part.full_lengths > encoder.longest_text).mean()),
    }


def _warnings(config: ExperimentConfig, facts: Mapping[str, Any]) -> list[str]:
    """What a user should know of the data before trusting the result."""
    found = []
    if facts["num_contradicting_texts"]:
        found.append(
            f"{facts['num_contradicting_texts']} texts stand in the data with more "
            "than one label: check which is right"
        )
    for name in ("validation", "test"):
        shared = facts.get(f"num_{name}_texts_in_train", 0)
        if shared:
            found.append(
                f"{shared} texts of the {name} split are in the training split too: "
                f"the {name} metrics are better than on new texts"
            )
    for name, split in facts["splits"].items():
        flag = "num_train_examples" if name == "train" else "num_eval_examples"
        if getattr(config.data, flag) > split["num_available"]:
            found.append(
                f"--{flag}={getattr(config.data, flag)} exceeds the "
                f"{split['num_available']} texts of the {name} split: all of them "
                "are used"
            )
    num_train = facts["splits"]["train"]["num_examples"]
    has_budget = config.training.tokens_per_batch > 0
    if num_train < config.training.global_batch_size and not has_budget:
        found.append(
            f"--global_batch_size={config.training.global_batch_size} exceeds the "
            f"{num_train} training texts: each epoch is one step, filled up with "
            "repeated rows of no weight"
        )
    for name, split in facts["splits"].items():
        absent = [label for label, n in split["class_counts"].items() if not n]
        if absent:
            found.append(f"the {name} split has no text labelled {', '.join(absent)}")
    return found
