"""The tokenizer's files of a Hugging Face folder, for each way to cut words.

    read = read_pieces(folder, "byte")
    read.vocabulary, read.merges

A folder has the files of its first release, such as vocab.json and merges.txt, or
tokenizer.json alone, as transformers 5 saves it; where both are there the former are
read. SentencePiece is read from its own file only, which TensorFlow Text takes as it is.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any, Callable, Mapping

from trainer import json_text
from trainer.data.byte_pairs import BytePairs
from trainer.data.sentence_pieces import SentencePieces, vocabulary_of
from trainer.data.special_tokens import Pieces
from trainer.data.tokenizer import Tokenizer
from trainer.messages import message

_TOKENIZER = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
# Characters of a setting in a message.
_SHOWN = 200
# By how words are cut: the files that hold all that a tokenizer needs.
FILES: Mapping[Pieces, tuple[str, ...]] = {
    "word": ("vocab.txt", SETTINGS),
    "byte": ("vocab.json", "merges.txt"),
    "sentence": ("sentencepiece.bpe.model",),
}


@dataclasses.dataclass(frozen=True)
class PieceFiles:
    """What a tokenizer is made of.

    Attributes:
      vocabulary: pieces in the order of their ids.
      lowercase, strip_accents: of WordPiece, as `Preset` has them.
      merges: of byte-level BPE, the first one first.
      sentence_model: of SentencePiece, the bytes of its file.
    """

    vocabulary: tuple[str, ...]
    lowercase: bool = False
    strip_accents: bool | None = None
    merges: tuple[tuple[str, str], ...] = ()
    sentence_model: bytes = b""


def missing(folder: pathlib.Path, pieces: Pieces) -> list[str]:
    """The files that a folder lacks; none where it has a tokenizer.json that will do."""
    lacking = [name for name in FILES[pieces] if not (folder / name).is_file()]
    will_do = pieces in _FROM_JSON and (folder / _TOKENIZER).is_file()
    return [] if will_do else lacking


def read_pieces(folder: pathlib.Path, pieces: Pieces) -> PieceFiles:
    """Reads them.

    Raises:
      ValueError: they are damaged, or of a tokenizer that is not computed here.
    """
    if all((folder / name).is_file() for name in FILES[pieces]):
        return _FROM_FILES[pieces](folder)
    return _FROM_JSON[pieces](folder / _TOKENIZER)


def make_tokenizer(pieces: Pieces, files: PieceFiles) -> Tokenizer | None:
    """None: BERT's, which `TextEncoder` makes itself."""
    if pieces == "word":
        return None
    if pieces == "sentence":
        return SentencePieces(files.sentence_model)
    return BytePairs(files.vocabulary, files.merges)


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
      ValueError: it is none.
    """
    try:
        content = json_text.parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(message(f"{path}: expected JSON", received=error)) from error
    if not isinstance(content, dict):
        raise ValueError(
            message(f"{path}: expected a JSON object", received=type(content))
        )
    return content


def _words_from_files(folder: pathlib.Path) -> PieceFiles:
    text = (folder / "vocab.txt").read_text(encoding="utf-8")
    settings = read_json(folder / SETTINGS)
    return PieceFiles(
        tuple(text.removesuffix("\n").split("\n")),
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
    )


def _words_from_json(path: pathlib.Path) -> PieceFiles:
    model = _model(path, "WordPiece")
    normalizer = read_json(path).get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer":
        raise ValueError(
            message(
                f"{path}: expected BERT's normalizer",
                received=normalizer.get("type"),
                mend="take a checkpoint with BERT's tokenizer",
            )
        )
    return PieceFiles(
        _in_order(path, model["vocab"]),
        lowercase=normalizer.get("lowercase", True),
        strip_accents=normalizer.get("strip_accents"),
    )


def _bytes_from_files(folder: pathlib.Path) -> PieceFiles:
    settings, whole = folder / SETTINGS, folder / _TOKENIZER
    if settings.is_file():
        refuse_prefix(str(settings), read_json(settings).get("add_prefix_space"))
    if whole.is_file():
        # Beside the older files, it still says what is done before them.
        _refuse_other_words(whole, read_json(whole))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    if lines[0].startswith("#version"):
        del lines[0]
    vocabulary = _in_order(folder / "vocab.json", read_json(folder / "vocab.json"))
    merges = [_pair(folder / "merges.txt", line) for line in lines if line]
    return PieceFiles(vocabulary, merges=tuple(merges))


def _bytes_from_json(path: pathlib.Path) -> PieceFiles:
    model = _model(path, "BPE")
    _refuse_other_words(path, read_json(path))
    merges = tuple(_pair(path, each) for each in model["merges"])
    return PieceFiles(_in_order(path, model["vocab"]), merges=merges)


def _sentences_from_files(folder: pathlib.Path) -> PieceFiles:
    model = (folder / FILES["sentence"][0]).read_bytes()
    return PieceFiles(vocabulary_of(model), sentence_model=model)


def _model(path: pathlib.Path, kind: str) -> dict[str, Any]:
    """Of tokenizer.json, with what was added to its vocabulary."""
    content = read_json(path)
    model: dict[str, Any] = content.get("model") or {}
    if model.get("type") != kind:
        raise ValueError(
            message(
                f"{path}: expected a model of the type {kind}",
                received=model.get("type"),
                mend="is it the tokenizer of this model?",
            )
        )
    added = {each["content"]: each["id"] for each in content.get("added_tokens", [])}
    if isinstance(model.get("vocab"), dict):
        model["vocab"] = {**added, **model["vocab"]}
    return model


def _refuse_other_words(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Raises ValueError where a tokenizer.json cuts texts into other words than GPT-2's
    pattern does, or changes them first."""
    cuts = content.get("pre_tokenizer") or {}
    normalizer = (content.get("normalizer") or {}).get("type")
    if normalizer or cuts.get("type") != "ByteLevel" or not cuts.get("use_regex", True):
        raise ValueError(
            message(
                f"{path}: expected the pre_tokenizer ByteLevel with its own pattern, and "
                "no normalizer, as RoBERTa has them",
                received=f"{json.dumps(cuts)[:_SHOWN]}, normalizer {normalizer}",
                mend="take a checkpoint with RoBERTa's own tokenizer",
            )
        )
    refuse_prefix(str(path), cuts.get("add_prefix_space"))


