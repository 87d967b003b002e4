"""Whether fine-tuning was worth it, in one sentence.

    sentence(comparisons, baselines, evaluations, circumstances)
    # "Fine-tuning beats TF-IDF with logistic regression by 4.1 points (2.9 to 5.3),
    #  for 300 times its time."

Report, closing table and model card open with it. It names one rival, the best of the
simple models, and others only where they fared otherwise. Where fine-tuning is not
shown to be better, it says what may help in this run, the most promising first.
Differences are in percentage points of accuracy, with their 95% interval in brackets.

The numbers come from elsewhere; their types are in `schema.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Iterator, Mapping, Sequence

from trainer.evaluation import doubts
from trainer.evaluation.points import points as points
from trainer.evaluation.points import signed_points as signed_points
from trainer.evaluation.schema import (
    BaselineFacts,
    BaselineScores,
    Comparison,
    SplitEvaluation,
    ValidationRecord,
)

COMMONEST = "commonest"
# Where no split is left to choose the best of them by: the likely one first.
_PREFERRED = ("tfidf", "frozen", COMMONEST)
# From so many times the time on, the cost is named.
_LARGE_COST = 2.0
# From this share on, texts that are cut may cost accuracy.
_MANY_CUT = 0.1
# The default of --num_train_epochs.
_USUAL_EPOCHS = 3
_MAX_WAYS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What of a run tells how it may be bettered.

    Attributes:
      num_train_texts: that were trained on.
      num_available_texts: that could have been, --num_train_examples aside.
      truncated_fraction: of the training texts, those longer than what is read.
      max_length: --max_length, in tokens.
      encoder_limit: the most that the encoder could read, in tokens.
      long_text: --long_text.
      num_train_epochs: --num_train_epochs.
      still_rose: whether the last validation was the best; None: nobody knows.
    """

    num_train_texts: int
    num_available_texts: int
    truncated_fraction: float
    max_length: int
    encoder_limit: int
    long_text: str
    num_train_epochs: int
    still_rose: bool | None


def still_rose(
    validation: Sequence[ValidationRecord], *, best_step: int | None
) -> bool | None:
    """Whether the last validation was the best; None if one alone does not tell."""
    if best_step is None or len(validation) < 2:
        return None
    return validation[-1].step == best_step


def sentence(
    comparisons: Mapping[str, Comparison],
    baselines: Mapping[str, BaselineFacts],
    evaluations: Mapping[str, SplitEvaluation],
    circumstances: Circumstances,
) -> str | None:
    """The sentence, a full stop at its end; None if nothing was compared.

    Args:
      comparisons: by the name of the baseline; all on one split.
      baselines: by name, those that are compared among them.
      evaluations: of the fine-tuned model, by split.
      circumstances: of the run.
    """
    if not comparisons:
        return None
    rival = _rival(comparisons, baselines)
    split = comparisons[rival].split
    evaluation = evaluations[split]
    beginning = "Fine-tuning "
    if split == "validation":
        beginning = "On the validation texts, for there are no test texts, fine-tuning "
    losers = _nobody_learnt(comparisons, baselines, evaluation)
    if losers is not None:
        return beginning + _nothing_to_learn(losers, evaluation, circumstances) + "."
    clauses = [
        _clause(comparisons[rival], baselines[rival].title),
        *_other_clauses(comparisons, baselines, rival=rival),
    ]
    share = evaluation.majority_class_accuracy
    if not _beats(evaluation, share):
        clauses.append(
            "and is not shown to be better than "
            f"{doubts.always_commonest(evaluation)} ({share:.1%})"
        )
    whole = beginning + ", ".join(clauses)
    if any(each.verdict != "better" for each in comparisons.values()):
        ways = list(_ways(comparisons, evaluation, circumstances))[:_MAX_WAYS]
        whole += f"; ways to go on: {', '.join(ways)}"
    return whole + "."


def _rival(
    comparisons: Mapping[str, Comparison], baselines: Mapping[str, BaselineFacts]
) -> str:
    """The best of the simple models, as another split than that of the result tells."""
    names = [name for name in _PREFERRED if name in comparisons]
    scores = [baselines[name].validation for name in names]
    if comparisons[names[0]].split == "validation" or None in scores:
        return names[0]
    # Stable: of equal ones the first.
    return max(zip(names, scores), key=lambda pair: _accuracy(pair[1]))[0]


def _accuracy(scores: BaselineScores | None) -> float:
    return scores.accuracy if scores else 0.0


def _nobody_learnt(
    comparisons: Mapping[str, Comparison],
    baselines: Mapping[str, BaselineFacts],
    evaluation: SplitEvaluation,
) -> list[str] | None:
    """The titles of the simple models, if no model beats the commonest label."""
    share = evaluation.majority_class_accuracy
    names = [n for n in _PREFERRED if n in comparisons and n != COMMONEST]
    scores = [_scores(baselines[name], comparisons[name].split) for name in names]
    if any(_beats(each, share) for each in (evaluation, *scores) if each):
        return None
    return [baselines[name].title for name in names]


