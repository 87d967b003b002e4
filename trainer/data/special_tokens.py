"""The tokens with a meaning of their own, by the way that a tokenizer cuts words.

    special = SPECIAL_TOKENS["word"]
    special.start, special.end      # "[CLS]", "[SEP]"

They stand around texts and in the place of what is not there; no text is read as one of
them.
"""

from __future__ import annotations

from typing import Literal, Mapping, NamedTuple

# How a tokenizer cuts words: WordPiece, byte-level BPE or SentencePiece.
Pieces = Literal["word", "byte", "sentence"]


class SpecialTokens(NamedTuple):
    """How a vocabulary calls them.

    Attributes:
      start: before a text.
      end: after a text, and between two.
      pad: after the end of a row.
      unknown: for what the vocabulary has no piece of.
      mask: for what is to be guessed; a vocabulary may lack it.
      num_between: how many of `end` are between the texts of a pair.
    """

    start: str
    end: str
    pad: str
    unknown: str
    mask: str
    num_between: int = 1

    def names(self) -> tuple[str, ...]:
        """All of them."""
        return self.start, self.end, self.pad, self.unknown, self.mask


# BERT's, google-research/bert; RoBERTa's and XLM-R's, fairseq's `data/dictionary.py`,
# and for pairs `models/roberta/hub_interface.py`.
_BERTS = SpecialTokens("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]")
_FAIRSEQS = SpecialTokens("<s>", "</s>", "<pad>", "<unk>", "<mask>", num_between=2)
SPECIAL_TOKENS: Mapping[Pieces, SpecialTokens] = {
    "word": _BERTS,
    "byte": _FAIRSEQS,
    "sentence": _FAIRSEQS,
}
