"""Labels that a person has reviewed: `--corrections=FILE.jsonl`.

    corrections = read("corrections.jsonl", label_names=("bad", "good"))
    changed = corrections.applied({"train": dataset, "test": other})
    changed["train"].labels
    corrections.facts()     # {"num_relabelled": 3, "num_dropped": 1, ...}

An object a line, as the review page of `trainer.audit` writes it:

    {"digest": "9f86d0…", "label": "bad", "verdict": "relabel", "new_label": "good",
     "file": "reviews.csv", "line": 17}

`digest` is the SHA-256 of the text in UTF-8, `label` the class it had when it was
reviewed, `verdict` one of `keep`, `relabel` (to `new_label`) and `drop`. So a correction
finds its text wherever it has moved to, in every row that has this text and label, and
in no other. `file` and `line` are for people. A text that is not there, or whose label
is another by now, is refused: the review was of other data.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import re
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from trainer import json_text, storage
from trainer.data.text_dataset import TextDataset
from trainer.data.duplicates import content_digests
from trainer.messages import did_you_mean, message, shown

VERDICTS = ("keep", "relabel", "drop")
_FIELDS = ("digest", "label", "verdict", "new_label", "file", "line")
_MAX_LISTED = 20
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Correction:
    """A line of the file.

    Attributes:
      digest: SHA-256 of the text in UTF-8, 32 bytes.
      label: position of the class that it had.
      new_label: position of the one that it is to have; None: the row is left out.
      where: the line, as FILE:LINE.
    """

    digest: bytes
    label: int
    new_label: int | None
    where: str


@dataclasses.dataclass(frozen=True)
class Corrections:
    """All of a file.

    Attributes:
      file: its name.
      sha256: of its bytes, in hexadecimal.
      label_names: the classes in order.
      corrections: its lines, no two of one text and label.
    """

    file: str
    sha256: str
    label_names: tuple[str, ...]
    corrections: tuple[Correction, ...]

    @property
    def digests(self) -> frozenset[bytes]:
        """Of the texts that a person has looked at."""
        return frozenset(each.digest for each in self.corrections)

    def facts(self) -> dict[str, Any]:
        """What the report says of them, JSON-able."""
        kinds = collections.Counter(map(_kind, self.corrections))
        return {
            "file": self.file,
            "sha256": self.sha256,
            "num_kept": kinds["keep"],
            "num_relabelled": kinds["relabel"],
            "num_dropped": kinds["drop"],
        }

    def applied(self, splits: Mapping[str, TextDataset]) -> dict[str, TextDataset]:
        """The rows with the labels that they should have, without those to drop.

        Raises:
          ValueError: a text is not there, or its label is another one.
        """
        by_digest = collections.defaultdict(list)
        for number, each in enumerate(self.corrections):
            by_digest[each.digest].append(number)
        was_applied = np.zeros(len(self.corrections), bool)
        labels_there: dict[bytes, int] = {}
        result = {}
        for name, data in splits.items():
            labels, is_wanted = data.labels.copy(), np.ones(len(data), bool)
            for row, digest in _rows_of(data, by_digest):
                labels_there[digest] = int(data.labels[row])
                for number in by_digest[digest]:
                    correction = self.corrections[number]
                    if correction.label == data.labels[row]:
                        was_applied[number] = True
                        is_wanted[row] = correction.new_label is not None
                        labels[row] = correction.new_label or 0
            changed = dataclasses.replace(data, labels=labels)
            result[name] = changed if is_wanted.all() else changed.filter(is_wanted)
        self._refuse_unapplied(np.flatnonzero(~was_applied), labels_there)
        return result

    def _refuse_unapplied(
        self, numbers: np.ndarray, labels_there: Mapping[bytes, int]
    ) -> None:
        if not len(numbers):
            return
        faults = [
            self._fault(self.corrections[number], labels_there)
            for number in numbers[:_MAX_LISTED]
        ]
        rest = len(numbers) - len(faults)
        raise ValueError("\n".join(faults) + (f"\n... and {rest} more" if rest else ""))

    def _fault(self, correction: Correction, labels_there: Mapping[bytes, int]) -> str:
        reviewed = self.label_names[correction.label]
        now = labels_there.get(correction.digest)
        if now is None:
            return message(
                "--corrections must be of texts that the data hold",
                place=correction.where,
                received=f"digest {correction.digest.hex()[:16]}..., of no text",
                mend="remove the line, or bring the text back as it was",
            )
        return message(
            "--corrections must be of labels that the data still give",
            place=correction.where,
            received=f"a review of the label {reviewed!r}, which is "
            f"{self.label_names[now]!r} by now",
            mend="remove the line, and review the text again if need be",
        )


def read(path: str, *, label_names: tuple[str, ...]) -> Corrections:
    """Reads a file of corrections.

    Raises:
      ValueError: a line is no correction, or a second one of its text and label.
    """
    content = _content(path)
    parsed: dict[tuple[bytes, int], Correction] = {}
    for number, line in enumerate(content.decode("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        correction = _correction(line, f"{path}:{number}", label_names)
        key = correction.digest, correction.label
        if key in parsed:
            raise ValueError(
                message(
                    "--corrections must have one line a text",
                    place=correction.where,
                    received=f"a second one for the text of {parsed[key].where}",
                    mend="remove one of the two",
                )
            )
        parsed[key] = correction
    sha256 = hashlib.sha256(content).hexdigest()
    return Corrections(path, sha256, label_names, tuple(parsed.values()))


def _content(path: str) -> bytes:
    place = storage.path(path)
    if not place.is_file():
        raise ValueError(
            message(
                "--corrections must be a file",
                received=path,
                mend="name the file that the review page gave, or leave it away",
            )
        )
    with place.open("rb") as file:
        content: bytes = file.read()
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            message(
                "--corrections must be text in UTF-8",
                place=path,
                received=error,
                mend="save it as UTF-8",
            )
        ) from error
    return content


def _kind(correction: Correction) -> str:
    if correction.new_label is None:
        return "drop"
    return "keep" if correction.new_label == correction.label else "relabel"


def _rows_of(
    data: TextDataset, digests: Mapping[bytes, Sequence[int]]
) -> Iterator[tuple[int, bytes]]:
    """The rows whose text has one of these digests."""
    wanted = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    all_digests = content_digests(data.texts)
    # The first bytes, in one go: of a million rows few are looked at again.
    is_near = np.isin(_first_bytes(all_digests), _first_bytes(wanted))
    for row in np.flatnonzero(is_near):
        digest = all_digests[row].tobytes()
        if digest in digests:
            yield int(row), digest


def _first_bytes(digests: np.ndarray) -> np.ndarray:
    first: np.ndarray = np.ascontiguousarray(digests[:, :8]).view(np.uint64).ravel()
    return first


def _correction(line: str, where: str, names: tuple[str, ...]) -> Correction:
    try:
        content = json_text.parse(line)
    except ValueError as error:
        raise ValueError(
            message(
                "--corrections must have a JSON object a line",
                place=where,
                received=f"{shown(line)} ({error})",
                mend="write the file anew from the review page, or remove the line",
            )
        ) from error
    if not isinstance(content, dict):
        content = {}
    digest, verdict = content.get("digest"), content.get("verdict")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise _refusal(
            "digest must be the SHA-256 of the text, 64 digits",
            where,
            digest,
            "take the line from the review page, or the digest from suspect_labels of "
            "the audit's --output",
        )
    if verdict not in VERDICTS:
        raise _refusal(
            f"verdict must be one of {', '.join(VERDICTS)}",
            where,
            verdict,
            "write one of them",
        )
    unknown = [key for key in content if key not in _FIELDS]
    if unknown:
        raise _refusal(
            f"a correction has {', '.join(_FIELDS)}",
            where,
            unknown[0],
            f"remove it{did_you_mean(unknown[0], _FIELDS)}",
        )
    label = _position(content, "label", where, names)
    new_label: int | None = label
    if verdict == "relabel":
        new_label = _position(content, "new_label", where, names)
    elif "new_label" in content:
        raise _refusal(
            "new_label is for the verdict relabel",
            where,
            content["new_label"],
            f"remove it, or write relabel in place of {verdict}",
        )
    if verdict == "drop":
        new_label = None
    return Correction(bytes.fromhex(digest), label, new_label, where)


def _position(
    content: Mapping[str, Any], key: str, where: str, names: tuple[str, ...]
) -> int:
    name = content.get(key)
    if name in names:
        return names.index(name)
    alike = did_you_mean(name, names) if isinstance(name, str) else ""
    raise _refusal(
        f"{key} must be one of the classes {', '.join(names[:20])}",
        where,
        name,
        f"write the class as it stands there{alike}",
    )


def _refusal(rule: str, where: str, received: object, mend: str) -> ValueError:
    value = "none" if received is None else shown(received)
    return ValueError(message(rule, place=where, received=value, mend=mend))
