"""Which version of a model serves, and why: promoted, held, forced, rolled back.

    promotion.promote(folder, 3, reason="the label set was mended")     # by a person
    promotion.roll_back(folder, reason="wrong on invoices")
    promotion.history(folder)           # every event, the oldest first

Every version is promoted or held when it is published; `latest` names the highest that
is not held. To force one holds all above it. Each event is a file of its own in
`history/`, so that no process waits for another to write one. Needs Python alone.
"""

from __future__ import annotations

import dataclasses
import datetime
import getpass
import json
import os
import socket
import uuid
from typing import Any, Iterator, Mapping

from trainer import folder_lock, json_text, storage
from trainer.messages import message
from trainer.serving import manifest, versions
from trainer.serving.manifest import FORCED, HELD
from trainer.storage import Path

FOLDER = "history"
ROLLED_BACK = "rolled_back"
FLAG = "champion"


@dataclasses.dataclass(frozen=True)
class Promotion:
    """What a version that is about to be published will be.

    Attributes:
      status: "promoted" or "held".
      reason: why.
      served: the number that served when that was decided; None: none did.
      is_conditional: whether it was decided by what served then.
      verdict: on it and the champion, JSON-able; None: nothing was compared.
    """

    status: str
    reason: str
    served: int | None
    is_conditional: bool = True
    verdict: Mapping[str, Any] | None = None


ALWAYS = Promotion(manifest.PROMOTED, "--promote=always", None, is_conditional=False)


def settle(folder: Path, version: int, promotion: Promotion) -> Promotion:
    """Has `latest` follow a version that was published, and what it came to.

    Where another version was promoted since this one was compared, it is held, and that
    one is named: of two at once, the second has to be compared with the first.
    """
    if not promotion.is_conditional or promotion.status == HELD:
        versions.set_latest(folder)
        return promotion
    with folder_lock.held_in_turn(folder, flag=FLAG):
        served = versions.latest(folder)
        if served != promotion.served:
            reason = (
                f"version {served} was promoted meanwhile, and it was compared with "
                f"{promotion.served or 'none'}: compare them with trainer.compare"
            )
            _set_status(folder, version, HELD, reason=reason)
            promotion = dataclasses.replace(promotion, status=HELD, reason=reason)
        versions.set_latest(folder)
    return promotion


def record(folder: Path, version: int, event: str, **facts: Any) -> None:
    """Writes down what became of a version.

    Args:
      folder: of the versions.
      event: "promoted", "held", "forced" or "rolled_back".
      facts: more of it that JSON can hold: `reason`, `verdict`.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    content = {
        "time": now.isoformat(timespec="milliseconds"),
        "version": version,
        "event": event,
        "by": _who(),
        **facts,
    }
    # Sorted by name, they are sorted by time.
    name = f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.json"
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    storage.write_text(folder / FOLDER / name, json.dumps(content, indent=2) + "\n")


def history(folder: Path) -> list[Mapping[str, Any]]:
    """All events, the oldest first; [] of an export of an older version.

    Raises:
      ValueError: one of the files is damaged.
    """
    place = folder / FOLDER
    if not place.is_dir():
        return []
    named = {path.name: path for path in place.iterdir()}
    return [
        json_text.parse(named[name].read_text(encoding="utf-8"))
        for name in sorted(named)
        if name.endswith(".json") and not name.startswith(".")
    ]


def promote(folder: Path, version: int, *, reason: str) -> None:
    """Has a version serve by a person's word, which is written down.

    Raises:
      InUse: another process changes what serves.
      ValueError: there is no such version, or it serves already; or no reason.
    """
    _require_reason(reason)
    with folder_lock.held(folder, flag=FLAG):
        served = versions.latest(folder)
        require_version(folder, version)
        if served == version:
            raise ValueError(
                message(
                    "--promote must be a version that does not serve",
                    received=f"{version}, which {folder / versions.LATEST} names",
                )
            )
        # Killed between two of these, what served goes on serving, and the same command
        # does the rest.
        _set_status(folder, version, FORCED, reason=reason)
        above = f"version {version} was forced: {reason}"
        for number in versions.numbers(folder):
            if number > version:
                _set_status(folder, number, HELD, reason=above)
        versions.set_latest(folder)
        record(folder, version, FORCED, reason=reason, instead_of=served)


def roll_back(folder: Path, *, reason: str) -> int:
    """Holds the version that serves; the highest promoted one below it serves again.

    Returns:
      Its number.

    Raises:
      InUse: another process changes what serves.
      ValueError: there is none below; or no reason.
    """
    _require_reason(reason)
    with folder_lock.held(folder, flag=FLAG):
        served = versions.latest(folder)
        below = [
            number
            for number in versions.numbers(folder)
            if served is not None
            and number < served
            and manifest.status(folder / str(number)) != HELD
        ]
        if served is None or not below:
            raise ValueError(
                message(
                    "--rollback needs a promoted version below the one that serves",
                    received=f"{folder}, where {served or 'none'} serves and"
                    f" {', '.join(map(str, versions.numbers(folder))) or 'none'}"
                    " are there",
                    mend="promote another one by --promote=NUMBER",
                )
            )
        _set_status(folder, served, HELD, reason=f"rolled back: {reason}")
        now = versions.set_latest(folder)
        record(folder, served, ROLLED_BACK, reason=reason, served_again=now)
    return now


def _set_status(folder: Path, version: int, status: str, *, reason: str) -> None:
    """In the manifests of all formats of a version."""
    for place in _formats(folder, version):
        manifest.set_status(place, status, reason=reason)


def _formats(folder: Path, version: int) -> Iterator[Path]:
    yield folder / str(version)
    for path in folder.iterdir():
        place = path / str(version)
        if not path.name.isdigit() and (place / manifest.FILE_NAME).is_file():
            yield place


def require_version(folder: Path, version: int) -> None:
    """Raises ValueError where a folder has no such version."""
    if version in versions.numbers(folder):
        return
    there = ", ".join(map(str, versions.numbers(folder))) or "none"
    raise ValueError(
        message(
            "--promote must be the number of a version",
            received=f"{version}; {folder} has {there}",
        )
    )


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise ValueError(
            message(
                "who changes what serves must say why",
                received="no --reason",
                mend='give --reason="..."',
            )
        )


def _who() -> str:
    """User and machine; a number where the user has no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
