"""TensorFlow Datasets that are prepared here, and ones that cannot be."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import pathlib
import shutil
import tarfile
from typing import Any

import pytest
import tensorflow_datasets as tfds

from tests.data.datasets import classes, labelled, load, written
from trainer.data import kept_sources
from trainer.data import tfds as tfds_reading


def write_tfds(
    folder: pathlib.Path,
    *,
    name: str = "imdb_reviews",
    label: Any = None,
    **splits: list[tuple[Any, Any]],
) -> dict[str, Any]:
    """Prepares a data set as TensorFlow Datasets does; splits: rows of text, label."""
    label = label or tfds.features.ClassLabel(names=["neg", "pos"])
    features = {"text": tfds.features.Text(), "label": label}
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        config="plain_text",
        data_dir=folder,
        features=tfds.features.FeaturesDict(features),
        split_datasets={
            split: [
                (key, {"text": text, "label": label})
                for key, (text, label) in enumerate(rows)
            ]
            for split, rows in splits.items()
        },
        disable_shuffling=True,
    )
    return {"dataset": f"tfds:{name}", "tfds_data_dir": str(folder)}


def test_tfds_splits(tmp_path: pathlib.Path) -> None:
    result = load(
        **write_tfds(
            tmp_path,
            train=[("bad", 0), ("good", 1), ("café", 1)],
            test=[("awful", 0)],
            unsupervised=[("?", -1)],
            extra=[("more", 1)],
        )
    )
    assert result.label_names == ("neg", "pos")
    assert set(result.splits) == {"train", "test"}
    assert result.splits["train"].texts.to_pylist() == ["bad", "good", "café"]
    assert classes(result.splits["train"]) == ["neg", "pos", "pos"]
    assert classes(result.splits["test"]) == ["neg"]
    notes = " ".join(result.facts["notes"])
    assert "unsupervised: not used, it has no labels" in notes
    assert "not used: extra" in notes
    source = result.facts["splits"]["test"]["source"]
    assert source.startswith("tfds:imdb_reviews/plain_text/1.0.0 test in ")


def test_tfds_in_a_folder_that_is_a_pattern(tmp_path: pathlib.Path) -> None:
    """Refused where TensorFlow Datasets would not find it; as the message says, it is."""
    rows = [("bad", 0), ("good", 1)]
    written = write_tfds(tmp_path / "data [1]", train=rows)
    with pytest.raises(ValueError, match="takes for a pattern"):
        load(**written)
    (tmp_path / "link").symlink_to("data [1]")
    link = {**written, "tfds_data_dir": str(tmp_path / "link")}
    assert load(**link).splits["train"].texts.to_pylist() == ["bad", "good"]


@pytest.mark.parametrize(
    "names, expected",
    [
        (("negative", "positive"), ["negative", "positive"]),
        (("pos", "neg"), ["neg", "pos"]),
        (("1", "0"), ["1", "0"]),
    ],
)
def test_tfds_classes_can_be_renamed(
    tmp_path: pathlib.Path, names: tuple[str, ...], expected: list[Any]
) -> None:
    spec = write_tfds(tmp_path, train=[("a", 0), ("b", 1)])
    result = load(**spec, label_names=names)
    assert result.label_names == names
    assert classes(result.splits["train"]) == expected


@pytest.mark.parametrize("names", [("neg=bad", "pos=good"), ("0=bad", "1=good")])
def test_tfds_classes_can_be_mapped_by_name_and_by_number(
    tmp_path: pathlib.Path, names: tuple[str, ...]
) -> None:
    spec = write_tfds(tmp_path, train=[("a", 0), ("b", 1)])
    result = load(**spec, label_names=names)
    assert result.label_names == ("bad", "good")
    assert classes(result.splits["train"]) == ["bad", "good"]


def test_tfds_that_only_its_files_know_with_labels_of_strings(
    tmp_path: pathlib.Path,
) -> None:
    rows = [("a", "x"), ("b", "y"), ("c", "x")]
    label = tfds.features.Text()
    spec = write_tfds(tmp_path, name="our_reviews", label=label, train=rows)
    assert classes(load(**spec).splits["train"]) == ["x", "y", "x"]


def test_tfds_groups(tmp_path: pathlib.Path) -> None:
    spec = write_tfds(tmp_path, train=[("a", 0), ("b", 1)])
    groups = load(**spec, group_field="text").splits["train"].groups
    assert groups is not None and groups.to_pylist() == ["a", "b"]
    with pytest.raises(ValueError, match="must have a feature 'by'.*--group_field"):
        load(**spec, group_field="by")


def test_settings_of_text_files_are_refused(tmp_path: pathlib.Path) -> None:
    spec = write_tfds(tmp_path, train=[("a", 0), ("b", 1)])
    with pytest.raises(ValueError, match="--encoding, --escape must be for a file"):
        load(**spec, encoding="cp1252", escape="backslash")


def test_damaged_tfds_is_named(tmp_path: pathlib.Path) -> None:
    spec = write_tfds(tmp_path, train=[("a", 0), ("b", 1)])
    (record_file,) = tmp_path.rglob("*train.tfrecord*")
    record_file.write_bytes(record_file.read_bytes()[:-9])
    with pytest.raises(ValueError, match="plain_text/1.0.0 train: expected files that"):
        load(**spec)


def test_large_tfds_is_kept_on_disk_and_found_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its shards: written anew, it is another one."""
    settings = write_tfds(tmp_path, train=[("bad", 0), ("good", 1)])
    settings["cache_dir"] = str(tmp_path / "cache")
    in_memory = load(**settings)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(kept_sources, "LEAST_BYTES", 1)
    on_disk = load(**settings)
    with monkeypatch.context() as patched:
        patched.setattr(tfds_reading, "_examples", None)
        found_again = load(**settings)
    for read in (on_disk, found_again):
        assert read.facts == in_memory.facts
        assert read.splits["train"].texts.to_pylist() == ["bad", "good"]
        assert classes(read.splits["train"]) == ["neg", "pos"]
    shutil.rmtree(tmp_path / "imdb_reviews")
    write_tfds(tmp_path, train=[("worse", 0), ("better", 1)])
    assert load(**settings).splits["train"].texts.to_pylist() == ["worse", "better"]


