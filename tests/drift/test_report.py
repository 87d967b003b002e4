"""New texts held against the reference of a tiny export."""

from __future__ import annotations

import dataclasses
import html
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.serving import tiny_export
from tests.serving.tiny_export import DECISION, LABELS
from trainer import predict
from trainer.config import PredictConfig, ServingConfig
from trainer.data.tokens import encode_few
from trainer.drift import page, reference as references, report
from trainer.drift.reference import TrainingTexts
from trainer.drift.report import Draw
from trainer.drift.schema import DriftFacts
from trainer.modeling import weights
from trainer.serving import export, predictor

TRAIN = tiny.labelled_sentences(300, seed=1)[0]
HELD_OUT = tiny.labelled_sentences(160, seed=2)[0]
SAME = tiny.labelled_sentences(160, seed=3)[0]
OTHER = [f"zebra {' '.join(text.split()[:4])} zebra" for text in SAME[:100]]


@pytest.fixture(scope="module")
def exported(
    tiny_hugging_face: str, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """Its held-out labels are what it answers, all but every sixth."""
    source = tiny_export.make_source(tiny_hugging_face)
    tokens = encode_few(TRAIN, source.encoder)
    counts = references.count_tokens(
        tokens.full_lengths, tokens.lengths, tokens.count([source.encoder.unknown_id])
    )
    source = dataclasses.replace(
        source, training=TrainingTexts(counts, np.array([150, 90, 60]), "test")
    )
    logits = tiny_export.logits_in_memory(source, HELD_OUT)
    labels = DECISION.labels(logits)
    labels[::6] = (labels[::6] + 1) % len(LABELS)
    classifier = source.make_classifier("float32")
    checks = export.Checks(
        HELD_OUT,
        labels,
        DECISION.probabilities(logits),
        {path: v.numpy() for path, v in weights.by_path(classifier).items()},
    )
    folder = tmp_path_factory.mktemp("drift") / "export"
    export.publish(
        source,
        folder,
        config=ServingConfig(max_serving_batch_size=1),
        checks=checks,
        facts=_FACTS,
    )
    return folder


_FACTS: dict[str, Any] = {
    "title": "tiny",
    "config": {
        "model": {"preset": "tiny", "pooling": "first"},
        "data": {
            "dataset": "files:a.csv",
            "max_length": 32,
            "long_text": "truncate",
            "truncation": "head",
        },
    },
    "data": {"splits": {"test": {"num_examples": 160, "class_counts": {"bon": 160}}}},
    "data_fingerprint": {"test": "abc"},
    "metrics": {},
    "doubts": [],
    "decision_split": None,
    "decision_measured_on": None,
    "decision_quality": None,
    "checked_on": "test",
}


def facts_of(exported: pathlib.Path, texts: list[str], **options: Any) -> DriftFacts:
    return report.report(exported / "1", Draw.of(texts, 2000), **options)


def by_name(facts: DriftFacts) -> dict[str, Any]:
    return {measure.name: measure for measure in facts.measures}


@pytest.fixture(scope="module")
def same(exported: pathlib.Path) -> DriftFacts:
    return facts_of(exported, SAME)


@pytest.fixture(scope="module")
def drifted(exported: pathlib.Path) -> DriftFacts:
    return facts_of(exported, OTHER)


def test_the_reference_is_what_the_export_itself_says(exported: pathlib.Path) -> None:
    reference = references.read(exported / "1")
    embed = predictor.load(str(exported / "1"), signature="embed")
    distinct = list(dict.fromkeys(HELD_OUT))
    expected = np.array([each["embedding"] for each in embed(distinct)])
    assert reference.vectors.dtype == np.float16
    np.testing.assert_allclose(reference.vectors, expected, atol=2e-3)
    answers = predictor.load(str(exported / "1"))(HELD_OUT)
    counts = [sum(each["label"] == label for each in answers) for label in LABELS]
    assert reference.confusion.sum(axis=0).tolist() == counts
    assert reference.scores.sum() == len(HELD_OUT)
    listed = json.loads((exported / "1" / "manifest.json").read_text())["files"]
    assert references.FILE_NAME in listed
    content = (exported / "1" / references.FILE_NAME).read_bytes()
    assert not any(word.encode() in content for word in (*tiny.GOOD, "movie"))


def test_the_same_kind_of_texts_shows_no_drift(same: DriftFacts) -> None:
    assert same.is_drifted is False and not same.most_unlike
    assert same.sentence.startswith("No drift is shown: the model's answers differ by")
    measures = by_name(same)
    assert len(measures) == 5 and all(m.size is not None for m in measures.values())
    assert abs(measures["domain"].size - 0.5) < 0.1
    assert measures["lengths"].num_reference == len(TRAIN)
    assert measures["scores"].num_reference == len(HELD_OUT)


def test_other_texts_are_found_by_what_is_other(drifted: DriftFacts) -> None:
    measures = by_name(drifted)
    assert drifted.is_drifted
    found = {name for name, measure in measures.items() if measure.is_drifted}
    assert found >= {"lengths", "unknown_tokens", "domain"}
    assert measures["domain"].size > 0.9
    assert "Drifted: " in drifted.sentence and "AUC of" in drifted.sentence
    before, now = drifted.unknown_tokens
    assert before == 0.0 and now is not None and now > 0.1
    assert len(drifted.most_unlike) == 5 and "zebra" in drifted.most_unlike[0]


def test_label_shares_are_estimated_where_they_can_be(exported: pathlib.Path) -> None:
    reference = dataclasses.replace(
        references.read(exported / "1"),
        confusion=np.array([[40, 5, 5], [10, 80, 10], [0, 10, 40]]),
    )
    shares = np.array([0.2, 0.2, 0.6])
    expected = shares @ (reference.confusion / reference.confusion.sum(axis=1)[:, None])
    answers = np.repeat(np.arange(3), (1000 * expected).round().astype(int))
    asked = report._Asked(
        answers=answers,
        scores=np.ones(len(answers)),
        tokens=reference.training.tokens,
        texts=(),
        vectors=np.empty([0, 16], np.float16),
    )
    found, reason = report._label_shares(reference, LABELS, asked)
    assert not reason and [share.train for share in found] == [0.5, 0.3, 0.2]
    assert [share.held_out for share in found] == [0.25, 0.5, 0.25]
    for share, true in zip(found, shares):
        assert share.estimated_new == pytest.approx(true, abs=0.002)
        assert share.interval_95 is not None
        assert share.interval_95[0] < true < share.interval_95[1]


def test_why_label_shares_are_not_estimated_is_said(
    same: DriftFacts, exported: pathlib.Path
) -> None:
    """This model never answers "pas bon"."""
    assert same.no_label_shares == "the answers do not tell the labels apart"
    assert all(share.estimated_new is None for share in same.label_shares)
    assert same.no_label_shares in page.render_html(same)
    few = np.array([[9, 0, 0], [0, 9, 0], [0, 2, 2]])
    assert report._estimated(few, np.array([9, 9, 9]), LABELS)[1] == (
        "4 held-out texts of tr\u00e8s bon, and it needs 5 of each label"
    )


def test_too_few_texts_are_named(exported: pathlib.Path) -> None:
    few = facts_of(exported, SAME[:30])
    domain = by_name(few)["domain"]
    assert domain.size is None and domain.is_drifted is None
    assert "vectors: 30 new different texts" in domain.too_little
    assert by_name(few)["answers"].size is not None and few.is_drifted is False
    fewer = facts_of(exported, SAME[:3])
    assert fewer.is_drifted is None
    assert fewer.sentence.startswith("Nothing can be said of drift: ")
    assert all(measure.p_value is None for measure in fewer.measures)
    page.render_html(fewer)
    with pytest.raises(ValueError, match="a drift report needs texts.*none"):
        facts_of(exported, [])


def test_batches_of_any_size_say_the_same(
    same: DriftFacts, exported: pathlib.Path
) -> None:
    other = facts_of(exported, SAME, batch_size=7)
    assert [m.p_value for m in other.measures[:4]] == [
        m.p_value for m in same.measures[:4]
    ]


def test_an_export_without_a_reference_is_named(
    exported: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shutil.copytree(exported / "1", tmp_path / "1")
    (tmp_path / "1" / references.FILE_NAME).unlink()
    with pytest.raises(ValueError, match="without one: an export of an older version"):
        report.report(tmp_path / "1", Draw.of(SAME, 100))


def test_what_cannot_be_reported_is_refused_before_an_answer(
    exported: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shutil.copytree(exported / "1", tmp_path / "1")
    (tmp_path / "a.txt").write_text("\n".join(SAME[:30]))
    settings: dict[str, Any] = dict(
        saved_model=str(tmp_path / "1"),
        input=str(tmp_path / "a.txt"),
        output=str(tmp_path / "drift.json"),
        drift_report=str(tmp_path / "drift.html"),
    )
    with pytest.raises(ValueError, match="must be other files than --input and"):
        predict.main(PredictConfig(**settings))
    (tmp_path / "1" / references.FILE_NAME).unlink()
    settings["output"] = str(tmp_path / "out.jsonl")
    with pytest.raises(ValueError, match="older version.*export again"):
        predict.main(PredictConfig(**settings))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "a.txt"]


@pytest.mark.parametrize("name", ["same", "drifted"])
def test_the_page_and_the_json_say_it(
    name: str, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    facts: DriftFacts = request.getfixturevalue(name)
    page.write(facts, str(tmp_path / "drift.html"))
    text = (tmp_path / "drift.html").read_text(encoding="utf-8")
    said = json.loads((tmp_path / "drift.json").read_text(encoding="utf-8"))
    assert said == json.loads(json.dumps(dataclasses.asdict(facts)))
    assert html.unescape(text).count(facts.sentence) == 1
    assert text.count("<img") >= 5 and "Nothing was held out" not in text
    for share in facts.label_shares:
        assert share.label in text
    summary = page.summary(facts, "drift.html")
    assert summary.count("not shown:") + summary.count("  drifted:") == 5


def test_texts_in_the_page_are_escaped(drifted: DriftFacts) -> None:
    hostile = dataclasses.replace(
        drifted, most_unlike=("<script>alert(1)</script>",), held_out="train"
    )
    text = page.render_html(hostile)
    assert "<script>" not in text and "Nothing was held out" in text


def test_a_draw_is_even_and_repeatable() -> None:
    counts = np.zeros(50)
    numbers = [str(number) for number in range(50)]
    drawn = Draw(10)
    for _ in range(200):
        # One stream after the other: each has its own draw, of one generator.
        drawn.texts, drawn.num_read = [], 0
        for number in numbers:
            drawn.add(number)
        assert len(set(drawn.texts)) == 10
        counts[[int(text) for text in drawn.texts]] += 1
    # 40 expected each, a standard deviation of 5.7.
    assert 18 < counts.min() and counts.max() < 64
    assert Draw.of(numbers, 10).texts == Draw.of(numbers, 10).texts
    assert Draw.of(numbers, 90).texts == numbers
