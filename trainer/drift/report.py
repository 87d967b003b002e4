"""New texts held against what an export keeps of its own: the whole of a drift report.

    drawn = Draw(2000)
    for text in texts:
        drawn.add(text)
    facts = report(versions.find("runs/a/export"), drawn, level=0.01)
    facts.sentence, facts.is_drifted

The model is asked for its answers and vectors once more: a draw costs the same whatever
the number of texts, and may be taken from a stream. The tests are in `measures.py`,
what is held against in `reference.py`, the page in `page.py`.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import random
from typing import TYPE_CHECKING, Any, Callable, Iterable, Sequence

import numpy as np

from trainer.data import pairs
from trainer.drift import measures, reference as references
from trainer.drift.measures import Compared
from trainer.drift.reference import Reference
from trainer.drift.schema import (
    DriftFacts,
    Histogram,
    LabelShare,
    Measure,
    MeasureName,
)
from trainer.evaluation import comparisons
from trainer.evaluation.figures import one_line
from trainer.messages import message
from trainer.serving import manifest, predictor

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

TITLES: dict[MeasureName, str] = {
    "answers": "the model's answers",
    "scores": "scores of the answers",
    "lengths": "lengths in tokens",
    "unknown_tokens": "unknown tokens",
    "domain": "vectors",
}
_MEASURED = ("size", "chance_size", "chance_high", "p_value")
_SEED = 0
_NUM_SHOWN_TEXTS = 5
_SHOWN_COLUMNS = 300
_MOST_VECTORS = references.MAX_VECTORS

_logger = logging.getLogger(__name__)


class Draw:
    """A random sample of a stream of texts, each of which is as likely to be in it.

    Vitter 1985, "Random Sampling with a Reservoir", algorithm R. The same stream gives
    the same draw.

    Args:
      limit: how many texts it holds at most.

    Attributes:
      texts: the sample.
      num_read: texts of the stream.
    """

    def __init__(self, limit: int) -> None:
        self.texts: list[str] = []
        self.num_read = 0
        self._limit = limit
        self._generator = random.Random(_SEED)

    def add(self, text: str) -> None:
        """Takes note of the next text."""
        self.num_read += 1
        if len(self.texts) < self._limit:
            self.texts.append(text)
            return
        place = self._generator.randrange(self.num_read)
        if place < self._limit:
            self.texts[place] = text

    @classmethod
    def of(cls, texts: Iterable[str], limit: int) -> Draw:
        """The draw of texts that are there already."""
        drawn = cls(limit)
        for text in texts:
            drawn.add(text)
        return drawn


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What a model says of n texts.

    Attributes:
      answers: int64 [n], positions of the labels.
      scores: float64 [n], the answers' probabilities.
      tokens: counted.
      texts: at most `_MOST_VECTORS` different ones.
      vectors: float16 [len(texts), hidden].
    """

    answers: np.ndarray
    scores: np.ndarray
    tokens: references.TokenCounts
    texts: Sequence[str]
    vectors: np.ndarray


def report(
    folder: Path,
    drawn: Draw,
    *,
    level: float = 0.01,
    batch_size: int = 32,
    gpu_memory_mib: int = 0,
) -> DriftFacts:
    """Holds texts against those that a model was trained on.

    Args:
      folder: of one version of an exported model that reads text.
      drawn: the new texts.
      level: of reports on texts that have not drifted, at most this share says that
        they have.
      batch_size: texts per call of the model.
      gpu_memory_mib: as of `predictor.load`.

    Raises:
      ValueError: the model has no reference, or refuses a text.
    """
    reference = reference_of(folder)
    labels = _labels(folder, reference)
    if not drawn.texts:
        raise ValueError(
            message(
                "a drift report needs texts",
                received="none",
                mend=f"give {measures.MIN_TEXTS} at least, better hundreds",
            )
        )
    model = predictor.load_model(folder, gpu_memory_mib=gpu_memory_mib)
    asked = _ask(model, labels, drawn.texts, batch_size=batch_size)
    compared, domains = _compared(reference, asked, level)
    results = _measures(compared, level, _numbers(reference, asked))
    shares, no_shares = _label_shares(reference, labels, asked)
    is_drifted = _is_drifted(results)
    facts = DriftFacts(
        sentence="",
        is_drifted=is_drifted,
        level=level,
        model=str(folder),
        held_out=reference.training.held_out,
        num_read=drawn.num_read,
        num_texts=len(drawn.texts),
        measures=results,
        histograms=_histograms(reference, asked, labels),
        unknown_tokens=(
            _unknown_share(reference.training.tokens),
            _unknown_share(asked.tokens),
        ),
        label_shares=shares,
        no_label_shares=no_shares,
        most_unlike=_most_unlike(results, domains, asked.texts),
    )
    return dataclasses.replace(facts, sentence=sentence(facts))


