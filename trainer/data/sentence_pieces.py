"""XLM-R's SentencePiece in the graph, by TensorFlow Text's operation.

    tokenizer = SentencePieces(model)           # the bytes of sentencepiece.bpe.model
    tokenizer(tf.constant(["A fine film."]))    # ragged int32 [1, None]

Kudo and Richardson 2018, "SentencePiece: A simple and language independent subword
tokenizer". XLM-R's ids are fairseq's, which begin with `<s> <pad> </s> <unk>`: a piece's
is one more than the model's own, whose first three are `<unk> <s> </s>`; `<mask>` is the
last (Hugging Face, tokenization_xlm_roberta.py).
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from trainer.data import spans
from trainer.data.special_tokens import SPECIAL_TOKENS, SpecialTokens
from trainer.data.tokenizer import LocatedPieces
from trainer.messages import message

_OWN_FIRST = ("<unk>", "<s>", "</s>")
_OFFSET = 1
# Two bytes in UTF-8.
_NEXT_LINE = r"\x{85}"
_BLANKS = r"^[\t-\r\x{85}\p{Z}\x{2581}]+"


class SentenceModel(NamedTuple):
    """What other programs need of a SentencePiece model, by XLM-R's ids.

    Attributes:
      scores: of each piece of `vocabulary_of`, its log probability; of special tokens
        0, as Hugging Face has it.
      charsmap: the compiled table by which characters are normalized; may be empty.
    """

    scores: tuple[float, ...]
    charsmap: bytes


class SentencePieces:
    """Cuts texts into the pieces of a SentencePiece model.

    Args:
      model: the file's bytes, a ModelProto.

    Raises:
      ValueError: it is none, or one with other special tokens than XLM-R's.
    """

    special: SpecialTokens = SPECIAL_TOKENS["sentence"]

    def __init__(self, model: bytes) -> None:
        self.vocabulary = vocabulary_of(model)
        self.settings: list[Any] = [
            "sentence pieces",
            hashlib.sha256(model).hexdigest(),
        ]
        self._unknown_id = self.vocabulary.index(self.special.unknown)
        self._model = tf_text.SentencepieceTokenizer(model, out_type=tf.int32)
        self.resources: tuple[Any, ...] = (self._model._model_resource,)

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """The ids of strings [batch]: ragged int32 [batch, None].

        What is not UTF-8 is left out.
        """
        return self._ids(self._model.tokenize(self._readable(texts)))

    def locate(self, texts: tf.Tensor) -> LocatedPieces:
        """The same, and where they come from.

        Blanks before a piece are none of it, unless it is nothing else.
        """
        readable = self._readable(texts)
        ids, begins, ends = self._model.tokenize_with_offsets(readable)
        begin, end = (tf.cast(each.flat_values, tf.int32) for each in (begins, ends))
        row, size = ids.value_rowids(), end - begin
        part = tf.strings.substr(tf.gather(readable, row), begin, size)
        bare = tf.strings.length(tf.strings.regex_replace(part, _BLANKS, ""))
        lengths = tf.strings.length(readable)
        # Texts back to back in the batch.
        before = tf.gather(tf.cumsum(lengths, exclusive=True), row)
        first = before + begin + tf.where(bare > 0, size - bare, 0)
        last = before + end
        first, last = spans.in_given_bytes(texts, first, last)
        return LocatedPieces(
            self._ids(ids), ids.with_flat_values(first), ids.with_flat_values(last)
        )

    def _readable(self, texts: tf.Tensor) -> tf.Tensor:
        """Clean texts, of as many bytes, in which a next line is a blank as it is to
        Hugging Face, not an unknown character as to SentencePiece."""
        return tf.strings.regex_replace(spans.clean(texts), _NEXT_LINE, "  ")

    def _ids(self, own: tf.RaggedTensor) -> tf.RaggedTensor:
        ids = tf.where(
            own.flat_values == 0, self._unknown_id - _OFFSET, own.flat_values
        )
        return own.with_flat_values(ids + _OFFSET)


def vocabulary_of(model: bytes) -> tuple[str, ...]:
    """XLM-R's pieces of a SentencePiece model, in the order of their ids.

    Raises:
      ValueError: it is none, or its first pieces are not XLM-R's.
    """
    try:
        tokenizer = tf_text.SentencepieceTokenizer(model, out_type=tf.string)
        size = int(tokenizer.vocab_size())
        pieces = tokenizer.id_to_string(tf.range(size)).numpy()
    except tf.errors.OpError as error:
        raise ValueError(
            message(
                "expected a SentencePiece model",
                received=error.message,
                mend="fetch the file again",
            )
        ) from error
    own = [piece.decode("utf-8", errors="replace") for piece in pieces]
    if tuple(own[:3]) != _OWN_FIRST:
        raise ValueError(
            message(
                f"expected XLM-R's SentencePiece model, which begins with "
                f"{' '.join(_OWN_FIRST)}",
                received=" ".join(own[:3]),
                mend="is it the tokenizer of this model?",
            )
        )
    special = SPECIAL_TOKENS["sentence"]
    first = (special.start, special.pad, special.end, special.unknown)
    return (*first, *own[3:], special.mask)


def read_model(model: bytes) -> SentenceModel:
    """Reads what TensorFlow Text's operation computes with, but does not tell.

    Args:
      model: as of `SentencePieces`, which is made of it first.
    """
    read = _model_class().FromString(model)
    scores = [piece.score for piece in read.pieces[len(_OWN_FIRST) :]]
    # Before them <s>, <pad>, </s> and <unk>; after them <mask>.
    before = [0.0] * (len(_OWN_FIRST) + _OFFSET)
    return SentenceModel(
        (*before, *scores, 0.0), read.normalizer_spec.precompiled_charsmap
    )


@functools.cache
def _model_class() -> Any:
    """Of google/sentencepiece's `sentencepiece_model.proto` what is read here.

    The package's own class is made for the newest protobuf, and refuses others.
    """
    file = descriptor_pb2.FileDescriptorProto(name="model.proto", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in (
        ("Piece", (("score", 2, kinds.TYPE_FLOAT, None),)),
        ("NormalizerSpec", (("precompiled_charsmap", 2, kinds.TYPE_BYTES, None),)),
        (
            "ModelProto",
            (
                ("pieces", 1, kinds.TYPE_MESSAGE, "Piece"),
                ("normalizer_spec", 3, kinds.TYPE_MESSAGE, "NormalizerSpec"),
            ),
        ),
    ):
        made = file.message_type.add(name=name)
        for field, number, kind, of_type in fields:
            is_several = field == "pieces"
            made.field.add(
                name=field,
                number=number,
                type=kind,
                type_name=of_type,
                label=kinds.LABEL_REPEATED if is_several else kinds.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ModelProto"))
