"""The stage that says what a person should look at next.

    asked = labelling.read(run, material)               # before all work: it may refuse
    causes = labelling.run(run, material, built, after, asked)  # the report's

Of the errors: where they gather, and the training texts beside them (--error_causes). Of
texts without labels: which would teach the model most (--export_to_label). Both go by the
vectors of the trained encoder, which all workers read; the rest the chief does alone.
"""

from __future__ import annotations

import logging
from typing import Callable

import numpy as np
import tensorflow as tf

from trainer.config import MAX_TRAIN_TEXTS
from trainer.data.strings import taken
from trainer.data import label_sets, splits
from trainer.data.augmented import without_copies
from trainer.data.duplicates import normalized_digests
from trainer.data.tokens import TokenizedTexts, encode_texts
from trainer.data.unlabelled import read_files
from trainer.evaluation import error_causes, slices, to_label
from trainer.evaluation.comparisons import evenly
from trainer.evaluation.evaluator import Evaluator, Predict, make_evaluator
from trainer.evaluation.to_label import Candidates
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.schema import (
    ErrorCauses,
    ErrorCluster,
    ErrorNeighbours,
    HeldOutError,
    TrainNeighbour,
)
from trainer.messages import message
from trainer.modeling.forward import Forward
from trainer.stages.build import Built, make_reading_step
from trainer.stages.context import Run
from trainer.stages.measure import After
from trainer.stages.prepare import Material

_logger = logging.getLogger(__name__)

# As many as the report's surest errors.
_NUM_ERRORS = 10


def read(run: Run, material: Material) -> Candidates | None:
    """The texts of --unlabelled; None where none are asked for.

    Raises:
      ValueError: there is nothing to choose from, or the file to write is there.
      OSError: it cannot be written.
    """
    config = run.config.labelling
    if config.error_causes and material.held_out is None:
        raise ValueError(
            message(
                "--error_causes looks at held-out texts",
                received="none",
                mend="hold some out (--test_one_in), or leave the flag out",
            )
        )
    if not config.export_to_label:
        return None
    # A run that was killed after it had written the file may resume.
    if run.runtime.is_chief and not run.folder.has_checkpoint:
        to_label.check_place(config.export_to_label)
    with run.runtime.watchdog.working("reading the texts without labels"):
        files = read_files(config.unlabelled, run.config.data, flag="unlabelled")
        return to_label.candidates(
            files,
            to_label.known_numbers(normalized_digests(material.texts.pool.texts)),
            flag="unlabelled",
        )


def run(
    run: Run,
    material: Material,
    built: Built,
    after: After,
    candidates: Candidates | None,
) -> ErrorCauses | None:
    """Writes the file, and looks at the errors; None without --error_causes.

    All workers take part; only the chief's value is of use.
    """
    if candidates is None and not run.config.labelling.error_causes:
        return None
    reader = _Reader(run, material, built)
    if candidates is not None:
        _export(run, material, reader, after, candidates)
    causes = None
    if run.config.labelling.error_causes and material.held_out is not None:
        causes = _causes(run, material, built, reader, after, material.held_out)
    run.stopwatch.lap("labelling_secs")
    return causes


