"""The sentence on whether fine-tuning was worth it: every form, and its numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.evaluation.tiny_report import (
    BASELINES,
    COMMONEST,
    COMPARISONS,
    FROZEN,
    HISTORY,
    TFIDF,
    WORTH,
    baseline,
    baseline_scores,
    comparison,
    tiny_report,
)
from trainer.evaluation import doubts, worth

# Nothing but texts can better this run.
LONG_DONE = worth.Circumstances(
    num_train_texts=1000,
    num_available_texts=1000,
    truncated_fraction=0.0,
    max_length=128,
    encoder_limit=512,
    long_text="truncate",
    num_train_epochs=3,
    still_rose=False,
)
ALWAYS = "always answering the commonest label"
LABEL_MORE = "more labelled texts than these 1,000, a larger --preset"


def said(
    comparisons: Any = COMPARISONS,
    baselines: Any = BASELINES,
    *,
    model: Any = None,
    **changes: Any,
) -> str | None:
    """The sentence. model: changes of the fine-tuned model's evaluation."""
    evaluations = {
        split: dataclasses.replace(evaluation, **(model or {}))
        for split, evaluation in tiny_report().after.items()
    }
    circumstances = dataclasses.replace(LONG_DONE, **changes)
    return worth.sentence(comparisons, baselines, evaluations, circumstances)


def of_tfidf(*numbers: float, **changes: Any) -> str | None:
    """The sentence of a run that was compared with TF-IDF alone."""
    return said({"tfidf": comparison(*numbers, **changes)})


def test_nothing_compared_nothing_said() -> None:
    assert said({}) is None


def test_the_examples_sentence_is_what_the_module_says() -> None:
    assert said() == WORTH


@pytest.mark.parametrize(
    ("numbers", "changes", "expected"),
    [
        ((0.041, 0.029, 0.053), {}, "beats T by 4.1 points (2.9 to 5.3), for 310 times"),
        ((0.041, 0.029, 0.053), {"cost_ratio": 1.9}, "beats T by 4.1 points (2.9 to 5.3)."),
        ((0.041, 0.029, 0.053), {"cost_ratio": None}, "beats T by 4.1 points (2.9 to 5.3)."),
        ((0.041, 0.029, 0.053), {"cost_ratio": 0.2}, "beats T by 4.1 points (2.9 to 5.3)."),
        ((0.04, 0.03, 0.05), {"cost_ratio": 2.44}, "(3.0 to 5.0), for 2.4 times its time."),
        ((0.04, 0.03, 0.05), {"cost_ratio": 9.96}, "for 10 times its time."),
        ((0.04, 0.03, 0.05), {"cost_ratio": 123456.0}, "for 120,000 times its time."),
        # So small that a digit more is needed.
        ((0.0012, 0.0004, 0.002), {}, "beats T by 0.12 points (0.04 to 0.20), for"),
        # The loser's interval is turned round.
        (
            (-0.018, -0.03, -0.005),
            {},
            f"is worse than T by 1.8 points (0.5 to 3.0), which costs 310 times less; "
            f"ways to go on: {LABEL_MORE}.",
        ),
        (
            (-0.018, -0.03, -0.005),
            {"cost_ratio": None},
            "is worse than T by 1.8 points (0.5 to 3.0); ways to go on: ",
        ),
        (
            (0.006, -0.012, 0.024),
            {},
            "is not shown to be better than T (+0.6 points, −1.2 to 2.4), which costs "
            f"310 times less; ways to go on: {LABEL_MORE}.",
        ),
        (
            (-0.006, -0.024, 0.012),
            {"cost_ratio": 1.0},
            "is not shown to be better than T (−0.6 points, −2.4 to 1.2); ways to",
        ),
        # Zero has no sign, however it was rounded.
        ((-0.0001, -0.02, 0.02), {}, "(0.0 points, −2.0 to 2.0)"),
        ((0.0004, -0.0004, 0.02), {}, "(0.0 points, 0.0 to 2.0)"),
        ((0.0, 0.0, 0.0), {"num_discordant": 0}, "better than T (no text tells them apart),"),
        (
            (0.001, 0.0, 0.003),
            {"num_discordant": 1},
            "(+0.1 points, 0.0 to 0.3; one text alone tells them apart)",
        ),
        ((0.001, -0.001, 0.003), {"num_discordant": 2}, "(+0.1 points, −0.1 to 0.3),"),
    ],
)  # fmt: skip
def test_forms_and_numbers(numbers: Any, changes: Any, expected: str) -> None:
    sentence = of_tfidf(*numbers, **changes)
    assert sentence and expected.replace("T ", f"{TFIDF} ", 1) in sentence
    assert sentence.startswith("Fine-tuning ") and sentence.count(".") >= 1
    assert "-0" not in sentence and "−0.0" not in sentence


