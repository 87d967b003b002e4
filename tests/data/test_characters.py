"""What of a string can be seen."""

from __future__ import annotations

import pytest

from trainer.data.characters import is_blank, visible

VISIBLE = {
    # id: string, what is seen of it
    "plain": ("so so", "so so"),
    "white_space_around": (" \t pos\n", "pos"),
    "no_break_space": ("pos\xa0", "pos"),
    "zero_width_space": ("pos\u200bitive\u200b", "positive"),
    "byte_order_mark": ("\ufeffpos", "pos"),
    "soft_hyphen": ("posi\xadtive", "positive"),
    "directional_marks": ("\u200epos\u202c", "pos"),
    "control_character": ("po\x08s", "pos"),
    "variation_selector": ("\u2764\ufe0f", "\u2764"),
    "full_width": ("ｐｏｓ１", "pos1"),
    "ligature": ("ﬁne", "fine"),
    "accent_apart": ("cafe\u0301", "café"),
    "accent_behind_a_joiner": ("cafe\u200d\u0301", "café"),
    "line_within": ("a\nb", "a\nb"),
}


@pytest.mark.parametrize("string, expected", VISIBLE.values(), ids=VISIBLE)
def test_visible(string: str, expected: str) -> None:
    assert visible(string) == expected
    assert visible(expected) == expected


@pytest.mark.parametrize(
    "string", ["", " ", "\u200b\ufeff", "\xad\xa0", "\u2800", "\u3164", "\u200b" * 40]
)
def test_blank(string: str) -> None:
    assert is_blank(string)


@pytest.mark.parametrize("string", ["a", "!", "\u200b" * 40 + "a", "é", "👍", "。"])
def test_not_blank(string: str) -> None:
    assert not is_blank(string)
