"""Joins the parts that `--shard` wrote into the file that one machine would have written.

    num_rows = join(PredictConfig(output="answers.jsonl", join=True))

It goes by what lies beside each part (`shards.py`) and trusts none of it: parts are all
there, of one model, input and setting, cover the input without a gap, and have the bytes
that they had when they were finished; else nothing is written. The parts stay.
"""

from __future__ import annotations

import logging
import pathlib
from typing import Any, BinaryIO, Sequence

from trainer import storage
from trainer.config import PredictConfig, Shard
from trainer.messages import message
from trainer.serving import answers, predictor, questions, resumable, shards, versions
from trainer.serving.shards import Finished

# Of parts that are alike in what is wrong with them.
_MOST_NAMED = 20

_logger = logging.getLogger(__name__)


def join(config: PredictConfig) -> int:
    """Writes --output of the parts beside it, which are left as they are.

    Returns:
      How many rows it answers.

    Raises:
      ValueError: a part is missing, unfinished or changed, is not of the same model,
        input and settings as the others, or not of those in `config`.
      OSError: the output cannot be written; the error names it.
    """
    target = shards.target_of(config.output)
    _check_output(config, target)
    count = _count_of(target)
    parts = [Shard(index, count) for index in range(count)]
    found = _all_finished(target, parts)
    _refuse_differences(found)
    if config.saved_model:
        _refuse_others(found, config)
    _refuse_gaps(found)
    with storage.naming_place(target):
        _write(target, parts, found)
    num_rows = found[-1].stop_row
    _logger.info("%s: %d rows of %d parts.", target, num_rows, count)
    return num_rows


def _check_output(config: PredictConfig, target: pathlib.Path) -> None:
    """Raises ValueError for an output that is no file, or one of the input."""
    if target.exists() and not target.is_file():
        raise ValueError(
            message(
                "--join writes a file",
                received=f"output={config.output}, which is none",
                mend="name the file that --shard was given",
            )
        )
    names = questions.files(config.input) if config.input else []
    if target.exists() and any(target.samefile(name) for name in names):
        raise ValueError(
            message(
                "--output must be another file than those of --input",
                received=f"input={config.input}, output={config.output}",
                mend="give the output another name or folder",
            )
        )
    storage.check_writable(target, is_file=True)


def _count_of(target: pathlib.Path) -> int:
    """Of how many parts one set lies beside the output."""
    counts = sorted({shard.count for shard in shards.parts_beside(target)})
    if not counts:
        place = shards.place_of(target, Shard(0, 2))
        raise ValueError(
            message(
                f"--join needs parts of {target.name} in {target.parent}",
                received=f"none, such as {place.name}",
                mend="name the file that --shard was given as --output; or answer the "
                "parts first, with --shard=0/N to --shard=N-1/N",
            )
        )
    if len(counts) > 1:
        names = [shards.place_of(target, Shard(0, count)).name for count in counts]
        # With what lies beside each part.
        patterns = [name.replace("-00000-", "-*-") + "*" for name in names]
        raise ValueError(
            message(
                f"{target.name} must have the parts of one set beside it",
                received=f"sets of {', '.join(map(str, counts))} parts",
                mend=f"remove those of all but one: {' or '.join(patterns)}",
            )
        )
    return counts[0]


def _all_finished(target: pathlib.Path, parts: Sequence[Shard]) -> list[Finished]:
    """What lies beside each part.

    Raises:
      ValueError: parts are missing or unfinished, or it cannot be told what they are.
    """
    found: list[Finished] = []
    faults: dict[str, list[Shard]] = {}
    for shard in parts:
        fault = _read(shards.place_of(target, shard), shard, found)
        if fault:
            faults.setdefault(fault, []).append(shard)
    if faults:
        count = parts[0].count
        raise ValueError(
            message(
                f"{target.name} must have all {count} parts beside it, finished",
                received="; ".join(
                    f"{_named(shards_)} {fault}" for fault, shards_ in faults.items()
                ),
                mend="give the command of the others with --shard=I/"
                f"{count} for each I that is named; what was begun continues",
            )
        )
    return found


def _read(place: pathlib.Path, shard: Shard, into: list[Finished]) -> str:
    """Adds what lies beside a part; or says what is wrong with the part."""
    if resumable.is_unfinished(place):
        return "unfinished"
    if not place.is_file():
        return "missing"
    try:
        finished = shards.read_finished(place)
        if finished.shard != str(shard):
            return f"said to be {finished.shard}"
    except FileNotFoundError:
        return (
            f"without the {shards.description_of(place).name[len(place.name):]} of it"
        )
    except (OSError, ValueError) as error:
        return f"with a damaged description ({error})"
    if place.stat().st_size != finished.num_bytes:
        return "changed since they were finished"
    into.append(finished)
    return ""


def _named(parts: Sequence[Shard]) -> str:
    """Parts in words: "0/8, 3/8"."""
    names = [str(part) for part in parts[:_MOST_NAMED]]
    more = len(parts) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _refuse_differences(found: Sequence[Finished]) -> None:
    """Raises ValueError where parts are not of one model, input and setting."""
    first = found[0]
    differing = [each for each in found if each.belongs_to != first.belongs_to]
    if differing:
        raise ValueError(
            message(
                "parts must be of the same model, input and settings",
                received=f"{_differences(first, differing[0])}; and so in "
                f"{len(differing)} of {len(found)} parts against {first.shard}",
                mend=f"give one command with --shard=I/{len(found)} for all of them; it "
                "begins anew what differs from it and leaves alone what is answered",
            )
        )


