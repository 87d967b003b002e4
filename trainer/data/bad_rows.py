"""Counts what is wrong with the rows of a data set, however many of them are wrong.

    bad_rows = BadRows()
    bad_rows.add(bad_row)
    print(listed([bad_rows]))
    #   reviews.csv:3: expected a label of bad, good. Received: 'fine'; mend ...
    #   reviews.csv:9: expected a text. Received: an empty one; fill it in ...

The first rows are kept as they are, and of all of them how many of each kind there are:
five million rows of a wrong label take no more memory, and no more lines, than ten.
What follows from bad rows is left to `sources.py`.
"""

from __future__ import annotations

from collections import Counter
from typing import Iterable

from trainer.data.readers.rows import BadRow, BadValue

_NUM_KEPT = 20
_NUM_LISTED = 5
# Messages that name their own row ("a quote opened in line 7") are all different.
_MAX_KINDS = 1000
_MAX_RULES_LISTED = 10
_MAX_RECEIVED_LISTED = 5
# With so many bad rows, and hardly another row, the rest of the data is no better.
_NUM_HOPELESS = 10_000
_HOPELESS_FRACTION = 0.99


class BadRows:
    """The bad rows of a split.

    Attributes:
      first: the first of them.
      count: of all of them.
      kinds: rule and what was received → number of rows. What was received is empty
        for the rows of a rule that has too many different ones.
    """

    def __init__(self) -> None:
        self.first: list[BadRow] = []
        self.count = 0
        self.kinds: Counter[tuple[str, str]] = Counter()

    def add(self, bad: BadRow | BadValue, *, file: str, line: int) -> None:
        """Counts one more; `file` and `line` say where."""
        self.count += 1
        if len(self.first) < _NUM_KEPT:
            bad_row = bad.at(file, line=line) if isinstance(bad, BadValue) else bad
            self.first.append(bad_row)
        kind = (bad.rule, bad.received)
        is_counted = kind in self.kinds or len(self.kinds) < _MAX_KINDS
        self.kinds[kind if is_counted else (bad.rule, "")] += 1

    def are_hopeless(self, num_good: int) -> bool:
        """Whether there are so many beside `num_good` other rows that more say nothing."""
        num_rows = self.count + num_good
        return (
            self.count >= _NUM_HOPELESS and self.count > _HOPELESS_FRACTION * num_rows
        )


def listed(tallies: Iterable[BadRows]) -> str:
    """The first rows of all, a line each; where there are more, how many of each kind.

    Each line begins with its end of line, and with two blanks.
    """
    tallies = list(tallies)
    first = [bad for tally in tallies for bad in tally.first]
    lines = [str(bad) for bad in first[:_NUM_LISTED]]
    if sum(tally.count for tally in tallies) > _NUM_LISTED:
        kinds = sum((tally.kinds for tally in tallies), Counter[tuple[str, str]]())
        lines += ["In all:", *_by_rule(kinds)]
    return "".join(f"\n  {line}" for line in lines)


def counted(count: int) -> str:
    """So many bad rows, in words."""
    return "1 bad row" if count == 1 else f"{count:,} bad rows"


def _by_rule(kinds: Counter[tuple[str, str]]) -> list[str]:
    """A line a rule: how many rows, and what was received how often."""
    rules: dict[str, Counter[str]] = {}
    for (rule, received), count in kinds.items():
        rules.setdefault(rule, Counter())[received] += count
    ordered = sorted(rules.items(), key=lambda item: -item[1].total())
    lines = [
        f"{_rows(received.total())}: {rule}. Received: {_most_common(received)}"
        for rule, received in ordered[:_MAX_RULES_LISTED]
    ]
    return lines + (["..."] if len(ordered) > _MAX_RULES_LISTED else [])


def _most_common(received: Counter[str]) -> str:
    """The commonest values, each with its number where there is more than one."""
    named = [(value, count) for value, count in received.most_common() if value]
    shown = named[:_MAX_RECEIVED_LISTED]
    parts = [
        f"{value} ({_rows(count)})" if len(received) > 1 else value
        for value, count in shown
    ]
    return ", ".join(parts) + (", ..." if len(received) > len(shown) else "")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
