"""Where a classifier is right and where it errs: by length, and its worst errors.

    accuracy_by_length(labels, predictions.predicted, lengths, longest_text=512)
    # (LengthBin(name="129 to 256", count=310, accuracy=0.83, ...), ...)
    most_confident_errors(texts, labels, predictions, lengths, places, label_names=…)

Both return the report's own dataclasses, of `schema.py`. Metrics over a whole split
are in `metrics.py`, pictures in `figures.py`.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from trainer.data import pairs
from trainer.data.places import Places
from trainer.evaluation import schema
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.metrics import ClassPredictions
from trainer.messages import message

MAX_SHOWN_CHARACTERS = 400
# The first bin of lengths holds at least this share of the examples, so that bins
# start where the texts are: at 16 tokens for tweets, at 128 for reviews.
_MIN_FIRST_BIN_FRACTION = 0.1
_NUM_HISTOGRAM_BINS = 24
# What is longer than so many times the limit, and than most texts, shares one bin: a
# text of 50,000 tokens would press all others into the first.
_HISTOGRAM_LIMITS = 4
_HISTOGRAM_QUANTILE = 0.95


def accuracy_by_length(
    labels: npt.ArrayLike,
    predicted: npt.ArrayLike,
    lengths: npt.ArrayLike,
    *,
    longest_text: int,
) -> tuple[schema.LengthBin, ...]:
    """Accuracy in bins of text length.

    Bins end at powers of two and at `longest_text`; what is longer, and was
    truncated, is a bin of its own. Empty bins are left out.

    Args:
      labels: int [n].
      predicted: int [n].
      lengths: int [n], tokens of each text before truncation.
      longest_text: tokens that are kept of a text.

    Returns:
      The bins, shortest first, with 95% Wilson intervals. Empty for no examples.

    Raises:
      ValueError: the arrays do not fit together.
    """
    is_correct = np.asarray(labels) == np.asarray(predicted)
    length_array = np.asarray(lengths)
    if is_correct.shape != length_array.shape:
        raise ValueError(
            message(
                "labels, predicted and lengths must have one value per example",
                received=f"shapes {is_correct.shape} and {length_array.shape}",
            )
        )
    edges = _length_edges(length_array, longest_text)
    bin_of_example = np.searchsorted(edges, length_array)
    return tuple(
        _length_bin(
            edges, int(index), is_correct[bin_of_example == index], longest_text
        )
        for index in np.unique(bin_of_example)
    )


def length_groups(
    lengths: npt.ArrayLike, *, longest_text: int
) -> Iterator[tuple[str, bool, npt.NDArray[np.bool_]]]:
    """The same bins, for another measure than accuracy, shortest first.

    Args:
      lengths: int [n], tokens of each text before truncation.
      longest_text: tokens that are kept of a text.

    Yields:
      The bin's name, whether its texts are truncated, and bool [n], which they are.
    """
    length_array = np.asarray(lengths)
    edges = _length_edges(length_array, longest_text)
    bin_of_example = np.searchsorted(edges, length_array)
    for index in np.unique(bin_of_example).tolist():
        lower = edges[index - 1] if index else 0
        upper = edges[index] if index < len(edges) else None
        is_own = bin_of_example == index
        yield _bin_name(lower, upper), lower >= longest_text, is_own


def length_histogram(
    lengths: npt.ArrayLike, *, longest_text: int
) -> tuple[schema.LengthCount, ...]:
    """How long texts are, in bins of equal width and one for the far longer ones.

    Args:
      lengths: int [n], n at least 1: tokens of each text before truncation.
      longest_text: tokens that are kept of a text.
    """
    length_array = np.asarray(lengths)
    longest = int(length_array.max())
    most = int(np.quantile(length_array, _HISTOGRAM_QUANTILE, method="inverted_cdf"))
    top = min(longest, max(_HISTOGRAM_LIMITS * longest_text, most))
    edges = np.unique(np.linspace(0, top, _NUM_HISTOGRAM_BINS + 1).round().astype(int))
    edges = np.unique(np.append(edges, longest))
    bins = np.searchsorted(edges, length_array) - 1
    counts = np.bincount(bins, minlength=len(edges) - 1).tolist()
    return tuple(
        schema.LengthCount(lower=int(lower), upper=int(upper), count=count)
        for lower, upper, count in zip(edges[:-1], edges[1:], counts)
    )


def most_confident_errors(
    texts: Sequence[str],
    labels: npt.ArrayLike,
    predictions: ClassPredictions,
    lengths: npt.ArrayLike,
    places: Places,
    *,
    label_names: Sequence[str],
    limit: int = 10,
) -> tuple[schema.ConfidentError, ...]:
    """The wrong predictions the classifier was surest of.

    They are worth reading: often the label in the data is the wrong one.

    Args:
      texts: n texts.
      labels: int [n].
      predictions: of the same n examples.
      lengths: int [n], tokens of each text before truncation.
      places: of the n texts.
      label_names: the classes' names.
      limit: how many to return at most.

    Returns:
      The errors, surest first; texts are shortened in their middle.

    Raises:
      ValueError: the texts and arrays do not fit together.
    """
    label_array, length_array = np.asarray(labels), np.asarray(lengths)
    predicted = predictions.predicted
    sizes = [
        len(each) for each in (texts, label_array, predicted, length_array, places)
    ]
    if len(set(sizes)) > 1:
        raise ValueError(
            message(
                "texts, labels, predictions, lengths and places must have one size",
                received=", ".join(map(str, sizes)),
            )
        )
    return surest_errors(
        texts,
        predicted != label_array,
        predictions.probabilities[np.arange(len(predicted)), predicted],
        length_array,
        places,
        labels=lambda row: label_names[label_array[row]],
        answers=lambda row: label_names[predicted[row]],
        limit=limit,
    )


def surest_errors(
    texts: Sequence[str],
    is_wrong: npt.NDArray[np.bool_],
    scores: npt.NDArray[Any],
    lengths: npt.NDArray[Any],
    places: Places,
    *,
    labels: Callable[[int], str],
    answers: Callable[[int], str],
    limit: int = 10,
) -> tuple[schema.ConfidentError, ...]:
    """The same of answers in words, whatever the task.

    Args:
      is_wrong: bool [n].
      scores: float [n], how sure the classifier is of its answer.
      lengths: int [n], tokens of each text before truncation.
      labels: row → the right answer.
      answers: row → the classifier's.
    """
    errors = np.flatnonzero(is_wrong)
    # Stable, so that ties keep the order of the texts and a report can be repeated.
    surest = errors[np.argsort(-scores[errors], kind="stable")][:limit]
    return tuple(
        schema.ConfidentError(
            text=shorten_middle(str(texts[int(index)])),
            label=labels(index),
            predicted=answers(index),
            score=float(scores[index]),
            length=int(lengths[index]),
            file=file,
            line=line,
        )
        for index in surest
        for file, line in [places.of(index)]
    )


def shorten_middle(text: str, *, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    """The text; or its two ends, `limit` characters in all, and how many it lost.

    Of a pair both texts, with a mark between them.
    """
    text = pairs.shown(text)
    num_left_out = len(text) - limit
    if num_left_out <= 0:
        return text
    num_first = (limit + 1) // 2
    num_last = limit - num_first
    first, last = text[:num_first], text[len(text) - num_last :]
    return f"{first} […{num_left_out} characters left out…] {last}"


def _length_edges(lengths: npt.NDArray[Any], longest_text: int) -> list[int]:
    """Upper ends of the bins, ascending; the last bin has none."""
    if not lengths.size:
        return [longest_text]
    first = float(np.quantile(lengths, _MIN_FIRST_BIN_FRACTION, method="inverted_cdf"))
    powers = [2**exponent for exponent in range(longest_text.bit_length())]
    return [power for power in powers if first <= power < longest_text] + [longest_text]


def _length_bin(
    edges: Sequence[int],
    index: int,
    is_correct: npt.NDArray[np.bool_],
    longest_text: int,
) -> schema.LengthBin:
    """The bin that ends at `edges[index]`, or begins at the last edge.

    Args:
      is_correct: bool [count], of the texts in the bin.
    """
    lower = edges[index - 1] if index else 0
    upper = edges[index] if index < len(edges) else None
    num_correct, count = int(is_correct.sum()), len(is_correct)
    return schema.LengthBin(
        name=_bin_name(lower, upper),
        lower=lower,
        upper=upper,
        is_truncated=lower >= longest_text,
        count=count,
        accuracy=num_correct / count,
        confidence_interval_95=wilson_interval(num_correct, count),
    )


def _bin_name(lower: int, upper: int | None) -> str:
    if upper is None:
        return f"over {lower}"
    return f"{lower + 1} to {upper}" if lower else f"up to {upper}"