def sentence(facts: DriftFacts) -> str:
    """The verdict, with sizes, in one sentence with a full stop."""
    if facts.is_drifted is None:
        reasons = {measure.too_little for measure in facts.measures}
        return f"Nothing can be said of drift: {'; '.join(sorted(reasons))}."
    if facts.is_drifted:
        said = [in_words(m) for m in facts.measures if m.is_drifted]
        return f"Drifted: {'; '.join(said)}."
    said = [in_words(m) for m in facts.measures if m.size is not None]
    return f"No drift is shown: {'; '.join(said)}."


def in_words(measure: Measure) -> str:
    """A measure that there is: "lengths in tokens differ by 12% (by chance 4%), p = 0.002"."""
    if measure.size is None or measure.adjusted_p_value is None:
        raise ValueError(f"{measure.name} was not measured: {measure.too_little}")
    p_value = f"p = {measure.adjusted_p_value:.2g}"
    if measure.name == "domain":
        return (
            f"a classifier tells {measure.title} of new texts apart with an AUC of"
            f" {measure.size:.2f} (by chance {measure.chance_size:.2f}), {p_value}"
        )
    return (
        f"{measure.title} differ by {measure.size:.1%} (by chance"
        f" {measure.chance_size:.1%}), {p_value}"
    )


def reference_of(folder: Path) -> Reference:
    """What a version keeps of its training texts.

    Raises:
      ValueError: it keeps none; or it gives texts any number of labels, which is no
        table of labels and answers.
    """
    has_manifest = (folder / manifest.FILE_NAME).is_file()
    facts = manifest.read(folder) if has_manifest else {}
    task = facts.get("task", "single_label")
    if task == "multi_label":
        raise ValueError(
            message(
                "a drift report is of models that give one label a text",
                received=f"{folder}, of --task={task}",
                mend="leave --drift_report (or --drift) out",
            )
        )
    return references.read(folder)


def _labels(folder: Path, reference: Reference) -> tuple[str, ...]:
    labels = manifest.read(folder).get("constants", {}).get("labels", [])
    if len(labels) != len(reference.confusion):
        raise ValueError(
            message(
                f"the {manifest.FILE_NAME} must have the labels of the"
                f" {references.FILE_NAME} beside it",
                received=f"{folder}: {len(labels)} and {len(reference.confusion)}",
                mend="copy the folder again, or export again",
            )
        )
    return tuple(labels)


def _ask(
    model: Any, labels: Sequence[str], texts: Sequence[str], *, batch_size: int
) -> _Asked:
    """Asks a loaded SavedModel for all that is compared."""
    ask = functools.partial(predictor.in_batches, batch_size=batch_size)
    answered = ask(
        predictor.Predictor(model.signatures["serving_default"]),
        texts,
        description="answers for the drift report",
    )
    numbers = {label: number for number, label in enumerate(labels)}
    counted = ask(
        _token_counter(model), texts, description="tokens for the drift report"
    )
    # As in the reference: a copy on both sides of a fold would be told by heart.
    different = list(dict.fromkeys(texts))
    generator = random.Random(_SEED)
    chosen = generator.sample(different, min(len(different), _MOST_VECTORS))
    embedded = ask(
        predictor.Predictor(model.signatures["embed"]),
        chosen,
        description="vectors for the drift report",
    )
    full, read, unknown = np.array(counted, np.int64).T
    vectors = np.array([each["embedding"] for each in embedded], np.float32)
    return _Asked(
        answers=np.array([numbers[each["label"]] for each in answered]),
        scores=np.array([each["score"] for each in answered]),
        tokens=references.count_tokens(full, read, unknown),
        texts=chosen,
        vectors=vectors.astype(np.float16),
    )