def test_shard_of_tfds_that_changes_while_it_is_read_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = write_tfds(tmp_path, train=[("bad", 0), ("good", 1)])
    (shard,) = tmp_path.glob("imdb_reviews/**/*.tfrecord*")
    examples = tfds_reading._examples

    def changing(*args: Any) -> Any:
        yield from examples(*args)
        shard.write_bytes(shard.read_bytes())

    monkeypatch.setattr(tfds_reading, "_examples", changing)
    with pytest.raises(ValueError, match=f"{shard}: expected a file that stays"):
        load(**settings)


def test_tfds_as_validation_and_test_set(tmp_path: pathlib.Path) -> None:
    spec = write_tfds(
        tmp_path, train=[("a", 0), ("b", 1)], validation=[("c", 0)], test=[("d", 1)]
    )
    train = written(tmp_path, "train", *labelled("neg", "pos"))
    result = load(
        train,
        validation_dataset=spec["dataset"],
        test_dataset=spec["dataset"],
        tfds_data_dir=spec["tfds_data_dir"],
    )
    assert result.splits["validation"].texts.to_pylist() == ["c"]
    assert result.splits["test"].texts.to_pylist() == ["d"]
    assert classes(result.splits["test"]) == ["pos"]


def test_given_test_set_replaces_the_own_one(tmp_path: pathlib.Path) -> None:
    spec = write_tfds(tmp_path, train=[("a", 0), ("b", 1)], test=[("d", 1)])
    given = written(tmp_path, "test", ("mine", "neg"))
    result = load(**spec, test_dataset=given)
    assert result.splits["test"].texts.to_pylist() == ["mine"]
    assert any("not used: test" in note for note in result.facts["notes"])


