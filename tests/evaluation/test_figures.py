"""Tests of trainer/evaluation/figures.py."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import re
import warnings
import xml.etree.ElementTree
from typing import Any

import matplotlib
import numpy as np
import pytest

from tests.evaluation.tiny_report import HISTORY, NAMES, data_facts, evaluation
from trainer.evaluation import figures, schema


def _evaluation(label_names: Any = NAMES) -> Any:
    measured = evaluation(400, 1.2, label_names=label_names, num_resamples=0)
    # The pictures are drawn from report.json.
    content = json.loads(json.dumps(dataclasses.asdict(measured), allow_nan=False))
    return schema.from_mapping(schema.SplitEvaluation, content)


def _all_pictures(label_names: Any = NAMES) -> Any:
    return [
        *figures.learning_pictures(HISTORY, best_step=20),
        *figures.held_out_pictures(_evaluation(label_names)),
        *figures.data_pictures(data_facts()),
    ]


def _svg(picture: Any) -> Any:
    prefix, encoded = picture.source.split(",")
    assert prefix == "data:image/svg+xml;base64"
    return base64.b64decode(encoded).decode()


def _texts(picture: Any) -> Any:
    """What is written in a picture; fails if it is not an SVG."""
    root = xml.etree.ElementTree.fromstring(_svg(picture))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]


def test_pictures_are_svg_with_alternative_text() -> None:
    pictures = {picture.title: picture for picture in _all_pictures()}
    measured = _evaluation()
    (true_negative, _), (_, true_positive) = measured.confusion_matrix
    shortest = measured.accuracy_by_length[0]
    alternatives = {
        "Loss": "training from 0.700 to 0.024, validation from 0.500 to 0.400",
        "Validation metrics": "80.0% at step 20",
        "Learning rate": "at most 5e-05, at step 1",
        "Gradient norm": "at most 1, at step 1",
        "Loss of masked tokens, before fine-tuning": "",
        "Confusion matrix: texts, and % of the true label": f"{true_negative + true_positive} of 400 texts",
        "Accuracy by length": f"{shortest.accuracy:.1%} of {shortest.count}",
        "Reliability": f"accuracy {measured.reliability[-1].accuracy:.2f}",
        "Risk and coverage": f"{1 - measured.accuracy:.1%} are wrong if all texts",
        "ROC curve, with its area": f"positive {measured.roc_auc:.3f}",
        "Precision and recall, with the average precision": "positive 0.",
        "Length of the training texts in tokens: 13.4% are longer than the 512 that "
        "are read": "half have at most 222",
    }
    assert list(pictures) == list(alternatives)
    for title, part in alternatives.items():
        assert part in pictures[title].alternative
        assert _texts(pictures[title])


@pytest.mark.parametrize("best_step", [None, 20])
def test_best_step_is_marked(best_step: Any) -> None:
    pictures = figures.learning_pictures(HISTORY, best_step=best_step)
    marked = [each.title for each in pictures if "best step" in _texts(each)]
    assert marked == (["Loss", "Validation metrics"] if best_step else [])


@pytest.mark.parametrize(
    "emptied, expected",
    [
        (["train", "validation"], []),
        (["validation"], ["Loss", "Learning rate", "Gradient norm"]),
        (["train"], ["Loss", "Validation metrics"]),
    ],
    ids=["empty", "train", "validation"],
)
def test_absent_history_is_not_drawn(emptied: Any, expected: Any) -> None:
    emptied = ["pretraining", *emptied]
    history = dataclasses.replace(HISTORY, **dict.fromkeys(emptied, ()))
    pictures = figures.learning_pictures(history, best_step=None)
    assert [picture.title for picture in pictures] == expected


@pytest.mark.parametrize(
    "present, expected",
    [
        ([], []),
        (
            ["confusion_matrix"],
            ["Confusion matrix: texts, and % of the true label"],
        ),
        (["accuracy_by_length"], ["Accuracy by length"]),
        (["reliability"], ["Reliability"]),
        (["risk_coverage"], ["Risk and coverage"]),
        (["roc"], ["ROC curve, with its area"]),
        (
            ["precision_recall"],
            ["Precision and recall, with the average precision"],
        ),
    ],
    ids=lambda names: "-".join(names) or "nothing",
)
def test_absent_metrics_are_not_drawn(present: Any, expected: Any) -> None:
    all_of_them = {
        *("confusion_matrix", "accuracy_by_length", "reliability"),
        *("risk_coverage", "roc", "precision_recall"),
    }
    emptied = all_of_them - {*present}
    measured = dataclasses.replace(_evaluation(), **dict.fromkeys(emptied, ()))
    pictures = figures.held_out_pictures(measured)
    assert [picture.title for picture in pictures] == expected


def test_hostile_labels_stay_text() -> None:
    hostile = ("<script>x</script>", "$\\frac$ & \x1b'so\"")
    pictures = _all_pictures(hostile)
    assert not any("<script" in _svg(picture) for picture in pictures)
    (confusion,) = (
        each for each in pictures if each.title.startswith("Confusion matrix")
    )
    assert {"<script>x</scri…", "$\\frac$ & 'so\""} <= set(_texts(confusion))


@pytest.mark.parametrize("num_classes", [3, 7, 25])
def test_many_labels_in_any_script(num_classes: Any) -> None:
    label_names = tuple(f"感情{index} 😀" for index in range(num_classes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        confusion, *_ = figures.held_out_pictures(_evaluation(label_names))
    texts = _texts(confusion)
    assert texts.count(label_names[-1]) == 2
    # Too many for two columns: the colours are explained instead.
    assert ("orange wrong" in confusion.title) == confusion.is_wide
    assert confusion.is_wide == (num_classes == 25)


def test_of_very_many_labels_those_with_errors_are_drawn() -> None:
    """Of 60 labels 40; both with an error among them, side by side, with the count."""
    names = tuple(f"label {index}" for index in range(60))
    matrix = np.diag(np.full(60, 30))
    matrix[3, 57] = 14
    measured = dataclasses.replace(
        _evaluation(names),
        confusion_matrix=tuple(tuple(int(n) for n in row) for row in matrix),
    )
    confusion, *_ = figures.held_out_pictures(measured)
    texts = _texts(confusion)
    drawn = [text for text in texts if text.startswith("label")]
    assert len(drawn) == 80 and len(set(drawn)) == 40
    assert abs(drawn.index("label 3") - drawn.index("label 57")) == 1
    assert texts.count("14") == 1 and "40 of 60" in confusion.title
    assert "14 of 14 errors are in it" in confusion.alternative


def test_drawing_is_pure() -> None:
    measured = _evaluation()
    untouched = copy.deepcopy((HISTORY, measured))
    # Set here: after a leak of an earlier test there would be nothing left to change.
    settings: Any = {"font.size": 7.0, "svg.fonttype": "path", "text.parse_math": True}
    with matplotlib.rc_context(settings):
        first, second = (
            [
                *figures.learning_pictures(HISTORY, best_step=20),
                *figures.held_out_pictures(measured),
            ]
            for _ in range(2)
        )
        left = {name: matplotlib.rcParams[name] for name in settings}
    assert first == second
    assert (HISTORY, measured) == untouched
    assert left == settings


@pytest.mark.parametrize(
    "text, expected",
    [
        ("short", "short"),
        ("exactly te", "exactly te"),
        ("more than ten", "more than…"),
        (" two\nlines\x1b ", "two lines"),
        ("", ""),
    ],
)
def test_one_line(text: Any, expected: Any) -> None:
    assert figures.one_line(text, 10) == expected


@pytest.mark.parametrize("num_points, is_marked", [(1, True), (3, True), (29, False)])
def test_few_points_are_marked(num_points: int, is_marked: bool) -> None:
    """A line through a single point would be no picture."""
    history = schema.History(train=HISTORY.train[:num_points], validation=())
    for picture in figures.learning_pictures(history, best_step=None):
        # Matplotlib draws a marker by reference, and axes' ticks too.
        marks = re.findall(r'<use [^>]*style="fill: (#\w+); stroke: \1"', _svg(picture))
        assert (len(marks) >= num_points) if is_marked else not marks, picture.title


def test_curves_of_many_labels_are_their_means() -> None:
    names = tuple(f"label {index}" for index in range(12))
    pictures = figures.held_out_pictures(_evaluation(names))
    (roc,) = [each for each in pictures if each.title.startswith("ROC")]
    legend = [text for text in _texts(roc) if re.search(r" 0\.\d{3}$", text)]
    assert [text.split()[0] for text in legend] == ["micro", "macro"]


@pytest.mark.parametrize("limit, is_shown", [(512, True), (5000, False)])
def test_the_limit_is_drawn_where_texts_come_near_it(
    limit: int, is_shown: bool
) -> None:
    data = dataclasses.replace(data_facts(), longest_text=limit)
    (picture,) = figures.data_pictures(data)
    assert (f"read: {limit:,}" in _texts(picture)) == is_shown
    assert "tokens of a text; the last bar: all that are longer" in _texts(picture)
    assert f"longer than the {limit:,} that are read" in picture.title


def test_models_are_compared_in_two_pictures() -> None:
    hostile = "<b>" + "x" * 40
    accuracies = {"Fine-tuned": (0.83, (0.8, 0.86)), hostile: (0.5, None)}
    accuracy, difference = figures.comparison_pictures(
        accuracies=accuracies, differences={"TF-IDF": (-0.018, (-0.03, -0.005))}
    )
    assert accuracy.alternative == f"Accuracy: Fine-tuned 83.0%; {hostile} 50.0%."
    assert {"Fine-tuned", "<b>" + "x" * 20 + "…"} <= {*_texts(accuracy)}
    assert difference.alternative.endswith("points: TF-IDF −1.8 (−3.0 to −0.5).")
    assert "points; right of 0 fine-tuned is better" in _texts(difference)
    # The fine-tuned model stands out; a line marks 0 where differences are drawn.
    orange, grey = "stroke: #d55e00", "stroke-dasharray: 3.7"
    assert orange in _svg(accuracy).lower() and grey not in _svg(accuracy)
    assert orange not in _svg(difference).lower() and grey in _svg(difference)


def test_what_was_not_compared_is_not_drawn() -> None:
    assert figures.comparison_pictures(accuracies={}, differences={}) == []
    (one,) = figures.comparison_pictures(
        accuracies={"Fine-tuned": (0.8, None)}, differences={}
    )
    assert one.title == "Accuracy, with its 95% interval"
