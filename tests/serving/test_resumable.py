"""Output files that go on after a kill, without a model."""

from __future__ import annotations

from typing import Any
import contextlib
import fcntl
import json
import os
import pathlib
import random
import re
import subprocess
import sys

import pytest

from tests import kills
from trainer.serving import resumable

REPOSITORY = pathlib.Path(__file__).parents[2]
TEXTS = [f"text {n} \u00e9" for n in range(100)]
BELONGS_TO = {"model": "a", "signature": "s"}


def batches(texts: Any, batch_size: Any = 8) -> Any:
    return iter(
        [
            texts[start : start + batch_size]
            for start in range(0, len(texts), batch_size)
        ]
    )


def lines(texts: Any) -> Any:
    return [text.upper() for text in texts]


def converted(lines: pathlib.Path, target: pathlib.Path) -> None:
    """A file of another format: the lines the other way round."""
    target.write_bytes(b"".join(reversed(lines.read_bytes().splitlines(True))))


def write(
    target: Any,
    texts: Any = TEXTS,
    *,
    stop_after: Any = None,
    batch_size: Any = 8,
    secs: Any = 0,
    convert: Any = None,
    **changes: Any,
) -> Any:
    """Answers texts; stops as a kill does, after so many batches of this call.

    Returns:
      How many were answered before.
    """
    rest = batches(texts, batch_size)
    with resumable.opened(
        target,
        BELONGS_TO | changes,
        batch_size=batch_size,
        checkpoint_secs=secs,
        convert=convert,
    ) as output:
        output.skip(rest)
        before = output.num_texts
        for number, batch in enumerate(rest, start=1):
            output.append(batch, lines(batch))
            if number == stop_after:
                raise KeyboardInterrupt
    return before


