"""Large data sets on disk: the same rows, found again, told apart, and never in the way."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trainer.config import DataConfig
from trainer.data import (
    kept_sources,
    source_files,
    sources,
    split_reading,
    splits,
    texts_on_disk,
)
from trainer.data.readers import reading
from trainer.data.sources import Sources
from trainer.data.strings import Strings, taken

NUM_ROWS = 3_000


@pytest.fixture
def config(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """Of a small file that counts as a large one."""
    monkeypatch.setattr(kept_sources, "LEAST_BYTES", 1)
    write(tmp_path / "a.csv", "fine")
    return DataConfig(
        dataset=f"files:{tmp_path}/a.csv", cache_dir=str(tmp_path / "cache")
    )


def write(path: pathlib.Path, word: str) -> None:
    rows = [
        f"A {word} film {row % 2_900},{row % 3},{row % 50}" for row in range(NUM_ROWS)
    ]
    lines = ["text,label,author", *rows[:2_000], ",1,2", *rows[2_000:]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def same(one: Sources, other: Sources) -> bool:
    assert one.facts == other.facts and one.label_names == other.label_names
    assert one.splits.keys() == other.splits.keys()
    for name, data in one.splits.items():
        of_other = other.splits[name]
        assert data.texts.to_pylist() == of_other.texts.to_pylist()
        assert np.array_equal(data.labels, of_other.labels)
        assert data.labels.dtype == of_other.labels.dtype
        assert np.array_equal(data.places.lines, of_other.places.lines)
        assert data.places.of(len(data) - 1) == of_other.places.of(len(data) - 1)
        assert data.label_names == of_other.label_names
        assert (data.groups is None) == (of_other.groups is None)
        if data.groups is not None and of_other.groups is not None:
            assert data.groups.to_pylist() == of_other.groups.to_pylist()
    return (one.split_by, one.are_labels_found) == (
        other.split_by,
        other.are_labels_found,
    )


def in_memory(config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> Sources:
    with monkeypatch.context() as patch:
        patch.setattr(kept_sources, "LEAST_BYTES", 2**60)
        return sources.load(config)


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "groups": {"group_field": "author"},
    "named": {"label_names": ("0=bad", "1=so", "2=good")},
    "several labels": {"task": "multi_label"},
    "folds": {"num_folds": 3, "fold": 1},
    "fewer": {"num_train_examples": 100},
    "no test": {"evaluate_test": False},
}


@pytest.mark.parametrize("name", WAYS)
def test_what_is_on_disk_is_what_would_be_in_memory(
    config: DataConfig, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, bad_rows="skip", **WAYS[name])
    expected = in_memory(config, monkeypatch)
    first, second = sources.load(config), sources.load(config)
    assert same(first, expected) and same(second, expected)
    assert second.splits["train"].digests is not None
    results = [
        splits.make_splits(read, config=config, seed=3)
        for read in (expected, first, second)
    ]
    prints = [splits.fingerprint(pool, parts) for pool, parts in results]
    assert prints[0] == prints[1] == prints[2]
    assert results[0][0].texts.to_pylist() == results[2][0].texts.to_pylist()
    numbers = [pool.text_numbers.tolist() for pool, _ in results]
    assert numbers[0] == numbers[2]


def entries(config: DataConfig) -> list[str]:
    return sorted(os.listdir(pathlib.Path(config.cache_dir) / "texts"))


def test_a_second_start_reads_no_file_again(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, bad_rows="skip")
    first = sources.load(config)

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("a file is read again")

    monkeypatch.setattr(reading, "_read", refuse)
    assert same(sources.load(config), first)
    # Another division of the same rows is no other reading.
    sources.load(dataclasses.replace(config, test_one_in=3, max_length=64))
    with pytest.raises(AssertionError, match="again"):
        sources.load(dataclasses.replace(config, label_field="author"))


def test_where_rows_come_from_is_mapped(config: DataConfig) -> None:
    places = (
        sources.load(dataclasses.replace(config, bad_rows="skip", group_field="author"))
        .splits["train"]
        .places
    )
    assert isinstance(places.lines, np.memmap)
    assert isinstance(places.file_numbers, np.memmap)
    # The header and a row without a text are before the last one.
    assert places.of(NUM_ROWS - 1)[1] == NUM_ROWS + 2


def test_two_data_sets_under_one_name_are_told_apart(config: DataConfig) -> None:
    config = dataclasses.replace(config, bad_rows="skip")
    path = pathlib.Path(config.dataset.removeprefix("files:"))
    first = sources.load(config)
    old = path.stat()
    # As long, and its times set back.
    write(path, "dull")
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    second = sources.load(config)
    assert path.stat().st_size == old.st_size
    assert "fine" in first.splits["train"].texts[0].as_py()
    assert "dull" in second.splits["train"].texts[0].as_py()
    assert len(entries(config)) == 2


def test_bad_rows_are_refused_as_ever_and_nothing_is_kept(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="a.csv:2002: expected a text") as on_disk:
        sources.load(config)
    with pytest.raises(ValueError) as memory:
        in_memory(config, monkeypatch)
    assert str(on_disk.value) == str(memory.value)
    assert entries(config) == []


def test_damage_is_noticed_and_read_anew(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, bad_rows="skip")
    sources.load(config)
    (name,) = entries(config)
    place = pathlib.Path(config.cache_dir) / "texts" / name / "train.texts"
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    assert same(sources.load(config), in_memory(config, monkeypatch))


@pytest.mark.parametrize("free", [10, 10**12])
def test_room_is_said_before_and_where_there_is_none_memory_will_do(
    config: DataConfig,
    free: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = dataclasses.replace(config, bad_rows="skip")
    usage = (10**12, 0, free)
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda _: type("Usage", (), {"free": usage[2]}),
    )
    with caplog.at_level(logging.INFO):
        read = sources.load(config)
    assert f"{config.cache_dir}/texts: about" in caplog.text
    assert ("held in memory" in caplog.text) == (free == 10)
    assert ("--cache_dir" in caplog.text) == (free == 10)
    assert same(read, in_memory(config, monkeypatch))


def test_a_disk_that_fills_meanwhile_is_named(
    config: DataConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = dataclasses.replace(config, bad_rows="skip")

    class Full:
        def write_batch(self, batch: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(texts_on_disk, "_BATCH_BYTES", 1)
    monkeypatch.setattr(pa.ipc, "new_file", lambda *_: Full())
    read = sources.load(config)
    assert "No space left on device" in caplog.text and ".texts" in caplog.text
    assert same(read, in_memory(config, monkeypatch))
    assert entries(config) == []


@pytest.mark.parametrize("change", ["longer", "as long", "gone"])
@pytest.mark.parametrize("is_large", [False, True])
def test_a_file_that_changes_while_it_is_read_is_refused(
    config: DataConfig,
    change: str,
    is_large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = dataclasses.replace(config, bad_rows="skip")
    path = pathlib.Path(config.dataset.removeprefix("files:"))
    monkeypatch.setattr(kept_sources, "LEAST_BYTES", 1 if is_large else 2**60)
    read_split = split_reading.read_split

    def changing(*args: Any, **kwargs: Any) -> Any:
        read = read_split(*args, **kwargs)
        if change == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes() + (b"x,1,1\n" * (change == "longer")))
        return read

    monkeypatch.setattr(sources, "read_split", changing)
    with pytest.raises(ValueError, match="stays as it is while it is read"):
        sources.load(config)
    assert not is_large or entries(config) == []


@pytest.mark.parametrize("scheme", ["files", "folder"])
def test_a_file_that_comes_while_others_are_read_is_named(
    scheme: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever reads a moment later has other rows."""
    for label, text in (("a", "Good."), ("b", "Bad.")):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text(text, encoding="utf-8")
        row = f"text,label\n{text},{label}\n"
        (tmp_path / f"{label}.csv").write_text(row, encoding="utf-8")
    name = {"files": "files:{}/*.csv", "folder": "folder:{}"}[scheme].format(tmp_path)
    new = tmp_path / {"files": "c.csv", "folder": "b/2.txt"}[scheme]
    read_split = split_reading.read_split

    def with_another(*args: Any, **kwargs: Any) -> Any:
        new.write_text("text,label\nNew.,a\n", encoding="utf-8")
        return read_split(*args, **kwargs)

    config = DataConfig(dataset=name)
    assert len(sources.load(config).splits["train"]) == 2
    with monkeypatch.context() as patched:
        patched.setattr(sources, "read_split", with_another)
        with pytest.raises(ValueError, match=f"{new}: expected the same files .*start"):
            sources.load(config)
    assert len(sources.load(config).splits["train"]) == 3


