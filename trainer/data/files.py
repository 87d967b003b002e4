"""Files as a data set: `--dataset=files:a.csv,more/*.csv`, `--dataset=tfrecord:*.tfr`.

    dataset = open_dataset("reviews/*.csv", config)

Several files are one set. Parquet files may themselves name the classes of their
labels: then these are the classes, in that order.
"""

from __future__ import annotations

import os
import pathlib

from trainer.config import DataConfig
from trainer.data.readers import parquet
from trainer.data.readers.opening import expand, format_by_ending
from trainer.data.unread import (
    ALL_ROWS,
    UnreadDataset,
    UnreadSplit,
    unread_file,
    without_empty,
)
from trainer.messages import message


def open_dataset(pattern: str, config: DataConfig) -> UnreadDataset:
    """The files of paths or globs, read one after the other as one data set.

    Raises:
      ValueError: there are none; a folder or a TFRecord file is among them; they name
        other classes than each other.
    """
    paths = expand(pattern)
    for path in paths:
        _refuse_other_schemes(path)
    files = without_empty([unread_file(path, config) for path in paths])
    split = UnreadSplit(f"files:{pattern}", files, _own_names(paths, config))
    return UnreadDataset({ALL_ROWS: split})


def open_tfrecords(pattern: str, config: DataConfig) -> UnreadDataset:
    """TFRecord files of tf.train.Examples, whatever their endings."""
    paths = expand(pattern)
    files = [unread_file(path, config, file_format="tfrecord") for path in paths]
    split = UnreadSplit(f"tfrecord:{pattern}", without_empty(files))
    return UnreadDataset({ALL_ROWS: split})


def _refuse_other_schemes(path: str) -> None:
    """Names the scheme of what is no file of a table."""
    # What TensorFlow reads has a scheme of its own: it is read after TensorFlow is set
    # up, and tables before.
    if os.path.isdir(path):
        scheme, received = "folder", "a folder"
        is_right = any(each.is_dir() for each in pathlib.Path(path).iterdir())
    else:
        scheme, received = "tfrecord", "TFRecords"
        is_right = format_by_ending(path) == "tfrecord"
    if is_right:
        raise ValueError(
            message(
                "files: must be followed by files of a table",
                received=f"{path}, {received}",
                mend=f"give {scheme}:{path}",
            )
        )


# Names of classes in Parquet files.


def _own_names(paths: list[str], config: DataConfig) -> tuple[str, ...]:
    """The names of the classes that the files declare, all the same; () if none do."""
    first: tuple[str, tuple[str, ...]] | None = None
    for path in paths:
        names: tuple[str, ...] = ()
        if format_by_ending(path) == "parquet":
            names = parquet.class_names(path, config.label_field)
        if names and first and names != first[1]:
            raise ValueError(
                message(
                    "files of one set must name the same classes, in one order",
                    received=f"{', '.join(first[1][:20])} in {first[0]}; "
                    f"{', '.join(names[:20])} in {path}",
                    mend="write them with the same features",
                )
            )
        if names:
            first = first or (path, names)
    return first[1] if first else ()
