"""What an audit finds in texts with planted faults; and nothing where there is none."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import pathlib
import random
import re
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.test_near_duplicates import random_texts, with_changes
from trainer.config import AuditConfig, ChecksConfig, DataConfig
from trainer.stages import audit, prepare

Row = tuple[str, str]


def rows_of(count: int = 300, seed: int = 0) -> list[Row]:
    """Texts of two classes that a word or two tells apart, of all lengths and orders."""
    generator = random.Random(seed)
    signs = {"good": ["joy", "fine", "glad"], "bad": ["bore", "dull", "sad"]}
    rows = []
    for text in random_texts(count, seed):
        label = generator.choice(["good", "bad"])
        words = text.split() + generator.choices(signs[label], k=2)
        generator.shuffle(words)
        rows.append((" ".join(words), label))
    return rows


ROWS = rows_of()


def audited(folder: pathlib.Path, rows: list[Row], **settings: Any) -> dict[str, Any]:
    """The audit of a file; the text of row n is in line n + 1."""
    path = folder / "a.jsonl"
    path.write_text(
        "".join(
            json.dumps({"text": text, "label": label}) + "\n" for text, label in rows
        )
    )
    checks = ChecksConfig(
        **{
            name: settings.pop(name)
            for name in list(settings)
            if name in ("audit_model", "languages", "out_of_fold", "audit")
        }
    )
    data = DataConfig(
        dataset=f"files:{path}", cache_dir=str(folder / "cache"), **settings
    )
    return audit.audit(AuditConfig(data=data, checks=checks))


def quick(folder: pathlib.Path, rows: list[Row], **settings: Any) -> dict[str, Any]:
    """Without what takes longer."""
    quickly = {"audit_model": "none", "near_duplicate_similarity": 0.0}
    return audited(folder, rows, **quickly | settings)


def lines(rows: list[dict[str, Any]]) -> list[int]:
    return [row["line"] for row in rows]


def test_copies_are_named_by_line(tmp_path: pathlib.Path) -> None:
    (first, label), (second, other), (third, _) = ROWS[:3]
    flipped = "good" if other == "bad" else "bad"
    rows = [
        *ROWS,
        (first, label),
        (f" {second.upper()} ", flipped),
        (third[:-1], "bad"),
    ]

    result = quick(tmp_path, rows)

    contradiction, plain = result["copies"]
    assert lines(contradiction["rows"]) == [2, 302]
    assert contradiction["kind"] == "normalized"
    assert sorted(contradiction["labels"]) == ["bad", "good"]
    assert lines(plain["rows"]) == [1, 301] and plain["kind"] == "exact"
    assert (result["num_copies"], result["num_contradictions"]) == (2, 1)
    assert result["num_copies_across"] == 0
    # What contradicts itself is printed, too; a plain copy is not.
    (printed,) = re.findall(r"One text +(.*\n(?: {10}.*\n)*)", audit.summary(result))
    # Wherever the lines are broken, which follows the length of the file's path.
    assert re.findall(r":(\d+)\s+\((good|bad),\s", printed) == [
        ("2", other),
        ("302", flipped),
    ]


def test_copies_across_splits_come_first(tmp_path: pathlib.Path) -> None:
    test = tmp_path / "test.jsonl"
    row = {"text": ROWS[5][0].title(), "label": ROWS[5][1]}
    test.write_text(json.dumps(row) + "\n", encoding="utf-8")

    result = quick(tmp_path, [*ROWS, ROWS[0]], test_dataset=f"files:{test}")

    first, second = result["copies"]
    assert {each["split"] for each in first["rows"]} >= {"test"}
    assert sorted(lines(first["rows"])) == [1, 6]
    assert lines(second["rows"]) == [1, 301]
    assert result["num_copies_across"] == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a cafÃ© in town", "mojibake"),
        ("it costs Â£5", "mojibake"),
        ("donâ€™t", "mojibake"),
        ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "mojibake"),
        ("ï»¿first", "mojibake"),
        ("a caf\ufffd in town", "a replacement character"),
        ("it\u0092s", "a control character"),
        ("ein Café, „SPAß“, „MENÜ“, «VOILÀ», „MANHÃ“", None),
        ("São João, Ärger, Ñandú, Привет, 안녕, 你好, Þórður", None),
        ("next\u0085line", None),
    ],
)
def test_odd_encodings(tmp_path: pathlib.Path, text: str, what: str | None) -> None:
    result = quick(tmp_path, [*ROWS, (f"{text} and more", "good")])

    expected = [] if what is None else [(what, 301)]
    assert [(odd["what"], odd["line"]) for odd in result["odd_encodings"]] == expected
    kinds = [doubt["kind"] for doubt in result["doubts"]]
    assert ("odd_encoding" in kinds) == bool(expected)


def test_near_duplicates_are_pairs_of_rows(tmp_path: pathlib.Path) -> None:
    like = with_changes(ROWS[0][0], 1)
    rows = [*ROWS, (like, "bad"), (like, "bad"), (ROWS[1][0].upper(), ROWS[1][1])]

    result = audited(tmp_path, rows, audit_model="none")

    places = [(pair["line"], pair["other_line"]) for pair in result["near_duplicates"]]
    assert sorted(places) == [(1, 301), (1, 302)]
    facts = result["near_duplicates_facts"]
    assert facts["num_pairs"] == 2 and facts["similarity"] == 0.7
    across = [p for p in result["near_duplicates"] if p["split"] != p["other_split"]]
    assert facts["num_across"] == len(across)


def with_flips() -> tuple[list[Row], set[int]]:
    """The rows with twelve labels that are wrong, and which they are."""
    rows = list(ROWS)
    flipped = random.Random(1).sample(range(len(rows)), 12)
    for number in flipped:
        text, label = rows[number]
        rows[number] = text, "good" if label == "bad" else "bad"
    return rows, set(flipped)


def test_flipped_labels_come_first(tmp_path: pathlib.Path) -> None:
    rows, flipped = with_flips()

    result = audited(tmp_path, rows, near_duplicate_similarity=0.0)

    suspects = result["suspect_labels"]
    top = {suspect["line"] - 1 for suspect in suspects[: len(flipped)]}
    assert len(top & flipped) > 0.8 * len(flipped)
    scores = [suspect["score"] for suspect in suspects]
    assert scores == sorted(scores)
    first = suspects[0]
    text, label = rows[first["line"] - 1]
    assert (first["label"], first["file"]) == (label, str(tmp_path / "a.jsonl"))
    assert first["suggested"] != label
    assert first["digest"] == hashlib.sha256(text.encode()).hexdigest()
    assert 0.01 < result["label_noise"]["estimated_share"] < 0.12


def test_what_was_reviewed_is_not_listed_again(tmp_path: pathlib.Path) -> None:
    rows, _ = with_flips()
    settings: dict[str, Any] = {"near_duplicate_similarity": 0.0}
    found, *others = audited(tmp_path, rows, **settings)["suspect_labels"]
    keep = {key: found[key] for key in ("digest", "label", "file", "line")}
    file = tmp_path / "corrections.jsonl"
    file.write_text(json.dumps(keep | {"verdict": "keep"}) + "\n", encoding="utf-8")

    result = audited(tmp_path, rows, corrections=str(file), **settings)

    assert result["suspect_labels"] == others
    assert result["corrections"]["num_kept"] == 1
    assert "Reviewed  0 relabelled, 0 dropped, 1 kept, by" in audit.summary(result)


def out_of_fold(folder: pathlib.Path, rows: list[Row], **changes: Any) -> str:
    """A study's file that is sure of every label but that of the third row."""
    wrong = {"good": "bad", "bad": "good"}
    sure = [wrong[label] if n == 2 else label for n, (_, label) in enumerate(rows)]
    table = {
        "file": [str(folder / "a.jsonl")] * len(rows),
        "line": list(range(1, len(rows) + 1)),
        "label": [label for _, label in rows],
        "fold": [n % 5 for n in range(len(rows))],
        "probabilities": [[0.9, 0.1] if each == "bad" else [0.1, 0.9] for each in sure],
    }
    path = folder / "out_of_fold.parquet"
    pq.write_table(pa.table(table | changes), path)
    return str(path)


