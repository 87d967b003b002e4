"""One split, predicted by the present weights of a model, and scored.

    evaluator = make_evaluator(pool, rows, tokens, ..., name="test")
    logits = evaluator.logits(predict_step)             # float32 [n, 2]
    report = evaluator.report(logits, decision=decision, num_resamples=1000, seed=0, ...)

Every example is predicted exactly once, whatever the batch size and the number of
replicas: rows that only fill a batch up are left out by their number.
"""

from __future__ import annotations

import collections
import functools
from typing import Any, Callable, Sequence

import numpy as np
import tensorflow as tf

from trainer import console
from trainer.data.batches import Batch, BatchFeeder, Feed
from trainer.data.plans import BatchPlan, plan_evaluation
from trainer.data.splits import Pool
from trainer.data.tokens import TokenizedTexts
from trainer.tasks.task import Decision, Scoring

# Gives what numpy.asarray makes float32 [batch, classes] of, which may mean to wait.
Predict = Callable[[Batch], Any]
# The host is at most so many batches ahead of the devices.
_MAX_BATCHES_AHEAD = 2


class Evaluator:
    """Evaluates models on one split.

    Args:
      rows: int64 [n], the split's rows in the pool.
      tokens: of the pool.
      plan: batches that hold every row of the split once.
      name: what the progress line calls the split.

    Attributes:
      plan: the same.
      labels: of the split, see `label_sets.pairs`.
    """

    def __init__(
        self,
        pool: Pool,
        rows: np.ndarray,
        tokens: TokenizedTexts,
        feeder: BatchFeeder,
        plan: BatchPlan,
        *,
        scoring: Scoring,
        label_names: Sequence[str],
        name: str,
    ) -> None:
        self._pool = pool
        self._rows = rows
        self._full_lengths = tokens.full_lengths[rows]
        self._feeder = feeder
        self._scoring = scoring
        self._label_names = label_names
        self._name = name
        self.plan = plan
        self.labels = pool.labels[rows]

    @functools.cached_property
    def _feed(self) -> Feed:
        # Made once, for it takes long under several workers; and used from a first
        # evaluation on.
        return self._feeder(self.plan)

    def rehearsal(self) -> Feed:
        """Batches of its shapes without a text, to compile what it is given on."""
        return self._feeder.rehearsal(self.plan)

    def logits(self, predict: Predict) -> np.ndarray:
        """Float32 [n, classes], in the split's order."""
        result = np.full([len(self._rows), len(self._label_names)], np.nan, np.float32)
        self.collect(predict, result, description=f"evaluating {self._name}")
        return result

    def collect(self, compute: Predict, into: np.ndarray, *, description: str) -> None:
        """Writes what a step computes of the batches to `into`, in the split's order.

        Args:
          compute: a batch → numbers [batch, m].
          into: float [n, m].
          description: what the progress line says.
        """
        batches = console.progress(
            self._feed,
            description,
            unit="batches",
            total=len(self.plan),
        )
        under_way: collections.deque[tuple[np.ndarray, Any]] = collections.deque()

        def take_oldest() -> None:
            rows, numbers = under_way.popleft()
            into[rows[rows >= 0]] = np.asarray(numbers)[rows >= 0]

        for rows, batch in batches:
            under_way.append((rows, compute(batch)))
            if len(under_way) > _MAX_BATCHES_AHEAD:
                take_oldest()
        while under_way:
            take_oldest()

    def metrics(self, predict: Predict) -> dict[str, Any]:
        """The metrics alone, without intervals: for evaluations during training."""
        return self._scoring.metrics(
            self.labels, self.logits(predict), label_names=self._label_names
        )

    def report(
        self,
        logits: np.ndarray,
        *,
        decision: Decision,
        num_resamples: int,
        seed: int,
        longest_text: int,
    ) -> Any:
        """What the report says of the split, as `Scoring.report` has it.

        Args:
          logits: float [n, classes], as `logits` gave them.
          decision: what labels and probabilities follow from them.
          longest_text: how many tokens of a text are read.
        """
        return self._scoring.report(
            self.labels,
            logits,
            decision=decision,
            label_names=self._label_names,
            texts=_Rows(self._pool, self._rows),
            lengths=self._full_lengths,
            places=self._pool.places.take(self._rows),
            longest_text=longest_text,
            num_resamples=num_resamples,
            seed=seed,
        )


class _Rows(Sequence[Any]):
    """Some texts of a pool, none of them copied."""

    def __init__(self, pool: Pool, rows: np.ndarray) -> None:
        self._pool, self._rows = pool, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._pool.texts[int(self._rows[index])]


def make_evaluator(
    pool: Pool,
    rows: np.ndarray,
    tokens: TokenizedTexts,
    bucket_lengths: Sequence[int],
    strategy: tf.distribute.Strategy,
    *,
    batch_size: int,
    scoring: Scoring,
    label_names: Sequence[str],
    name: str,
) -> Evaluator:
    """An evaluator of some rows of a pool.

    Args:
      rows: int64 [n].
      tokens: of the pool.
      bucket_lengths: padded lengths in tokens, ascending.
      batch_size: examples, over all replicas.
    """
    feeder = BatchFeeder(tokens, pool.labels, bucket_lengths, strategy, rows=rows)
    lengths = tokens.lengths[rows]
    plan = plan_evaluation(lengths, bucket_lengths, batch_size=batch_size)
    return Evaluator(
        pool,
        rows,
        tokens,
        feeder,
        plan,
        scoring=scoring,
        label_names=label_names,
        name=name,
    )