WON, EVEN, LOST = (
    comparison(0.041, 0.029, 0.053, cost_ratio=5.0),
    comparison(0.003, -0.009, 0.015, cost_ratio=5.0),
    comparison(-0.018, -0.03, -0.005, cost_ratio=5.0),
)
WON_SAID, EVEN_SAID, LOST_SAID = (
    "by 4.1 points (2.9 to 5.3)",
    "(+0.3 points, −0.9 to 1.5), which costs 5 times less",
    "by 1.8 points (0.5 to 3.0), which costs 5 times less",
)


@pytest.mark.parametrize(
    ("tfidf", "frozen", "expected"),
    [
        (WON, WON, f"beats {TFIDF} {WON_SAID}, for 5 times its time."),
        (EVEN, EVEN, f"is not shown to be better than {TFIDF} {EVEN_SAID};"),
        (
            WON,
            EVEN,
            f"beats {TFIDF} {WON_SAID}, for 5 times its time, but is not shown to be "
            f"better than {FROZEN} {EVEN_SAID}; ways to go on: ",
        ),
        (
            EVEN,
            WON,
            f"is not shown to be better than {TFIDF} {EVEN_SAID}, though it beats "
            f"{FROZEN} {WON_SAID}, for 5 times its time; ways to go on: ",
        ),
        (
            LOST,
            WON,
            f"is worse than {TFIDF} {LOST_SAID}, though it beats {FROZEN} {WON_SAID}",
        ),
        (
            WON,
            LOST,
            f"beats {TFIDF} {WON_SAID}, for 5 times its time, but is worse than "
            f"{FROZEN} {LOST_SAID}; ways to "
            "go on: another --learning_rate, ",
        ),
    ],
)
def test_another_simple_model_is_named_where_it_fared_otherwise(
    tfidf: Any, frozen: Any, expected: str
) -> None:
    sentence = said({"commonest": WON, "tfidf": tfidf, "frozen": frozen})
    assert sentence and sentence.startswith(f"Fine-tuning {expected}")
    assert COMMONEST not in sentence


@pytest.mark.parametrize(
    ("tfidf", "frozen", "split", "expected"),
    [
        (0.7, 0.71, "test", FROZEN),
        (0.7, 0.7, "test", TFIDF),
        (0.71, 0.7, "test", TFIDF),
        # By the test accuracies nobody chooses; nor by validation where that judges.
        (None, None, "test", TFIDF),
        (0.7, 0.71, "validation", TFIDF),
    ],
)
def test_the_rival_is_the_best_on_another_split(
    tfidf: Any, frozen: Any, split: str, expected: str
) -> None:
    test = 0.9 if split == "test" else None
    baselines = {
        "frozen": baseline(FROZEN, validation=frozen, test=test),
        "tfidf": baseline(TFIDF, validation=tfidf, test=test and test - 0.1),
    }
    won = dataclasses.replace(WON, split=split)
    sentence = said({"frozen": won, "tfidf": won}, baselines)
    assert sentence and f"beats {expected} by" in sentence
    beginning = "On the validation texts, for there are no test texts, fine-tuning"
    assert sentence.startswith(beginning) == (split == "validation")


AT_COMMONEST: Any = {
    "accuracy": 0.53,
    "majority_class_accuracy": 0.52,
    "confidence_intervals_95": {"accuracy": (0.52, 0.54)},
}


def test_nothing_to_learn() -> None:
    """As of 672 speeches, whose party no model tells."""
    low = baseline_scores(0.54)
    baselines = {
        name: dataclasses.replace(facts, test=low) for name, facts in BASELINES.items()
    }
    few = said(COMPARISONS, baselines, model=AT_COMMONEST, num_train_texts=672)
    assert few == (
        f"Fine-tuning is not shown to be better than {ALWAYS} (52.0% of the texts), and "
        f"neither is {TFIDF} or {FROZEN}: the texts may not tell their labels, or 672 "
        "training texts are too few to learn it from."
    )
    one = said(COMPARISONS, baselines, model=AT_COMMONEST, num_train_texts=1)
    assert one and "or 1 training text is too few" in one
    alone = said({"commonest": EVEN}, baselines, model=AT_COMMONEST)
    assert alone and f"than {ALWAYS} (52.0% of the texts): the texts may" in alone


