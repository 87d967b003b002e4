"""Data sets of TensorFlow Datasets: `--dataset=tfds:imdb_reviews`.

    dataset = open_dataset("imdb_reviews", config)
    dataset.splits["train"].label_names  # ("neg", "pos")

A data set that is prepared on this machine is read as it is, without a network. One
that is not is downloaded only with `--download`, which is said before it begins,
because it may take long to fail. TensorFlow is imported only when a data set is
opened. Which splits are used is left to `sources.py`.
"""

from __future__ import annotations

import functools
import logging
import os
import pathlib
from typing import Any, Iterator, Mapping

import numpy as np

from trainer import storage
from trainer.config import DataConfig
from trainer.data.readers.reading import make_row
from trainer.data.readers.request import OnBlankLine, OnSettled, Request
from trainer.data.readers.rows import BadRow, BadValue, Row
from trainer.data.unread import UnreadDataset, UnreadFile, UnreadSplit
from trainer.messages import did_you_mean, message

# How benchmarks mark the labels of their test split, which they keep to themselves.
_HIDDEN_LABEL = -1

_logger = logging.getLogger(__name__)


def open_dataset(name: str, config: DataConfig) -> UnreadDataset:
    """Opens a data set, and prepares it first if it is not and the config allows it.

    Args:
      name: NAME, NAME/CONFIG or NAME/CONFIG:VERSION.
      config: the fields, and where data sets are.

    Raises:
      ValueError: there is none of this name; it is not prepared and cannot be; it
        lacks a field.
    """
    _refuse_several_labels(name, config)
    builder = _prepared_builder(name, config)
    features = builder.info.features
    _check_fields(features, name, _request(name, config))
    label_names = _label_names(features[config.label_field])
    splits = {}
    notes = []
    for split in builder.info.splits:
        title = f"tfds:{builder.info.full_name} {split}"
        # Training needs labels: hidden ones there are bad rows, each named.
        may_be_left_out = label_names and split != "train"
        if may_be_left_out and _hides_labels(builder, split, config):
            notes.append(f"{title}: not used, it has no labels ({_HIDDEN_LABEL})")
            continue
        rows = functools.partial(_rows, builder, split, title, label_names, config)
        file = UnreadFile(title, rows, paths=_paths(builder, split))
        splits[split] = UnreadSplit(
            f"{title} in {builder.data_path}", (file,), label_names
        )
    return UnreadDataset(splits, tuple(notes))


def _paths(builder: Any, split: str) -> tuple[str, ...]:
    """What is read of a split: its shards, and what says how they are to be read."""
    folder = pathlib.Path(builder.data_path)
    shards = (str(path) for path in builder.info.splits[split].filepaths)
    return (*shards, *sorted(str(path) for path in folder.glob("*.json")))


def _refuse_several_labels(name: str, config: DataConfig) -> None:
    if config.task == "multi_label":
        raise ValueError(
            message(
                "a data set of tfds: is read with one label a text",
                received=f"tfds:{name} and task={config.task}",
                mend="write it as JSON Lines, a list of labels a text, and give "
                "files:FILE.jsonl",
            )
        )


def _request(name: str, config: DataConfig) -> Request:
    return Request(
        name,
        text_field=config.text_field,
        label_field=config.label_field,
        second_text_field=config.second_text_field,
        kept_fields=config.kept_fields,
    )


def _check_fields(features: Mapping[str, Any], name: str, request: Request) -> None:
    for field in request.fields_in(features):
        if field not in features:
            raise ValueError(
                message(
                    f"tfds:{name} must have a feature {field!r}",
                    received=f"features {', '.join(features)}"
                    f"{did_you_mean(field, features)}",
                    mend=request.mend_of_missing(field),
                )
            )


def _label_names(feature: Any) -> tuple[str, ...]:
    """Names of the classes that the data set numbers, empty if it does not."""
    import tensorflow_datasets as tfds

    is_numbered = isinstance(feature, tfds.features.ClassLabel)
    return tuple(feature.names) if is_numbered else ()


# Reading a split.


def _rows(
    builder: Any,
    split: str,
    title: str,
    label_names: tuple[str, ...],
    config: DataConfig,
    on_blank_line: OnBlankLine,
    on_settled: OnSettled,
) -> Iterator[Row | BadRow]:
    """The rows of a split; `title` stands for a file's name, examples for its lines."""
    del on_blank_line  # An example is never a blank line.
    on_settled(f"{title}: features {config.text_field}, {config.label_field}")
    request = _request(title, config)
    for number, example in enumerate(_examples(builder, split), start=1):
        label = example[config.label_field]
        label = label.item() if isinstance(label, np.generic) else label
        if label_names and not 0 <= label < len(label_names):
            yield BadRow(
                file=title,
                line=number,
                rule=f"expected a label from 0 to {len(label_names) - 1}",
                received=str(label),
                mend="leave the example out with --bad_rows=skip: it has no label",
            )
        else:
            label = label_names[label] if label_names else label
            try:
                text = request.text_of(example)
            except BadValue as bad_value:
                yield bad_value.at(title, line=number)
                continue
            kept = {field: example[field] for field in config.kept_fields}
            yield make_row(
                text,
                label,
                second_text=request.second_text_of(example),
                file=title,
                line=number,
                kept=kept,
            )