def test_probabilities_of_a_study(tmp_path: pathlib.Path) -> None:
    path = out_of_fold(tmp_path, ROWS)

    result = audited(tmp_path, ROWS, near_duplicate_similarity=0.0, out_of_fold=path)

    (suspect,) = result["suspect_labels"]
    assert (suspect["line"], suspect["score"]) == (3, 0.1)
    assert result["label_noise"]["model"] == path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"line": [1, 2, 301, *range(4, 301)]}, "a.jsonl:301, which is not in them"),
        ({"label": ["bad"] * 300}, "labelled 'bad', now 'good'"),
        ({"probabilities": [[0.9]] * 300}, "each of the 2 classes"),
        ({"probabilities": [[0.9, 0.9]] * 300}, "sum to 1"),
    ],
)
def test_probabilities_of_other_data(
    tmp_path: pathlib.Path, changes: dict[str, Any], words: str
) -> None:
    path = out_of_fold(tmp_path, ROWS, **changes)
    with pytest.raises(ValueError, match="--out_of_fold must") as refused:
        audited(tmp_path, ROWS, near_duplicate_similarity=0.0, out_of_fold=path)
    assert words in str(refused.value)


ENGLISH = "This is an English sentence of the kind that a language detector knows, no. "
GERMAN = "Das ist ein deutscher Satz, wie ihn eine Spracherkennung sicher kennt, Nr. "


