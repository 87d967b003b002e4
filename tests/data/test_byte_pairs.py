"""Byte-level pieces: which pairs are merged, and where pieces come from."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from trainer.data import byte_pairs
from trainer.data.byte_pairs import BytePairs, byte_letters
from trainer.data.words import words

FOLDER = pathlib.Path(__file__).parent.parent / "reference" / "encoders" / "roberta"


@pytest.fixture(scope="module")
def roberta() -> BytePairs:
    ids = json.loads((FOLDER / "vocab.json").read_text())
    lines = (FOLDER / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split(" ")) for line in lines if not line.startswith("#v")]
    return BytePairs(list(ids), [(first, second) for first, second in merges])


def merged_in_python(tokenizer: BytePairs, merges: list[str], word: str) -> list[str]:
    """As openai/gpt-2's encoder.py has it, one pair after the other."""
    parts = list(word)
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    while len(parts) > 1:
        pairs = list(zip(parts, parts[1:]))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        after: list[str] = []
        for part in parts:
            if after and (after[-1], part) == best:
                # What has just been merged is not merged again in this round.
                after[-1] = "\0" + after[-1] + part
            else:
                after.append(part)
        parts = [part.replace("\0", "") for part in after]
    return parts


def test_merges_are_those_of_one_after_the_other(roberta: BytePairs) -> None:
    merges = roberta.settings[1]
    generator = np.random.default_rng(5)
    letters = np.array(list("abdefgilmnorstvw"))
    strings = [
        "".join(generator.choice(letters, generator.integers(1, 30)))
        for _ in range(300)
    ]
    strings += ["a" * n for n in range(1, 20)] + ["good" * n for n in range(1, 9)]
    found = roberta(tf.constant(strings)).to_list()
    for string, ids in zip(strings, found, strict=True):
        pieces = [roberta.vocabulary[index] for index in ids]
        assert pieces == merged_in_python(roberta, merges, string), string


def test_pairs_of_twice_the_same_piece_do_not_overlap() -> None:
    tokenizer = BytePairs(
        ["<s>", "<pad>", "</s>", "<unk>", "a", "aa", "aaaa"],
        [("a", "a"), ("aa", "aa")],
    )
    rows = tokenizer(tf.constant(["a" * n for n in range(1, 8)])).to_list()
    assert rows == [[4], [5], [5, 4], [6], [6, 4], [6, 5], [6, 5, 4]]


def test_a_word_is_no_piece_that_its_merges_do_not_lead_to() -> None:
    tokenizer = BytePairs(
        ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "ab", "abb", "\u0120"], [("a", "b")]
    )
    rows = tokenizer(tf.constant(["ab", "abb", "a", "<s>", "\u0120"])).to_list()
    # What stands for a byte in the vocabulary is no letter of a text.
    assert rows == [[6], [6, 5], [4], [3] * 3, [3] * 2]


def test_words_of_one_hash_are_told_apart(
    roberta: BytePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    strings = ["good bad film.", "goodly  unfilm", "", "the the"]
    expected = roberta(tf.constant(strings)).to_list()
    assert len(roberta._whole.ids) > 300
    monkeypatch.setattr(byte_pairs, "_NUM_HASHES", 1)
    merges = [tuple(pair.split(" ")) for pair in roberta.settings[1]]
    again = BytePairs(roberta.vocabulary, [(one, other) for one, other in merges])
    assert set(again._whole.hashes) == {0}
    assert again(tf.constant(strings)).to_list() == expected


def test_pieces_name_the_bytes_that_they_are(roberta: BytePairs) -> None:
    strings = ["The  film, caf\u00e9 \U0001f600!", "", " ", "\n\n x"]
    texts = [*(each.encode() for each in strings), b"go\xffod \xf0film"]
    located = roberta.locate(tf.constant(texts))
    letters = {letter: byte for byte, letter in enumerate(byte_letters())}
    for raw, ids, begin, end in zip(
        texts,
        located.ids.to_list(),
        located.begin.to_list(),
        located.end.to_list(),
        strict=True,
    ):
        for index, first, last in zip(ids, begin, end):
            piece = bytes(letters[c] for c in roberta.vocabulary[index])
            # Whole characters, of which a piece may be a part.
            bare = piece.lstrip(b" ") or piece
            assert bare in raw[first:last].replace(b"\xff", b""), (raw, piece)
            if bare.isascii():
                assert len(raw[first:last].replace(b"\xff", b"")) == len(bare)
    assert located.ids.row_lengths().numpy()[1] == 0


def test_words_of_pieces(roberta: BytePairs) -> None:
    text = "(The unwonderful caf\u00e9s, 2 films!) \U0001f600 isn't"
    located = roberta.locate(tf.constant([text]))
    tokens = [roberta.vocabulary[index] for index in located.ids.to_list()[0]]
    values = np.ones(len(tokens))
    begin, end = located.begin.to_list()[0], located.end.to_list()[0]
    assert len(tokens) > 15
    found = words(text, tokens, begin, end, values.tolist())
    assert [word.text for word in found] == [
        *("(", "The", "unwonderful", "caf\u00e9s", ",", "2", "films", "!", ")"),
        *("\U0001f600", "isn", "'t"),
    ]
    assert sum(word.attribution for word in found) == len(tokens)


def test_a_vocabulary_without_a_merge_is_refused() -> None:
    with pytest.raises(ValueError, match="no 'ab', of the merge 'a' 'b'"):
        BytePairs(["<s>", "a", "b"], [("a", "b")])
