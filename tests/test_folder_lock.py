"""One process at a time in a folder; a dead one keeps nobody out."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from trainer import folder_lock, storage

_HOLD = """
import sys, time
from trainer import folder_lock, storage
with folder_lock.held(storage.path(sys.argv[1]), flag="model_dir"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(
    tmp_path: pathlib.Path,
) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        started = time.monotonic()
        with pytest.raises(ValueError) as caught:
            with folder_lock.held(folder, flag="model_dir"):
                pass
        assert time.monotonic() - started < 1, "not at once"
        owner = f"process {process.pid} on {socket.gethostname()} uses it"
        for words in (f"--model_dir={folder}", owner, "wait for its end"):
            assert words in str(caught.value)
        assert folder_lock.is_held(folder)
        process.send_signal(signal.SIGKILL)
    assert not folder_lock.is_held(folder)
    assert (folder / folder_lock.FILE_NAME).is_file(), "left behind by the kill"
    with folder_lock.held(folder, flag="model_dir"):
        text = (folder / folder_lock.FILE_NAME).read_text()
        assert text == f"process {os.getpid()} on {socket.gethostname()}\n"


def test_a_second_one_may_wait_for_its_turn(tmp_path: pathlib.Path) -> None:
    """Of four threads, which the lock keeps apart as it does processes."""
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        with folder_lock.held_in_turn(tmp_path / "study", flag="study_dir"):
            inside += 1
            most = max(most, inside)
            (tmp_path / "study" / "config.json").write_text("{}")
            inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)
    with pytest.raises(KeyError):
        with folder_lock.held_in_turn(tmp_path / "study", flag="study_dir"):
            raise KeyError("what the block raises is raised once")
    assert not folder_lock.is_held(tmp_path / "study")


def test_nothing_is_left_of_it(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "a" / "run"
    with folder_lock.held(folder, flag="model_dir"):
        pass
    assert not folder.exists(), "a run that could not start leaves no folder"
    with folder_lock.held(folder, flag="model_dir"):
        (folder / "config.json").write_text("{}")
    assert os.listdir(folder) == ["config.json"]


def test_many_at_once_never_two(tmp_path: pathlib.Path) -> None:
    """Threads that come and go: the file is removed and made all the time."""
    inside, most, num_entered = [0], [0], [0]
    guard = threading.Lock()

    def come_and_go() -> None:
        for _ in range(200):
            try:
                with folder_lock.held(tmp_path / "run", flag="model_dir"):
                    with guard:
                        inside[0] += 1
                        num_entered[0] += 1
                        most[0] = max(most[0], inside[0])
                    with guard:
                        inside[0] -= 1
            except ValueError:
                pass

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and num_entered[0] > 4


def test_a_folder_that_cannot_be_written_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="must be a folder that can be written"):
        with folder_lock.held(tmp_path / "file" / "run", flag="model_dir"):
            pass


@pytest.fixture
def bucket(tmp_path: pathlib.Path) -> storage.Path:
    """A folder on a file system that has no locks, as gs://."""
    return storage.path(f"ram://{tmp_path.name}/run")


def leased(folder: storage.Path) -> Any:
    return folder_lock._leased(folder, "model_dir", renew_secs=0.05, dead_secs=0.5)


def write_lease(folder: storage.Path, **changes: Any) -> None:
    """The lease of a process of another machine."""
    lease = {
        "owner": "process 7 on elsewhere",
        "host": "elsewhere",
        "process": 7,
        "token": "abc",
        "renewals": 3,
    }
    text = json.dumps(lease | changes)
    storage.write_text(folder / folder_lock.FILE_NAME, text)


def test_a_lease_that_is_renewed_keeps_others_out(bucket: storage.Path) -> None:
    with leased(bucket):
        with pytest.raises(ValueError, match=f"process {os.getpid()} on .* uses it"):
            with leased(bucket):
                pass
    assert not (bucket / folder_lock.FILE_NAME).is_file()
    with leased(bucket):
        pass


def test_a_lease_that_nobody_renews_is_taken_over(bucket: storage.Path) -> None:
    write_lease(bucket)
    started = time.monotonic()
    with leased(bucket):
        assert time.monotonic() - started >= 0.5, "its owner may have been alive"


def test_a_dead_owner_of_this_machine_is_not_waited_for(bucket: storage.Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    write_lease(bucket, host=socket.gethostname(), process=process.pid)
    started = time.monotonic()
    with leased(bucket):
        assert time.monotonic() - started < 0.5


def test_a_lease_of_another_is_not_removed(bucket: storage.Path) -> None:
    """This process was stopped for so long that another one took over."""
    with leased(bucket):
        write_lease(bucket)
        time.sleep(0.3)
    lease = json.loads((bucket / folder_lock.FILE_NAME).read_text())
    assert lease["token"] == "abc" and lease["renewals"] == 3
