"""Each version has a number of its own, and `latest` one meaning."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading

import pytest

from tests import kills
from trainer import storage
from trainer.serving import versions


def publish(folder: storage.Path, number: int) -> None:
    """A version as a server sees it."""
    (folder / str(number)).mkdir(parents=True, exist_ok=True)
    storage.write_text(folder / str(number) / "saved_model.pb", "model")


@pytest.fixture(params=["disk", "elsewhere"])
def folder(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> storage.Path:
    """A folder of versions, on a disk or as gs:// is."""
    if request.param == "disk":
        return tmp_path / "export"
    return storage.path(f"ram://{tmp_path.name}/export")


def test_a_number_is_claimed_before_the_work(folder: storage.Path) -> None:
    with versions.claimed(folder, formats=()) as first:
        with versions.claimed(folder, formats=("int8",)) as second:
            assert (first, second) == (1, 2)
            publish(folder, second)
            versions.set_latest(folder)
        assert (folder / "latest").read_text() == "2\n"
        # The slow one is published last, and is not the newest.
        publish(folder, first)
        versions.set_latest(folder)
        assert (folder / "latest").read_text() == "2\n"
    assert {p.name for p in folder.iterdir()} == {"1", "2", "latest"}
    with versions.claimed(folder, formats=()) as third:
        assert third == 3


def test_a_number_of_one_format_is_taken(folder: storage.Path) -> None:
    publish(folder / "int8", 7)
    with versions.claimed(folder, formats=("int8",)) as number:
        assert number == 8


CLAIM_AND_DIE = """
import os, pathlib, sys
from trainer.serving import versions
with versions.claimed(pathlib.Path(sys.argv[1]), formats=()):
    os._exit(0)
"""


def test_a_claim_that_a_killed_process_left_goes(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, 1)
    subprocess.run([sys.executable, "-c", CLAIM_AND_DIE, tmp_path], check=True)
    assert (tmp_path / ".2.claimed").is_dir()
    with versions.claimed(tmp_path, formats=()) as number:
        assert number == 2
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_a_claim_that_a_killed_process_left_elsewhere_costs_its_number(
    tmp_path: pathlib.Path,
) -> None:
    folder = storage.path(f"ram://{tmp_path.name}/export")
    publish(folder, 1)
    storage.write_text(folder / ".2.claimed-0abc", "claimed")
    with versions.claimed(folder, formats=()) as number:
        assert number == 3
        publish(folder, number)
        versions.set_latest(folder)
    left = {".2.claimed-0abc", "1", "3", "latest"}
    assert {p.name for p in folder.iterdir()} == left


def test_a_claim_goes_with_an_error(folder: storage.Path) -> None:
    with pytest.raises(ZeroDivisionError):
        with versions.claimed(folder, formats=()):
            raise ZeroDivisionError
    assert list(folder.iterdir()) == []


def test_many_at_once_have_different_numbers(tmp_path: pathlib.Path) -> None:
    taken: list[int] = []

    def publish_some() -> None:
        for _ in range(25):
            with versions.claimed(tmp_path, formats=()) as number:
                taken.append(number)
                place = tmp_path / str(number)
                with storage.new_directory(place, keep_existing=False) as unfinished:
                    (unfinished / "saved_model.pb").touch()
                versions.set_latest(tmp_path)

    threads = [threading.Thread(target=publish_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 100
    assert versions.numbers(tmp_path) == sorted(taken)
    assert (tmp_path / "latest").read_text() == f"{max(taken)}\n"


def test_old_versions_go(folder: storage.Path) -> None:
    for number in (1, 3, 10, 11):
        publish(folder, number)
        publish(folder / "int8", number)
        publish(folder / "huggingface", number)
    versions.remove_old(folder, formats=("int8",), keep=0, published=11)
    assert versions.numbers(folder) == [1, 3, 10, 11]
    versions.remove_old(folder, formats=("int8",), keep=2, published=11)
    assert versions.numbers(folder) == [10, 11]
    assert versions.numbers(folder / "int8") == [10, 11]
    assert versions.numbers(folder / "huggingface") == [1, 3, 10, 11]


def test_a_slow_run_keeps_what_it_publishes(folder: storage.Path) -> None:
    with versions.claimed(folder, formats=()) as slow:
        # One of its formats is published, the next not yet.
        publish(folder / "int8", slow)
        for _ in range(3):
            with versions.claimed(folder, formats=("int8",)) as number:
                publish(folder, number)
                publish(folder / "int8", number)
                versions.set_latest(folder)
                versions.remove_old(folder, formats=("int8",), keep=1, published=number)
        assert versions.numbers(folder / "int8") == [slow, number]
        publish(folder, slow)
        assert versions.set_latest(folder) == number
        versions.remove_old(folder, formats=("int8",), keep=1, published=slow)
    assert versions.numbers(folder) == [slow, number]
    assert versions.numbers(folder / "int8") == [slow, number]


def test_latest_follows_a_version_that_comes_meanwhile(
    folder: storage.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(folder, 1)
    write_text = storage.write_text

    def overtaken(place: str | storage.Path, text: str) -> None:
        """Another process publishes 2 and writes `latest` just before ours does."""
        if text == "1\n":
            publish(folder, 2)
            write_text(folder / "latest", "2\n")
        write_text(place, text)

    monkeypatch.setattr(storage, "write_text", overtaken)
    assert versions.set_latest(folder) == 2
    assert (folder / "latest").read_text() == "2\n"


def test_what_a_killed_removal_left_goes(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, 2)
    (tmp_path / ".1.tmp-0a1b2c3d" / "variables").mkdir(parents=True)
    with versions.claimed(tmp_path, formats=()):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def publish_all(folder: pathlib.Path) -> None:
    """Two versions in two formats, the first of which goes, as an export is published."""
    for _ in range(2):
        with versions.claimed(folder, formats=("int8",)) as number:
            name = str(number)
            with storage.new_directory(folder / name, keep_existing=False) as first:
                (first / "saved_model.pb").write_text("whole")
                place = folder / "int8" / name
                with storage.new_directory(place, keep_existing=False) as second:
                    (second / "saved_model.pb").write_text("whole")
            versions.set_latest(folder)
            versions.remove_old(folder, formats=("int8",), keep=1, published=number)


def test_killed_before_each_file_operation(tmp_path: pathlib.Path) -> None:
    """What has a number is whole, and after the next publication nothing else is left."""
    for folder in kills.before_each(f"{__name__}:publish_all", tmp_path):
        for place in (folder, folder / "int8"):
            for number in versions.numbers(place):
                assert [p.name for p in (place / str(number)).iterdir()] == [
                    "saved_model.pb"
                ]
        publish_all(folder)
        (number,) = versions.numbers(folder)
        assert {p.name for p in folder.iterdir()} == {"int8", "latest", str(number)}
        assert [p.name for p in (folder / "int8").iterdir()] == [str(number)]
        assert versions.find(str(folder)) == folder / str(number)


def test_names_that_are_no_numbers(tmp_path: pathlib.Path) -> None:
    for name in ("2", "12.tmp", ".3.claimed", "latest", "\u0663", "-1", "1.5"):
        (tmp_path / name).mkdir()
    assert versions.numbers(tmp_path) == [2]


def test_it_is_found_without_tensorflow(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, 4)
    code = (
        "import sys; from trainer.serving import versions; "
        "print(versions.find(sys.argv[1])); assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    assert output.stdout.strip() == os.path.join(tmp_path, "4")
