"""Each version has a number of its own, and `latest` one meaning."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading

import pytest

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


def test_a_claim_that_a_killed_process_left_costs_its_number(
    folder: storage.Path,
) -> None:
    publish(folder, 1)
    assert versions._make_claim(folder / ".2.claimed")
    with versions.claimed(folder, formats=()) as number:
        assert number == 3
        publish(folder, number)
        versions.set_latest(folder)
    assert {p.name for p in folder.iterdir()} == {"1", "3", "latest"}


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
    versions.remove_old(folder, keep=0)
    assert versions.numbers(folder) == [1, 3, 10, 11]
    versions.remove_old(folder, keep=2)
    assert versions.numbers(folder) == [10, 11]


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
