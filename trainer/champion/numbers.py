"""Two models of numbers on the same texts: which one is nearer.

    result = judged(labels, challenger, champion, sides=sides, ...)
    result.verdict, result.mae_difference, result.interval_95
    result.to_json(), summary(result)

Told apart by the mean absolute error, paired by text: "better" or "worse" where the 95%
interval of the difference is on one side of 0, else "undecided".
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal, Mapping

import numpy as np

from trainer.evaluation import number_metrics
from trainer.evaluation.number_worth import number, signed
from trainer.evaluation.schema import Interval
from trainer.messages import filled

_NUM_RESAMPLES = 1000
_VERDICTS: Mapping[str, Literal["better", "undecided", "worse"]] = {
    "better": "better",
    "not_shown": "undecided",
    "worse": "worse",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumbersCompared:
    """What --output holds of two models of numbers.

    Attributes:
      verdict: of the challenger.
      num_texts: that both answered, and neither was trained or chosen on.
      num_left_out: texts that one of them was.
      num_unseen: texts that neither has seen, of which --num_eval_examples may be drawn.
      mae_difference: of mean absolute errors, challenger minus champion: below 0 the
        challenger is nearer.
      interval_95: of the difference, by the bootstrap paired by text; None of fewer than
        10 texts.
      num_challenger_nearer: texts on which it is.
      num_champion_nearer: likewise.
      champion, challenger: of each side `path`, `version`, `status`, `bytes`,
        `latency_ms`, `mae` and `interval_95` of it.
      dataset: of the texts.
      warnings: sentences.
    """

    verdict: Literal["better", "undecided", "worse"]
    num_texts: int
    num_left_out: int
    num_unseen: int
    mae_difference: float
    interval_95: Interval | None
    num_challenger_nearer: int
    num_champion_nearer: int
    champion: Mapping[str, Any]
    challenger: Mapping[str, Any]
    dataset: str
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """Indented."""
        content = dataclasses.asdict(self)
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def judged(
    labels: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray,
    *,
    sides: Mapping[str, Mapping[str, Any]],
    **facts: Any,
) -> NumbersCompared:
    """Compares.

    Args:
      labels: float [n], the right numbers, n at least 1.
      challenger, champion: float [n], what each model answers.
      sides: what is known of "champion" and "challenger".
      facts: what does not depend on the answers, by its name in `NumbersCompared`.
    """
    settings = {"num_resamples": _NUM_RESAMPLES, "seed": 0}
    found = number_metrics.mae_difference(labels, challenger, champion, **settings)
    errors = [np.abs(values - labels) for values in (challenger, champion)]
    measured = {
        name: number_metrics.number_metrics(labels, values, **settings)
        for name, values in (("challenger", challenger), ("champion", champion))
    }
    told = {
        name: {
            **sides[name],
            "mae": each.values["mae"],
            "interval_95": each.intervals.get("mae"),
        }
        for name, each in measured.items()
    }
    return NumbersCompared(
        verdict=_VERDICTS[found.verdict],
        num_texts=len(labels),
        mae_difference=found.value,
        interval_95=found.interval,
        num_challenger_nearer=int((errors[0] < errors[1]).sum()),
        num_champion_nearer=int((errors[1] < errors[0]).sum()),
        champion=told["champion"],
        challenger=told["challenger"],
        **facts,
    )


def sentence(result: NumbersCompared) -> str:
    """The verdict, in words with a full stop."""
    said = {
        "better": "The challenger is nearer",
        "worse": "The challenger is farther off",
        "undecided": "The texts cannot tell which one is nearer",
    }[result.verdict]
    ends = result.interval_95
    interval = f" ({signed(ends[0])} to {signed(ends[1])})" if ends else ""
    return (
        f"{said}: off by {number(result.challenger['mae'])} on the mean, the champion by "
        f"{number(result.champion['mae'])}, on {result.num_texts:,} texts: "
        f"{signed(result.mae_difference)}{interval}."
    )


def summary(result: NumbersCompared) -> str:
    """The result for people, in lines."""
    lines = [filled(sentence(result)), ""]
    for name in ("champion", "challenger"):
        side = getattr(result, name)
        ends = side["interval_95"]
        interval = f" ({number(ends[0])} to {number(ends[1])})" if ends else ""
        lines.append(
            f"{name.capitalize():<12}{number(side['mae'])}{interval}, "
            f"{side['latency_ms']:.0f} ms a text, {side['status']}: {side['path']}"
        )
    drawn = ""
    if result.num_texts < result.num_unseen:
        drawn = f", drawn of {result.num_unseen:,} that neither has seen"
    lines += [
        f"{'Texts':<12}{result.num_texts:,}{drawn}",
        f"{'Left out':<12}{result.num_left_out:,} texts that one of them was trained or "
        "chosen on",
        f"{'Nearer':<12}the challenger on {result.num_challenger_nearer:,} texts, the "
        f"champion on {result.num_champion_nearer:,}",
    ]
    if result.warnings:
        lines += ["", "Doubts"]
        lines += [
            filled(warning, first="  - ", rest="    ") for warning in result.warnings
        ]
    return "\n".join(lines) + "\n"
