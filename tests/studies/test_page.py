"""Tests of trainer/studies/page.py: with all baselines, with none, and read back."""

from __future__ import annotations

import html.parser
import json

import pytest

from tests.studies.tiny_study import RISING, TITLES, tiny_study
from trainer.evaluation.schema import from_mapping
from trainer.studies import page, page_parts
from trainer.studies.schema import Study

WHOLE = {
    "fine_tuned": RISING,
    "tfidf": [(size, accuracy - 0.02) for size, accuracy in RISING],
    "frozen": [(size, 0.75) for size, _ in RISING],
    "commonest": [(size, 0.5) for size, _ in RISING],
}
STUDIES = {
    "whole": tiny_study(**WHOLE),
    "no baselines": tiny_study(fine_tuned=RISING),
    "no fit": tiny_study(fine_tuned=RISING[:2], tfidf=WHOLE["tfidf"][:2]),
    "one run": tiny_study(fine_tuned=RISING[:1]),
    "seeds": tiny_study(fine_tuned=[p for p in RISING for _ in range(2)]),
}


class _Words(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text, self.links = "", list[str]()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("href", "src")
        self.links += [value or "" for name, value in attrs if name in names]


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_the_page_shows_all_of_a_study_and_needs_no_other_file(study: Study) -> None:
    words = _Words()
    words.feed(page.render_html(study))
    text = " ".join(words.text.split())
    for answer in study.answers:
        assert answer in text
    for name, curve in study.curves.items():
        assert page_parts.STYLES[name][0][1:] in text
        for point in curve.points:
            assert f"{point.mean:.1%}" in text
    assert "tiny BERT on <reviews>" in text and "--seeds=0,1" in text
    assert ("±0.0 over 2 seeds" in text) == (study is STUDIES["seeds"])
    for link in words.links:
        assert link.startswith(("#", "runs/", "data:image/svg+xml;base64,")), link
    assert [f"{run.folder}/report.html" for run in study.runs] == [
        link for link in words.links if link.startswith("runs/")
    ]


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_the_picture_is_a_png(study: Study) -> None:
    assert page.png(study).startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_the_table_fits_a_terminal(study: Study) -> None:
    lines = page.summary(study).splitlines()
    assert max(map(len, lines)) <= 106
    assert lines[0] == "Accuracy on 1,000 test texts (95% interval)"
    sizes = [line.split()[0] for line in lines[2 : 2 + len(_sizes(study))]]
    assert sizes == [f"{size:,}" for size in _sizes(study)]


def _sizes(study: Study) -> list[int]:
    return [point.num_train_examples for point in study.curves["fine_tuned"].points]


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_the_json_is_read_back(study: Study) -> None:
    content = json.loads(study.to_json())
    largest = study.curves["fine_tuned"].points[-1]
    assert content.pop("mean") == largest.mean
    assert content.pop("std") == largest.std
    assert tuple(content.pop("interval_95")) == largest.interval_95
    there = from_mapping(Study, content)
    assert there.curves == study.curves and there.runs == study.runs
    assert there.to_json() == study.to_json()


def test_every_model_has_a_style() -> None:
    assert page_parts.STYLES.keys() == TITLES.keys()