class _Reader:
    """Reads texts with the trained encoder; its step is compiled once."""

    def __init__(self, run: Run, material: Material, built: Built) -> None:
        self._run, self._material = run, material
        self._hidden = int(built.classifier.backbone.hidden_dim)
        self._step: Predict = make_reading_step(
            run, built.classifier, _vectors_and_logits, name="a step over texts to read"
        )

    def __call__(
        self, evaluator: Evaluator, what: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors, float32 [n, hidden], and logits, float32 [n, classes]."""
        width = self._hidden + len(self._material.label_names)
        room = np.empty([len(evaluator.labels), width], np.float32)
        with self._run.runtime.watchdog.watching("all workers to read the texts"):
            evaluator.collect(self._step, room, description=f"reading {what}")
        return room[:, : self._hidden], room[:, self._hidden :]

    def evaluator(
        self, pool: splits.Pool, rows: np.ndarray, tokens: TokenizedTexts, name: str
    ) -> Evaluator:
        """Of some rows of a pool."""
        return make_evaluator(
            pool,
            rows,
            tokens,
            self._material.bucket_lengths,
            self._run.runtime.strategy,
            batch_size=self._run.resolved.eval_batch_size,
            scoring=self._run.task.scoring,
            label_names=self._material.label_names,
            name=name,
        )


def _vectors_and_logits(
    forward: Forward,
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Both from one pass: the head is linear, also in the mean over windows."""

    def compute(token_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
        vectors = forward.embed(token_ids, num_tokens)
        logits = forward.classify(vectors)
        return tf.concat([tf.cast(vectors, tf.float32), logits], axis=-1)

    return compute


def _export(
    run: Run, material: Material, reader: _Reader, after: After, candidates: Candidates
) -> None:
    """Chooses of the texts without labels, and writes them."""
    data, config = run.config.data, run.config.labelling
    pool = splits.unlabelled(candidates.texts.to_pylist())
    tokens = encode_texts(
        pool.texts,
        material.encoder,
        digests=pool.digests,
        cache_dir=data.cache_dir,
        max_cache_bytes=round(data.max_cache_gb * 1e9),
        description="texts without labels",
    )
    evaluator = reader.evaluator(pool, np.arange(len(pool)), tokens, "unlabelled")
    vectors, logits = reader(evaluator, "texts without labels")
    if not run.runtime.is_chief:
        return
    if to_label.is_there(config.export_to_label):
        _logger.warning(
            "--export_to_label=%s is there already, and left as it is: it may hold "
            "labels of yours",
            config.export_to_label,
        )
        return
    probabilities = after.decision.probabilities(logits)
    to_label.choose_and_write(
        config.export_to_label,
        candidates,
        vectors,
        probabilities,
        after.decision.choose(probabilities),
        after.decision.scores(probabilities),
        count=config.num_to_label,
        seed=run.config.training.seed,
        label_names=material.label_names,
        layout=to_label.Layout(data.text_field, data.label_field, data.escape),
    )


def _causes(
    run: Run,
    material: Material,
    built: Built,
    reader: _Reader,
    after: After,
    split: str,
) -> ErrorCauses | None:
    """The report's `error_causes`; None but for the chief."""
    pool = material.texts.pool
    # As they were read: a copy with swapped words stands in no file.
    train = without_copies(pool, material.splits["train"])[1].rows
    some = evenly(train, MAX_TRAIN_TEXTS)
    vectors, _ = reader(built.evaluators[split], f"{split} texts")
    train_vectors, _ = reader(
        reader.evaluator(pool, some, material.tokens, "train"), "training texts"
    )
    if not run.runtime.is_chief:
        return None
    errors = _Errors(material, after, split)
    texts = taken(pool.texts, errors.rows).to_pylist()
    clustering = error_causes.cluster(vectors, texts, seed=run.config.training.seed)
    clusters = clustering.with_errors(errors.is_error, errors.scores)
    num_errors = int(errors.is_error.sum())
    told = error_causes.sentence(
        clusters, num_texts=len(texts), num_errors=num_errors, split=split
    )
    _logger.info("errors: %s", told)
    return ErrorCauses(
        sentence=told,
        split=split,
        num_texts=len(texts),
        num_errors=num_errors,
        clusters=tuple(_cluster(each, errors) for each in clusters),
        neighbours=_neighbours(errors, vectors, some, train_vectors),
        num_train_texts=len(some),
        num_train_available=len(train),
    )


class _Errors:
    """The answers to a split's texts.

    Attributes:
      rows: int64 [n], of the pool.
      is_error: bool [n].
      scores: float64 [n].
    """

    def __init__(self, material: Material, after: After, split: str) -> None:
        self.material = material
        self.rows = material.splits[split].rows
        probabilities = after.decision.probabilities(after.logits[split])
        self.scores = after.decision.scores(probabilities)
        self._labels = after.labels[split]
        self._given = after.decision.choose(probabilities)
        self.is_error = ~label_sets.is_right(self._labels, self._given)

    def surest(self, count: int) -> np.ndarray:
        """int64, positions in the split, surest first."""
        errors = np.flatnonzero(self.is_error)
        surest: np.ndarray = errors[np.argsort(-self.scores[errors], kind="stable")]
        return surest[:count]

    def of(self, position: int) -> HeldOutError:
        """One error, in words."""
        names, pool = self.material.label_names, self.material.texts.pool
        row = int(self.rows[position])
        file, line = pool.places.of(row)
        return HeldOutError(
            text=slices.shorten_middle(str(pool.texts[row])),
            label=label_sets.name_of(self._labels[position], names),
            predicted=label_sets.name_of(self._given[position], names),
            score=float(self.scores[position]),
            file=file,
            line=line,
        )


def _cluster(found: error_causes.Cluster, errors: _Errors) -> ErrorCluster:
    return ErrorCluster(
        num_texts=len(found.rows),
        num_errors=found.num_errors,
        confidence_interval_95=wilson_interval(found.num_errors, len(found.rows)),
        expected_errors=found.expected_errors,
        errors_by_scores=found.errors_by_scores,
        p_value=found.p_value,
        stands_out=found.stands_out,
        words=found.words,
        errors=tuple(errors.of(int(row)) for row in found.errors),
    )


def _neighbours(
    errors: _Errors, vectors: np.ndarray, train: np.ndarray, among: np.ndarray
) -> tuple[ErrorNeighbours, ...]:
    """Of the surest errors.

    Args:
      train: int64 [n], the pool's rows of the training texts.
      among: float32 [n, hidden], their vectors.
    """
    surest = errors.surest(_NUM_ERRORS)
    near, cosines = error_causes.nearest(
        vectors[surest], among, count=error_causes.NUM_NEIGHBOURS
    )
    return tuple(
        ErrorNeighbours(
            error=errors.of(int(position)),
            neighbours=tuple(
                _neighbour(errors.material, int(train[each]), float(cosine))
                for each, cosine in zip(rows, values)
            ),
        )
        for position, rows, values in zip(surest, near, cosines)
    )


def _neighbour(material: Material, row: int, similarity: float) -> TrainNeighbour:
    """A row of the pool."""
    pool = material.texts.pool
    file, line = pool.places.of(row)
    return TrainNeighbour(
        text=slices.shorten_middle(str(pool.texts[row])),
        label=label_sets.name_of(pool.labels[row], material.label_names),
        similarity=similarity,
        file=file,
        line=line,
    )
