"""What an export keeps of its texts, so that later ones can be held against them.

    write(folder, Reference(...))           # beside the exported model, no text in it
    reference = read(folder)                # ValueError: an older export, or without one

Lengths, unknown tokens and labels are counted on training texts; answers, scores and
vectors on held-out ones, for of texts that it was trained on a model is too sure. The
vectors are what the exported model's own `embed` gives, rounded to float16. A vector is
no text, yet tells something of one: `--drift_reference=false` keeps nothing.
"""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.messages import message

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

FILE_NAME = "drift_reference.npz"
FORMAT_VERSION = 1
MAX_VECTORS = 1000

# Upper ends of bins, each within its bin; the last bin has what is above. They depend
# on no text, or the tests of `measures.py` would not hold.
LENGTH_ENDS = (4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024)
SCORE_ENDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
# Of the tokens of one text, [CLS] and [SEP] included.
UNKNOWN_ENDS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclasses.dataclass(frozen=True)
class TokenCounts:
    """Tokens of some texts.

    Attributes:
      lengths: int64 [len(LENGTH_ENDS) + 1], texts by their length in tokens before
        truncation.
      unknown: int64 [len(UNKNOWN_ENDS) + 1], texts by the share of [UNK] among the
        tokens that are read.
      num_tokens, num_unknown: of the tokens that are read, in all.
    """

    lengths: np.ndarray
    unknown: np.ndarray
    num_tokens: int
    num_unknown: int


@dataclasses.dataclass(frozen=True)
class TrainingTexts:
    """Of the training texts.

    Attributes:
      tokens: theirs.
      labels: int64 [labels], texts by label.
      held_out: the split that the export is checked on; "train": none is held out.
    """

    tokens: TokenCounts
    labels: np.ndarray
    held_out: str


@dataclasses.dataclass(frozen=True)
class Reference:
    """What new texts are held against.

    Attributes:
      training: of the training texts.
      confusion: int64 [labels, labels], held-out texts by label and answer.
      scores: int64 [len(SCORE_ENDS) + 1], held-out texts by the answer's probability.
      vectors: float16 [n, hidden], of at most `MAX_VECTORS` held-out texts, no two of
        which are the same.
    """

    training: TrainingTexts
    confusion: np.ndarray
    scores: np.ndarray
    vectors: np.ndarray


def binned(values: np.ndarray, ends: tuple[float, ...]) -> np.ndarray:
    """int64 [len(ends) + 1], values by bin."""
    bins = np.searchsorted(np.asarray(ends), values, side="left")
    return np.bincount(bins, minlength=len(ends) + 1)


def count_tokens(
    full_lengths: np.ndarray, num_read: np.ndarray, num_unknown: np.ndarray
) -> TokenCounts:
    """Tokens of n texts.

    Args:
      full_lengths: int [n], before truncation.
      num_read: int [n], what is left of them.
      num_unknown: int [n], of these.
    """
    return TokenCounts(
        lengths=binned(full_lengths, LENGTH_ENDS),
        unknown=binned(num_unknown / np.maximum(num_read, 1), UNKNOWN_ENDS),
        num_tokens=int(num_read.sum()),
        num_unknown=int(num_unknown.sum()),
    )


def confusion_matrix(
    labels: np.ndarray, answers: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """int64 [classes, classes], texts by label and answer."""
    cells = np.bincount(labels * num_classes + answers, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def write(folder: pathlib.Path, reference: Reference) -> None:
    """Writes the file into a folder that is there."""
    tokens = reference.training.tokens
    facts = {
        "format_version": FORMAT_VERSION,
        "held_out": reference.training.held_out,
        "num_tokens": tokens.num_tokens,
        "num_unknown": tokens.num_unknown,
    }
    with (folder / FILE_NAME).open("wb") as file:
        np.savez_compressed(
            file,
            facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
            lengths=tokens.lengths,
            unknown=tokens.unknown,
            labels=reference.training.labels,
            confusion=reference.confusion,
            scores=reference.scores,
            vectors=reference.vectors.astype(np.float16),
        )


def read(folder: Path) -> Reference:
    """What `write` wrote.

    Raises:
      ValueError: there is none, or one that cannot be read.
    """
    place = folder / FILE_NAME
    if not place.is_file():
        raise ValueError(
            message(
                f"expected a {FILE_NAME} beside the model, which new texts are held"
                " against",
                received=f"{folder}, without one: an export of an older version, or of"
                " --drift_reference=false, or of a format that does not read text",
                mend="export again: start the finished run again with another"
                " --export_dir, and without --drift_reference=false",
            )
        )
    with place.open("rb") as file:
        content = file.read()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return _reference(arrays)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            message(
                f"{place}: expected the reference of format_version {FORMAT_VERSION}",
                received=f"a file that is damaged, or of another version"
                f" ({type(error).__name__}: {error})",
                mend="copy the folder again, or export again",
            )
        ) from error


def _reference(arrays: Any) -> Reference:
    facts = json.loads(arrays["facts"].tobytes())
    if facts["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format_version {facts['format_version']}")
    tokens = TokenCounts(
        arrays["lengths"], arrays["unknown"], facts["num_tokens"], facts["num_unknown"]
    )
    return Reference(
        training=TrainingTexts(tokens, arrays["labels"], facts["held_out"]),
        confusion=arrays["confusion"],
        scores=arrays["scores"],
        vectors=arrays["vectors"],
    )
