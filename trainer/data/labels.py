"""What a label is: which raw values are one, and which number each class gets.

    check_label(2.0)  # 2; raises BadValue for a value that is no label
    labels = DiscoveredLabels()
    codes = [labels.encode(row, file="reviews.csv") for row in rows]
    labels.check(num_rows=len(codes), label_field="label")
    names, new_codes = labels.in_order()

    known = NamedLabels(names, allow_positions=False)
    known.encode(row, file="test.csv")  # a position in `names`, or a `BadRow`

A label passes three steps. `check_label` looks at the raw value of one row and decides
by its type. A numbering, `NamedLabels` or `DiscoveredLabels`, gives it the number of
its class: labels are the same class where `str()` of them is the same. At last
`DiscoveredLabels.check` doubts the labels as a whole. Whatever is to count as the
same label belongs here. Reading rows is left to `trainer.data.readers`, what a model
makes of the numbers to others.
"""

from __future__ import annotations

from typing import Protocol

from trainer.data.readers.rows import BadRow, Row, check_not_blank, check_unicode
from trainer.messages import did_you_mean, message, shown

MAX_CLASSES = 1000

# With fewer, each row may well have a label of its own.
_MIN_ROWS_TO_DOUBT_LABELS = 20


def check_label(value: object) -> str | int:
    """Checks that a raw value is a label, and returns it as a string or an int.

    Args:
      value: a string, bytes of UTF-8, or a whole number (2.0 counts as 2: pandas makes
        floats of a column of integers that has a gap).

    Raises:
      BadValue: it is missing, blank, a boolean, a fraction, a list, or no Unicode.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # To Python a boolean is an int.
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    label = check_unicode(
        value,
        rule="expected a label (a string or a whole number)",
        flag="label_field",
    )
    check_not_blank(label, rule="expected a label")
    return label


class LabelNumbering(Protocol):
    """Gives the label of a row the number of its class, from 0."""

    def encode(self, row: Row, *, file: str) -> int | BadRow:
        """The number, or why there is none. `file`: where the row comes from."""


class NamedLabels:
    """Numbers labels by names that are known before the rows are read.

    Attributes:
      names: the classes in order; the number of a class is its position.
    """

    def __init__(self, names: tuple[str, ...], *, allow_positions: bool):
        """See `names`; with `allow_positions` a label may be its class's number too."""
        self.names = names
        self._codes = {name: code for code, name in enumerate(names)}
        # Where names are numbers, "1" could be meant either way: it is a name.
        self._allows_positions = allow_positions and not any(map(_is_integer, names))
        if self._allows_positions:
            positions = {str(code): code for code in range(len(names))}
            self._codes = positions | self._codes

    def encode(self, row: Row, *, file: str) -> int | BadRow:
        """The number of the row's class, or a `BadRow` for a label of no class."""
        label = str(row.label)
        code = self._codes.get(label)
        if code is not None:
            return code
        positions = f", or 0 to {len(self.names) - 1}" if self._allows_positions else ""
        return BadRow(
            file,
            row.line,
            rule=f"expected a label of {', '.join(self.names[:20])}{positions}",
            received=f"{shown(row.label)}{did_you_mean(label, self.names)}",
            mend="mend the label, or add it to --label_names",
        )


class DiscoveredLabels:
    """Numbers labels as they come, and remembers where each came first.

    The order of the rows decides these numbers. `in_order` gives the final ones,
    which depend on the set of labels alone.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        # Label → FILE:LINE of the first row that has it.
        self._first_seen: dict[str, str] = {}

    def encode(self, row: Row, *, file: str) -> int:
        """The preliminary number of the row's class, a new one for a new label."""
        # 1 in one file and "1" in another are the same class.
        label = str(row.label)
        if label not in self._codes:
            self._codes[label] = len(self._codes)
            self._first_seen[label] = f"{file}:{row.line}"
        return self._codes[label]

    def in_order(self) -> tuple[tuple[str, ...], list[int]]:
        """The names of the classes in order, and by preliminary number the final one.

        The order is that of the integers where all labels are some, else that of the
        strings, so "9" comes before "10".
        """
        are_integers = all(map(_is_integer, self._codes))
        names = sorted(self._codes, key=int if are_integers else None)
        new_codes = [0] * len(names)
        for new_code, name in enumerate(names):
            new_codes[self._codes[name]] = new_code
        return tuple(names), new_codes

    def check(self, num_rows: int, *, label_field: str) -> None:
        """Raises ValueError for labels that look like a mistake.

        Args:
          num_rows: how many rows were numbered.
          label_field: the column they come from, for the message.
        """
        self._refuse_too_many(num_rows, label_field)
        self._refuse_alike()

    def _refuse_too_many(self, num_rows: int, label_field: str) -> None:
        """The column of ids or of texts, taken for that of the labels."""
        num_labels = len(self._codes)
        is_mostly_distinct = num_labels > num_rows / 2
        if num_labels > MAX_CLASSES or (
            is_mostly_distinct and num_rows >= _MIN_ROWS_TO_DOUBT_LABELS
        ):
            examples = ", ".join(shown(label) for label in list(self._codes)[:3])
            raise ValueError(
                message(
                    f"{label_field!r} must be a column of labels: they occur often, "
                    f"and there are at most {MAX_CLASSES} of them",
                    received=f"{num_labels} different ones in {num_rows} rows "
                    f"({examples}, ...)",
                    mend="name the right column with --label_field",
                )
            )

    def _refuse_alike(self) -> None:
        """One class under two spellings, which would halve it silently."""
        spellings: dict[str, str] = {}
        for label, first_seen in self._first_seen.items():
            other = spellings.setdefault(label.strip().casefold(), label)
            if other != label:
                raise ValueError(
                    message(
                        "labels must differ by more than case and white space",
                        received=f"{other!r} ({self._first_seen[other]}) and "
                        f"{label!r} ({first_seen})",
                        mend="write them alike, or tell the right ones by "
                        "--label_names",
                    )
                )


def _is_integer(label: str) -> bool:
    """Whether a label is an integer as Python writes it: "10", not "010" or "+1"."""
    try:
        return str(int(label)) == label
    except ValueError:
        return False