def test_a_full_disk_is_told_by_its_number_and_name() -> None:
    texts = texts_on_disk.Spilled(pathlib.Path("/dev/full"))
    with pytest.raises(OSError) as error:
        texts.extend(pa.array(["A film. " * 1_000] * 1_000, pa.large_string()))
    assert error.value.errno == errno.ENOSPC and error.value.filename == "/dev/full"


def test_states_of_files_alone(tmp_path: pathlib.Path) -> None:
    assert source_files.states(["tfds:imdb_reviews train"]) is None
    (tmp_path / "a").write_text("a", encoding="utf-8")
    (state,) = source_files.states([f"{tmp_path}/a"]) or ()
    assert state.num_bytes == 1
    source_files.refuse_changed([state])


def test_files_of_two_readings_are_told_apart() -> None:
    def facts(**files: int) -> dict[str, Any]:
        listed = [{"name": name, "num_rows": n} for name, n in files.items()]
        return {"splits": {"train": {"files": listed}, "test": {"files": listed[:1]}}}

    before = source_files.row_counts(facts(a=1, b=2, c=3))
    assert before == {"a": 2, "b": 2, "c": 3}
    now = source_files.row_counts(facts(a=1, b=4, d=5))
    assert source_files.differences(before, now) == [
        "d is new",
        "c is gone",
        "b has 4 rows and had 2",
    ]
    assert source_files.differences(now, now) == []


