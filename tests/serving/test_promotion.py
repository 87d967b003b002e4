"""What serves is what `latest` names; a held version is answered by nobody."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from trainer import folder_lock, storage
from trainer.serving import manifest, promotion, versions

STATUSES = {1: "promoted", 2: "promoted", 3: "held", 4: "promoted"}


def publish(folder: pathlib.Path, number: int, status: str) -> None:
    for place in (folder / str(number), folder / "int8" / str(number)):
        place.mkdir(parents=True)
        (place / "saved_model.pb").write_text(f"model {number}")
        manifest.write(place, {"status": status, "status_reason": f"why {number}"})


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    for number, status in STATUSES.items():
        publish(tmp_path / "export", number, status)
    versions.set_latest(tmp_path / "export")
    return tmp_path / "export"


def statuses(folder: pathlib.Path) -> dict[int, str]:
    found = {n: manifest.status(folder / str(n)) for n in versions.numbers(folder)}
    assert found == {
        n: manifest.status(folder / "int8" / str(n)) for n in versions.numbers(folder)
    }
    return found


def test_latest_is_the_highest_that_is_not_held(folder: pathlib.Path) -> None:
    assert versions.latest(folder) == 4
    publish(folder, 5, "held")
    assert versions.set_latest(folder) == 4
    assert versions.find(str(folder)).name == "4"
    (folder / "latest").unlink()
    assert versions.find(str(folder)).name == "4"
    assert versions.find(str(folder / "int8")).name == "4"


def test_a_held_version_is_refused_by_name_with_a_mend_that_works(
    folder: pathlib.Path,
) -> None:
    with pytest.raises(ValueError) as caught:
        versions.find(str(folder / "3"))
    assert "which is held: why 3" in str(caught.value)
    assert f"--champion={folder} --promote=3" in str(caught.value)
    assert versions.find(str(folder / "3"), may_be_held=True).name == "3"
    promotion.promote(folder, 3, reason="it knows the new label")
    assert versions.find(str(folder / "3")).name == "3"
    assert versions.find(str(folder)).name == "3"


def test_forced_it_serves_and_what_is_above_is_held(folder: pathlib.Path) -> None:
    promotion.promote(folder, 2, reason="4 is wrong on invoices")
    assert statuses(folder) == {1: "promoted", 2: "forced", 3: "held", 4: "held"}
    assert versions.latest(folder) == 2
    assert manifest.verify(folder / "2").num_files == 1
    (event,) = promotion.history(folder)
    assert (event["version"], event["event"]) == (2, "forced")
    assert event["reason"] == "4 is wrong on invoices" and event["instead_of"] == 4
    assert "@" in event["by"]


def test_rolled_back_the_one_before_serves(folder: pathlib.Path) -> None:
    assert promotion.roll_back(folder, reason="too slow") == 2
    assert versions.latest(folder) == 2
    assert promotion.roll_back(folder, reason="too old") == 1
    with pytest.raises(ValueError, match="needs a promoted version below"):
        promotion.roll_back(folder, reason="again")
    assert versions.latest(folder) == 1
    events = [(each["version"], each["event"]) for each in promotion.history(folder)]
    assert events == [(4, "rolled_back"), (2, "rolled_back")]


@pytest.mark.parametrize(
    ("version", "reason", "words"),
    [
        (9, "why", "the number of a version.*9; .* has 1, 2, 3, 4"),
        (4, "why", "a version that does not serve"),
        (3, " ", "must say why"),
    ],
)
def test_mistakes(folder: pathlib.Path, version: int, reason: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        promotion.promote(folder, version, reason=reason)
    assert statuses(folder) == STATUSES and not promotion.history(folder)


HOLD = """
import pathlib, sys
from trainer import folder_lock
with folder_lock.held(pathlib.Path(sys.argv[1]), flag="champion"):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_of_two_at_once_one_is_refused_by_name(folder: pathlib.Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None and other.stdout.readline() == "in\n"
    with pytest.raises(folder_lock.InUse, match=str(other.pid)):
        promotion.promote(folder, 3, reason="why")
    other.communicate("")
    assert statuses(folder) == STATUSES
    promotion.promote(folder, 3, reason="why")


def test_newer_versions_that_are_held_do_not_push_out_what_serves(
    folder: pathlib.Path,
) -> None:
    for number in (5, 6, 7):
        publish(folder, number, "held")
    versions.remove_old(folder, formats=("int8",), keep=2, published=7)
    assert versions.numbers(folder) == [4, 6, 7]
    assert versions.latest(folder) == 4


def test_all_held_there_is_no_latest(tmp_path: pathlib.Path) -> None:
    publish(tmp_path, 1, "held")
    assert versions.set_latest(tmp_path) == 0
    assert versions.latest(tmp_path) is None
    with pytest.raises(ValueError, match="all versions in it are held"):
        versions.find(str(tmp_path))


def test_versions_without_a_word_on_it_are_promoted(tmp_path: pathlib.Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_text("model")
    assert versions.set_latest(tmp_path) == 1


def test_events_are_in_the_order_of_time(tmp_path: pathlib.Path) -> None:
    for version in range(20):
        promotion.record(tmp_path, version, "promoted", reason="first")
    assert [each["version"] for each in promotion.history(tmp_path)] == list(range(20))
    for path in (tmp_path / promotion.FOLDER).iterdir():
        assert json.loads(path.read_text())["event"] == "promoted"


def test_elsewhere_than_on_a_disk(tmp_path: pathlib.Path) -> None:
    place = storage.path(f"ram://{tmp_path.name}/export")
    for number in (1, 2):
        version = place / str(number)
        version.mkdir(parents=True, exist_ok=True)
        storage.write_text(version / "saved_model.pb", "model")
        content = {"format_version": 1, "files": {"saved_model.pb": {}}}
        content["files"]["saved_model.pb"] = {"sha256": "", "bytes": 5}  # type: ignore
        storage.write_text(version / "manifest.json", json.dumps(content))
    versions.set_latest(place)
    promotion.promote(place, 1, reason="why")
    assert versions.latest(place) == 1
    assert [each["event"] for each in promotion.history(place)] == ["forced"]
