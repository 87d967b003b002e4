"""SentencePiece in the graph: where pieces come from, and what is refused."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import sentencepiece
import tensorflow as tf

from trainer.data.sentence_pieces import SentencePieces, read_model
from trainer.data.words import words

FOLDER = pathlib.Path(__file__).parent.parent / "reference" / "encoders" / "xlm-roberta"


@pytest.fixture(scope="module")
def xlm_roberta() -> SentencePieces:
    return SentencePieces((FOLDER / "sentencepiece.bpe.model").read_bytes())


def test_pieces_name_the_bytes_that_they_are(xlm_roberta: SentencePieces) -> None:
    strings = ["good  film, caf\u00e9 good", "", " \u0085 bad", "x good "]
    texts = [*(each.encode() for each in strings), b"go\xffod \xf0film"]
    located = xlm_roberta.locate(tf.constant(texts))
    num_named = 0
    for raw, ids, begin, end in zip(
        texts,
        located.ids.to_list(),
        located.begin.to_list(),
        located.end.to_list(),
        strict=True,
    ):
        for index, first, last in zip(ids, begin, end):
            piece = xlm_roberta.vocabulary[index].lstrip("\u2581")
            if piece and piece != "<unk>":
                assert raw[first:last].replace(b"\xff", b"") == piece.encode()
                num_named += 1
    assert num_named == 12
    assert located.ids.row_lengths().numpy()[1] == 0


def test_words_of_pieces(xlm_roberta: SentencePieces) -> None:
    text = "good film, unwonderful."
    located = xlm_roberta.locate(tf.constant([text]))
    tokens = [xlm_roberta.vocabulary[index] for index in located.ids.to_list()[0]]
    begin, end = located.begin.to_list()[0], located.end.to_list()[0]
    assert len(tokens) > 6
    found = words(text, tokens, begin, end, [1.0] * len(tokens))
    assert [word.text for word in found] == ["good", "film", ",", "unwonderful", "."]
    assert sum(word.attribution for word in found) == len(tokens)


def test_scores_are_those_of_the_model(xlm_roberta: SentencePieces) -> None:
    """By the library that trained it, whose ids are one less than XLM-R's."""
    content = (FOLDER / "sentencepiece.bpe.model").read_bytes()
    library: Any = sentencepiece.SentencePieceProcessor(model_proto=content)
    found = read_model(content)
    assert len(found.scores) == len(xlm_roberta.vocabulary) and found.charsmap
    for own in range(3, library.get_piece_size()):
        assert xlm_roberta.vocabulary[own + 1] == library.id_to_piece(own)
        assert found.scores[own + 1] == library.get_score(own)
    assert (*found.scores[:4], found.scores[-1]) == (0.0,) * 5


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a SentencePiece model"):
        SentencePieces(b"no model")