def _token_counter(model: Any) -> Callable[[list[str]], list[tuple[int, int, int]]]:
    import tensorflow as tf

    inputs = model.signatures["serving_default"].structured_input_signature[1]
    is_pair = pairs.are_read(inputs)

    def count(texts: list[str]) -> list[tuple[int, int, int]]:
        columns = pairs.columns(texts).values() if is_pair else [texts]
        counts = model.count_tokens(*(tf.constant(c, tf.string) for c in columns))
        names = ("num_tokens", "num_read", "num_unknown")
        return list(zip(*(counts[name].numpy().tolist() for name in names)))

    return count


def _counts(
    reference: Reference, asked: _Asked
) -> dict[MeasureName, tuple[np.ndarray, np.ndarray]]:
    """Texts by bin: of the reference, and the new ones."""
    num_labels = len(reference.confusion)
    training = reference.training.tokens
    return {
        "answers": (
            reference.confusion.sum(axis=0),
            np.bincount(asked.answers, minlength=num_labels),
        ),
        "scores": (
            reference.scores,
            references.binned(asked.scores, references.SCORE_ENDS),
        ),
        "lengths": (training.lengths, asked.tokens.lengths),
        "unknown_tokens": (training.unknown, asked.tokens.unknown),
    }


def _numbers(reference: Reference, asked: _Asked) -> dict[MeasureName, tuple[int, int]]:
    """How many texts each measure has, of the reference and new ones."""
    numbers: dict[MeasureName, tuple[int, int]] = {
        name: (int(old.sum()), int(new.sum()))
        for name, (old, new) in _counts(reference, asked).items()
    }
    return {**numbers, "domain": (len(reference.vectors), len(asked.vectors))}


def _least(name: MeasureName) -> int:
    return measures.MIN_VECTORS if name == "domain" else measures.MIN_TEXTS


def _compared(
    reference: Reference, asked: _Asked, level: float
) -> tuple[dict[MeasureName, Compared], np.ndarray | None]:
    """What can be compared; and the domain classifier's scores of the new texts."""
    # Of five measures the smallest p counts five times: it must be able to fall below.
    number = max(measures.NUM_PERMUTATIONS, math.ceil(2 * len(TITLES) / level))
    numbers = _numbers(reference, asked)
    compared: dict[MeasureName, Compared] = {
        name: measures.compare_counts(old, new, seed=_SEED, num_permutations=number)
        for name, (old, new) in _counts(reference, asked).items()
        if min(numbers[name]) >= _least(name)
    }
    if min(numbers["domain"]) < _least("domain"):
        return compared, None
    _logger.info("a classifier between new texts and those of the reference")
    domains = measures.compare_vectors(
        reference.vectors, asked.vectors, seed=_SEED, num_permutations=number
    )
    return {**compared, "domain": domains}, domains.scores


def _measures(
    compared: dict[MeasureName, Compared],
    level: float,
    numbers: dict[MeasureName, tuple[int, int]],
) -> tuple[Measure, ...]:
    adjusted = dict(
        zip(compared, comparisons.holm([each.p_value for each in compared.values()]))
    )
    results = []
    for name, title in TITLES.items():
        unmeasured = _unmeasured(name, title, *numbers[name])
        found = compared.get(name)
        if found is None:
            results.append(unmeasured)
            continue
        results.append(
            dataclasses.replace(
                unmeasured,
                **{key: getattr(found, key) for key in _MEASURED},
                adjusted_p_value=adjusted[name],
                is_drifted=adjusted[name] <= level,
                too_little="",
            )
        )
    return tuple(results)