def _examples(builder: Any, split: str) -> Iterator[Mapping[str, Any]]:
    """The examples of a split as NumPy values, in the order of its files."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    # One file after the other: interleaved, the order would be another one, and with
    # it the plan of every epoch. Nothing is cached, each example is read once.
    one_by_one = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    examples = builder.as_dataset(
        split=split, shuffle_files=False, read_config=one_by_one
    )
    try:
        yield from tfds.as_numpy(examples)
    except tf.errors.OpError as error:
        raise ValueError(
            message(
                "expected files that can be read",
                received=error,
                mend=f"prepare or copy {builder.data_path} again",
                place=f"tfds:{builder.info.full_name} {split}",
            )
        ) from error


def _hides_labels(builder: Any, split: str, config: DataConfig) -> bool:
    """Whether the split's first label is hidden; it stands for all of them."""
    example = next(_examples(builder, split), None)
    return example is not None and int(example[config.label_field]) == _HIDDEN_LABEL


# Finding a data set, and preparing it.


def _prepared_builder(name: str, config: DataConfig) -> Any:
    import tensorflow_datasets as tfds

    _refuse_pattern(config.tfds_data_dir or os.environ.get("TFDS_DATA_DIR", ""))
    data_dir = str(storage.path(config.tfds_data_dir))
    arguments = {"data_dir": data_dir} if config.tfds_data_dir else {}
    try:
        builder = tfds.builder(name, **arguments)
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        folder = data_dir if config.tfds_data_dir else "its default folder"
        raise ValueError(
            message(
                "tfds: must be followed by a data set of TensorFlow Datasets, or one "
                f"that is prepared in {folder}",
                received=f"{name!r}{did_you_mean(name, known)}",
                mend="check the name, or name the folder with --tfds_data_dir",
            )
        ) from None
    # An unknown config is the one, an unknown version the other.
    except (ValueError, AssertionError) as error:
        raise ValueError(
            message(
                f"tfds:{name} must be a data set that can be opened",
                received=error,
                mend="check its config and version; without them it is "
                f"tfds:{name.partition('/')[0].partition(':')[0]}",
            )
        ) from error
    if not builder.is_prepared():
        _prepare(builder, name, config)
    return builder


def _refuse_pattern(data_dir: str) -> None:
    """Raises ValueError for a folder that TensorFlow Datasets would not find."""
    if "[" in data_dir:
        raise ValueError(
            message(
                "--tfds_data_dir, or $TFDS_DATA_DIR, must not have [ in its name, which "
                "TensorFlow Datasets takes for a pattern",
                received=data_dir,
                mend="give a link to it: ln -s FOLDER LINK, --tfds_data_dir=LINK",
            )
        )


def _prepare(builder: Any, name: str, config: DataConfig) -> None:
    """Downloads a data set, if that is allowed, and says so before.

    Raises:
      ValueError: it is not allowed, or fails. The message names the ways that need no
        network, with this machine's folders.
    """
    urls = getattr(builder, "url_infos", None) or {}
    # Below the data folder there is one folder each for name, config and version.
    num_parts = len(builder.info.full_name.split("/"))
    data_dir = pathlib.Path(builder.data_path).parents[num_parts - 1]
    origin = ", ".join(urls) or builder.info.homepage
    archives = ", ".join(str(info.filename) for info in urls.values())
    # The folder where TensorFlow Datasets looks for an archive before it downloads it.
    manual_dir = data_dir / "downloads" / "manual"
    without_network = (
        "without a network, name the folder that holds it prepared with "
        f"--tfds_data_dir; or put {archives or 'its archive'} (from {origin}) into "
        f"{manual_dir} and give --download; or export it to CSV, JSONL or Parquet "
        "and give --dataset=files:PATH"
    )
    if not config.download:
        raise ValueError(
            message(
                f"tfds:{name} must be prepared on this machine",
                received=f"nothing in {builder.data_path}",
                mend=f"to download it from {origin}, give --download; "
                + without_network,
            )
        )
    _logger.warning(
        "Downloading tfds:%s from %s to %s; without a network this takes minutes to "
        "fail.",
        name,
        origin,
        data_dir,
    )
    try:
        builder.download_and_prepare()
    # Whatever stops it, from a refused connection to an archive that is none.
    except Exception as error:
        raise ValueError(
            message(
                f"tfds:{name} must be downloaded from {origin} and prepared in "
                f"{builder.data_path}",
                received=error,
                mend=without_network,
            )
        ) from error
