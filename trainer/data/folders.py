"""A folder for each label, a file for each text: `--dataset=folder:aclImdb/train`.

    aclImdb/train/neg/0_3.txt
    aclImdb/train/pos/0_9.txt
    dataset = open_dataset("aclImdb/train", config)  # labels neg, pos

A label is the name of a folder, its texts are the .txt files in it. If the folder that
is named holds `train` with folders in it, the splits are the folders train, test and
validation (or valid, val, dev), as in aclImdb itself. Left out, and named in the notes,
are: folders of texts without a label, whose names begin with `unsup` or `unlabel`;
folders whose names begin with a dot or two underscores; folders without a file; files
of other endings, and files beside the folders.
"""

from __future__ import annotations

import os
from typing import Iterator

from trainer.config import DataConfig
from trainer.data.readers.opening import expand
from trainer.data.readers.request import OnBlankLine, OnSettled, ignore_settled
from trainer.data.readers.rows import BadRow, Row, Rows
from trainer.data.unread import (
    ALL_ROWS,
    UnreadDataset,
    UnreadFile,
    UnreadSplit,
    unread_file,
)
from trainer.messages import message

_SPLIT_FOLDERS = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}
_WITHOUT_LABEL = ("unsup", "unlabel")
_HIDDEN = (".", "__")
_ENDING = ".txt"


def open_dataset(name: str, config: DataConfig) -> UnreadDataset:
    """Opens a folder.

    Raises:
      ValueError: it is no folder, or not one of folders of texts. The message names
        what is in the way.
    """
    folder = os.path.expanduser(name)
    if not os.path.isdir(folder):
        found = expand(name)
        what = f"the file {found[0]}" if len(found) == 1 else f"{len(found)} of them"
        raise ValueError(
            message(
                "folder: must be followed by one folder",
                received=what,
                mend=f"files are named by files:{name}",
            )
        )
    notes: list[str] = []
    if _holds_splits(folder):
        splits = {
            split: _split(path, config, notes)
            for split, path in _split_folders(folder, notes)
        }
    else:
        splits = {ALL_ROWS: _split(folder, config, notes)}
    return UnreadDataset(splits, tuple(notes))


def _holds_splits(folder: str) -> bool:
    """Whether a folder has not labels in it, but `train` with the labels."""
    train = os.path.join(folder, "train")
    return os.path.isdir(train) and bool(_folders(train))


def _split_folders(folder: str, notes: list[str]) -> Iterator[tuple[str, str]]:
    """The splits' names and folders."""
    seen: dict[str, str] = {}
    for name in _folders(folder):
        split = _SPLIT_FOLDERS.get(name.casefold())
        path = os.path.join(folder, name)
        if split is None:
            notes.append(f"{path}: left out, it is no split")
        elif split in seen:
            raise ValueError(
                message(
                    f"{folder} must have one folder of the {split} split",
                    received=f"{seen[split]} and {name}",
                    mend="move one of them away",
                )
            )
        else:
            seen[split] = name
            yield split, path
    _note_files(folder, notes)


def _split(folder: str, config: DataConfig, notes: list[str]) -> UnreadSplit:
    names = _folders(folder)
    _note_files(folder, notes)
    files: list[UnreadFile] = []
    for name in names:
        path = os.path.join(folder, name)
        if name.casefold().startswith(_WITHOUT_LABEL):
            notes.append(f"{path}: left out, its texts have no label")
        elif name.startswith(_HIDDEN):
            notes.append(f"{path}: left out, it is hidden")
        elif texts := _texts(path, notes):
            files += _unread(path, texts, config)
        else:
            notes.append(f"{path}: left out, it is empty")
    if not files:
        raise ValueError(
            message(
                "folder: must be followed by a folder that has one for each label, with "
                f"{_ENDING} files in it",
                received=f"{folder}, with folders {', '.join(names[:20]) or 'none'}",
                mend="name the folder above those of the labels; other files are named "
                "by files:",
            )
        )
    return UnreadSplit(f"folder:{folder}", tuple(files))


def _unread(folder: str, names: list[str], config: DataConfig) -> Iterator[UnreadFile]:
    """The files of a label; one sentence of how they are read is enough."""
    words = f"{folder}: label {_name(folder)!r}, a text a file"
    for number, name in enumerate(names):
        file = unread_file(os.path.join(folder, name), config, file_format="whole_text")

        def read(
            on_blank_line: OnBlankLine,
            on_settled: OnSettled,
            file: UnreadFile = file,
            is_first: bool = number == 0,
        ) -> Iterator[Row | BadRow | Rows]:
            if is_first:
                on_settled(words)
            return file.read(on_blank_line, ignore_settled)

        yield UnreadFile(file.name, read, listed_as=folder)


def _texts(folder: str, notes: list[str]) -> list[str]:
    """The names of a label's texts, sorted."""
    below = [name for name in _folders(folder) if not name.startswith(_HIDDEN)]
    if below:
        raise ValueError(
            message(
                f"{folder}, a label's folder, must hold texts alone",
                received=f"the folder {below[0]} in it",
                mend=f"if its folders are those of labels, give folder:{folder}; "
                "otherwise move their files up",
            )
        )
    files = _files(folder)
    texts = [name for name in files if name.casefold().endswith(_ENDING)]
    others = [name for name in files if not name.casefold().endswith(_ENDING)]
    if others and not texts:
        raise ValueError(
            message(
                f"{folder}, a label's folder, must hold {_ENDING} files",
                received=f"{len(others)} others: {', '.join(others[:3])}",
                mend=f"convert or rename them, or move {_name(folder)} away",
            )
        )
    if others:
        notes.append(f"{folder}: left out, no {_ENDING} files: {_listed(others)}")
    return texts


def _note_files(folder: str, notes: list[str]) -> None:
    if files := _files(folder):
        notes.append(f"{folder}: left out, in no label's folder: {_listed(files)}")


def _folders(folder: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())


def _files(folder: str) -> list[str]:
    """The names of the files that are not hidden."""
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if not entry.is_dir() and not entry.name.startswith(_HIDDEN)
    )


def _name(folder: str) -> str:
    return os.path.basename(os.path.abspath(folder))


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
