"""Tokens that are joined to words."""

from __future__ import annotations

from trainer.data.words import Word, words


def test_pieces_of_a_word_are_one() -> None:
    text = "Caf\u00e9s!"
    found = words(
        text,
        ["cafe", "##s", "!", "", ""],
        [0, 5, 6, -1, -1],
        [5, 6, 7, -1, -1],
        [1.0, 0.5, -0.25, 0.0, 0.0],
    )
    assert found == [Word("Caf\u00e9s", 0, 6, 1.5), Word("!", 6, 7, -0.25)]


def test_what_was_cut_within_a_word_does_not_join_another() -> None:
    """Of a text of which the middle is not read."""
    found = words("good and unmoved", ["good", "##moved"], [0, 11], [4, 16], [1.0, 2.0])
    assert [word.text for word in found] == ["good", "moved"]


def test_what_has_no_width_parts_no_word() -> None:
    found = words("mo\u200bving", ["mo", "##ving"], [0, 5], [2, 9], [1.0, 2.0])
    assert found == [Word("mo\u200bving", 0, 9, 3.0)]