def test_every_setting_either_changes_what_is_read_or_not() -> None:
    names = {field.name for field in dataclasses.fields(DataConfig)}
    assert kept_sources.OTHER_SETTINGS < names
    assert names - kept_sources.OTHER_SETTINGS == set(
        "dataset validation_dataset test_dataset replay_dataset task text_field "
        "second_text_field label_field label_separator group_field encoding "
        "column_names escape label_names bad_rows".split()
    )


def test_texts_are_taken_from_chunks_as_arrow_takes_them() -> None:
    strings = Strings()
    for start in range(0, 100, 7):
        texts = [f"text {row}" for row in range(start, start + 7)]
        strings.extend(pa.array(texts, pa.large_string()))
    joined = strings.joined()
    generator = np.random.default_rng(0)
    for rows in (
        [],
        [5],
        [104, 0, 0, 50],
        np.arange(105),
        generator.permutation(105)[:40],
        np.sort(generator.permutation(105)[:40]),
    ):
        array = np.array(rows, np.int64)
        expected = joined.take(pa.array(array))
        assert taken(joined, array).to_pylist() == expected.to_pylist()
    for bad in ([105], [-1]):
        with pytest.raises(IndexError):
            taken(joined, np.array(bad))


def test_some_rows_of_what_is_on_disk_stay_on_disk(
    config: DataConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As --evaluate_test=false leaves them; the copy has no name that could stay."""
    config = dataclasses.replace(config, bad_rows="skip", evaluate_test=False)
    expected = splits.make_splits(in_memory(config, monkeypatch), config=config, seed=0)
    read = sources.load(config)
    assert len(expected[0]) < len(read.splits["train"])
    before = entries(config)
    held = pa.total_allocated_bytes()
    pool, parts = splits.make_splits(read, config=config, seed=0)
    assert pa.total_allocated_bytes() - held < pool.texts.nbytes / 4
    assert isinstance(pool.digests, np.memmap)
    assert entries(config) == before
    texts_on_disk.release()
    assert pool.texts.equals(expected[0].texts)
    for name in ("labels", "digests", "text_numbers"):
        assert np.array_equal(getattr(pool, name), getattr(expected[0], name)), name
    assert np.array_equal(pool.places.lines, expected[0].places.lines)
    assert splits.fingerprint(pool, parts) == splits.fingerprint(*expected)


LIMITED = """
    import json, resource, sys
    from trainer.config import DataConfig
    from trainer.data import kept_sources, sources, splits

    # Imports, first: what is limited is what comes after them.
    path, cache, is_on_disk = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
    kept_sources.LEAST_BYTES = 2**20 if is_on_disk else 2**60
    import pyarrow.csv, pyarrow.compute
    with open("/proc/self/status") as file:
        held = next(int(line.split()[1]) for line in file if line.startswith("VmData"))
    limit = held * 1024 + 150 * 10**6
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    config = DataConfig(dataset="files:" + path, cache_dir=cache)
    read = sources.load(config)
    pool, parts = splits.make_splits(read, config=config, seed=0)
    print(json.dumps({name: len(part) for name, part in parts.items()}))
"""


@pytest.mark.parametrize("is_on_disk", [True, False])
def test_memory_does_not_grow_with_the_texts(
    tmp_path: pathlib.Path, is_on_disk: bool
) -> None:
    """300,000 rows, 195 MB of text, and 150 MB more than what imports took."""
    path = tmp_path / "a.csv"
    words = "a film of so many words that no memory holds them " * 13
    with open(path, "w", encoding="utf-8") as file:
        file.write("text,label\n")
        for row in range(300_000):
            file.write(f"{row} {words},{row % 2}\n")
    done = subprocess.run(
        [
            *(sys.executable, "-c", textwrap.dedent(LIMITED)),
            *(str(path), str(tmp_path / "cache"), str(is_on_disk)),
        ],
        # One pool, whose size is that of what is held.
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
        capture_output=True,
        text=True,
        check=False,
    )
    # Held in memory it would not fit: the limit tells the two apart.
    assert (done.returncode == 0) == is_on_disk, done.stderr
    if is_on_disk:
        assert sum(json.loads(done.stdout).values()) == 300_000


def test_a_cache_in_a_bucket_leaves_no_folder_of_its_name(
    config: DataConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing there can be mapped: the process has a folder of its own."""
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(config, bad_rows="skip")
    in_bucket = dataclasses.replace(config, cache_dir=f"ram://{tmp_path.name}/cache")
    assert same(sources.load(in_bucket), in_memory(config, monkeypatch))
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]
