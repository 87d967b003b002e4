"""The signature `explain`: its shapes, its numbers, and who asks it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.serving import tiny_export
from tests.serving.tiny_export import LABELS
from trainer.config import EXPLAIN_SIGNATURE, PredictConfig
from trainer.modeling import attributions
from trainer.modeling.forward import Forward
from trainer.serving import formats, predictor, stock_ops, warmup

WINDOWS = 2
TEXTS = [
    "A good, lovely  film!",
    "",
    "so very bad and dull, " * 9,
    "caf\u00e9 Fine. \u4f60 film",
]


@dataclasses.dataclass(frozen=True)
class Explained:
    source: Any
    path: pathlib.Path
    outputs: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def explained(
    tiny_hugging_face: str, tmp_path_factory: pytest.TempPathFactory
) -> Explained:
    """An export of texts in windows, and what it gives of `TEXTS`."""
    source = dataclasses.replace(
        tiny_export.make_source(tiny_hugging_face, max_windows=WINDOWS), explains=True
    )
    folder = tmp_path_factory.mktemp("explained") / "export" / "1"
    folder.mkdir(parents=True)
    formats.write("float32", folder, source)
    model = tf.saved_model.load(str(folder))
    found = model.signatures[EXPLAIN_SIGNATURE](text=tf.constant(TEXTS))
    for name in ("serving_default", "embed"):
        assert name in model.signatures
    answers = model.signatures["serving_default"](text=tf.constant(TEXTS))
    np.testing.assert_array_equal(found["label"], answers["label"])
    # Of no text at all, nothing.
    nothing = model.signatures[EXPLAIN_SIGNATURE](text=tf.constant([], tf.string))
    assert nothing["attribution"].shape == (0, 0)
    return Explained(source, folder, {k: v.numpy() for k, v in found.items()})


def test_rows_are_of_one_width(explained: Explained) -> None:
    """A server takes no ragged tensors: all are dense, and padded alike."""
    located = explained.source.encoder.locate(tf.constant(TEXTS))
    counts = located.token_ids.row_lengths().numpy()
    shapes = {name: value.shape for name, value in explained.outputs.items()}
    wide = (len(TEXTS), counts.max())
    assert shapes == {
        **dict.fromkeys(("tokens", "begin", "end", "attribution"), wide),
        **dict.fromkeys(("label", "completeness_gap"), (len(TEXTS),)),
    }
    for row, (count, text) in enumerate(zip(counts, TEXTS)):
        tokens, begin, end, attribution = (
            explained.outputs[name][row]
            for name in ("tokens", "begin", "end", "attribution")
        )
        assert (tokens[count:] == b"").all() and not attribution[count:].any()
        assert (begin[count:] == -1).all() and (end[count:] == -1).all()
        raw = text.encode()
        for token, first, last in zip(tokens[:count], begin, end):
            if token != b"[UNK]":
                assert raw[first:last].lower() == token.removeprefix(b"##")


def test_numbers_are_those_in_memory(explained: Explained) -> None:
    source = explained.source
    encoder, decision = source.encoder, source.decision
    forward = Forward(
        source.make_classifier("float32"),
        window_length=source.data.max_length,
        differentiable=False,
    )
    attribute = attributions.explainer(
        forward, encoder, decision, constants=decision.constants()
    )
    rows = encoder(tf.constant(TEXTS)).token_ids
    found = tf.function(attribute.__call__, autograph=False)(
        rows.to_tensor(encoder.pad_id), tf.cast(rows.row_lengths(), tf.int32)
    )
    expected = attributions.of_tokens(
        encoder.locate(tf.constant(TEXTS)), found.attribution
    )
    np.testing.assert_allclose(explained.outputs["attribution"], expected, atol=1e-5)
    labels = [LABELS[index].encode() for index in found.chosen]
    assert explained.outputs["label"].tolist() == labels
    gap = found.difference - tf.reduce_sum(expected, axis=1)
    np.testing.assert_allclose(explained.outputs["completeness_gap"], gap, atol=1e-5)
    assert np.abs(gap).max() < 0.01 * np.abs(found.difference).max()
    assert not explained.outputs["attribution"][1].any()


def test_a_stock_server_runs_it_and_is_warm(explained: Explained) -> None:
    stock_ops.check(explained.path)
    stock_ops.check_ops(explained.path)
    count = warmup.write(
        explained.path,
        model_name="tiny",
        encoder=explained.source.encoder,
        bucket_lengths=explained.source.bucket_lengths,
        batch_sizes=[1, 4],
    )
    requests = warmup.read(explained.path)
    assert len(requests) == count
    asked = [request.model_spec.signature_name for request in requests]
    # It takes as long as a hundred others.
    assert asked.count(EXPLAIN_SIGNATURE) == 1 < asked.count("embed")


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_predict_writes_the_words(
    ending: str, explained: Explained, tmp_path: pathlib.Path
) -> None:
    rows = [{"text": text} for text in (TEXTS[0], TEXTS[3])] + [{"text": None}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    output = tmp_path / f"out.{ending}"
    predictor.predict_file(
        PredictConfig(
            saved_model=str(explained.path),
            input=str(tmp_path / "in.jsonl"),
            output=str(output),
            explain=True,
            bad_rows="null",
        )
    )
    if ending == "parquet":
        answers = pq.read_table(output).to_pylist()
    else:
        answers = [json.loads(line) for line in output.read_text().splitlines()]
    first, second, nothing = answers
    assert first["label"] in LABELS and len(first["probabilities"]) == len(LABELS)
    assert "".join(first["words"]) == TEXTS[0].replace(" ", "")
    assert second["words"] == ["caf\u00e9", "Fine", ".", "\u4f60", "film"]
    raw = TEXTS[3].encode()
    parts = [raw[b:e].decode() for b, e in zip(second["begin"], second["end"])]
    assert parts == second["words"]
    # Words add up to what their tokens do.
    of_tokens = explained.outputs["attribution"][3].sum()
    assert sum(second["attribution"]) == pytest.approx(of_tokens, abs=1e-4)
    assert abs(second["completeness_gap"]) < 0.05
    assert nothing["words"] is None and nothing["attribution"] is None


def test_predict_refuses_what_cannot_explain(
    explained: Explained, tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "in.txt").write_text("good\n")
    plain = tiny_export.save(tiny_hugging_face, tmp_path / "1")
    asked: dict[str, Any] = {"input": str(tmp_path / "in.txt"), "explain": True}
    with pytest.raises(
        ValueError,
        match="--explain needs a model.*which has classify, .*export_explain",
    ):
        predictor.predict_file(PredictConfig(saved_model=str(plain), **asked))
    with pytest.raises(ValueError, match=r"--output must end in .jsonl or .parquet"):
        predictor.predict_file(
            PredictConfig(
                saved_model=str(explained.path), output=str(tmp_path / "a.csv"), **asked
            )
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bfloat16", "int8"])
def test_other_formats_explain_themselves(
    name: str, explained: Explained, tmp_path: pathlib.Path
) -> None:
    """Their own answers: near those of float32, and complete as far as they compute."""
    formats.write(name, tmp_path, explained.source)
    stock_ops.check(tmp_path)
    model = tf.saved_model.load(str(tmp_path))
    found = model.signatures[EXPLAIN_SIGNATURE](text=tf.constant(TEXTS))
    largest = np.abs(explained.outputs["attribution"]).max()
    same = found["label"] == explained.outputs["label"]
    np.testing.assert_allclose(
        found["attribution"][same],
        explained.outputs["attribution"][same.numpy()],
        atol=0.1 * largest,
    )
    assert same.numpy().sum() >= 3
    assert np.abs(found["completeness_gap"]).max() < 0.05 * largest
