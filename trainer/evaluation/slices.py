"""Where a classifier is right and where it errs: by length, and its worst errors.

    accuracy_by_length(labels, predictions.predicted, lengths, longest_text=512)
    # [{"name": "129 to 256", "count": 310, "accuracy": 0.83, ...}, ...]
    most_confident_errors(texts, labels, predictions, lengths, label_names=label_names)

Both return plain dicts, ready for JSON. Metrics over a whole split are in
`metrics.py`, pictures in `figures.py`.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import numpy.typing as npt

from trainer.evaluation.metrics import ClassPredictions

MAX_SHOWN_CHARACTERS = 400
# The first bin of lengths holds at least this share of the examples, so that bins
# start where the texts are: at 16 tokens for tweets, at 128 for reviews.
_MIN_FIRST_BIN_FRACTION = 0.1


def wilson_interval(num_correct: int, count: int) -> list[float]:
    """95% interval [low, high] of a proportion (Wilson 1927)."""
    # Here, because it takes half a second, and a resumed run need not wait for it.
    import scipy.stats

    interval = scipy.stats.binomtest(num_correct, count).proportion_ci(method="wilson")
    return [float(interval.low), float(interval.high)]


def accuracy_by_length(
    labels: npt.ArrayLike,
    predicted: npt.ArrayLike,
    lengths: npt.ArrayLike,
    *,
    longest_text: int,
) -> list[dict[str, Any]]:
    """Accuracy in bins of text length.

    Bins end at powers of two and at `longest_text`; what is longer, and was
    truncated, is a bin of its own. Empty bins are left out.

    Args:
      labels: int [n].
      predicted: int [n].
      lengths: int [n], tokens of each text before truncation.
      longest_text: tokens that are kept of a text.

    Returns:
      A dict a bin, shortest first: name ("129 to 256"), lower (exclusive), upper
      (None: no limit), is_truncated, count, accuracy, and its 95% Wilson interval
      as confidence_interval_95, [low, high].
    """
    is_correct = np.asarray(labels) == np.asarray(predicted)
    length_array = np.asarray(lengths)
    if is_correct.shape != length_array.shape:
        raise ValueError(
            "labels, predicted and lengths must have one value an example. Received: "
            f"shapes {is_correct.shape} and {length_array.shape}"
        )
    edges = _length_edges(length_array, longest_text)
    bin_of_example = np.searchsorted(edges, length_array)
    return [
        {
            **_bin_facts(edges, int(index), longest_text),
            **_accuracy_facts(is_correct[bin_of_example == index]),
        }
        for index in np.unique(bin_of_example)
    ]


def most_confident_errors(
    texts: Sequence[str],
    labels: npt.ArrayLike,
    predictions: ClassPredictions,
    lengths: npt.ArrayLike,
    *,
    label_names: Sequence[str],
    limit: int = 10,
) -> list[dict[str, Any]]:
    """The wrong predictions the classifier was surest of.

    They are worth reading: many of them are labels that are wrong themselves.

    Args:
      texts: n texts.
      labels: int [n].
      predictions: of the same n examples.
      lengths: int [n], tokens of each text before truncation.
      label_names: the classes' names.
      limit: how many to return at most.

    Returns:
      A dict an error, surest first: text (shortened in its middle), label and
      predicted (names), score (probability of the predicted class), length.
    """
    label_array, length_array = np.asarray(labels), np.asarray(lengths)
    predicted = predictions.predicted
    if not len(texts) == len(label_array) == len(predicted) == len(length_array):
        raise ValueError(
            "texts, labels, predictions and lengths must be of one size. Received: "
            f"{len(texts)}, {len(label_array)}, {len(predicted)}, {len(length_array)}"
        )
    scores = predictions.probabilities[np.arange(len(predicted)), predicted]
    errors = np.flatnonzero(predicted != label_array)
    surest = errors[np.argsort(-scores[errors], kind="stable")][:limit]
    return [
        {
            "text": shorten_middle(str(texts[int(index)])),
            "label": label_names[label_array[index]],
            "predicted": label_names[predicted[index]],
            "score": float(scores[index]),
            "length": int(length_array[index]),
        }
        for index in surest
    ]


def shorten_middle(text: str, *, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    """Text, or its two ends, `limit` characters together, and how many are gone."""
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


def _bin_facts(edges: Sequence[int], index: int, longest_text: int) -> dict[str, Any]:
    lower = edges[index - 1] if index else 0
    upper = edges[index] if index < len(edges) else None
    if upper is None:
        name = f"over {lower}"
    elif index == 0:
        name = f"up to {upper}"
    else:
        name = f"{lower + 1} to {upper}"
    return {
        "name": name,
        "lower": lower,
        "upper": upper,
        "is_truncated": lower >= longest_text,
    }


def _accuracy_facts(is_correct: npt.NDArray[np.bool_]) -> dict[str, Any]:
    num_correct, count = int(is_correct.sum()), len(is_correct)
    return {
        "count": count,
        "accuracy": num_correct / count,
        "confidence_interval_95": wilson_interval(num_correct, count),
    }