def stopped(target: Any, **arguments: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(target, **arguments)


@pytest.fixture
def target(tmp_path: pathlib.Path) -> Any:
    return tmp_path / "out.jsonl"


@pytest.fixture
def partial(tmp_path: pathlib.Path) -> Any:
    return tmp_path / "out.jsonl.partial"


WHOLE = "".join(f"{line}\n" for line in lines(TEXTS)).encode()


def names(target: Any) -> Any:
    return sorted(os.listdir(target.parent))


@pytest.mark.parametrize("stops", [[], [1], [5, 3], [1, 1, 1], [12], [13]])
def test_stopped_and_gone_on_with_equals_undisturbed(target: Any, stops: Any) -> None:
    target.write_text("old")
    for stop in stops:
        stopped(target, stop_after=stop)
        assert target.read_text() == "old"
    # The last batch, of 4 texts, is never counted on: it may be longer next time.
    assert write(target) == 8 * min(sum(stops), 12)
    assert target.read_bytes() == WHOLE
    assert names(target) == ["out.jsonl"]


CONVERTED = b"".join(reversed(WHOLE.splitlines(True)))


@pytest.mark.parametrize("stops", [[], [5, 3], [13]])
def test_stopped_and_gone_on_with_before_it_was_converted(
    target: Any, stops: Any
) -> None:
    for stop in stops:
        stopped(target, stop_after=stop, convert=converted)
        assert not target.exists()
    write(target, convert=converted)
    assert target.read_bytes() == CONVERTED
    assert names(target) == ["out.jsonl"]


def write_lines(folder: pathlib.Path) -> None:
    write(folder / "out.jsonl", TEXTS[:20])


def write_converted(folder: pathlib.Path) -> None:
    write(folder / "out.jsonl", TEXTS[:20], convert=converted)


@pytest.mark.parametrize(
    "action, convert", [("write_lines", None), ("write_converted", converted)]
)
def test_killed_before_each_file_operation(
    action: str, convert: Any, tmp_path: pathlib.Path
) -> None:
    """The next one makes the same file, and nothing is left beside it."""
    for folder in kills.before_each(f"{__name__}:{action}", tmp_path):
        write(folder / "out.jsonl", TEXTS[:20], convert=convert)
        made = sorted((folder / "out.jsonl").read_text("utf-8").splitlines())
        assert made == sorted(lines(TEXTS[:20]))
        assert os.listdir(folder) == ["out.jsonl"], folder


def test_a_conversion_that_fails_leaves_the_lines(target: Any, partial: Any) -> None:
    def failing(lines: pathlib.Path, unfinished: pathlib.Path) -> None:
        unfinished.write_text("half")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write(target, convert=failing)
    assert partial.read_bytes() == WHOLE and not target.exists()
    assert names(target) == ["out.jsonl.partial", "out.jsonl.partial.json"]
    write(target, convert=converted)
    assert target.read_bytes() == CONVERTED


def test_stopped_before_any_line_was_sure_begins_anew(
    target: Any, partial: Any
) -> None:
    stopped(target, stop_after=13, secs=1000)
    assert partial.stat().st_size > 0
    assert write(target, model="b") == 0
    assert target.read_bytes() == WHOLE


@pytest.mark.parametrize("tail", [b"TEXT 40", b"\n", b"x" * 10_000 + b"\nTEXT"])
def test_what_is_behind_the_sure_lines_is_cut_off(
    target: Any, partial: Any, tail: Any
) -> None:
    stopped(target, stop_after=5)
    with partial.open("ab") as file:
        file.write(tail)
    assert write(target) == 40
    assert target.read_bytes() == WHOLE


def test_texts_further_on_may_change_and_be_more(target: Any) -> None:
    stopped(target, stop_after=13, texts=TEXTS[:97] + ["bad"] * 3)
    assert write(target, TEXTS + ["more"]) == 96
    assert target.read_bytes() == WHOLE + b"MORE\n"


REFUSED = {
    "changed_text": ({"texts": ["text 0 e", *TEXTS[1:]]}, "first|begins with others"),
    "moved_border": (
        {"texts": [TEXTS[0] + TEXTS[1][:1], TEXTS[1][1:], *TEXTS[2:]]},
        "begins with others",
    ),
    "fewer_texts": ({"texts": TEXTS[:39]}, "ends before"),
    "no_texts": ({"texts": []}, "ends before"),
    "model": ({"model": "b"}, "model was a, is b"),
    "signature": ({"signature": "embed"}, "signature was s, is embed"),
    "batch_size": ({"batch_size": 4}, "batch_size was 8, is 4"),
    "several": ({"batch_size": 4, "model": "b"}, "was 8, is 4, model was a, is b"),
    "new_setting": ({"more": 1}, "more was None, is 1"),
}


@pytest.mark.parametrize("changes, words", REFUSED.values(), ids=REFUSED)
def test_partial_of_something_else_is_refused_and_kept(
    target: Any, partial: Any, changes: Any, words: Any
) -> None:
    stopped(target, stop_after=5)
    kept = partial.read_bytes()

    with pytest.raises(ValueError, match=words) as error:
        write(target, **changes)

    assert f"remove {partial} and {partial}.json to begin anew" in str(error.value)
    assert partial.read_bytes() == kept
    assert write(target) == 40
    assert target.read_bytes() == WHOLE


DAMAGES = {
    "no_state": (lambda partial, state: state.unlink(), "FileNotFoundError"),
    "torn_state": (lambda partial, state: state.write_text("{"), "JSONDecodeError"),
    "other_state": (lambda partial, state: state.write_text("{}"), "belongs_to"),
    "cut": (lambda partial, state: os.truncate(partial, 70), "Received: 70 bytes"),
}


@pytest.mark.parametrize("damage, words", DAMAGES.values(), ids=DAMAGES)
def test_damaged_partial_is_refused(
    target: Any, partial: Any, damage: Any, words: Any
) -> None:
    stopped(target, stop_after=5)
    damage(partial, pathlib.Path(f"{partial}.json"))
    with pytest.raises(ValueError, match=words) as error:
        write(target)
    assert f"remove {partial}" in str(error.value)
    assert not target.exists()


def test_nothing_answered_leaves_nothing(target: Any) -> None:
    target.write_text("old")
    for changes in [{}, {"model": "b"}]:
        with pytest.raises(ValueError, match="no row"):
            with resumable.opened(target, changes, batch_size=8):
                raise ValueError("no row")
        assert names(target) == ["out.jsonl"] and target.read_text() == "old"


def test_removing_the_partial_alone_begins_anew(target: Any, partial: Any) -> None:
    stopped(target, stop_after=5)
    partial.unlink()
    assert write(target, model="b") == 0
    assert target.read_bytes() == WHOLE and names(target) == ["out.jsonl"]


def test_message_says_what_is_kept(target: Any, partial: Any) -> None:
    with resumable.opened(target, BELONGS_TO, batch_size=8) as output:
        assert output.keep() == ""
        output.append(TEXTS[:8], lines(TEXTS[:8]))
        assert f"first 8 texts are in {partial}: start again" in output.keep()
        state = json.loads(pathlib.Path(f"{partial}.json").read_text())
        assert (state["num_texts"], state["num_bytes"]) == (8, partial.stat().st_size)


def test_second_process_is_refused(target: Any, partial: Any) -> None:
    with resumable.opened(target, BELONGS_TO, batch_size=8) as output:
        output.append(TEXTS[:8], lines(TEXTS[:8]))
        output.checkpoint()
        before = partial.read_bytes()
        with pytest.raises(ValueError, match="only one process may write"):
            write(target)
        assert partial.read_bytes() == before and before
        output.append(TEXTS[8:], lines(TEXTS[8:]))
    assert target.read_bytes() == WHOLE


def test_file_that_was_finished_while_it_was_opened_is_left_alone(
    target: Any, partial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process ends between our opening the file and our locking it."""
    partial.touch()
    flock = fcntl.flock

    def late_flock(stream: Any, operation: Any) -> None:
        if partial.exists() and not target.exists():
            partial.write_text("another's\n")
            partial.rename(target)
        flock(stream, operation)

    monkeypatch.setattr(fcntl, "flock", late_flock)
    with pytest.raises(KeyboardInterrupt):
        write(target, stop_after=1)
    assert target.read_text() == "another's\n"


WRITER = """
import itertools, pathlib, sys
from tests import kills
from trainer.serving import resumable
texts = (f"text {n}" for n in range(int(sys.argv[2])))
batches = iter(lambda: list(itertools.islice(texts, 7)), [])
with resumable.opened(
    pathlib.Path(sys.argv[1]), {}, batch_size=7, checkpoint_secs=0.001
) as output:
    output.skip(batches)
    print(output.num_texts, flush=True)
    for texts_of_one in batches:
        output.append(texts_of_one, [text.upper() for text in texts_of_one])
"""


def test_kills_at_random_moments_leave_no_mark(target: Any) -> None:
    """SIGKILL five times; the file is as without any."""
    num_texts, draw, befores = 500_000, random.Random(0), []
    for timeout in [*(draw.uniform(0, 0.1) for _ in range(5)), None]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target), str(num_texts)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
        )
        assert process.stdout is not None
        befores.append(int(process.stdout.readline()))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
        process.kill()
        errors = process.communicate()[1]
    assert process.returncode == 0, errors.decode()
    assert befores == sorted(befores) and len(set(befores)) >= 3, befores
    expected = "".join(f"TEXT {n}\n" for n in range(num_texts))
    assert target.read_text() == expected
    assert names(target) == ["out.jsonl"]


def test_two_at_once_never_mix(target: Any) -> None:
    """Both write one file, again and again: each ends well or is told of the other."""
    command = [sys.executable, "-c", WRITER, str(target), "2000"]
    for _ in range(5):
        processes = [
            subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=REPOSITORY,
            )
            for _ in range(3)
        ]
        errors = [process.communicate()[1].decode() for process in processes]
        codes = [process.returncode for process in processes]
        assert 0 in codes, errors
        for code, error in zip(codes, errors):
            assert code == 0 or re.search("only one process may write", error), error
        assert target.read_text() == "".join(f"TEXT {n}\n" for n in range(2000))
        assert names(target) == ["out.jsonl"]