def _nothing_to_learn(
    losers: Sequence[str], evaluation: SplitEvaluation, circumstances: Circumstances
) -> str:
    others = f", and neither is {' or '.join(losers)}" if losers else ""
    texts = _counted(circumstances.num_train_texts, "training text")
    are = "is" if circumstances.num_train_texts == 1 else "are"
    return (
        f"is not shown to be better than {doubts.always_commonest(evaluation)} "
        f"({evaluation.majority_class_accuracy:.1%} of the texts){others}: the texts may "
        f"not tell their labels, or {texts} {are} too few to learn it from"
    )


def _scores(baseline: BaselineFacts, split: str) -> BaselineScores | None:
    return baseline.test if split == "test" else baseline.validation


def _beats(scores: SplitEvaluation | BaselineScores, share: float) -> bool:
    return doubts.least_accuracy(scores) > share


def _clause(comparison: Comparison, title: str) -> str:
    """The verdict on one rival, with its numbers and what it costs."""
    low, high = comparison.interval_95
    ratio = comparison.cost_ratio or 0.0
    is_dear = ratio >= _LARGE_COST
    if comparison.verdict == "better":
        numbers = _by_points(comparison.difference, low, high)
        cost = f", for {_times(ratio)} its time" if is_dear else ""
        return f"beats {title} {numbers}{cost}"
    if comparison.verdict == "worse":
        numbers = _by_points(-comparison.difference, -high, -low)
        clause = f"is worse than {title} {numbers}"
    else:
        numbers = _around_zero(comparison)
        clause = f"is not shown to be better than {title} ({numbers})"
    return clause + (f", which costs {_times(ratio)} less" if is_dear else "")


def _other_clauses(
    comparisons: Mapping[str, Comparison],
    baselines: Mapping[str, BaselineFacts],
    *,
    rival: str,
) -> Iterator[str]:
    """Of the simple models that fared otherwise than the rival."""
    verdict = comparisons[rival].verdict
    for name in _PREFERRED:
        # That a model beats the commonest label as well need not be said.
        if name in (rival, COMMONEST) or name not in comparisons:
            continue
        if comparisons[name].verdict != verdict:
            clause = _clause(comparisons[name], baselines[name].title)
            is_won = comparisons[name].verdict == "better"
            yield f"though it {clause}" if is_won else f"but {clause}"


def _by_points(difference: float, low: float, high: float) -> str:
    """ "by 4.1 points (2.9 to 5.3)": no number of which is 0 for being rounded."""
    least = 100 * min(filter(None, map(abs, (difference, low, high))), default=0.0)
    digits = next((digits for digits in (1, 2, 3) if round(least, digits)), 1)
    value, *ends = (points(each, digits) for each in (difference, low, high))
    return f"by {value} points ({ends[0]} to {ends[1]})"


def _around_zero(comparison: Comparison) -> str:
    """ "+0.6 points, −1.2 to 2.4", or what else says that there is no difference."""
    count = comparison.num_discordant
    if not count:
        return "no text tells them apart"
    low, high = map(points, comparison.interval_95)
    numbers = f"{signed_points(comparison.difference)} points, {low} to {high}"
    return numbers + ("; one text alone tells them apart" if count == 1 else "")


def _times(ratio: float) -> str:
    """ "2.4 times", "310 times", "1,300 times": two digits say enough of a time."""
    rounded = float(f"{ratio:.2g}")
    return f"{rounded:,.0f} times" if rounded >= 10 else f"{rounded:g} times"


def _ways(
    comparisons: Mapping[str, Comparison],
    evaluation: SplitEvaluation,
    circumstances: Circumstances,
) -> Iterator[str]:
    """What may better this run, the most promising first."""
    if _gives_one_label(evaluation):
        yield (
            "a lower --learning_rate or a longer warmup (--warmup_fraction), for it "
            "gives all texts one label"
        )
    elif "frozen" in comparisons and comparisons["frozen"].verdict == "worse":
        # The head alone could have done as well: the fault is in the training.
        yield "another --learning_rate"
    if circumstances.truncated_fraction > _MANY_CUT:
        yield from _longer(circumstances)
    epochs = circumstances.num_train_epochs
    if circumstances.still_rose:
        yield f"more epochs (--num_train_epochs={2 * epochs}), for validation still rose"
    elif circumstances.still_rose is None and epochs < _USUAL_EPOCHS:
        yield f"more epochs (--num_train_epochs={_USUAL_EPOCHS})"
    yield _more_texts(circumstances)
    yield "a larger --preset"


def _gives_one_label(evaluation: SplitEvaluation) -> bool:
    matrix = evaluation.confusion_matrix
    return sum(any(column) for column in zip(*matrix)) == 1


def _longer(circumstances: Circumstances) -> Iterator[str]:
    share = f"{circumstances.truncated_fraction:.0%} of the texts are cut"
    if circumstances.max_length < circumstances.encoder_limit:
        length = min(2 * circumstances.max_length, circumstances.encoder_limit)
        yield f"longer texts (--max_length={length}; {share})"
    elif circumstances.long_text != "windows":
        yield f"whole texts (--long_text=windows; {share})"


def _more_texts(circumstances: Circumstances) -> str:
    used, available = circumstances.num_train_texts, circumstances.num_available_texts
    if used < available:
        return f"more texts (--num_train_examples; there are {available:,})"
    return f"more labelled texts than these {used:,}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
