"""How an explained text is drawn: all of it, in its order, both signs told apart."""

from __future__ import annotations

import dataclasses

import pytest

from tests.evaluation.tiny_report import EXPLANATION, tiny_report
from trainer.evaluation import explanations, report, schema


def test_pieces_are_the_text() -> None:
    drawn = explanations.drawn(EXPLANATION)
    assert "".join(piece.text for piece in drawn.pieces) == EXPLANATION.text
    assert [
        (piece.text, piece.direction, piece.strength, piece.is_unread)
        for piece in drawn.pieces
    ] == [
        ("Good", "for", 1.0, False),
        (" ", "", 0.0, False),
        ("caf\u00e9", "for", pytest.approx(0.05), False),
        (" <b> and so on. ", "", 0.0, True),
        ("bad", "against", 0.5, False),
    ]
    assert [piece.is_strong for piece in drawn.pieces] == [
        *(True, False, False, False, True)
    ]
    assert drawn.strongest[:2] == (("Good", "+2.00"), ("bad", "\u22121.00"))
    assert (drawn.total, drawn.difference) == ("+1.10", "+1.10")
    assert drawn.gap == "+0.004"


def test_what_was_not_read_is_shortened() -> None:
    long = dataclasses.replace(EXPLANATION, text=EXPLANATION.text + " more" * 200)
    *_, last = explanations.drawn(long).pieces
    assert last.is_unread and "characters left out" in last.text
    assert len(last.text) < 200


def test_words_of_one_character_are_drawn_once() -> None:
    words = (
        schema.ExplainedWord(begin=0, end=3, attribution=1.0),
        schema.ExplainedWord(begin=0, end=3, attribution=-2.0),
    )
    twice = dataclasses.replace(EXPLANATION, text="\ud55c!", words=words)
    pieces = explanations.drawn(twice).pieces
    assert [piece.text for piece in pieces] == ["\ud55c", "!"]


def test_a_text_without_words_is_drawn_without_colours() -> None:
    blank = dataclasses.replace(
        EXPLANATION, text="  ", words=(), difference=0.0, completeness_gap=0.0
    )
    drawn = explanations.drawn(blank)
    assert [piece.direction for piece in drawn.pieces] == [""]
    assert drawn.strongest == ()


def test_page_shows_the_words_that_go_with_errors() -> None:
    tiny = tiny_report()
    page = report.render_html(tiny)
    assert "Words that go with errors" in page and "<bdi>hardly</bdi>" in page
    assert "38.7% (23.0% to 56.0%)" in page and "<td>4.2</td><td>0.012</td>" in page
    test = dataclasses.replace(tiny.after["test"], words_of_errors=())
    none = dataclasses.replace(tiny, after={"test": test})
    assert "Words that go with errors" not in report.render_html(none)


def test_page_colours_words_both_ways_and_shows_the_gap() -> None:
    page = report.render_html(tiny_report())
    assert (
        '<span class="for strong" style="--strength: 1.00" title="+2.00">Good</span>'
        in page
    )
    assert (
        '<span class="against strong" style="--strength: 0.50" title="\u22121.00">bad</span>'
        in page
    )
    assert "&lt;b&gt; and so on." in page and "lacking +0.004" in page
    assert "Surest error" in page and "a.csv:7" in page
    without = report.render_html(dataclasses.replace(tiny_report(), explanations=()))
    assert "Why it said so" in page and "Why it said so" not in without