def _unmeasured(
    name: MeasureName, title: str, num_reference: int, num_new: int
) -> Measure:
    """A measure that has too few texts."""
    what = "different texts" if name == "domain" else "texts"
    return Measure(
        name=name,
        title=title,
        size=None,
        chance_size=None,
        chance_high=None,
        p_value=None,
        adjusted_p_value=None,
        is_drifted=None,
        too_little=f"{title}: {num_new:,} new {what} and {num_reference:,} in the"
        f" reference, and each needs {_least(name)}",
        num_reference=num_reference,
        num_new=num_new,
    )


def _is_drifted(results: Sequence[Measure]) -> bool | None:
    known = [each.is_drifted for each in results if each.is_drifted is not None]
    return any(known) if known else None


def _histograms(
    reference: Reference, asked: _Asked, labels: Sequence[str]
) -> tuple[Histogram, ...]:
    bins: dict[MeasureName, tuple[str, ...]] = {
        "answers": tuple(labels),
        "scores": _named([f"{end:.4g}" for end in references.SCORE_ENDS]),
        "lengths": _named([f"{end:,}" for end in references.LENGTH_ENDS]),
        "unknown_tokens": _named([f"{end:.3g}" for end in references.UNKNOWN_ENDS]),
    }
    return tuple(
        Histogram(
            name=name,
            bins=bins[name],
            reference=tuple(old.tolist()),
            new=tuple(new.tolist()),
        )
        for name, (old, new) in _counts(reference, asked).items()
    )


def _named(ends: Sequence[str]) -> tuple[str, ...]:
    return (*(f"≤ {end}" for end in ends), f"> {ends[-1]}")


def _label_shares(
    reference: Reference, labels: Sequence[str], asked: _Asked
) -> tuple[tuple[LabelShare, ...], str]:
    """By label; and why there is no estimate, "" where there is."""
    confusion = reference.confusion
    answered = np.bincount(asked.answers, minlength=len(labels))
    estimated, reason = _estimated(confusion, answered, labels)
    held_out = confusion.sum(axis=1) / max(confusion.sum(), 1)
    answered_before = confusion.sum(axis=0) / max(confusion.sum(), 1)
    train = reference.training.labels / max(reference.training.labels.sum(), 1)
    shares = []
    for number, label in enumerate(labels):
        interval = None
        if estimated is not None:
            low, high = estimated.intervals[number]
            interval = (float(low), float(high))
        shares.append(
            LabelShare(
                label=label,
                train=float(train[number]),
                held_out=float(held_out[number]),
                answered_held_out=float(answered_before[number]),
                answered_new=float(answered[number] / answered.sum()),
                estimated_new=(
                    None if estimated is None else float(estimated.shares[number])
                ),
                interval_95=interval,
            )
        )
    return tuple(shares), reason


def _estimated(
    confusion: np.ndarray, answered: np.ndarray, labels: Sequence[str]
) -> tuple[measures.Shares | None, str]:
    if answered.sum() < measures.MIN_TEXTS:
        return None, f"{answered.sum()} new texts, and it needs {measures.MIN_TEXTS}"
    fewest = int(confusion.sum(axis=1).argmin())
    count = int(confusion.sum(axis=1)[fewest])
    if count < measures.MIN_TEXTS_OF_LABEL:
        return None, (
            f"{count} held-out texts of {labels[fewest]}, and it needs"
            f" {measures.MIN_TEXTS_OF_LABEL} of each label"
        )
    try:
        return measures.label_shares(confusion, answered, seed=_SEED), ""
    except np.linalg.LinAlgError as error:
        return None, str(error)


def _unknown_share(tokens: references.TokenCounts) -> float | None:
    return tokens.num_unknown / tokens.num_tokens if tokens.num_tokens else None


def _most_unlike(
    results: Sequence[Measure], scores: np.ndarray | None, texts: Sequence[str]
) -> tuple[str, ...]:
    """New texts that the domain classifier is surest of, if it has shown anything."""
    (domain,) = (each for each in results if each.name == "domain")
    if scores is None or not domain.is_drifted:
        return ()
    order = np.argsort(-scores, kind="stable")[:_NUM_SHOWN_TEXTS]
    return tuple(one_line(texts[row], _SHOWN_COLUMNS) for row in order)
