"""The stage that looks at groups of texts: rates, gaps, and what swapped words change.

    asked = groups.read(run, material)                  # before all work: it may refuse
    measured = groups.run(run, material, built, after, asked)   # the report's `groups`

The chief does it alone after training, with the trained weights in memory. The rates take
the answers that the evaluation gave, and cost no prediction; --counterfactuals asks a copy
of the classifier on one device, at the lengths and with the windows of training. All of it
follows from the weights and --seed: a run that was killed gives the same numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import Literal, Mapping, Sequence

import keras
import numpy as np

from trainer.config import DIRECTION, GroupsConfig
from trainer.data.text_rows import TextRows
from trainer.data import columns
from trainer.evaluation import group_sentences
from trainer.evaluation.schema import Changes, Counterfactual, Direction, Groups
from trainer.groups import counterfactuals, lexicon, mentions, rates
from trainer.groups.counterfactuals import Asked as AskedModel
from trainer.groups.lexicon import Lexicon
from trainer.groups.rates import LookedAt
from trainer.messages import did_you_mean, message
from trainer.stages import copies
from trainer.stages.build import Built
from trainer.stages.context import Run
from trainer.stages.measure import After
from trainer.stages.prepare import Material

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked for, read and found in order.

    Attributes:
      words: None with --group_terms=none.
      columns: of --slice_fields, the value of each held-out text.
      positive: the class that is looked at; None: of many, and none was named.
    """

    words: Lexicon | None
    columns: Mapping[str, Sequence[str]]
    positive: int | None


def read(run: Run, material: Material) -> Asked:
    """Reads the words and columns.

    Raises:
      ValueError: they cannot be used; the message names the flag.
    """
    config = run.config.groups
    _refuse_without_texts(config, material)
    words = lexicon.load(run.config.checks.group_terms)
    if words is not None and material.encoder.reads_pairs:
        # A sentence alone is no pair.
        words = dataclasses.replace(words, templates={})
    for name in config.swapped_kinds:
        if words is None or name not in words.kinds:
            known = [*(words.kinds if words else ()), DIRECTION]
            raise ValueError(
                message(
                    "--counterfactuals must be kinds of --group_terms="
                    f"{run.config.checks.group_terms}: {', '.join(known)}",
                    received=name + did_you_mean(name, known),
                )
            )
    found: dict[str, Sequence[str]] = {}
    if material.held_out is not None:
        rows = material.splits[material.held_out].rows
        places = material.texts.pool.places.take(rows)
        for name in config.slice_fields:
            found[name] = columns.values_of(
                name, run.config.data, places, load=run.load
            )
    return Asked(
        words, found, _positive(config, material.label_names, run.task.has_one_label)
    )


def run(
    run: Run, material: Material, built: Built, after: After, asked: Asked
) -> Groups | None:
    """Measures; None where no held-out text is in a group and nothing was asked for."""
    split, config = material.held_out, run.config.groups
    # Groups are compared by accuracy and by rates of labels; numbers have none.
    if split is None or run.task.scale is not None:
        return None
    labels = after.labels[split]
    looked_at = LookedAt(
        label_names=material.label_names,
        positive=asked.positive,
        min_slice=run.config.serving.min_slice,
        num_resamples=run.config.num_bootstrap_resamples,
        seed=run.config.training.seed,
    )
    texts = TextRows(material.texts.pool.texts, material.splits[split].rows)
    found = mentions.groupings(texts, asked.words.kinds if asked.words else {})
    found += [mentions.of_column(*each) for each in asked.columns.items()]
    slices = rates.slices(
        found, labels, after.decision.labels(after.logits[split]), looked_at=looked_at
    )
    if not (slices or config.slice_fields or config.counterfactuals):
        return None
    swaps = _Swaps(run, material, built, after, asked)
    if config.counterfactuals:
        swaps.ask_all(list(texts), labels)
    measured = Groups(
        sentence=group_sentences.summary(slices, swaps.found, swaps.floor),
        split=split,
        positive_label=(
            None if asked.positive is None else material.label_names[asked.positive]
        ),
        min_slice=looked_at.min_slice,
        num_labels_left_out=rates.labels_looked_at(labels, looked_at)[1],
        slices=slices,
        counterfactuals=tuple(swaps.found),
        floor=swaps.floor,
        directions=swaps.directions,
        num_predictions=swaps.num_predictions,
    )
    _logger.info("groups: %s", measured.sentence)
    run.stopwatch.lap("slices_secs")
    return measured