def test_languages(tmp_path: pathlib.Path) -> None:
    rows = [(f"{ENGLISH}{n}", "ab"[n % 2]) for n in range(60)]
    rows += [(f"{GERMAN}{n}", "ab"[n % 2]) for n in range(20)] + [("ok", "a")]

    english, both = (
        quick(tmp_path, rows, languages=languages)["languages"]
        for languages in (("en",), ("en", "de"))
    )

    assert english["counts"] == {"en": 60, "de": 20}
    assert english["other_share"] == 0.25 and both["other_share"] == 0.0
    assert {odd["line"] for odd in english["examples"]} == set(range(61, 81))


def test_a_language_that_nobody_knows(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="codes that are known. Received: xx"):
        quick(tmp_path, ROWS, languages=("xx",))


def test_another_test_set_is_told_apart(tmp_path: pathlib.Path) -> None:
    other = tmp_path / "test.jsonl"
    lines_of_test = [
        json.dumps(
            {"text": f"{text} lately {'online' if n % 2 else ''}", "label": label}
        )
        for n, (text, label) in enumerate(rows_of(120, seed=9))
    ]
    other.write_text("\n".join(lines_of_test), encoding="utf-8")

    shifted = quick(tmp_path, ROWS, test_dataset=f"files:{other}")["domain"]
    own = quick(tmp_path, rows_of(600))["domain"]

    assert shifted["is_shown"] and shifted["auc"] > 0.9
    assert set(shifted["test_words"][:2]) == {"lately", "online"}
    assert not own["is_shown"] and own["test_words"] == []
    assert abs(own["auc"] - 0.5) < 0.15


def without(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in libraries else find(name),
    )


def test_without_the_extra_a_note_says_what_was_left_out(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "rensa", "cleanlab", "py3langid")

    result = audited(tmp_path, ROWS)

    near, labels = result["left_out"]
    assert near.startswith("near-duplicates: ") and "'.[audit]'" in near
    assert labels.startswith("wrong labels: ") and "'.[audit]'" in labels
    assert result["suspect_labels"] == result["near_duplicates"] == []


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"near_duplicate_similarity": 0.8}, "--near_duplicate_similarity=0.8"),
        ({"audit_model": "tfidf"}, "--audit_model=tfidf"),
        ({"languages": ("en",)}, "--languages=en"),
        ({"split_near_duplicates": "together"}, "--split_near_duplicates=together"),
        ({"out_of_fold": "a.parquet"}, "--out_of_fold=a.parquet"),
    ],
)
def test_what_a_flag_asks_for_is_refused_without_the_extra(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    flag: str,
) -> None:
    without(monkeypatch, "rensa", "cleanlab", "py3langid")
    with pytest.raises(ValueError, match=rf"^{flag} needs the extra 'audit'"):
        audited(tmp_path, ROWS, **settings)


STRICT = ["--audit=strict", "--audit_model=none", "--near_duplicate_similarity=0"]


def run(folder: pathlib.Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "trainer.audit",
        f"--dataset=files:{folder}/a.jsonl",
    ]
    return subprocess.run([*command, *STRICT, *flags], capture_output=True, text=True)


