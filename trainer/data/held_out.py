"""Which of the training texts are held out, for test and validation.

    shares = by_unit(digests, digests, labels, {"test": 5, "validation": 10})
    shares["test"]          # bool [n]

A hash decides, of the text or of its group, and nothing else of the data does: a row
that is added moves no other, with one exception. Each label keeps `MIN_TRAIN_TEXTS`
different texts in training. Where the hash leaves it fewer, held-out ones return, in the
order of another hash, until it has them. So a label with no more texts than these has
all of them in training. For a label that the hash leaves enough, nothing changes; for
another, an added row moves one other text of its label (or one group) at most.
"""

from __future__ import annotations

from typing import Mapping

import numpy as np

from trainer.data import label_sets
from trainer.data.duplicates import first_32_bits, numbered
from trainer.data.label_faults import names_flag
from trainer.data.sources import TextDataset
from trainer.messages import message

# With fewer, each text counts for more in the weights than it would in a measure.
MIN_TRAIN_TEXTS = 5
_SALTS = {"test": b"", "validation": b"validation:"}
_RETURN_SALT = b"train:"
_LONE_TEXTS_IN_ERROR = 5
_ROWS_AT_ONCE = 65_536


def share(digests: np.ndarray, *, one_in: int, salt: bytes = b"") -> np.ndarray:
    """Which texts belong to a share of one in `one_in`: bool [n].

    Without a salt the rule is `int(sha256(text)[:8], 16) % one_in == 0`, on the hex
    digest; with one, the same on the hash of the salt and the text's digest.
    """
    if one_in == 0:
        return np.zeros(len(digests), bool)
    chosen = np.empty(len(digests), bool)
    for start in range(0, len(digests), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        chosen[rows] = first_32_bits(digests[rows], salt) % one_in == 0
    return chosen


def by_unit(
    units: np.ndarray, texts: np.ndarray, labels: np.ndarray, one_in: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """The splits, by the hash of each unit, and so that each label keeps some texts.

    Args:
      units: uint8 [n, 32], digests of what stays together: texts, or groups of rows.
      texts: uint8 [n, 32], digests of the texts, equal for copies.
      labels: of the rows, see `label_sets.pairs`.
      one_in: by split to be held out, the share of it: one in so many.

    Returns:
      bool [n] by split, "train" among them; each row is in one.
    """
    shares = _shares(units, one_in)
    is_left = shares.pop("train")
    stays = is_left | _returned(labels, texts, units, is_held_out=~is_left)
    shares = {name: is_chosen & ~stays for name, is_chosen in shares.items()}
    return shares | {"train": stays}


def by_exact_text(
    contents: np.ndarray, texts: np.ndarray, one_in: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The splits, by the hash of each text as it is, whatever copies there are.

    Test is left whole; validation loses the copies of texts in test, and training those
    of texts in either.

    Args:
      contents: uint8 [n, 32], digests of the texts as they are.
      texts: uint8 [n, 32], digests of the texts, equal for copies.
      one_in: as for `by_unit`.

    Returns:
      bool [n] by split; and by split, how many rows it lost.
    """
    numbers = numbered(texts)
    result, num_left_out = {}, {}
    is_held_out = np.zeros(len(texts), bool)
    for name, is_chosen in _shares(contents, one_in).items():
        is_copy = is_chosen & np.isin(numbers, numbers[is_held_out])
        result[name] = is_chosen & ~is_copy
        num_left_out[name] = int(is_copy.sum())
        is_held_out |= result[name]
    return result, num_left_out


def _shares(digests: np.ndarray, one_in: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The splits in the order in which they choose, what is left last: bool [n]."""
    is_left = np.ones(len(digests), bool)
    shares = {}
    for name, salt in _SALTS.items():
        if name in one_in:
            is_chosen = share(digests, one_in=one_in[name], salt=salt)
            shares[name] = is_left & is_chosen
            is_left = is_left & ~is_chosen
    return shares | {"train": is_left}


def _returned(
    labels: np.ndarray, texts: np.ndarray, units: np.ndarray, *, is_held_out: np.ndarray
) -> np.ndarray:
    """Which held-out rows return, that each label has enough in training: bool [n].

    For a label with fewer than MIN_TRAIN_TEXTS different texts left, whole units of it
    return, in the order of a hash, and no more of them than it needs. Labels do not
    count what returns for others, so that no order among them matters.

    """
    is_left = np.flatnonzero(~is_held_out[:_ROWS_AT_ONCE])
    num_labels = label_sets.num_labels(labels)
    is_scarce = _is_scarce(
        texts[is_left], labels[is_left], MIN_TRAIN_TEXTS, num_labels=num_labels
    )
    rows, codes = _row_of_each_text(texts, labels, is_scarce)
    is_out = is_held_out[rows]
    num_left = np.bincount(codes[~is_out], minlength=num_labels)
    held_out, codes = rows[is_out], codes[is_out]
    wanted = []
    for label in np.unique(codes):
        num_needed = MIN_TRAIN_TEXTS - num_left[label]
        if num_needed > 0:
            of_label = held_out[codes == label]
            _, first, sizes = np.unique(
                numbered(units[of_label]), return_index=True, return_counts=True
            )
            hashes = first_32_bits(units[of_label[first]], _RETURN_SALT)
            order = np.argsort(hashes, kind="stable")
            num_before = np.cumsum(sizes[order]) - sizes[order]
            wanted.append(of_label[first][order][num_before < num_needed])
    if not wanted:
        return np.zeros(len(texts), bool)
    unit_numbers = numbered(units)
    returns = np.isin(unit_numbers, unit_numbers[np.concatenate(wanted)])
    result: np.ndarray = is_held_out & returns
    return result


def refuse_lone_texts(
    train: TextDataset, texts: np.ndarray, *, are_labels_found: bool
) -> None:
    """Raises ValueError where a label has one text: to be learned, or to be measured.

    Args:
      texts: uint8 [n, 32], digests of the texts, equal for copies.
      are_labels_found: whether labels that --label_names does not name can be skipped;
        labels that have been named may be positions among the names.
    """
    names = train.label_names
    is_scarce = _is_scarce(
        texts[:_ROWS_AT_ONCE], train.labels[:_ROWS_AT_ONCE], 2, num_labels=len(names)
    )
    rows, codes = _row_of_each_text(texts, train.labels, is_scarce)
    num_texts = np.bincount(codes, minlength=len(names))
    num_texts[~is_scarce] = 2
    lone = sorted(zip(rows, codes))
    lone = [(row, code) for row, code in lone if num_texts[code] == 1]
    if not lone:
        return
    listed = [
        f"{names[code]!r} ({':'.join(map(str, train.places.of(row)))})"
        for row, code in lone[:_LONE_TEXTS_IN_ERROR]
    ]
    more = ", ..." if len(lone) > len(listed) else ""
    others = [name for name, number in zip(names, num_texts) if number > 1]
    mend = "add texts of that label, mend it, or take the row out"
    # After "=" stands what a label is renamed to.
    if are_labels_found and len(others) > 1 and "=" not in "".join(others):
        mend += f"; or leave it out with {names_flag(others)} --bad_rows=skip"
    raise ValueError(
        message(
            "each label must have at least two different texts, one to train on and "
            "one to hold out",
            received=f"a single text of {', '.join(listed)}{more}",
            mend=mend,
        )
    )


def _is_scarce(
    texts: np.ndarray, labels: np.ndarray, num_texts: int, *, num_labels: int
) -> np.ndarray:
    """Which labels have fewer different texts than so many: bool [labels].

    Where the first rows of a large data set show enough of a label, as of nearly all, the
    others need not be sorted.
    """
    is_any = np.ones(num_labels, bool)
    codes = _row_of_each_text(texts, labels, is_any)[1]
    is_scarce: np.ndarray = np.bincount(codes, minlength=num_labels) < num_texts
    return is_scarce


def _row_of_each_text(
    texts: np.ndarray, labels: np.ndarray, is_wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A row for each different text of each wanted label, and the label: int64 [m] each.

    Args:
      is_wanted: bool [labels].
    """
    of_rows = np.arange(len(labels))
    if not is_wanted.all():
        of_rows = _rows_having(labels, is_wanted)
        texts, labels = texts[of_rows], labels[of_rows]
    rows, codes = label_sets.pairs(labels)
    rows, codes = rows[is_wanted[codes]], codes[is_wanted[codes]]
    copies = numbered(texts)[rows] * len(is_wanted) + codes
    first = np.unique(copies, return_index=True)[1]
    return of_rows[rows[first]], codes[first]


def _rows_having(labels: np.ndarray, is_wanted: np.ndarray) -> np.ndarray:
    """The rows that have one of the wanted labels at least: int64 [m]."""
    if label_sets.are_numbers(labels):
        return np.arange(len(labels) if is_wanted.any() else 0)
    if labels.ndim == 1:
        return np.flatnonzero(is_wanted[labels])
    return np.flatnonzero((labels[:, is_wanted] > 0).any(axis=1))
