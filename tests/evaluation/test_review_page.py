"""The review page: what it downloads is what --corrections reads."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import re
import shutil
import subprocess
from typing import Any

import pytest
from playwright import sync_api as playwright

from tests.data import datasets
from trainer.data.sources import Sources
from trainer.evaluation import review_page

ROWS = [
    ("a </script><b>fine</b> film", "bad"),
    ("a dull one\u2028really", "good"),
    ("neither \"this\" nor 'that'", "good"),
    ("spam & eggs", "fair"),
    ("and so on", "fair"),
    ("left as it is", "bad"),
]
# Of each row in turn: the key, and what is then to be in the file.
KEYS = ["t", "k", "d", "1", "3", "s"]
VERDICTS = ["relabel good", "keep", "drop", "relabel bad", "relabel good"]


def result() -> dict[str, Any]:
    """As the audit gives it; every label is doubted, the second one twice."""
    suspects = [
        {
            "file": "a.jsonl",
            "line": number + 1,
            "split": "train",
            "digest": hashlib.sha256(text.encode()).hexdigest(),
            "label": label,
            "suggested": "good" if label == "bad" else "bad",
            "score": 0.1,
            "suggested_probability": 0.8,
            "text": text,
        }
        for number, (text, label) in enumerate(ROWS)
    ]
    noise = {"model": "TF-IDF", "estimated_share": 0.1}
    return {
        "suspect_labels": [*suspects, suspects[1] | {"line": 9}],
        "label_names": ["bad", "fair", "good"],
        "label_noise": noise,
    }


def check(folder: pathlib.Path, downloaded: str) -> None:
    """The file has the verdicts, and --corrections reads it."""
    lines = [json.loads(line) for line in downloaded.splitlines()]
    said = [f"{line['verdict']} {line.get('new_label', '')}".strip() for line in lines]
    assert said == VERDICTS
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5]
    file = folder / "corrections.jsonl"
    file.write_text(downloaded, encoding="utf-8")
    read: Sources = datasets.load(
        datasets.written(folder, "a", *ROWS), corrections=str(file)
    )
    assert datasets.classes(read.splits["train"]) == [
        "good",
        "good",
        "bad",
        "good",
        "bad",
    ]
    assert read.facts["corrections"]["num_dropped"] == 1


def test_it_is_one_page_without_a_network() -> None:
    page = review_page.render(result(), dataset="files:<a>.jsonl")

    assert "http" not in page.replace("http-equiv", "")
    assert "files:&lt;a&gt;.jsonl" in page
    # Whatever a text holds, the script ends where it should.
    assert page.count("</script>") == 1 and "<b>fine" not in page


def test_the_file_by_its_logic_alone(tmp_path: pathlib.Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    page = review_page.render(result(), dataset="files:a.jsonl")
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    press = f"""
        const verdicts = {{}};
        {json.dumps(KEYS)}.forEach((key, number) => {{
          const said = verdictOf(DATA, DATA.suspects[number], key);
          if (said) verdicts[number] = said;
        }});
        if (DATA.suspects.length !== {len(ROWS)}) throw "copies are one suspect";
        if (verdictOf(DATA, DATA.suspects[0], "x") !== undefined) throw "x";
        if (verdictOf(DATA, DATA.suspects[0], "4") !== undefined) throw "4";
        process.stdout.write(correctionsText(DATA, verdicts));
    """
    done = subprocess.run([node, "-e", script + press], capture_output=True, check=True)
    check(tmp_path, done.stdout.decode())


def test_the_file_from_a_browser(
    browser: playwright.Browser, tmp_path: pathlib.Path
) -> None:
    place = tmp_path / "review.html"
    review_page.write(result(), str(place), dataset="files:a.jsonl")
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(place.as_uri())
        for key in KEYS[:3]:
            page.keyboard.press(key)
        # It continues where it was.
        page.reload()
        playwright.expect(page.locator("#place")).to_have_text(f"4 of {len(ROWS)}")
        playwright.expect(page.locator("#text")).to_have_text(ROWS[3][0])
        for key in KEYS[3:]:
            page.keyboard.press(key)
        with page.expect_download() as download:
            page.keyboard.press("w")
        assert not problems
        check(tmp_path, pathlib.Path(download.value.path()).read_text("utf-8"))
