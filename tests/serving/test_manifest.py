"""A folder's manifest: written, read, and what is found when the folder changed."""

from __future__ import annotations

import pathlib
from typing import Any
import hashlib
import re
import shutil
import subprocess

import pytest

from trainer import storage
from trainer.serving import manifest

FILES = {
    "saved_model.pb": b"a graph",
    "variables/variables.index": b"",
    "variables/variables.data-00000-of-00001": b"weights" * 1000,
    "assets.extra/deep/er/requests": b"\0\n",
    "MODEL_CARD.md": "caf\u00e9".encode(),
}
FACTS = {"version": 3, "metrics": {"accuracy": 0.93}, "git_revision": None}


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Any:
    for name, content in FILES.items():
        (tmp_path / "3" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "3" / name).write_bytes(content)
    (tmp_path / "3" / "assets").mkdir()  # TensorFlow writes it, and leaves it empty.
    manifest.write(tmp_path / "3", FACTS)
    return tmp_path / "3"


def test_manifest_holds_the_facts_and_every_file(folder: Any) -> None:
    assert manifest.read(folder) == {
        "format_version": 1,
        **FACTS,
        "files": {
            name: {
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
            }
            for name, content in FILES.items()
        },
    }


def test_folder_verifies_wherever_it_lies(folder: Any, tmp_path: pathlib.Path) -> None:
    expected = (len(FILES), sum(map(len, FILES.values())))
    assert manifest.verify(folder) == expected
    shutil.copytree(folder, tmp_path / "elsewhere" / "7")
    shutil.rmtree(folder)
    found = manifest.verify(tmp_path / "elsewhere" / "7")
    assert found == expected
    assert str(found) == f"verified: {expected[0]} files, {expected[1]} bytes"


def test_folder_behind_a_scheme_verifies(folder: Any) -> None:
    # The path of a bucket, through the same calls; its scheme is TensorFlow's for disks.
    remote = storage.RemotePath(f"file://{folder}")
    assert manifest.verify(remote) == manifest.verify(folder)
    (folder / "variables" / "variables.index").write_bytes(b"1")
    with pytest.raises(ValueError, match="variables.index: 0 bytes expected, 1 found"):
        manifest.verify(remote)


def flip_a_bit(folder: Any) -> None:
    path = folder / "variables" / "variables.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[4321] ^= 1
    path.write_bytes(content)


def truncate(folder: Any) -> None:
    with open(folder / "variables" / "variables.data-00000-of-00001", "r+b") as file:
        file.truncate(6999)


def truncate_and_remove(folder: pathlib.Path) -> None:
    truncate(folder)
    (folder / "saved_model.pb").unlink()


def put_a_folder(folder: Any) -> None:
    (folder / "MODEL_CARD.md").unlink()
    (folder / "MODEL_CARD.md").mkdir()


def put_a_broken_link(folder: Any) -> None:
    (folder / "MODEL_CARD.md").unlink()
    (folder / "MODEL_CARD.md").symlink_to("away")


DATA = "variables/variables.data-00000-of-00001"
CHANGES = {
    "flipped_bit": (flip_a_bit, [f"{DATA}: sha256 [0-9a-f]{{64}} expected, [0-9a-f]"]),
    "truncated": (truncate, [f"{DATA}: 7000 bytes expected, 6999 found"]),
    "missing": (
        lambda folder: (folder / "saved_model.pb").unlink(),
        ["saved_model.pb: missing"],
    ),
    "missing_folder": (
        lambda folder: shutil.rmtree(folder / "variables"),
        [f"{DATA}: missing", "variables/variables.index: missing", "2 of 5 files"],
    ),
    "extra": (
        lambda folder: (folder / "assets" / "vocab.txt").write_text("a"),
        ["assets/vocab.txt: not in the manifest", "1 of 6 files"],
    ),
    "replaced_by_a_folder": (put_a_folder, ["MODEL_CARD.md: missing"]),
    "broken_link": (put_a_broken_link, [r"MODEL_CARD.md: cannot be read \(No such"]),
    "several": (
        truncate_and_remove,
        [f"{DATA}: 7000 bytes", "saved_model.pb: missing", "2 of 5 files"],
    ),
}


@pytest.mark.parametrize("change, words", CHANGES.values(), ids=CHANGES)
def test_every_file_that_is_not_as_it_was_is_named(
    folder: Any, change: Any, words: Any
) -> None:
    change(folder)
    with pytest.raises(ValueError, match=re.escape(str(folder))) as error:
        manifest.verify(folder)
    for word in [*words, "Copy the folder again", "export again"]:
        assert re.search(word, str(error.value))
    named = {line.split(":")[0].strip() for line in str(error.value).split("\n")[1:-1]}
    assert len(named) == sum("2 of" not in w and "1 of" not in w for w in words)


BROKEN_MANIFESTS = {
    "none": (None, "without one"),
    "torn": ('{"format_version": 1, "fil', "damaged"),
    "list": ("[]", "damaged"),
    "no_files": ('{"format_version": 1}', "damaged.*files"),
    "other_version": (
        '{"format_version": 2, "files": {"a": {"sha256": "", "bytes": 0}}}',
        "format_version 2",
    ),
    "deep": ("[" * 100_000, "damaged.*nested too deeply"),
    "of_nothing": ('{"format_version": 1, "files": {}}', "0 files"),
}


@pytest.mark.parametrize(
    "content, words", BROKEN_MANIFESTS.values(), ids=BROKEN_MANIFESTS
)
def test_manifest_that_says_nothing_is_refused(
    folder: Any, content: Any, words: Any
) -> None:
    (folder / "manifest.json").unlink()
    if content is not None:
        (folder / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=words) as error:
        manifest.verify(folder)
    assert str(folder) in str(error.value) and "again" in str(error.value)


def git(folder: Any, *arguments: Any) -> Any:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_git_revision_says_whether_files_were_changed(tmp_path: pathlib.Path) -> None:
    package = tmp_path / "repository" / "package"
    package.mkdir(parents=True)
    assert manifest.git_revision(package) is None
    git(tmp_path / "repository", "init")
    (package / "a.py").write_text("1")
    git(package, "commit", "--allow-empty", "-m", "before")
    # As a package that is installed into the environment of another program.
    assert manifest.git_revision(package) is None

    git(package, "add", "a.py")
    git(package, "commit", "-m", "first")
    git(package, "tag", "-a", "v1", "-m", "first")
    commit = git(package, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert manifest.git_revision(package) == commit
    (tmp_path / "repository" / "run.log").write_text("not tracked")
    assert manifest.git_revision(package) == commit
    (package / "a.py").write_text("2")
    assert manifest.git_revision(package) == f"{commit}-dirty"


def test_no_git_is_no_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert manifest.git_revision() is None
