"""A folder for each label: what is read, what is left out and said, what is refused."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from tests.data.datasets import classes, load
from trainer.data.sources import Sources

CASE = "tests/testdata/cases/folder-per-class"


def made(folder: pathlib.Path, *names: str) -> str:
    """A folder with these files, each with its own name in it; folders end in /."""
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(f"text of {name}\n")
    return f"folder:{folder}"


def notes(sources: Sources, folder: pathlib.Path) -> list[str]:
    return [note.replace(f"{folder}/", "") for note in sources.facts["notes"]]


def test_case_of_one_split() -> None:
    sources = load(f"folder:{CASE}/train")
    train = sources.splits["train"]
    assert sources.label_names == ("neg", "pos") and len(train) == 6
    assert [train.places.of(row) for row in (0, 5)] == [
        (f"{CASE}/train/neg/1_2.txt", 1),
        (f"{CASE}/train/pos/4_9.txt", 1),
    ]
    first = pathlib.Path(f"{CASE}/train/neg/1_2.txt").read_text().rstrip("\n")
    assert train.texts[0].as_py() == first
    assert sources.facts["notes"] == [
        f"{CASE}/train/unsup: left out, its texts have no label"
    ]
    assert sources.facts["splits"]["train"]["files"] == [
        {
            "name": f"{CASE}/train/{label}",
            "num_rows": 3,
            "settled": f"{CASE}/train/{label}: label {label!r}, a text a file",
        }
        for label in ("neg", "pos")
    ]


def test_case_of_train_and_test() -> None:
    sources = load(f"folder:{CASE}")
    assert {name: len(data) for name, data in sources.splits.items()} == {
        "train": 6,
        "test": 2,
    }
    assert classes(sources.splits["test"]) == ["neg", "pos"]


def test_names_of_splits(tmp_path: pathlib.Path) -> None:
    files = [f"{split}/{label}/1.txt" for split in ("train", "dev") for label in "ab"]
    dataset = made(tmp_path, *files, "raw/a/1.txt", "README")
    sources = load(dataset)
    assert set(sources.splits) == {"train", "validation"}
    assert notes(sources, tmp_path) == [
        "raw: left out, it is no split",
        f"{tmp_path}: left out, in no label's folder: README",
    ]
    made(tmp_path, "val/a/1.txt")
    with pytest.raises(ValueError, match="one folder of the validation split"):
        load(dataset)


def test_label_may_be_called_train(tmp_path: pathlib.Path) -> None:
    dataset = made(tmp_path, "train/1.txt", "bus/1.txt")
    assert load(dataset).label_names == ("bus", "train")


def test_what_is_left_out_is_named(tmp_path: pathlib.Path) -> None:
    dataset = made(
        tmp_path,
        *("pos/2.txt", "pos/10.TXT", "pos/scores.csv", "pos/.hidden", "neg/1.txt"),
        *("empty/", "Unsupervised/1.txt", ".git/1.txt", "__MACOSX/1.txt", "urls.txt"),
    )
    sources = load(dataset)
    assert sources.splits["train"].texts.to_pylist() == [
        "text of neg/1.txt",
        "text of pos/10.TXT",
        "text of pos/2.txt",
    ]
    assert notes(sources, tmp_path) == [
        f"{tmp_path}: left out, in no label's folder: urls.txt",
        ".git: left out, it is hidden",
        "Unsupervised: left out, its texts have no label",
        "__MACOSX: left out, it is hidden",
        "empty: left out, it is empty",
        "pos: left out, no .txt files: scores.csv",
    ]


@pytest.mark.parametrize("content", [b"", b" \n", b"a\xc3"])
def test_bad_text_is_named_by_its_file(tmp_path: pathlib.Path, content: bytes) -> None:
    dataset = made(tmp_path, "a/1.txt", "b/1.txt", "b/2.txt")
    (tmp_path / "b" / "1.txt").write_bytes(content)
    with pytest.raises(ValueError) as error:
        load(dataset)
    assert f"{tmp_path}/b/1.txt:1: expected " in str(error.value)
    assert len(load(dataset, bad_rows="skip").splits["train"]) == 2


REFUSED = {
    # id: files, words of the message; {} is the folder
    "nested": (["a/b/1.txt", "c/1.txt"], "{}/a, a label's folder", "folder b in it"),
    "too_high": (["x/train/a/1.txt"], "give folder:{}/x"),
    "no_folders": (["1.txt"], "{}, with folders none", "files:"),
    "only_unsup": (["unsup/1.txt"], "with folders unsup"),
    "other_endings": (["a/1.html", "b/1.txt"], "1 others: 1.html", "convert or rename"),
    "one_label": (["a/1.txt", "a/2.txt"], "two different labels"),
}


@pytest.mark.parametrize(
    "files, words", [(files, words) for files, *words in REFUSED.values()], ids=REFUSED
)
def test_folder_that_is_refused(
    tmp_path: pathlib.Path, files: list[str], words: list[str]
) -> None:
    with pytest.raises(ValueError) as error:
        load(made(tmp_path, *files))
    for word in words:
        assert word.format(tmp_path) in str(error.value)


def test_advice_helps(tmp_path: pathlib.Path) -> None:
    """What the messages of a wrong scheme or depth name, is read."""
    made(tmp_path, *[f"x/train/{name}/1.txt" for name in "ab"])
    for wrong, right in {
        f"folder:{tmp_path}": f"folder:{tmp_path}/x",
        f"files:{tmp_path}/x/train": f"folder:{tmp_path}/x/train",
        f"{tmp_path}/x/train": f"folder:{tmp_path}/x/train",
    }.items():
        with pytest.raises(ValueError, match=right):
            load(wrong)
        assert len(load(right).splits["train"]) == 2
    (tmp_path / "a.csv").write_text("text,label\na,1\nb,0\n")
    with pytest.raises(ValueError, match=f"files:{tmp_path}/a.csv"):
        load(f"folder:{tmp_path}/a.csv")


def test_missing_folder_is_named(tmp_path: pathlib.Path) -> None:
    shutil.copytree(CASE, tmp_path / "aclImdb")
    with pytest.raises(ValueError, match="did you mean 'aclImdb'"):
        load(f"folder:{tmp_path}/aclimdb")


def test_column_that_folders_have_not_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="one column 'film'"):
        load(made(tmp_path, "a/1.txt", "b/1.txt"), group_field="film")
