"""One split, predicted by whatever model there is now, and what comes of it.

    evaluator = Evaluator(split, tokens, feeder, plan, num_classes=2, name="test")
    logits = evaluator.logits(predict_step)             # float32 [n, 2]
    facts = evaluator.report(logits, num_resamples=1000, longest_text=512)

Every example is predicted exactly once, whatever the batch size and the number of
replicas: rows that only fill a batch up are left out by their number.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from typing import Any, Callable, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tqdm import tqdm

from trainer.data.batches import Batch, BatchFeeder, Feed
from trainer.data.plans import BatchPlan, plan_evaluation
from trainer.data.preparation import PreparedData
from trainer.data.sources import TextDataset
from trainer.data.splits import Split, content_digests
from trainer.data.tokens import TokenizedTexts, encode_texts
from trainer.evaluation import slices
from trainer.evaluation.metrics import classification_metrics

# Gives what numpy.asarray makes float32 [batch, classes] of, which may mean to wait.
Predict = Callable[[Batch], Any]
# The host is at most so many batches ahead of the devices.
_MAX_BATCHES_AHEAD = 2


class Evaluator:
    """Evaluates models on one split.

    Args:
      plan: batches that hold every row of the split once.
      name: what the progress line calls the split.

    Attributes:
      plan: the same.
    """

    def __init__(
        self,
        split: Split,
        tokens: TokenizedTexts,
        feeder: BatchFeeder,
        plan: BatchPlan,
        *,
        name: str,
    ) -> None:
        self._data = split.data
        self._tokens = tokens
        self._feeder = feeder
        self.plan = plan
        self._name = name

    @functools.cached_property
    def _feed(self) -> Feed:
        # Made once, for it takes long under several workers; and used from a first
        # evaluation on.
        return self._feeder(self.plan)

    def logits(self, predict: Predict) -> np.ndarray:
        """Float32 [n, classes], in the split's order."""
        result = np.full([len(self._data), len(self._data.label_names)], np.nan)
        progress = tqdm(
            self._feed,
            desc=f"evaluating {self._name}",
            total=len(self.plan),
            unit="batch",
            delay=2.0,
            leave=False,
            disable=None,
        )
        under_way: collections.deque[tuple[np.ndarray, Any]] = collections.deque()

        def take_oldest() -> None:
            rows, logits = under_way.popleft()
            result[rows[rows >= 0]] = np.asarray(logits)[rows >= 0]

        for rows, batch in progress:
            under_way.append((rows, predict(batch)))
            if len(under_way) > _MAX_BATCHES_AHEAD:
                take_oldest()
        while under_way:
            take_oldest()
        return result.astype(np.float32)

    def metrics(self, predict: Predict) -> dict[str, Any]:
        """The metrics alone, without intervals: for evaluations on the way."""
        return classification_metrics(
            self._data.labels,
            self.logits(predict),
            label_names=self._data.label_names,
            num_resamples=0,
            seed=0,
        )

    def report(
        self, logits: np.ndarray, *, num_resamples: int, seed: int, longest_text: int
    ) -> dict[str, Any]:
        """Metrics with intervals, accuracy by length, and the surest errors.

        Args:
          logits: float [n, classes], as `logits` gave them, or what came of those.
          longest_text: how many tokens of a text are read.
        """
        labels, names = self._data.labels, self._data.label_names
        lengths = self._tokens.full_lengths
        return {
            **classification_metrics(
                labels,
                logits,
                label_names=names,
                num_resamples=num_resamples,
                seed=seed,
            ),
            "accuracy_by_length": [
                dataclasses.asdict(length_bin)
                for length_bin in slices.accuracy_by_length(
                    labels, logits.argmax(axis=1), lengths, longest_text=longest_text
                )
            ],
            "most_confident_errors": [
                dataclasses.asdict(error)
                for error in slices.most_confident_errors(
                    self._data.texts,
                    labels,
                    logits,
                    lengths,
                    label_names=names,
                )
            ],
        }


def make_evaluator(
    split: Split,
    tokens: TokenizedTexts,
    data: PreparedData,
    strategy: tf.distribute.Strategy,
    *,
    batch_size: int,
    name: str,
) -> Evaluator:
    """An evaluator at the padded lengths of a run's data.

    Args:
      batch_size: over all replicas.
    """
    buckets = data.bucket_lengths
    feeder = BatchFeeder(tokens, split.data.labels, buckets, strategy)
    plan = plan_evaluation(tokens.lengths, buckets, batch_size=batch_size)
    return Evaluator(split, tokens, feeder, plan, name=name)


def unlabelled_split(
    texts: Sequence[str], data: PreparedData, *, cache_dir: str
) -> tuple[Split, TokenizedTexts]:
    """Texts without labels, to be predicted like a split."""
    array = pa.chunked_array([pa.array(texts, pa.large_string())])
    digests = content_digests(array)
    labels = np.zeros(len(texts), np.int32)
    dataset = TextDataset(array, labels, data.label_names)
    tokens = encode_texts(array, data.encoder, digests=digests, cache_dir=cache_dir)
    return Split(dataset, digests, len(texts)), tokens
