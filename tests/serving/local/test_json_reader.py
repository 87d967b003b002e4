"""JSON as RapidJSON 1.1.0 reads it, where Python would read it otherwise."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trainer.serving.local import json_reader

READ: dict[str, tuple[bytes, Any]] = {
    "of_all_kinds": (
        b' {"a" : [1, -2.5e1, true, false, null, {}, []], "": {"b": "c"}} ',
        {"a": [1, -25.0, True, False, None, {}, []], "": {"b": "c"}},
    ),
    "what_follows": (b"[1] and more", [1]),
    "byte_order_mark": (b"\xef\xbb\xbf [1]", [1]),
    "first_byte_of_a_mark": (b"\xef[1]", [1]),
    "key_twice": (b'{"a": 1, "b": 2, "a": 3}', {"a": 1, "b": 2}),
    "infinities": (
        b"[Inf, -Inf, Infinity, -Infinity]",
        [math.inf, -math.inf, math.inf, -math.inf],
    ),
    "largest_exponent": (b"1e308", 1e308),
    "exponent_beside_a_fraction": (b"0.001e311", 1e308),
    "exponent_beside_many_zeros": (b"0." + b"0" * 30 + b"1e339", 1e308),
    "more_than_a_double_by_digits": (b"10e308", math.inf),
    "smaller_than_a_double": (b"1e-999999999999", 0.0),
    "minus_zero": (b"-0", 0),
    "largest_of_64_bits": (b"18446744073709551615", 2**64 - 1),
    "beyond_64_bits": (b"18446744073709551616", 2.0**64),
    "escapes": (
        rb'"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"',
        '"\\/\b\f\n\r\t\xe9\U0001f600',
    ),
    "not_utf8": (b'"\xff"', "\udcff"),
}


@pytest.mark.parametrize(("body", "expected"), READ.values(), ids=READ)
def test_what_is_read(body: bytes, expected: Any) -> None:
    value = json_reader.read(body)
    assert value == expected and type(value) in (type(expected), json_reader.Object)


def test_not_a_number_may_have_a_sign() -> None:
    assert all(math.isnan(number) for number in json_reader.read(b"[NaN, -NaN]"))


def test_second_half_of_a_pair_is_three_bytes() -> None:
    """As bytes, and not the one byte that Python means by this character."""
    text = json_reader.read(rb'"\udcff"')
    assert text.encode(*json_reader.ENCODING) == b"\xed\xb3\xbf"


def test_all_members_of_an_object_are_kept() -> None:
    value = json_reader.read(b'{"a": 1, "a": 2}')
    assert value.members == (("a", 1), ("a", 2))


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "Expecting value: line 1 column 1"),
    "other_space": ("\u00a0[1]".encode(), "Expecting value"),
    "mark_out_of_order": (b"\xbb\xef[1]", "Expecting value"),
    "first_half_of_a_pair": (rb'["\ud83d"]', "valid Unicode"),
    "pair_of_first_halves": (rb'["\ud83d\ud83d"]', "valid Unicode"),
    "exponent": (b"[1e309]", "fit a double: line 1 column 2"),
    "exponent_of_zero": (b"0e999", "fit a double"),
    "exponent_beside_a_long_fraction": (b"1." + b"0" * 30 + b"e326", "fit a double"),
    "digits": (b"9" * 310, "fit a double"),
    "thousands_of_digits": (b"9" * 10_000, "fit a double"),
    "beginning_of_infinity": (b"[Infi]", "','"),
    "nan_in_small_letters": (b"[nan]", "Expecting value"),
    "leading_zero": (b"[01]", "','"),
    "no_digit_after_the_point": (b"[1.]", "','"),
    "no_exponent": (b"[1e]", "','"),
    "sign_alone": (b"[-]", "Expecting value"),
    "comma_at_the_end": (b"[1,]", "Expecting value"),
    "comma_after_members": (b'{"a": 1,}', "a string"),
    "no_colon": (b'{"a" 1}', "':'"),
    "open": (b'{"a": [1', "','"),
    "open_string": (b'"a', "a string"),
    "line_in_a_string": (b'"a\nb"', "a string"),
    "unknown_escape": (rb'"\x41"', "a string"),
    "nul": (b"[1,\x00 2]", "Expecting value"),
    "single_quotes": (b"{'a': 1}", "a string"),
}


@pytest.mark.parametrize(("body", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_json(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        json_reader.read(body)


def test_an_endless_string_is_no_endless_search() -> None:
    """Each byte is looked at once, also where the closing quote is missing."""
    with pytest.raises(ValueError, match="a string"):
        json_reader.read(b'"' + rb"a\n" * 1_000_000)
