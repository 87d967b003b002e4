"""Two models of numbers on the same texts, told in words and as JSON.

    compared = NumbersCompared(contest=contest, champion=side, ...)
    compared.contest.verdict
    compared.to_json(), summary(compared)

Which one is nearer, `number_contest.py` says.
"""

from __future__ import annotations

import dataclasses
import json

from trainer.champion.side import Side
from trainer.evaluation.number_worth import number, signed
from trainer.evaluation.schema import Interval, NumberContest, NumberSliceContest
from trainer.messages import filled

# Of each side: all texts differ by something, and most by little.
MAX_DIFFERENCES = 50
_MAX_LINES = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberDifference:
    """A text on which one of the two is nearer; label and answers are numbers."""

    text: str
    file: str
    line: int
    label: float
    champion: float
    challenger: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumbersCompared:
    """What --output holds; the keys of the contest stand beside the others.

    Attributes:
      num_unseen: texts that neither has seen, of which --num_eval_examples may be drawn.
      differences: the 50 texts on which the challenger gains most, and the 50 on which it
        loses most.
      warnings: sentences.
    """

    contest: NumberContest
    champion: Side
    challenger: Side
    dataset: str
    num_unseen: int
    differences: tuple[NumberDifference, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """Indented; `champion` and `challenger` are the sides with their `mae`."""
        contest = dataclasses.asdict(self.contest)
        sides = {
            name: {
                **dataclasses.asdict(getattr(self, name)),
                "mae": contest.pop(name),
                "interval_95": contest.pop(f"{name}_interval_95"),
            }
            for name in ("champion", "challenger")
        }
        content = {
            **contest,
            **sides,
            "dataset": self.dataset,
            "num_unseen": self.num_unseen,
            "warnings": self.warnings,
            "differences": [dataclasses.asdict(each) for each in self.differences],
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def sentence(contest: NumberContest) -> str:
    """The verdict, in words with a full stop."""
    margin = f"{100 * contest.margin:g}% of the champion's error"
    said = {
        "better": "The challenger is nearer",
        "not_worse": f"The challenger is not farther off by {margin} or more",
        "worse": "The challenger is farther off",
        "undecided": "The texts cannot tell whether the challenger is farther off",
    }[contest.verdict]
    end = ""
    if contest.texts_to_settle:
        end = f"; about {contest.texts_to_settle:,} texts would"
    return (
        f"{said}: off by {number(contest.challenger)} on the mean, the champion by "
        f"{number(contest.champion)}, on {contest.num_texts:,} texts: "
        f"{signed(contest.mae_difference)}{_in_brackets(contest.interval_95)}{end}."
    )


def slice_sentence(each: NumberSliceContest) -> str:
    """A loss on a slice, in words."""
    end = "" if each.blocks else "; too few texts to hold it back"
    return (
        f"worse on the {each.num_texts:,} texts of {each.slice} {each.value}: mean "
        f"absolute error {signed(each.mae_difference)}{_in_brackets(each.interval_95)}, "
        f"p {each.p_holm:.2g} by Holm{end}"
    )


def summary(compared: NumbersCompared) -> str:
    """The result for people, in lines."""
    contest = compared.contest
    lines = [filled(sentence(contest)), ""]
    for name, side, mae, ends in (
        (
            "Champion",
            compared.champion,
            contest.champion,
            contest.champion_interval_95,
        ),
        (
            "Challenger",
            compared.challenger,
            contest.challenger,
            contest.challenger_interval_95,
        ),
    ):
        interval = f" ({number(ends[0])} to {number(ends[1])})" if ends else ""
        lines.append(
            f"{name:<12}{number(mae)}{interval}, "
            f"{side.latency_ms:.0f} ms a text, {side.status}: {side.path}"
        )
    drawn = ""
    if contest.num_texts < compared.num_unseen:
        drawn = f", drawn of {compared.num_unseen:,} that neither has seen"
    lines += [
        f"{'Texts':<12}{contest.num_texts:,}{drawn}",
        f"{'Left out':<12}{contest.num_left_out:,} texts that one of them was trained or "
        "chosen on",
        f"{'Nearer':<12}the challenger on {contest.num_challenger_nearer:,} texts, the "
        f"champion on {contest.num_champion_nearer:,}",
    ]
    if compared.warnings:
        lines += ["", "Doubts"]
        lines += [
            filled(warning, first="  - ", rest="    ")
            for warning in compared.warnings[:_MAX_LINES]
        ]
        if len(compared.warnings) > _MAX_LINES:
            num_more = len(compared.warnings) - _MAX_LINES
            lines.append(f"  and {num_more} more in --output")
    return "\n".join(lines) + "\n"


def _in_brackets(ends: Interval | None) -> str:
    """An interval of a difference, with a space before it; "" where there is none."""
    return f" ({signed(ends[0])} to {signed(ends[1])})" if ends else ""
