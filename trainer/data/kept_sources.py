"""Large data sets as they were read: on disk, for this run and those after it.

    kept = entry(states, config, make=read)     # read(new_texts) makes a `Kept`
    kept.splits["train"].texts                  # mapped from the disk, like its digests

Texts that fill the memory several times are written into a file while they are read
(`texts_on_disk.py`). What was read, with the digest of each text, is an entry of
--cache_dir under a fingerprint of the files and of what they were read with, so that a
second start reads no file again. Which data set that is, and what a run makes of it, is
left to `sources.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import shutil
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from trainer import caches, json_text, storage
from trainer.config import DataConfig
from trainer.data import texts_on_disk
from trainer.data.duplicates import write_digests
from trainer.data.places import Places
from trainer.data.source_files import FileState
from trainer.data.strings import Strings
from trainer.data.text_dataset import Digests, TextDataset

# Increased whenever the same files would be read otherwise than before.
VERSION = 1
# Files of less are read into memory, as quickly as they would be found again.
LEAST_BYTES = 2**28
# Settings that what is read does not depend on: how it is divided, read by the model and
# kept. Corrections are applied to what was read.
OTHER_SETTINGS = frozenset(
    "cache_dir max_cache_gb corrections num_folds fold num_train_examples "
    "num_eval_examples test_one_in validation_one_in evaluate_test replay_fraction "
    "split_near_duplicates near_duplicate_similarity max_length long_text max_windows "
    "window_overlap truncation num_buckets download tfds_data_dir".split()
)
# Of a row besides its text: two digests, a label, a line, a file's number.
_BYTES_PER_ROW = 80
# Unpacked, files take several times their size.
_PACKED_ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".parquet")
_UNPACKED_TIMES = 4
_ABOUT = "about.json"
_ROWS_AT_ONCE = 65_536
# Of some megabytes each.
_CHUNKS_BETWEEN_RELEASES = 16
_ARRAYS = ("labels", "lines", "file_numbers", "contents", "normal_forms")

_logger = logging.getLogger(__name__)

NewTexts = Callable[[str], Strings]


@dataclasses.dataclass(frozen=True)
class Kept:
    """What was read.

    Attributes:
      splits: by name.
      about: all else, JSON-able.
    """

    splits: Mapping[str, TextDataset]
    about: Mapping[str, Any]


def are_large(states: Sequence[FileState]) -> bool:
    """Whether the texts of these files are better not held in memory."""
    return _unpacked_bytes(states) >= LEAST_BYTES


def entry(
    states: Sequence[FileState],
    config: DataConfig,
    *,
    make: Callable[[NewTexts], Kept],
) -> Kept:
    """What was read of the files, from the cache where it is there already.

    Args:
      states: of all files that are read.
      config: says how, and where the cache is.
      make: reads them; it asks its argument, by the name of a split, for what collects
        the texts.

    Raises:
      OSError: there is no room, or the place cannot be written; it names the file.
      ValueError: as `make`.
    """
    root = caches.root(config.cache_dir, "texts")
    name = _fingerprint(states, config)
    if not (root / name).is_dir():
        _require_room(root, _unpacked_bytes(states))
    held = caches.entry(
        root,
        name,
        make=lambda folder: _write(folder, make),
        read=_read,
        max_bytes=round(config.max_cache_gb * 1e9),
        falls_back=False,
    )
    return held.handed_over()


def some_of(
    data: TextDataset, is_wanted: np.ndarray, config: DataConfig
) -> TextDataset:
    """Some rows in their order: of many texts that are on disk, a copy on disk.

    The copy has no name, and goes with the process.

    Args:
      is_wanted: bool [n].
      config: says where the cache is.
    """
    num_bytes = round(data.texts.nbytes * float(is_wanted.mean()))
    if data.digests is not None and num_bytes >= LEAST_BYTES:
        with telling_of_no_room():
            root = caches.root(config.cache_dir, "texts")
            _require_room(root, num_bytes)
            with storage.scratch("some-rows", parent=root) as folder:
                with storage.naming_place(folder):
                    return _some_on_disk(folder, data, data.digests, is_wanted)
    return data.filter(is_wanted)


def _some_on_disk(
    folder: pathlib.Path, data: TextDataset, digests: Digests, is_wanted: np.ndarray
) -> TextDataset:
    texts = texts_on_disk.Spilled(folder / "texts")
    start = 0
    for number, chunk in enumerate(data.texts.chunks, 1):
        wanted = is_wanted[start : start + len(chunk)]
        texts.extend(chunk.filter(pa.array(wanted)))
        start += len(chunk)
        if number % _CHUNKS_BETWEEN_RELEASES == 0:
            texts_on_disk.release()
    contents, normal_forms = (
        _some_digests(folder / f"{name}.npy", getattr(digests, name), is_wanted)
        for name in ("contents", "normal_forms")
    )
    made = Digests(contents, normal_forms)
    return data.with_texts(texts.joined(), made, is_wanted=is_wanted)


def _some_digests(
    place: pathlib.Path, digests: np.ndarray, is_wanted: np.ndarray
) -> np.ndarray:
    """Some rows of an array, in a new file of this name."""
    result = texts_on_disk.array(place, (int(is_wanted.sum()), 32), np.uint8)
    num_done = 0
    for start in range(0, len(digests), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        some = digests[rows][is_wanted[rows]]
        result[num_done : num_done + len(some)] = some
        num_done += len(some)
    return result


def _fingerprint(states: Sequence[FileState], config: DataConfig) -> str:
    values = dataclasses.asdict(config)
    used = {name: values[name] for name in sorted(values.keys() - OTHER_SETTINGS)}
    content = json.dumps([VERSION, used, states], default=list)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _unpacked_bytes(states: Sequence[FileState]) -> int:
    return sum(
        each.num_bytes * (_UNPACKED_TIMES if _is_packed(each.path) else 1)
        for each in states
    )


def _is_packed(path: str) -> bool:
    return path.casefold().endswith(_PACKED_ENDINGS)


def _require_room(root: pathlib.Path, num_bytes: int) -> None:
    """Says how much room is needed; raises OSError where there is less."""
    there = next(each for each in (root, *root.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    _logger.info(
        "the texts are kept in %s: about %.1f GB of %.1f GB that are free",
        root,
        num_bytes / 1e9,
        free / 1e9,
    )
    if free < num_bytes:
        raise OSError(
            None,
            f"about {num_bytes / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free",
            str(root),
        )


def _write(folder: pathlib.Path, make: Callable[[NewTexts], Kept]) -> None:
    """Reads the files into a folder."""
    kept = make(lambda name: texts_on_disk.Spilled(folder / f"{name}.texts"))
    for name, data in kept.splits.items():
        _write_arrays(folder, name, data)
        if data.groups is not None:
            groups = texts_on_disk.Spilled(folder / f"{name}.groups")
            for chunk in data.groups.chunks:
                groups.extend(chunk)
            groups.joined()
    about = {
        "about": kept.about,
        "files": {name: data.places.files for name, data in kept.splits.items()},
        "label_names": {name: data.label_names for name, data in kept.splits.items()},
    }
    text = json.dumps(about, ensure_ascii=False)
    (folder / _ABOUT).write_text(text, encoding="utf-8")


def _write_arrays(folder: pathlib.Path, name: str, data: TextDataset) -> None:
    """What there is besides the texts; the digests are made into their files."""
    for array, values in (
        ("labels", data.labels),
        ("lines", data.places.lines),
        ("file_numbers", data.places.file_numbers),
    ):
        np.save(folder / f"{name}.{array}.npy", values)
    contents, normal_forms = (
        texts_on_disk.array(folder / f"{name}.{array}.npy", (len(data), 32), np.uint8)
        for array in ("contents", "normal_forms")
    )
    write_digests(data.texts, contents=contents, normal_forms=normal_forms)


class _Held:
    """What a folder holds, which is in use as long as this lives."""

    kept: Kept | None = None

    def handed_over(self) -> Kept:
        """What it holds; its texts keep the folder in use from now on."""
        kept, self.kept = self.kept, None
        assert kept is not None
        return kept


def _read(folder: pathlib.Path) -> _Held:
    """What `_write` wrote, mapped; ValueError where it is not that."""
    about = json_text.parse((folder / _ABOUT).read_text(encoding="utf-8"))
    if not isinstance(about, dict):
        raise ValueError(f"{_ABOUT} holds no object")
    held = _Held()
    splits = {name: _read_split(folder, name, about, held) for name in about["files"]}
    held.kept = Kept(splits, about["about"])
    return held


def _read_split(
    folder: pathlib.Path, name: str, about: Mapping[str, Any], owner: object
) -> TextDataset:
    texts = texts_on_disk.mapped(folder / f"{name}.texts", owner=owner)
    arrays = {
        array: texts_on_disk.read_array(folder / f"{name}.{array}.npy")
        for array in _ARRAYS
    }
    if any(len(array) != len(texts) for array in arrays.values()):
        raise ValueError(f"the arrays of {name} are not as long as its texts")
    groups = folder / f"{name}.groups"
    return TextDataset(
        texts,
        # Asked for in any order again and again; a number a row is small.
        arrays["labels"] if arrays["labels"].ndim > 1 else np.array(arrays["labels"]),
        tuple(about["label_names"][name]),
        Places(
            tuple(about["files"][name]),
            arrays["file_numbers"],
            arrays["lines"],
        ),
        texts_on_disk.mapped(groups, owner=owner) if groups.exists() else None,
        Digests(arrays["contents"], arrays["normal_forms"]),
    )


@contextlib.contextmanager
def telling_of_no_room() -> Iterator[None]:
    """Lets what cannot be kept on disk be read into memory, with a warning."""
    try:
        yield
    except OSError as error:
        _logger.warning(
            "%s: the texts cannot be kept on disk (%s) and are held in memory, which "
            "they may fill; make room, or name another place with --cache_dir",
            error.filename or "--cache_dir",
            error.strerror or os.strerror(error.errno or 0),
        )