class _Swaps:
    """What is asked of the trained model besides the held-out texts.

    Attributes:
      found: by kind, in the order of the flag.
      floor: None where no words were swapped.
      directions: empty where they were not asked for.
      num_predictions: texts that the model was asked for.
    """

    def __init__(
        self, run: Run, material: Material, built: Built, after: After, asked: Asked
    ) -> None:
        self._run, self._material, self._asked = run, material, asked
        self._built, self._decision = built, after.decision
        self.found: list[Counterfactual] = []
        self.floor: Changes | None = None
        self.directions: tuple[Direction, ...] = ()
        self.num_predictions = 0

    def ask_all(self, texts: Sequence[str], labels: np.ndarray) -> None:
        """Asks for all that --counterfactuals names."""
        config, words = self._run.config.groups, self._asked.words or lexicon.own()
        asked = AskedModel(
            texts=texts,
            labels=labels,
            ask=self._probabilities,
            choose=self._decision.choose,
            positive=self._asked.positive,
            limit=config.num_counterfactual_texts,
            seed=self._run.config.training.seed,
        )
        if config.swapped_kinds:
            _logger.info("swapping words of %s", ", ".join(config.swapped_kinds))
            self.floor, _, _ = counterfactuals.changes_of(asked, words.floor)
            self.found = [
                counterfactuals.of_kind(asked, words, name, floor=self.floor)
                for name in config.swapped_kinds
            ]
        if DIRECTION in config.counterfactuals:
            self.directions = counterfactuals.directions(
                asked, words, place=self._place()
            )

    def _probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """float64 [n, classes]."""
        self.num_predictions += len(texts)
        if not texts:
            return np.empty((0, len(self._material.label_names)))
        logits = copies.logits(
            self._run,
            self._material,
            self._copy,
            texts,
            batch_size=self._run.resolved.eval_batch_size,
            name="swapped words",
        )
        return self._decision.probabilities(logits)

    @functools.cached_property
    def _copy(self) -> keras.Model:
        return copies.classifier(
            self._run.config.model, self._material, self._built.classifier, "float32"
        )

    def _place(self) -> Literal["beginning", "end"]:
        """Where a text that is too long is not cut."""
        return "beginning" if self._run.config.data.truncation == "head" else "end"


def _refuse_without_texts(config: GroupsConfig, material: Material) -> None:
    given = {
        "--slice_fields": config.slice_fields,
        "--counterfactuals": config.counterfactuals,
    }
    asked = [f"{flag}={','.join(names)}" for flag, names in given.items() if names]
    if asked and material.held_out is None:
        raise ValueError(
            message(
                "groups are measured on held-out texts",
                received=f"{', '.join(asked)} without any",
                mend="hold some out (--test_one_in)",
            )
        )


def _positive(
    config: GroupsConfig, label_names: Sequence[str], has_one_label: bool
) -> int | None:
    """The class that is looked at."""
    if not config.positive_label:
        return 1 if len(label_names) == 2 and has_one_label else None
    if config.positive_label not in label_names:
        raise ValueError(
            message(
                f"--positive_label must be one of {', '.join(label_names)}",
                received=config.positive_label
                + did_you_mean(config.positive_label, label_names),
            )
        )
    return list(label_names).index(config.positive_label)