@pytest.mark.parametrize(
    ("accuracy", "intervals", "is_learnt"),
    [
        (0.546, {"accuracy": (0.521, 0.57)}, True),
        (0.545, {"accuracy": (0.52, 0.57)}, False),
        (0.521, {}, True),
        (0.52, {}, False),
    ],
)
def test_a_simple_model_that_learns_shows_that_there_is_something_to_learn(
    accuracy: float, intervals: Any, is_learnt: bool
) -> None:
    scores = baseline_scores(accuracy, confidence_intervals_95=intervals)
    baselines = {"tfidf": dataclasses.replace(BASELINES["tfidf"], test=scores)}
    sentence = said({"tfidf": LOST}, baselines, model=AT_COMMONEST)
    assert sentence and ("too few to learn it from" in sentence) != is_learnt
    # Whoever shows the sentence leaves out the doubt that says the same.
    assert f"not shown to be better than {ALWAYS} (52.0%" in sentence
    assert sentence.startswith(f"Fine-tuning is worse than {TFIDF}") == is_learnt


def test_the_commonest_label_may_be_the_only_rival() -> None:
    sentence = said({"commonest": WON})
    assert sentence == (
        f"Fine-tuning beats {COMMONEST} by 4.1 points (2.9 to 5.3), for 5 times its time."
    )


ONE_LABEL: Any = {"confusion_matrix": ((600, 0), (500, 0))}


@pytest.mark.parametrize(
    ("changes", "ways"),
    [
        ({}, LABEL_MORE),
        (
            {"truncated_fraction": 0.71},
            f"longer texts (--max_length=256; 71% of the texts are cut), {LABEL_MORE}",
        ),
        ({"truncated_fraction": 0.1}, LABEL_MORE),
        (
            {"truncated_fraction": 0.71, "max_length": 384},
            f"longer texts (--max_length=512; 71% of the texts are cut), {LABEL_MORE}",
        ),
        (
            {"truncated_fraction": 0.134, "max_length": 512},
            f"whole texts (--long_text=windows; 13% of the texts are cut), {LABEL_MORE}",
        ),
        (
            {"truncated_fraction": 0.7, "max_length": 512, "long_text": "windows"},
            LABEL_MORE,
        ),
        (
            {"still_rose": True},
            f"more epochs (--num_train_epochs=6), for validation still rose, {LABEL_MORE}",
        ),
        (
            {"still_rose": None, "num_train_epochs": 1},
            f"more epochs (--num_train_epochs=3), {LABEL_MORE}",
        ),
        ({"still_rose": None, "num_train_epochs": 3}, LABEL_MORE),
        ({"still_rose": False, "num_train_epochs": 1}, LABEL_MORE),
        (
            {"num_available_texts": 20085},
            "more texts (--num_train_examples; there are 20,085), a larger --preset",
        ),
        # Three at most, and the likeliest first.
        (
            {"truncated_fraction": 0.7, "still_rose": True},
            "longer texts (--max_length=256; 70% of the texts are cut), more epochs "
            "(--num_train_epochs=6), for validation still rose, more labelled texts "
            "than these 1,000",
        ),
        (
            {"model": ONE_LABEL},
            "a lower --learning_rate or a longer warmup (--warmup_fraction), for it "
            f"gives all texts one label, {LABEL_MORE}",
        ),
    ],
)
def test_ways_to_go_on_are_those_of_the_run(changes: Any, ways: str) -> None:
    sentence = said({"tfidf": LOST}, **changes)
    assert sentence and sentence.endswith(f"; ways to go on: {ways}.")
    won = said({"tfidf": WON}, **changes)
    assert won and "ways to go on" not in won


@pytest.mark.parametrize(
    ("num_records", "best_step", "expected"),
    [(0, None, None), (2, None, None), (1, 10, None), (2, 20, True), (2, 10, False)],
)
def test_validation_still_rose_if_the_last_was_the_best(
    num_records: int, best_step: int | None, expected: bool | None
) -> None:
    records = HISTORY.validation[:num_records]
    assert worth.still_rose(records, best_step=best_step) is expected


def test_one_thing_is_not_said_twice() -> None:
    (told,) = doubts.of_result(
        {"test": dataclasses.replace(tiny_report().after["test"], **AT_COMMONEST)}
    )
    other = tiny_report().doubts[0]
    assert doubts.beside(None, (told, other)) == (told, other)
    assert doubts.beside(WORTH, (told, other)) == (other,)
