"""Words that go with errors: where a text has the word, the model errs more often.

    words_of_errors(texts, labels, is_error)
    # (ErrorWord(word="not", num_texts=310, num_errors=92, expected_errors=61.3, ...), ...)

Among texts of one label, so that a word is not blamed for standing in a label that is
often mistaken. Given how many texts of each label have the word and how many are
errors, the number that are both is a sum of hypergeometric numbers, if the word has
nothing to do with it (Fisher's exact test; of several tables as Cox and Snell 1989,
"Analysis of Binary Data", 2.2.5). Thousands of words are tried, so p-values are
adjusted for their number (`comparisons.holm`).
"""

from __future__ import annotations

import collections
import re
from typing import Any, Iterable, Iterator

import numpy as np

from trainer.evaluation.comparisons import holm
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.schema import ErrorWord

# In fewer texts no word can stand out among thousands.
MIN_TEXTS = 10
MAX_WORDS = 10
_LEVEL = 0.05
_MAX_TEXTS = 20_000
_WORD = re.compile(r"\w+")


def words_of_errors(
    texts: Iterable[Any], labels: np.ndarray, is_error: np.ndarray
) -> tuple[ErrorWord, ...]:
    """The words with which errors are more frequent, beyond chance; at most ten.

    Args:
      texts: n texts, of which `str()` is the text; of more than 20,000 the first.
      labels: int [n], of the data.
      is_error: bool [n].

    Returns:
      The least likely first: of all that are given, one is by chance in 5% of the cases.
    """
    labels, is_error = labels[:_MAX_TEXTS], is_error[:_MAX_TEXTS]
    rows_of: dict[str, list[int]] = collections.defaultdict(list)
    for row, text in zip(range(len(labels)), texts):
        for word in set(_WORD.findall(str(text).lower())):
            rows_of[word].append(row)
    tried = {
        word: np.array(rows)
        # In all texts a word says nothing of any.
        for word, rows in sorted(rows_of.items())
        if MIN_TEXTS <= len(rows) < len(labels)
    }
    tables = [_Tables(rows, labels, is_error) for rows in tried.values()]
    p_values = holm([table.p_value() for table in tables])
    found = [
        _error_word(word, table, p_value)
        for word, table, p_value in zip(tried, tables, p_values)
        if p_value < _LEVEL
    ]
    # Stable: at a tie by the alphabet.
    return tuple(sorted(found, key=lambda each: each.p_value)[:MAX_WORDS])


def _error_word(word: str, table: _Tables, p_value: float) -> ErrorWord:
    return ErrorWord(
        word=word,
        num_texts=table.num_texts,
        num_errors=table.num_errors,
        confidence_interval_95=wilson_interval(table.num_errors, table.num_texts),
        expected_errors=table.expected,
        p_value=p_value,
    )


class _Tables:
    """Errors with and without a word, a table a label.

    Args:
      rows: int [m], the texts that have the word.
      labels: int [n].
      is_error: bool [n].

    Attributes:
      num_texts, num_errors: with the word.
      expected: errors with the word, if it had nothing to do with them.
    """

    def __init__(
        self, rows: np.ndarray, labels: np.ndarray, is_error: np.ndarray
    ) -> None:
        num_labels = int(labels.max()) + 1
        self._counts = np.bincount(labels, minlength=num_labels)
        self._errors = np.bincount(labels[is_error], minlength=num_labels)
        self._with_word = np.bincount(labels[rows], minlength=num_labels)
        self.num_texts = len(rows)
        self.num_errors = int(is_error[rows].sum())
        shares = self._errors / np.maximum(self._counts, 1)
        self.expected = float((self._with_word * shares).sum())

    def p_value(self) -> float:
        """How likely as many errors or more would be by chance."""
        if self.num_errors <= self.expected:
            return 1.0
        likely = np.ones(1)
        for pmf in self._of_labels():
            likely = np.convolve(likely, pmf)
        return float(min(1.0, likely[self.num_errors :].sum()))

    def _of_labels(self) -> Iterator[np.ndarray]:
        """How likely 0, 1, ... errors with the word are, label by label."""
        # Heavy, and the report's alone.
        import scipy.stats

        for count, errors, num in zip(self._counts, self._errors, self._with_word):
            if num:
                yield scipy.stats.hypergeom.pmf(np.arange(num + 1), count, errors, num)
