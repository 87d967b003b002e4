"""Tests of trainer/data/duplicates.py."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from trainer.data import duplicates
from trainer.data.duplicates import normalized

# Texts that are one, and the normal form of all of them.
ALIKE = {
    "case": (["good film", "Good Film", "GOOD FILM"], "good film"),
    "white_space": (
        ["a b", " a b", "a  b\n", "a\tb", "a\N{NO-BREAK SPACE}b", "\u2003a\r\n b"],
        "a b",
    ),
    "beyond_ascii": (["Éclair  NOIR", "e\u0301clair noir", " éclair\u3000noir"], None),
    "width": (["ＧＯＯＤ ｆｉｌｍ", "good film"], "good film"),
    "ligature": (["ﬁne", "FINE", "fine"], "fine"),
    "folded_case": (["Straße", "STRASSE", "strasse"], "strasse"),
    "zero_width": (["a\u200bb", "ab", "a\u2060b", "a\u00adb", "\ufeffab"], "ab"),
    "invisible_between_blanks": (["a \u200b b", "a b"], "a b"),
    "joined_after_removal": (["e\u200b\u0301 \u0130", "é i\u0307"], None),
    "greek_iota": (["ᾳ", "ΑΙ", "αι"], "αι"),
}


@pytest.mark.parametrize("texts, expected", ALIKE.values(), ids=ALIKE)
def test_alike(texts: list[str], expected: str | None) -> None:
    assert {normalized(text) for text in texts} == {expected or normalized(texts[0])}


@pytest.mark.parametrize(
    "one, other",
    [
        ("good", "goods"),
        ("a b", "ab"),
        ("good.", "good"),
        ("resume", "résumé"),
        ("2", "3"),
        ("x²y", "x³y"),
        ("男", "女"),
    ],
)
def test_unlike(one: str, other: str) -> None:
    assert normalized(one) != normalized(other)


def _normalized_character_by_character(text: str) -> str:
    """The rule as it is told, of a text that is no pair."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    seen = (c for c in folded if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", " ".join("".join(seen).split()))


def test_quick_ways_give_what_the_rule_gives() -> None:
    generator = np.random.default_rng(0)
    signs = (
        "aB   \t\n\r\x0b\x0c\x1c\x1f\x7f\0.é\u200b\u00ad\ufeff\u3000\u0085\ufb01"
        "İ\u0345ΑΣς\U000e0001\u2028x"
    )
    for size in generator.integers(0, 9, 20_000).tolist():
        text = "".join(signs[i] for i in generator.integers(0, len(signs), size))
        assert normalized(text) == _normalized_character_by_character(text), repr(text)
        ascii_text = "".join(
            signs[i] for i in generator.integers(0, signs.index("é"), size)
        )
        expected = _normalized_character_by_character(ascii_text)
        assert normalized(ascii_text) == expected, repr(ascii_text)


@pytest.mark.parametrize("share_of_odd", [0.0, 0.01, 0.5])
def test_plain_texts_made_together_are_what_each_is_alone(share_of_odd: float) -> None:
    """Whatever stands beside them, at either end of a text, and in a slice."""
    generator = np.random.default_rng(1)
    odd = "\t\n\x1f\x7f\0é\u200b\u3000İ\U000e0001"
    texts = []
    for size in generator.integers(0, 40, 3_000).tolist():
        plain = "aBcZ9~! " if generator.random() < 0.8 else "aB  "
        signs = [
            odd if is_odd else plain for is_odd in generator.random(size) < share_of_odd
        ]
        texts.append("".join(each[generator.integers(len(each))] for each in signs))
    array = pa.chunked_array([texts[:10], texts[10:]], pa.large_string())
    found = duplicates.normalized_digests(array.slice(3))
    for text, digest in zip(texts[3:], found, strict=True):
        expected = hashlib.sha256(normalized(text).encode())
        assert digest.tobytes() == expected.digest(), repr(text)


def test_both_digests_are_written_in_one_reading() -> None:
    texts = pa.chunked_array([["A  b", "é\u200b"], ["c"]], pa.large_string())
    contents, normal_forms = np.empty((2, 3, 32), np.uint8)
    duplicates.write_digests(texts, contents=contents, normal_forms=normal_forms)
    assert np.array_equal(contents, duplicates.content_digests(texts))
    assert np.array_equal(normal_forms, duplicates.normalized_digests(texts))
    assert contents[2].tobytes() == hashlib.sha256(b"c").digest()
    assert normal_forms[0].tobytes() == hashlib.sha256(b"a b").digest()


def test_the_quick_way_is_the_other_one() -> None:
    """ASCII has its own; a letter more makes the text take the other."""
    ascii_text = "".join(map(chr, range(1, 128))) + "  A\x0bB\x1cC "
    assert normalized(ascii_text + " é") == normalized(ascii_text) + " é"
    assert normalized(ascii_text) == " ".join(ascii_text.lower().split())


def test_a_normal_form_is_its_own() -> None:
    """Of random strings of all of Unicode."""
    generator = np.random.default_rng(0)
    for _ in range(300):
        codes = generator.integers(1, 0x20000, 40)
        text = "".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000)
        once = normalized(text)
        assert normalized(once) == once
        assert normalized(f" {unicodedata.normalize('NFD', text)}\n") == once
        assert not any(unicodedata.category(c) == "Cf" for c in once)


def test_digests() -> None:
    texts = ["Good  film", "good film", "bad"]
    array = pa.chunked_array([texts[:1], [], texts[1:]], pa.large_string())
    contents = duplicates.content_digests(array)
    assert [d.tobytes() for d in contents] == [
        hashlib.sha256(text.encode()).digest() for text in texts
    ]
    forms = duplicates.normalized_digests(array)
    assert [d.tobytes() for d in forms] == [
        hashlib.sha256(text.encode()).digest()
        for text in ("good film", "good film", "bad")
    ]
    numbers = duplicates.numbered(forms)
    assert numbers[0] == numbers[1] != numbers[2] and numbers.dtype == np.int64
    assert duplicates.first_32_bits(forms).tolist() == [
        int(digest.tobytes().hex()[:8], 16) for digest in forms
    ]
    assert duplicates.first_32_bits(forms, b"salt").tolist() == [
        int(hashlib.sha256(b"salt" + digest.tobytes()).hexdigest()[:8], 16)
        for digest in forms
    ]


def test_nothing_is_numbered() -> None:
    nothing = np.empty([0, 32], np.uint8)
    assert duplicates.numbered(nothing).shape == (0,)
    assert duplicates.first_32_bits(nothing).shape == (0,)