def test_strict_ends_with_2_and_corrections_mend_it(tmp_path: pathlib.Path) -> None:
    text, label = ROWS[3]
    other = "good" if label == "bad" else "bad"
    quick(tmp_path, [*ROWS, (text, other)])
    drop = {
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "label": other,
        "verdict": "drop",
    }
    file = tmp_path / "corrections.jsonl"
    file.write_text(json.dumps(drop) + "\n", encoding="utf-8")

    refused = run(tmp_path, f"--output={tmp_path / 'a.json'}")
    mended = run(tmp_path, f"--corrections={file}")

    assert refused.returncode == 2, refused.stderr
    assert "a.jsonl:4 (" in refused.stderr and "a.jsonl:301 (" in refused.stderr
    # The result is there all the same.
    assert json.loads((tmp_path / "a.json").read_text())["num_contradictions"] == 1
    assert mended.returncode == 0, mended.stderr


def test_the_program_writes_the_page_of_what_it_doubts(tmp_path: pathlib.Path) -> None:
    rows, _ = with_flips()
    doubted = audited(tmp_path, rows)["suspect_labels"]
    output, page = tmp_path / "audit.json", tmp_path / "review.html"

    done = run(
        tmp_path,
        "--audit=report",
        "--audit_model=auto",
        f"--output={output}",
        f"--review_page={page}",
    )

    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text(encoding="utf-8"))
    assert result["suspect_labels"] == doubted
    assert all(each["digest"] in page.read_text("utf-8") for each in doubted)
    assert f"Review open {page} in" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [*ROWS, *[(f"a text of its own {n}", "rare") for n in range(9)]],
            "'rare': 9 texts",
        ),
        ([*ROWS, ROWS[0]], ""),
        ([*ROWS, *[(f"a text of its own {n}", "rare") for n in range(10)]], ""),
    ],
)
def test_what_strict_allows(
    tmp_path: pathlib.Path, rows: list[Row], words: str
) -> None:
    result = quick(tmp_path, rows)
    if not words:
        audit.refuse(result)
        return
    with pytest.raises(ValueError, match="--audit=strict allows") as refused:
        audit.refuse(result)
    assert words in str(refused.value)


def test_strict_names_copies_across_splits(tmp_path: pathlib.Path) -> None:
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"text": ROWS[5][0], "label": ROWS[5][1]}) + "\n")
    result = quick(tmp_path, ROWS, test_dataset=f"files:{test}")
    with pytest.raises(
        ValueError, match=r"a\.jsonl:6 \(.*test\.jsonl:1 \(test.*2 splits"
    ):
        audit.refuse(result)


def test_a_run_looks_quickly_and_refuses_before_it_trains(
    tmp_path: pathlib.Path,
) -> None:
    text, label = ROWS[3]
    rows = [*ROWS, (text, "good" if label == "bad" else "bad")]
    quick(tmp_path, rows)
    config = DataConfig(dataset=f"files:{tmp_path}/a.jsonl")
    texts = prepare.read_texts(config, seed=0)

    findings = prepare.look_at(texts, config, ChecksConfig())
    nothing = prepare.look_at(texts, config, ChecksConfig(audit="off"))

    assert nothing is None and findings is not None
    assert findings.num_contradictions == 1
    assert findings.near_duplicates_facts is None and findings.label_noise is None
    with pytest.raises(ValueError, match="--audit=strict allows"):
        prepare.look_at(texts, config, ChecksConfig(audit="strict"))


def test_corrected_labels_are_in_the_fingerprint(tmp_path: pathlib.Path) -> None:
    quick(tmp_path, ROWS)
    text, label = ROWS[3]
    line = {
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "label": label,
        "verdict": "relabel",
        "new_label": "good" if label == "bad" else "bad",
    }
    file = tmp_path / "corrections.jsonl"
    file.write_text(json.dumps(line), encoding="utf-8")
    config = DataConfig(dataset=f"files:{tmp_path}/a.jsonl")

    before, after = (
        prepare.read_texts(each, seed=0).fingerprint()
        for each in (config, dataclasses.replace(config, corrections=str(file)))
    )

    assert sum(before[name] != after[name] for name in before) == 1
