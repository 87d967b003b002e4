"""Tests of trainer/studies/answers.py: the sentences say what the numbers say."""

from __future__ import annotations

import re

import pytest

from tests.studies.tiny_study import RISING, Accuracies, comparison, tiny_study
from trainer.studies import answers

FLAT = [(size, 0.8) for size, _ in RISING]
LOW = [(size, 0.6) for size, _ in RISING]
SHORT = RISING[:2]


def test_what_the_next_labels_buy() -> None:
    study = tiny_study(fine_tuned=RISING, tfidf=FLAT)
    fit = study.curves["fine_tuned"].fit
    assert fit is not None
    first, second, *_ = study.answers
    number = r"(\d+\.\d)"
    interval = rf"\({number} to {number}\)"
    pattern = (
        r"With 1,000 more labelled texts \(4,000 in all\), fine-tuning would answer "
        rf"{number}% {interval} right: {number} points {interval} more\."
    )
    found = re.fullmatch(pattern, first)
    assert found is not None, first
    accuracy, low, high, gain, *_ = map(float, found.groups())
    forecast = fit.forecasts[0]
    assert accuracy == pytest.approx(100 * forecast.value, abs=0.051)
    assert gain == pytest.approx(100 * forecast.gain, abs=0.051)
    assert low < accuracy < high
    assert second.startswith("TF-IDF with logistic regression would come to 80.0%")


def test_what_is_not_known_is_said() -> None:
    first, second = tiny_study(fine_tuned=SHORT).answers
    assert first == (
        "Trained on 300 texts, fine-tuning answers 80.0% (77.4 to 82.4) right."
    )
    assert second == (
        "What more labels would buy is not known: 2 sizes make no curve: it takes 3."
    )


@pytest.mark.parametrize(
    ("fine_tuned", "tfidf", "expected"),
    [
        (RISING, LOW, "is ahead of TF-IDF with logistic regression at every size; with "
         "3,000 it answers 29.0 points (28.0 to 30.0) more of the texts right."),
        (LOW, RISING, "at no size; with 3,000 it answers 29.0 points (28.0 to 30.0) fewer"),
        (RISING, FLAT, "overtakes TF-IDF with logistic regression between 300 and 1,000"),
        (FLAT, RISING, "with 100 texts, but not with the most; with 3,000 it answers 9.0 "),
        (RISING[:1], FLAT[:1], "Fine-tuning is not ahead of TF-IDF"),
        (RISING[3:], FLAT[3:], "Fine-tuning is ahead of TF-IDF"),
    ],
)  # fmt: skip
def test_where_fine_tuning_stands(
    fine_tuned: Accuracies, tfidf: Accuracies, expected: str
) -> None:
    *_, last = tiny_study(fine_tuned=fine_tuned, tfidf=tfidf).answers
    assert expected in last


def test_the_commonest_label_is_no_rival() -> None:
    study = tiny_study(fine_tuned=RISING, commonest=[(s, 0.5) for s, _ in RISING])
    assert not any("commonest" in answer for answer in study.answers)


def test_over_seeds_the_range_stands_for_the_interval() -> None:
    study = tiny_study(fine_tuned=RISING, tfidf=FLAT)
    runs = [
        *study.runs,
        *(
            study.runs[-1].__class__(
                **{**vars(study.runs[-1]), "comparisons": {"tfidf": comparison(value)}}
            )
            for value in (0.05, 0.1)
        ),
    ]
    *_, last = answers.sentences(study.curves, runs)
    assert last.endswith(
        "with 3,000 it answers 8.0 points (5.0 to 10.0) more of the texts right, over 3 "
        "seeds."
    )