def refuse_prefix(place: str, is_added: object) -> None:
    """Raises ValueError for a blank that is put before each text.

    Args:
      place: where that is said.
      is_added: what it says.
    """
    if is_added:
        raise ValueError(
            message(
                f"{place}: expected add_prefix_space to be false, as RoBERTa has it",
                received=True,
                mend="take a checkpoint with RoBERTa's own tokenizer",
            )
        )


def _in_order(path: pathlib.Path, ids: Mapping[str, int]) -> tuple[str, ...]:
    """Raises ValueError where not every id from 0 on has a piece."""
    pieces = sorted(ids, key=lambda piece: ids[piece])
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        raise ValueError(
            message(
                f"{path}: expected ids from 0 on, without a gap",
                received=f"{len(pieces)} pieces, the last with the id "
                f"{max(ids.values(), default=None)}",
                mend="fetch the file again",
            )
        )
    return tuple(pieces)


def _pair(path: pathlib.Path, merge: Any) -> tuple[str, str]:
    """Of "a b", or of ["a", "b"]."""
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if len(parts) != 2:
        raise ValueError(
            message(
                f"{path}: expected a merge to be of two pieces",
                received=json.dumps(merge),
                mend="fetch the file again",
            )
        )
    return parts[0], parts[1]


_FROM_FILES: Mapping[Pieces, Callable[[pathlib.Path], PieceFiles]] = {
    "word": _words_from_files,
    "byte": _bytes_from_files,
    "sentence": _sentences_from_files,
}
_FROM_JSON: Mapping[Pieces, Callable[[pathlib.Path], PieceFiles]] = {
    "word": _words_from_json,
    "byte": _bytes_from_json,
}
