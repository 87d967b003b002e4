"""Two exported models on the same texts, by the command line's own way."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

import pytest

from tests import tiny
from tests.test_experiment import make_config
from trainer import compare, experiment
from trainer.champion import comparing
from trainer.config import CompareConfig, DataConfig, ServingConfig
from trainer.serving import promotion, versions


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> dict[str, pathlib.Path]:
    """A run that learned next to nothing, and one that learned the task."""
    folder = tmp_path_factory.mktemp("runs")
    for name, changes in {
        "poor": {"learning_rate": 1e-6},
        "good": {"learning_rate": 1e-2},
    }.items():
        experiment.run(
            make_config(
                folder,
                tiny_preset,
                model_dir=str(folder / name),
                optimizer=changes,
                serving=ServingConfig(),
            )
        )
    # Some of the texts that both were trained on, and others.
    shutil.copy(folder / "reviews.csv", folder / "asked.csv")
    texts, labels = tiny.labelled_sentences(300, seed=9)
    with (folder / "asked.csv").open("a") as file:
        for text, label in zip(texts, labels):
            file.write(f'"{text}",{"bad" if label == 0 else "good"}\n')
    return {
        "folder": folder,
        "asked": folder / "asked.csv",
        "poor": folder / "poor" / "export",
        "good": folder / "good" / "export",
    }


def config_of(runs: dict[str, pathlib.Path], **changes: Any) -> CompareConfig:
    values: dict[str, Any] = {
        "champion": str(runs["poor"]),
        "challenger": str(runs["good"]),
        "data": DataConfig(dataset=f"files:{runs['asked']}"),
    }
    return CompareConfig(**{**values, **changes})


@pytest.mark.slow
def test_the_better_one_is_told_on_texts_that_neither_has_seen(
    runs: dict[str, pathlib.Path], tmp_path: pathlib.Path, capsys: Any
) -> None:
    output, page = tmp_path / "compared.json", tmp_path / "compared.html"
    compare.main(config_of(runs, output=str(output), page=str(page)))
    said = capsys.readouterr().out
    result = json.loads(output.read_text())
    assert result["verdict"] == "better"
    assert said.startswith("The challenger is better: ")
    # Of 240 reviews the test split alone, some 50, was held out of both runs.
    assert 120 < result["num_left_out"] < 230
    assert result["num_texts"] == 540 - result["num_left_out"]
    only = result["num_only_challenger_right"], result["num_only_champion_right"]
    assert sum(only) == result["num_discordant"] == len(result["differences"])
    assert result["difference"] == pytest.approx(
        (only[0] - only[1]) / result["num_texts"]
    )
    assert result["champion"]["latency_ms"] > 0 < result["challenger"]["bytes"]
    assert result["interval_95"][0] > 0 and result["mcnemar_p"] < 0.001
    assert result["texts_to_settle"] is None
    assert {each["slice"] for each in result["slices"]} == {"label", "words"}
    html = page.read_text()
    assert "Only the challenger is right" in html
    assert result["differences"][0]["text"].split()[0] in html


@pytest.mark.slow
def test_a_model_beside_itself_and_the_other_way_round(
    runs: dict[str, pathlib.Path],
) -> None:
    itself = comparing.compare(config_of(runs, challenger=str(runs["poor"].parent)))
    assert itself.contest.verdict == "not_worse"
    assert itself.contest.num_discordant == 0
    asked = DataConfig(dataset=f"files:{runs['asked']}", num_eval_examples=100)
    turned = comparing.compare(
        config_of(
            runs, champion=str(runs["good"]), challenger=str(runs["poor"]), data=asked
        )
    )
    assert turned.contest.verdict == "worse"
    # As many as are asked for, of those that neither has seen.
    assert turned.contest.num_texts == 100 < turned.num_unseen
    assert turned.num_unseen == itself.contest.num_texts == itself.num_unseen
    assert turned.contest.num_left_out == itself.contest.num_left_out
    said = comparing.summary(turned)
    assert f"100, drawn of {turned.num_unseen} that neither has seen" in said


@pytest.mark.slow
def test_texts_that_one_was_trained_on_are_no_texts(
    runs: dict[str, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    lines = (runs["folder"] / "reviews.csv").read_text().splitlines()
    train = json.loads((runs["folder"] / "poor" / "report.json").read_text())
    answered = [
        json.loads(line)["line"]
        for line in (runs["folder"] / "poor" / "predictions" / "test.jsonl")
        .read_text()
        .splitlines()
    ]
    assert len(answered) == train["data"]["splits"]["test"]["num_examples"]
    trained = [
        line for number, line in enumerate(lines, 1) if number not in {1, *answered}
    ]
    known = tmp_path / "known.csv"
    known.write_text("\n".join([lines[0], *trained]) + "\n")
    with pytest.raises(ValueError, match="neither model was trained or chosen on"):
        comparing.compare(config_of(runs, data=DataConfig(dataset=f"files:{known}")))


@pytest.mark.slow
def test_labels_that_do_not_agree_are_named(
    runs: dict[str, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("text,label\n" + "Some text here,bad\nMore of it,neutral\n" * 20)
    with pytest.raises(ValueError, match="neutral"):
        comparing.compare(config_of(runs, data=DataConfig(dataset=f"files:{other}")))
    changed = tmp_path / "export" / "1"
    shutil.copytree(runs["good"] / "1", changed)
    content = json.loads((changed / "manifest.json").read_text())
    content["constants"]["labels"] = ["bad", "neutral"]
    (changed / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"\(lacking: good; new: neutral\)"):
        comparing.compare(config_of(runs, challenger=str(changed)))
    content["constants"]["labels"] = ["bad", "good"]
    (changed / "manifest.json").write_text(json.dumps(content))
    (changed / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="saved_model.pb"):
        comparing.compare(config_of(runs, challenger=str(changed)))
    del content["constants"]
    (changed / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="whose manifest names none"):
        comparing.compare(config_of(runs, challenger=str(changed)))


@pytest.mark.slow
def test_promoted_by_hand_a_version_is_tried_first(
    runs: dict[str, pathlib.Path], tmp_path: pathlib.Path, capsys: Any
) -> None:
    folder = tmp_path / "export"
    for number in (1, 2):
        shutil.copytree(runs["good"] / "1", folder / str(number))
    versions.set_latest(folder)
    warm_up = folder / "1" / "assets.extra" / "tf_serving_warmup_requests"
    content = warm_up.read_bytes()
    warm_up.write_bytes(content[:-20])
    by_hand: dict[str, Any] = {
        "champion": str(folder),
        "challenger": "",
        "data": DataConfig(),
    }
    forced = CompareConfig(**by_hand, promote=1, reason="2 is too slow")
    with pytest.raises(ValueError, match="answer its warm-up requests"):
        compare.main(forced)
    assert versions.latest(folder) == 2
    warm_up.write_bytes(content)
    compare.main(forced)
    assert versions.latest(folder) == 1
    page = tmp_path / "history.html"
    compare.main(CompareConfig(**by_hand, history=str(page)))
    assert "2 is too slow" in page.read_text()
    assert "Version 1 serves" in page.read_text()
    assert "version 1 serves" in capsys.readouterr().out
    assert len(promotion.history(folder)) == 1


@pytest.mark.slow
def test_new_texts_are_held_against_the_champions(
    runs: dict[str, pathlib.Path], tmp_path: pathlib.Path, capsys: Any
) -> None:
    """Of the same kind, and of other words; the words of a page are drift's own tests."""
    config = CompareConfig(
        champion=str(runs["good"]),
        drift=f"files:{tmp_path}/new.txt",
        page=str(tmp_path / "drift.html"),
        fail_on_drift=True,
    )
    alike, _ = tiny.labelled_sentences(200, seed=21)
    (tmp_path / "new.txt").write_text("\n".join(alike))
    compare.main(config)
    assert "No drift is shown" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "new.txt").write_text("\n".join(["zz qq ww", "ss zz"] * 100))
    with pytest.raises(SystemExit) as ended:
        compare.main(config)
    assert ended.value.code == 4
    assert json.loads((tmp_path / "drift.json").read_text())["is_drifted"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"challenger": "", "drift": "files:a.txt"}, "--drift needs --page"),
        ({"fail_on_drift": True}, "needs texts to look at"),
        ({"champion": ""}, "--champion is required"),
        ({"challenger": ""}, "one of --challenger, --promote, .* is required"),
        ({"promote": 3}, "one alone.*--challenger, --promote"),
        ({"data": DataConfig()}, "--dataset is required"),
        ({"promote_margin": 1.0}, "must be a fraction"),
        ({"min_slice": 0}, "min_slice"),
        (
            {"data": DataConfig(dataset="files:c.csv", max_length=64)},
            "--max_length has no effect: it is of training.*leave it out",
        ),
        (
            {
                "challenger": "",
                "rollback": True,
                "reason": "wrong on invoices",
                "data": DataConfig(text_field="body"),
            },
            "--text_field has no effect: no texts are read",
        ),
    ],
)
def test_mistakes_on_the_command_line(changes: dict[str, Any], words: str) -> None:
    values: dict[str, Any] = {
        "champion": "a",
        "challenger": "b",
        "data": DataConfig(dataset="files:c.csv"),
    }
    with pytest.raises(ValueError, match=words):
        CompareConfig(**{**values, **changes})
