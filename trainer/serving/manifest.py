"""What a version folder holds, written beside it, so that a copy can be checked.

    write(folder, {"version": 3, "metrics": {...}})     # with sha256 of every file
    read(folder)["metrics"]
    verify(folder)       # Verified(num_files=6, num_bytes=90123456), or ValueError

`manifest.json` lists every file of the folder but itself. This module needs Python
alone, so that a folder is checked before TensorFlow is loaded. What else a manifest
says of its version is left to the export.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
from typing import TYPE_CHECKING, Any, Iterator, Mapping, NamedTuple

from trainer import json_text
from trainer.messages import message

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

FILE_NAME = "manifest.json"
FORMAT_VERSION = 1
# What `status` says of a version: served; not served, for it was not shown to be good
# enough; served by the word of a person.
PROMOTED, HELD, FORCED = "promoted", "held", "forced"
_CHUNK_BYTES = 2**20
_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_GIT_SECS = 10.0


def reads_pairs(facts: Mapping[str, Any]) -> bool:
    """Whether a model was trained on pairs of texts, by its manifest.

    One from before there were pairs says nothing of them.
    """
    data = facts.get("config", {}).get("data", {})
    return bool(data.get("second_text_field"))


def refuse_other_inputs(*, of: str, reads: bool, asked: bool) -> None:
    """Raises ValueError where a model of pairs is asked single texts, or the reverse.

    Args:
      of: what to call the model.
      reads: whether it reads pairs.
      asked: whether it is to be asked pairs.
    """
    if reads == asked:
        return
    kinds, flag = ("single texts", "pairs of texts"), "--second_text_field"
    raise ValueError(
        message(
            f"{of} reads {kinds[reads]}",
            received=kinds[asked],
            mend=(
                f"name the column of the second text with {flag}"
                if reads
                else f"leave {flag} out"
            ),
        )
    )


class Verified(NamedTuple):
    """How much is as the manifest has it, the manifest not counted."""

    num_files: int
    num_bytes: int

    def __str__(self) -> str:
        return f"verified: {self.num_files} files, {self.num_bytes} bytes"


def write(folder: pathlib.Path, facts: Mapping[str, Any]) -> None:
    """Writes the manifest of a folder that is otherwise complete.

    Args:
      folder: not published yet; what is changed in it later no longer verifies.
      facts: what JSON can hold; "format_version" and "files" are added.
    """
    files = {
        name: _measured(path)
        for name, path in sorted(_files(folder))
        if name != FILE_NAME
    }
    content = {"format_version": FORMAT_VERSION, **facts, "files": files}
    text = json.dumps(content, indent=2) + "\n"
    (folder / FILE_NAME).write_text(text, encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """What `write` wrote.

    Raises:
      ValueError: there is no manifest, or one that cannot be read.
    """
    place = folder / FILE_NAME
    if not place.is_file():
        raise ValueError(
            message(
                f"expected a {FILE_NAME} beside the model",
                received=f"{folder}, without one",
                mend="export again, or copy the folder whole",
            )
        )
    try:
        content = json_text.parse(place.read_text(encoding="utf-8"))
        version = content["format_version"]
        files = {
            name: (f["sha256"], f["bytes"]) for name, f in content["files"].items()
        }
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:
        raise ValueError(
            message(
                f"{place}: expected a manifest",
                received=f"a file that is damaged ({type(error).__name__}: {error})",
                mend="copy the folder again, or export again",
            )
        ) from error
    if version != FORMAT_VERSION or not files:
        raise ValueError(
            message(
                f"{place}: expected files, and format_version {FORMAT_VERSION}",
                received=f"{len(files)} files, format_version {version}",
                mend=(
                    "check it with the version of this program that wrote it, or export"
                    " again"
                ),
            )
        )
    result: dict[str, Any] = content
    return result


def status(folder: Path) -> str:
    """One of "promoted", "held", "forced"; promoted where nothing says otherwise.

    What else is wrong with a manifest is for `read` and `verify` to say.
    """
    place = folder / FILE_NAME
    if not place.is_file():
        return PROMOTED
    try:
        content = json_text.parse(place.read_text(encoding="utf-8"))
    except ValueError:
        return PROMOTED
    found = content.get("status") if isinstance(content, dict) else None
    return found if found in (HELD, FORCED) else PROMOTED


def set_status(folder: Path, new: str, *, reason: str) -> None:
    """Changes what the manifest says of its version, which still verifies.

    Raises:
      ValueError: there is no manifest that can be read.
    """
    from trainer import storage

    content = {**read(folder), "status": new, "status_reason": reason}
    storage.write_text(folder / FILE_NAME, json.dumps(content, indent=2) + "\n")


def verify(folder: Path) -> Verified:
    """Checks that a folder holds the files of its manifest, each as it was, and no more.

    Raises:
      ValueError: it does not; each file that is missing, changed or new is named.
    """
    expected = read(folder)["files"]
    actual = dict(_files(folder))
    del actual[FILE_NAME]
    flaws = []
    for name in sorted({*expected, *actual}):
        if name not in actual:
            flaws.append(f"{name}: missing")
        elif name not in expected:
            flaws.append(f"{name}: not in the manifest")
        elif flaw := _difference(actual[name], expected[name]):
            flaws.append(f"{name}: {flaw}")
    if flaws:
        lines = "\n  ".join(flaws)
        raise ValueError(
            message(
                f"{folder} must hold what its {FILE_NAME} lists",
                received=(
                    f"{len(flaws)} of {len({*expected, *actual})} files otherwise:\n "
                    f" {lines}\nCopy the folder again from where it was exported, into"
                    " an empty one"
                ),
                mend="if it is like this there too, export again",
            )
        )
    return Verified(len(expected), sum(file["bytes"] for file in expected.values()))


def git_revision(folder: pathlib.Path = _PACKAGE) -> str | None:
    """The commit that a folder's repository is at, by default this package's.

    Returns:
      The whole hash, with "-dirty" behind it where tracked files were changed. None:
      no repository tracks the folder, or there is no git to ask.
    """
    try:
        # An installed package may lie in a repository that knows nothing of it.
        _git(folder, "ls-files", "--error-unmatch", ".")
        return _git(
            folder, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"
        )
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: pathlib.Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "--no-optional-locks", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=_GIT_SECS,
    ).stdout.strip()


def _files(folder: Path, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every file in a folder and those below it, with its name from there."""
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path, f"{prefix}{path.name}/")
        else:
            yield prefix + path.name, path


def _difference(path: Path, expected: Mapping[str, Any]) -> str:
    """How a file differs from what the manifest says of it; "" where it does not."""
    try:
        actual = _measured(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if actual["bytes"] != expected["bytes"]:
        return f"{expected['bytes']} bytes expected, {actual['bytes']} found"
    if actual["sha256"] != expected["sha256"]:
        return f"sha256 {expected['sha256']} expected, {actual['sha256']} found"
    return ""


def _measured(path: Path) -> dict[str, Any]:
    """A file's entry in the manifest."""
    digest, num_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            num_bytes += len(chunk)
    return {"sha256": digest.hexdigest(), "bytes": num_bytes}