def _differences(first: Finished, other: Finished) -> str:
    """How two parts differ, in words."""
    names = sorted({*first.belongs_to, *other.belongs_to})
    changed = [
        name
        for name in names
        if first.belongs_to.get(name) != other.belongs_to.get(name)
    ]
    words = []
    for name in changed:
        values = [each.belongs_to.get(name) for each in (first, other)]
        if name == "model":
            values = [
                f"{each.saved_model} ({str(each.belongs_to[name])[:8]})"
                for each in (first, other)
            ]
        if name == "input_sha256":
            name, values = "input", _different_files(first, other)
        words.append(
            f"{name} is {values[0]} for {first.shard} and {values[1]} for {other.shard}"
        )
    return "; ".join(words)


def _different_files(first: Finished, other: Finished) -> list[object]:
    """The first file in which two inputs differ, as each has it."""
    if len(first.files) != len(other.files):
        return [f"{len(each.files)} files" for each in (first, other)]
    pairs = zip(first.files, other.files)
    pair = next(pair for pair in pairs if pair[0] != pair[1])
    return [
        f"{each.name or 'a file'} of {each.num_bytes} bytes ({each.sha256[:8]})"
        for each in pair
    ]


def _refuse_others(found: Sequence[Finished], config: PredictConfig) -> None:
    """Raises ValueError where the parts are not those of the flags."""
    folder = versions.find(config.saved_model)
    if config.verify:
        _logger.info("%s: %s", folder, predictor.verify(folder))
    files = shards.input_files(config, questions.files(config.input))
    model = predictor.model_and_settings(config, folder)
    asked: dict[str, Any] = shards.belongs_to(config, model, files)
    first = found[0]
    # How many rows there are follows from the others.
    asked["num_rows"] = first.belongs_to.get("num_rows")
    if asked != first.belongs_to:
        of_flags = Finished(
            shard="the flags",
            first_row=0,
            stop_row=0,
            num_header_bytes=0,
            num_bytes=0,
            sha256="",
            saved_model=str(folder),
            files=files,
            belongs_to=asked,
        )
        raise ValueError(
            message(
                "the parts must be of the model, input and settings of the flags",
                received=_differences(first, of_flags),
                mend="give the flags that the parts were given; or answer all parts "
                f"anew with these, and --shard=0/{len(found)} to "
                f"{len(found) - 1}/{len(found)}",
            )
        )


def _refuse_gaps(found: Sequence[Finished]) -> None:
    """Raises ValueError where the parts are not the rows of the input, one by one."""
    num_rows, batch_size = (
        found[0].belongs_to.get(name) for name in ("num_rows", "batch_size")
    )
    for index, each in enumerate(found):
        rows = range(0)
        if isinstance(num_rows, int) and isinstance(batch_size, int):
            shard = Shard(index, len(found))
            rows = shards.rows_of(shard, num_rows, batch_size=max(batch_size, 1))
        if (each.first_row, each.stop_row) != (rows.start, rows.stop):
            raise ValueError(
                message(
                    f"part {each.shard} must answer rows {rows.start} to {rows.stop}",
                    received=f"{each.first_row} to {each.stop_row}",
                    mend="remove it, and give its command again",
                )
            )


# Writing.


def _write(
    target: pathlib.Path, parts: Sequence[Shard], found: Sequence[Finished]
) -> None:
    """The joined file, which gets its name only if every part is what it was."""
    convert = answers.format_of(target.name).convert
    storage.remove_leftovers(target.parent, of=target.name)
    with storage.new_file(target) as unfinished:
        if convert is None:
            _concatenate(target, parts, found, unfinished)
            return
        with storage.scratch(f"{target.name}.lines", parent=target.parent) as folder:
            lines = folder / "lines"
            _concatenate(target, parts, found, lines)
            convert(lines, unfinished)


def _concatenate(
    target: pathlib.Path,
    parts: Sequence[Shard],
    found: Sequence[Finished],
    into: pathlib.Path,
) -> None:
    """All parts one behind the other, the header of the first alone.

    Raises:
      ValueError: a part has other bytes than when it was finished.
    """
    with open(into, "wb") as file:
        for shard, finished in zip(parts, found, strict=True):
            place = shards.place_of(target, shard)
            _copy(place, finished, file, with_header=not shard.index)


def _copy(
    place: pathlib.Path, finished: Finished, file: BinaryIO, *, with_header: bool
) -> None:
    """Appends a part; raises ValueError where it is not what it was."""
    start = 0 if with_header else finished.num_header_bytes
    copied = shards.digest_of(place, start=start, write=file.write)
    if copied != (finished.num_bytes, finished.sha256):
        raise ValueError(
            message(
                f"{place} must be as it was when it was finished",
                received="other bytes",
                mend=f"give its command again, with --shard={finished.shard}",
            )
        )