BAD_TFDS = {
    "no_train_split": ({"test": [("a", 0)]}, {}, "must have a labelled 'train' split"),
    "no_test_split": (
        {"train": [("a", 0), ("b", 1)]},
        {"test_dataset": "tfds:imdb_reviews"},
        "must have a labelled 'test' split",
        "Received: splits train; ",
    ),
    "feature": (
        {"train": [("a", 0), ("b", 1)]},
        {"text_field": "Text"},
        "must have a feature 'Text'",
        "did you mean 'text'?",
    ),
    "number_of_names": (
        {"train": [("a", 0), ("b", 1)]},
        {"label_names": ("a", "b", "c")},
        "the 2 classes",
        "neg, pos",
    ),
    "unlabelled_row": (
        {"train": [("a", 0), ("b", -1)]},
        {},
        "imdb_reviews/plain_text/1.0.0 train:2: expected a label from 0 to 1. Received: -1; ",
    ),
    "no_utf8": ({"train": [("a", 0), (b"b\xff", 1)]}, {}, "train:2: expected UTF-8"),
    "empty_text": ({"train": [("a", 0), ("", 1)]}, {}, "train:2: expected a text"),
}


@pytest.mark.parametrize(
    "splits, settings, words",
    [(a, b, c) for a, b, *c in BAD_TFDS.values()],
    ids=BAD_TFDS,
)
def test_bad_tfds_is_named(
    tmp_path: pathlib.Path,
    splits: dict[str, Any],
    settings: dict[str, Any],
    words: tuple[str, ...],
) -> None:
    spec = write_tfds(tmp_path, **splits)
    with pytest.raises(ValueError) as error:
        load(**spec, **settings)
    for word in words:
        assert word in str(error.value)


def test_tfds_that_is_not_prepared_says_the_local_ways(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError) as error:
        load("tfds:imdb_reviews", tfds_data_dir=str(tmp_path))
    for word in (
        f"{tmp_path}/imdb_reviews/plain_text/1.0.0",
        "--download",
        "--tfds_data_dir",
        "aclImdb_v1.tar.gz",
        f"{tmp_path}/downloads/manual",
        "--dataset=files:PATH",
    ):
        assert word in str(error.value)


def test_download_is_announced_and_its_failure_is_clear(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    # An archive of the right name and wrong content fails without a network.
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "aclImdb_v1.tar.gz").write_bytes(b"no archive")
    with caplog.at_level(logging.WARNING):
        with pytest.raises(ValueError) as error:
            load("tfds:imdb_reviews", tfds_data_dir=str(tmp_path), download=True)
    assert "Downloading tfds:imdb_reviews from http" in caplog.text
    assert "must be downloaded from http" in str(error.value)
    assert "--dataset=files:PATH" in str(error.value)


def test_archive_laid_by_hand_is_prepared_without_a_network(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    archive = manual / "aclImdb_v1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, text in {
            "train/neg/0_1.txt": b"bad",
            "train/pos/0_9.txt": b"good",
            "train/unsup/0_0.txt": b"?",
            "test/pos/0_9.txt": b"fine",
        }.items():
            member = tarfile.TarInfo(f"aclImdb/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    # The archive's checksum is known to be that of the real one.
    urls = tfds.builder_cls("imdb_reviews").url_infos
    for url, information in urls.items():
        tiny = dataclasses.replace(
            information,
            size=archive.stat().st_size,
            checksum=hashlib.sha256(archive.read_bytes()).hexdigest(),
        )
        monkeypatch.setitem(urls, url, tiny)

    result = load("tfds:imdb_reviews", tfds_data_dir=str(tmp_path), download=True)

    train, test = result.splits["train"], result.splits["test"]
    reviews = dict(zip(train.texts.to_pylist(), classes(train)))
    assert reviews == {"bad": "neg", "good": "pos"}
    assert (test.texts.to_pylist(), classes(test)) == (["fine"], ["pos"])


def test_a_folder_with_a_scheme_is_taken_as_it_is() -> None:
    """Not as a folder of that name on this machine; an unknown scheme is named."""
    with pytest.raises(ValueError, match="s4://bucket/tfds: .*knows the schemes"):
        load("tfds:imdb_reviews", tfds_data_dir="s4://bucket/tfds")
