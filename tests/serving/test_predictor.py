"""Prediction from files and pipes, with a tiny SavedModel made here."""

from __future__ import annotations

from typing import Any
import csv
import io
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests import processes
from trainer.config import PredictConfig
from trainer.serving import manifest, predictor, versions

REPOSITORY = pathlib.Path(__file__).parents[2]


class LengthModel(tf.Module):
    """Says "long" of a text of three bytes and more, and NaN of "nan"."""

    def __init__(self) -> None:
        super().__init__()
        self.names = tf.Variable(["short", "long"], trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text: Any) -> Any:
        is_long = tf.strings.length(text) >= 3
        score = tf.where(text == "nan", float("nan"), 0.75)
        return {
            "label": tf.gather(self.names, tf.cast(is_long, tf.int32)),
            "score": score,
            "probabilities": tf.where(
                is_long[:, None],
                tf.stack([1 - score, score], axis=1),
                tf.stack([score, 1 - score], axis=1),
            ),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_examples(self, examples: Any) -> Any:
        feature = {"text": tf.io.FixedLenFeature([], tf.string)}
        return self.serve(tf.io.parse_example(examples, feature)["text"])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def everything(self, text: Any) -> Any:
        length = tf.strings.length(text)
        return {
            "vector": tf.cast(tf.stack([length, 2 * length], axis=1), tf.bfloat16),
            "parts": tf.stack([text, text + "\u00e9"], axis=1),
            "abstain": length < 3,
            "length": length,
            "score": tf.where(text == "nan", float("inf"), 0.5),
            "label": text,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def one_for_all(self, text: Any) -> Any:
        return {"number": tf.size(text)[None, None]}

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.int32, name="token_ids")]
    )
    def tokens(self, token_ids: Any) -> Any:
        return {"label": token_ids}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def only_short(self, text: Any) -> Any:
        short = tf.debugging.assert_less(tf.strings.length(text), 3, "a text is long")
        with tf.control_dependencies([short]):
            return {"label": tf.identity(text)}

    def signatures(self) -> Any:
        return {
            "serving_default": self.serve,
            "tf_example": self.serve_examples,
            "everything": self.everything,
            "one_for_all": self.one_for_all,
            "tokens": self.tokens,
            "only_short": self.only_short,
        }


SHORT = {"label": "short", "score": 0.75, "probabilities": [0.75, 0.25]}
LONG = {"label": "long", "score": 0.75, "probabilities": [0.25, 0.75]}


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("export") / "1"
    model = LengthModel()
    tf.saved_model.save(model, str(folder), signatures=model.signatures())
    manifest.write(folder, {"version": 1})
    return str(folder)


def parquet(texts: Any) -> Any:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), sink)
    return sink.getvalue()


def predicted(
    saved_model: Any, folder: Any, name: Any, content: Any, **settings: Any
) -> Any:
    """Runs over a file of this content; the objects of the output's lines."""
    (folder / name).write_bytes(content)
    output = folder / "deep" / "out.jsonl"
    config = {"saved_model": saved_model, "input": str(folder / name)} | settings
    predictor.predict_file(PredictConfig(output=str(output), **config))
    assert os.listdir(output.parent) == ["out.jsonl"]
    return [json.loads(line) for line in output.read_text().splitlines()]


INPUTS = {
    "text": ("a.txt", b"a\nabc\nb\n", [SHORT, LONG, SHORT]),
    "csv": ("a.csv", b'text,n\n"a\nb",1\na,2\n', [LONG, SHORT]),
    "tsv": ("a.tsv", b"text\ta\nabc\ta\n", [LONG]),
    "jsonl": ("a.jsonl", b'{"text": "abc"}\n{"text": ""}\n', [LONG, SHORT]),
    "parquet": ("a.parquet", parquet(["a", "abc"]), [SHORT, LONG]),
    "empty_lines_have_lines": ("a.txt", b"\n\nabc\n\n", [SHORT, SHORT, LONG, SHORT]),
    "empty_file": ("a.txt", b"", []),
}


@pytest.mark.parametrize("name, content, expected", INPUTS.values(), ids=INPUTS)
def test_one_object_a_text_in_order(
    saved_model: Any, tmp_path: pathlib.Path, name: Any, content: Any, expected: Any
) -> None:
    assert predicted(saved_model, tmp_path, name, content) == expected


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_batches_keep_the_order(
    saved_model: Any, tmp_path: pathlib.Path, batch_size: Any
) -> None:
    texts = [b"a" * (n % 5) for n in range(23)]
    lines = predicted(
        saved_model, tmp_path, "a.txt", b"\n".join(texts) + b"\n", batch_size=batch_size
    )
    assert lines == [LONG if len(text) >= 3 else SHORT for text in texts]


def test_format_and_field_can_be_told(saved_model: Any, tmp_path: pathlib.Path) -> None:
    settings = {"input_format": "csv", "text_field": "review"}
    content = b"id,review\nabc,a\n"
    assert predicted(saved_model, tmp_path, "a.dat", content, **settings) == [SHORT]


def predicted_text(
    saved_model: str, folder: pathlib.Path, output: str, **settings: Any
) -> str:
    """Runs with an output of this name; its content."""
    config = PredictConfig(
        saved_model=saved_model, output=str(folder / output), **settings
    )
    predictor.predict_file(config)
    left = [path.name for path in folder.iterdir() if path.name.startswith(output)]
    assert left == [output]
    return (folder / output).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def named_model(saved_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same model, whose manifest names its classes."""
    folder = tmp_path_factory.mktemp("named") / "1"
    shutil.copytree(saved_model, folder)
    manifest.write(folder, {"constants": {"labels": ["short", "long"]}})
    return str(folder)


def test_kept_fields_come_first(saved_model: str, tmp_path: pathlib.Path) -> None:
    content = b'{"id": 7, "text": "abc", "more": 1}\n{"text": "a", "id": null}\n'
    settings: Any = {"keep_fields": ("text", "id")}
    found = predicted(saved_model, tmp_path, "a.jsonl", content, **settings)
    assert found == [{"text": "abc", "id": 7} | LONG, {"text": "a", "id": None} | SHORT]
    assert [*found[0]] == ["text", "id", *LONG]
    settings |= {"signature": "everything"}
    found = predicted(saved_model, tmp_path, "a.jsonl", content, **settings)
    assert found[0]["id"] == 7 and found[0]["vector"] == [3.0, 6.0]


def test_kept_fields_may_not_hide_the_answer(
    saved_model: str, tmp_path: pathlib.Path
) -> None:
    settings: Any = {"keep_fields": ("label",)}
    with pytest.raises(ValueError, match="Received: label; rename the column") as error:
        predicted(saved_model, tmp_path, "a.csv", b"label,text\nx,a\n", **settings)
    assert "label, score, probabilities" in str(error.value)
    assert os.listdir(tmp_path / "deep") == []
    # The mend.
    settings = {"keep_fields": ("true_label",)}
    found = predicted(
        saved_model, tmp_path, "a.csv", b"true_label,text\nx,a\n", **settings
    )
    assert found == [{"true_label": "x"} | SHORT]


def test_csv_from_csv(named_model: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.csv").write_text('id,text\n1,"a\nb"\n"2, or 3",b\n4,b,c\n')
    found = predicted_text(
        named_model,
        tmp_path,
        "out.csv",
        input=str(tmp_path / "a.csv"),
        keep_fields=("id", "text"),
        bad_rows="null",
    )
    assert found == (
        "id,text,label,score,probability_short,probability_long,error\n"
        '1,"a\nb",long,0.75,0.25,0.75,\n'
        '"2, or 3",b,short,0.75,0.75,0.25,\n'
        f',,,,,,"{tmp_path}/a.csv:5: expected 2 fields, as in the header. Received: 3; '
        'put a text that holds commas in quotes"\n'
    )


def test_ids_of_a_users_file_are_kept(named_model: str, tmp_path: pathlib.Path) -> None:
    case = REPOSITORY / "tests" / "testdata" / "cases" / "predict-keep-id.csv"
    found = predicted_text(
        named_model, tmp_path, "out.csv", input=str(case), keep_fields=("id",)
    )
    rows = list(csv.DictReader(found.splitlines()))
    assert [row["id"] for row in rows] == [f"q{n:03}" for n in range(8)]
    assert {row["label"] for row in rows} == {"long"}


def test_bad_rows_are_answered_in_their_place(
    saved_model: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "trainer")
    bad = {"label": None, "score": None, "probabilities": None}
    for batch_size in (1, 2, 9):
        found = predicted(
            saved_model,
            tmp_path,
            "a.txt",
            b"a\n\xff\nabc\n\xff\n\xff\n",
            bad_rows="null",
            encoding="utf-8",
            batch_size=batch_size,
        )
        errors = [row.pop("error") for row in found]
        assert found == [SHORT, bad, LONG, bad, bad]
        lines = [error and error.split(": ")[0] for error in errors]
        path = tmp_path / "a.txt"
        assert lines == [None, f"{path}:2", None, f"{path}:4", f"{path}:5"]
    assert "3 of these 5 rows could not be used" in caplog.text


def test_several_files_are_one_input(
    saved_model: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("b.txt", "abc\n"), ("a.txt", "a\nb\n")):
        (tmp_path / name).write_text(text)
    found = predicted_text(saved_model, tmp_path, "out.jsonl", input="?.txt")
    assert [json.loads(line) for line in found.splitlines()] == [
        {"file": "a.txt", "line": 1} | SHORT,
        {"file": "a.txt", "line": 2} | SHORT,
        {"file": "b.txt", "line": 1} | LONG,
    ]


@pytest.mark.parametrize("output", ["a.txt", "b.txt"])
def test_an_output_never_takes_the_place_of_an_input(
    saved_model: str, tmp_path: pathlib.Path, output: str
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("a\n")
    with pytest.raises(ValueError, match="another file than those of --input"):
        predicted_text(saved_model, tmp_path, output, input=str(tmp_path / "*.txt"))
    assert (tmp_path / output).read_text() == "a\n"


@pytest.mark.parametrize("name, content", [("a.txt", b""), ("a.txt", b"a\nabc\n")])
def test_parquet(
    saved_model: str, tmp_path: pathlib.Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    output = tmp_path / "out.parquet"
    predictor.predict_file(
        PredictConfig(
            saved_model=saved_model,
            input=str(tmp_path / name),
            output=str(output),
            signature="everything",
            keep_fields=("text",),
        )
    )
    assert sorted(os.listdir(tmp_path)) == [name, "out.parquet"]
    table = pq.read_table(output)
    assert table.schema == pa.schema(
        [
            ("text", pa.string()),
            ("label", pa.string()),
            ("score", pa.float32()),
            ("abstain", pa.bool_()),
            ("length", pa.int32()),
            ("parts", pa.list_(pa.string())),
            ("vector", pa.list_(pa.float32())),
        ]
    )
    found = [(row["text"], row["vector"]) for row in table.to_pylist()]
    assert found == ([("a", [1, 2]), ("abc", [3, 6])] if content else [])


def test_an_input_of_no_texts_has_a_header(
    saved_model: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "a.txt").touch()
    found = predicted_text(
        saved_model, tmp_path, "out.csv", input=str(tmp_path / "a.txt")
    )
    assert found == "label,score,probability_0,probability_1\n"


def test_lists_and_pipes_that_a_format_cannot_take(
    saved_model: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    settings: Any = {"input": str(tmp_path / "a.txt")}
    with pytest.raises(ValueError, match="parts, a list a text, for .csv"):
        predicted_text(
            saved_model, tmp_path, "out.csv", signature="everything", **settings
        )
    assert os.listdir(tmp_path) == ["a.txt"]
    os.mkfifo(tmp_path / "pipe.parquet")
    with pytest.raises(ValueError, match="a pipe or device; name a file"):
        predicted_text(saved_model, tmp_path, "pipe.parquet", **settings)


BAD_INPUTS = {
    "no_utf8": ("a.txt", b"a\n\xff\n", ":2: expected UTF-8", "0xFF"),
    "null": ("a.jsonl", b'{"text": "a"}\n{"text": null}\n', ":2:", "Received: none"),
    "field": ("a.csv", b"review\na\n", "one column 'text'", "--text_field"),
    "fields": ("a.csv", b"text,n\na,1\nb\n", ":3: expected 2 fields"),
    "ending": ("a.doc", b"a", "ending in .csv"),
    "nan": ("a.txt", b"a\nnan\n", "finite", "'nan'"),
}


@pytest.mark.parametrize(
    "name, content, words",
    [(a, b, c) for a, b, *c in BAD_INPUTS.values()],
    ids=BAD_INPUTS,
)
@pytest.mark.parametrize("batch_size", [1, 32])
def test_bad_input_leaves_the_old_output(
    saved_model: Any,
    tmp_path: pathlib.Path,
    name: Any,
    content: Any,
    words: Any,
    batch_size: Any,
) -> None:
    output = tmp_path / "out" / "out.jsonl"
    output.parent.mkdir()
    output.write_text("old")
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError) as error:
        predictor.predict_file(
            PredictConfig(
                saved_model=saved_model,
                input=str(tmp_path / name),
                output=str(output),
                encoding="utf-8",
                batch_size=batch_size,
            )
        )

    for word in words:
        assert word in str(error.value)
    assert output.read_text() == "old"
    # What was answered is kept, if there was anything.
    left = {"out.jsonl"}
    if batch_size == 1 and content.startswith((b"a\n", b'{"text": "a"}', b"text,n\na")):
        left |= {"out.jsonl.partial", "out.jsonl.partial.json"}
        assert f"first 1 texts are in {output}.partial" in str(error.value)
    assert set(os.listdir(output.parent)) == left


def test_bad_row_may_be_mended_and_the_rest_answered(
    saved_model: Any, tmp_path: pathlib.Path
) -> None:
    texts, output = tmp_path / "a.txt", tmp_path / "out.jsonl"
    config = PredictConfig(
        saved_model=saved_model, input=str(texts), output=str(output), batch_size=2
    )
    texts.write_bytes(b"a\nabc\nb\nabc\n\xff\nabc\n")
    with pytest.raises(ValueError, match=":5: expected UTF-8"):
        predictor.predict_file(config)
    texts.write_bytes(b"a\nabc\nb\nabc\nmended\nb\n")

    assert predictor.predict_file(config) == 6

    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert lines == [SHORT, LONG, SHORT, LONG, LONG, SHORT]
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "out.jsonl"]


def test_what_was_answered_is_not_answered_again(
    saved_model: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = []

    def failing_later(self: Any, texts: Any) -> Any:
        if "abcd" in texts:
            raise ValueError("stop")
        answered.append(texts)
        return usual(self, texts)

    usual = predictor.Predictor.__call__
    monkeypatch.setattr(predictor.Predictor, "__call__", failing_later)
    for last, words in [("abcd", "stop"), ("abc", None)]:
        content = "\n".join(["a", "abc", "b", last]).encode()
        settings = {"batch_size": 1}
        if words:
            with pytest.raises(ValueError, match=words):
                predicted(saved_model, tmp_path, "a.txt", content, **settings)
        else:
            found = predicted(saved_model, tmp_path, "a.txt", content, **settings)
    assert answered == [["a"], ["abc"], ["b"], ["abc"]]
    assert found == [SHORT, LONG, SHORT, LONG]


def test_every_text_is_heard_also_of_those_answered_before(
    saved_model: str, tmp_path: pathlib.Path
) -> None:
    """For a drift report, which is of all texts; a row without one is none."""
    lines = ['{"text": "a"}', '{"text": "abc"}', "{}", '{"text": "nan"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    config = PredictConfig(
        saved_model=saved_model,
        input=str(tmp_path / "a.jsonl"),
        output=str(tmp_path / "out.jsonl"),
        bad_rows="null",
        batch_size=1,
    )
    with pytest.raises(ValueError, match="finite score"):
        predictor.predict_file(config)
    assert (tmp_path / "out.jsonl.partial").exists()
    (tmp_path / "a.jsonl").write_text("\n".join([*lines[:3], '{"text": "b"}']))
    heard: list[str] = []
    assert predictor.predict_file(config, on_text=heard.append) == 4
    assert heard == ["a", "abc", "b"]


def test_partial_of_another_model_is_refused(
    saved_model: Any, tmp_path: pathlib.Path
) -> None:
    for name in ("same", "other"):
        shutil.copytree(saved_model, tmp_path / name)
    manifest.write(tmp_path / "other", {"version": 2})
    settings = {"saved_model": str(tmp_path / "same"), "batch_size": 1}

    def predict(content: Any, **changes: Any) -> Any:
        return predicted(folder=tmp_path, name="a.txt", content=content, **changes)

    with pytest.raises(ValueError, match="NUL"):
        predict(b"a\nabc\n\0\n", **settings)
    others: list[tuple[dict[str, Any], str]] = [
        ({"saved_model": str(tmp_path / "other")}, "model was [0-9a-f]{64}, is"),
        ({"signature": "tf_example"}, "signature was serving_default, is tf_example"),
        ({"batch_size": 2}, "batch_size was 1, is 2"),
        ({"bad_rows": "null"}, "bad_rows was error, is null"),
        ({"keep_fields": ("text",)}, r"keep_fields was \[\], is \['text'\]"),
    ]
    for changes, words in others:
        with pytest.raises(ValueError, match=words):
            predict(b"a\n", **settings | changes)
    # Where the model lies makes no difference.
    settings["saved_model"] = saved_model
    assert predict(b"a\nabc\nabc\n", **settings) == [SHORT, LONG, LONG]


def test_models_without_manifest_differ_by_their_weights(
    saved_model: Any, tmp_path: pathlib.Path
) -> None:
    digests = set()
    for name in ("short", "brief", "short"):
        model = LengthModel()
        model.names.assign([name, "long"])
        folder = tmp_path / str(len(os.listdir(tmp_path)))
        shutil.copytree(saved_model, folder)
        (folder / "manifest.json").unlink()
        checkpoint = tmp_path / "checkpoint"
        shutil.rmtree(checkpoint, ignore_errors=True)
        tf.saved_model.save(model, str(checkpoint))
        shutil.rmtree(folder / "variables")
        shutil.copytree(checkpoint / "variables", folder / "variables")
        digests.add(predictor._digest(folder))
    assert len(digests) == 2


def test_output_keeps_a_link_and_refuses_a_folder(
    saved_model: Any, tmp_path: pathlib.Path
) -> None:
    texts, real, link = (tmp_path / name for name in ("a.txt", "real", "link"))
    texts.write_text("a\n")
    real.write_text("old")
    link.symlink_to(real)
    settings = {"saved_model": saved_model, "input": str(texts)}

    predictor.predict_file(PredictConfig(output=str(link), **settings))
    assert link.is_symlink() and json.loads(real.read_text()) == SHORT

    predictor.predict_file(PredictConfig(output=os.devnull, **settings))
    assert not pathlib.Path(os.devnull).is_file()

    with pytest.raises(ValueError, match="--output must be a file"):
        predictor.predict_file(PredictConfig(output=str(tmp_path), **settings))


def test_model_outlives_its_loading(saved_model: Any) -> None:
    assert predictor.load(saved_model)(["abc", "é"]) == [LONG, SHORT]
    assert predictor.load(saved_model)([]) == []


def test_every_output_of_a_signature_by_name(saved_model: Any) -> None:
    predict = predictor.load(saved_model, signature="everything")
    (found,) = predict(["é"])
    assert found == {
        "label": "é",
        "score": 0.5,
        "abstain": True,
        "length": 2,
        "parts": ["é", "éé"],
        "vector": [2.0, 4.0],
    }
    order = ["label", "score", "abstain", "length", "parts", "vector"]
    assert list(found) == order and list(json.loads(json.dumps(found))) == order
    assert list(SHORT) == list(predictor.load(saved_model)(["a"])[0])
    with pytest.raises(ValueError, match="finite score. Received: .* 'nan'"):
        predict(["a", "nan"])


def test_text_that_the_graph_refuses(saved_model: Any, tmp_path: pathlib.Path) -> None:
    """The mends lead to the text, and on without it."""
    settings = {"signature": "only_short"}
    refused = (
        r"Received: assertion failed: \[a text is long\].*; leave out .*--batch_size=1"
    )
    with pytest.raises(ValueError, match=refused):
        predicted(saved_model, tmp_path, "a.txt", b"a\nabc\nb\n", **settings)
    with pytest.raises(ValueError, match="; leave this text out: 'abc'\n"):
        predicted(saved_model, tmp_path, "a.txt", b"a\nabc\n", batch_size=1, **settings)
    # As the message says of what is kept of another input.
    shutil.rmtree(tmp_path / "deep")
    lines = predicted(saved_model, tmp_path, "a.txt", b"a\nb\n", **settings)
    assert lines == [{"label": "a"}, {"label": "b"}]


def test_texts_as_serialized_examples(saved_model: Any) -> None:
    predict = predictor.load(saved_model, signature="tf_example")
    assert predict(["abc", "é", ""]) == [LONG, SHORT, SHORT]


def test_signature_of_a_file(saved_model: Any, tmp_path: pathlib.Path) -> None:
    settings = {"signature": "everything"}
    (line,) = predicted(saved_model, tmp_path, "a.txt", b"abc\n", **settings)
    assert line["vector"] == [3.0, 6.0] and line["abstain"] is False


@pytest.mark.parametrize(
    "name, words",
    [("tokens", "tokens, one that takes int32 token_ids"), ("x", "x, none of that")],
)
def test_signature_that_takes_no_strings_is_refused(
    saved_model: Any, name: Any, words: Any
) -> None:
    with pytest.raises(ValueError, match=words) as error:
        predictor.load(saved_model, signature=name)
    usable = "has everything, one_for_all, only_short, serving_default, tf_example."
    assert usable in str(error.value) and saved_model in str(error.value)


def test_output_that_is_not_one_a_text_is_refused(saved_model: Any) -> None:
    predict = predictor.load(saved_model, signature="one_for_all")
    with pytest.raises(ValueError, match=r"one number a text.*\(1, 1\) for 2 texts"):
        predict(["a", "b"])


@pytest.fixture
def exports(saved_model: Any, tmp_path: pathlib.Path) -> Any:
    """An export folder with three versions, and what is no version."""
    for name in ("2", "9", "10", ".11.tmp-abc", "bfloat16/12"):
        shutil.copytree(saved_model, tmp_path / "export" / name)
    (tmp_path / "export" / "13").mkdir()
    (tmp_path / "export" / "batching_parameters.txt").write_text("")
    return tmp_path / "export"


def test_newest_version_of_an_export_folder(
    exports: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "trainer")
    assert versions.find(str(exports)) == exports / "10"
    assert "version 10 (the highest number)" in caplog.text
    (exports / "latest").write_text("9\n")
    assert versions.find(str(exports)) == exports / "9"
    assert "version 9 (by" in caplog.text
    assert versions.find(f"{exports}/") == exports / "9"
    assert versions.find(str(exports / "2")) == exports / "2"
    bfloat16 = exports / "bfloat16"
    assert versions.find(str(bfloat16)) == bfloat16 / "12"
    assert str(versions.find(f"file://{exports}")) == f"file://{exports}/9"
    assert predictor.load(str(exports))(["a"]) == [SHORT]
    assert predictor.load(f"file://{exports}")(["abc"]) == [LONG]


@pytest.mark.parametrize("content", ["13\n", "14", "", "../export/9", "x"])
def test_latest_that_names_no_version_is_refused(exports: Any, content: Any) -> None:
    (exports / "latest").write_text(content)
    with pytest.raises(ValueError, match="which is no version there") as error:
        predictor.load(str(exports))
    assert repr(content.strip()) in str(error.value)


def test_verified_before_it_is_loaded(saved_model: Any, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "1"
    shutil.copytree(saved_model, folder)
    settings = {"verify": True}
    assert predicted(str(folder), tmp_path, "a.txt", b"a\n", **settings) == [SHORT]
    (folder / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match="saved_model.pb: .* expected, 0 found"):
        predicted(str(folder), tmp_path, "a.txt", b"a\n", **settings)


def test_saved_model_that_is_none_is_refused(tmp_path: pathlib.Path) -> None:
    model = LengthModel()
    tf.saved_model.save(model, str(tmp_path / "other"), signatures={"o": model.serve})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"no protocol buffer")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "manifest.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for folder, words in {
        str(tmp_path / "away"): ["no such folder"],
        str(tmp_path): ["no saved_model.pb", f"did you mean {tmp_path}/weights?"],
        str(tmp_path / "empty"): ["no saved_model.pb in it"],
        str(tmp_path / "weights"): ["no saved_model.pb in it"],
        str(tmp_path / "broken"): ["can be loaded"],
        str(tmp_path / "other"): ["serving_default, none of that name", "has o."],
    }.items():
        with pytest.raises(ValueError) as error:
            predictor.load(folder)
        for word in [folder, *words]:
            assert word in str(error.value)


def run_command(*flags: Any, **arguments: Any) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "trainer.predict", *flags],
        capture_output=True,
        cwd=REPOSITORY,
        **arguments,
    )


def test_command_from_pipe_to_pipe(saved_model: Any) -> None:
    result = run_command(f"--saved_model={saved_model}", "--input=-", input=b"a\nabc\n")
    assert result.returncode == 0, result.stderr.decode()
    assert list(map(json.loads, result.stdout.splitlines())) == [SHORT, LONG]


def test_only_verify_does_without_an_input() -> None:
    assert PredictConfig(saved_model="a", verify=True).input == ""
    with pytest.raises(ValueError, match="--input is required, but for --verify"):
        PredictConfig(saved_model="a")
    with pytest.raises(ValueError, match="--output is for the answers to --input"):
        PredictConfig(saved_model="a", verify=True, output="b")


def test_command_verifies(saved_model: Any, tmp_path: pathlib.Path) -> None:
    shutil.copytree(saved_model, tmp_path / "1")
    result = run_command("--verify", f"--saved_model={tmp_path}")
    assert result.returncode == 0, result.stderr.decode()
    assert re.fullmatch(rb"verified: \d+ files, \d+ bytes\n", result.stdout)
    assert b"version 1" in result.stderr
    with open(tmp_path / "1" / "saved_model.pb", "ab") as file:
        file.write(b"0")
    result = run_command("--verify", f"--saved_model={tmp_path}")
    assert result.returncode == 2 and result.stdout == b""
    assert b"saved_model.pb: " in result.stderr and b"Traceback" not in result.stderr


def test_verify_names_operations_that_no_export_has(tmp_path: pathlib.Path) -> None:
    """A SavedModel is a program: this one would read a file of whoever loads it."""
    module = tf.Module()
    module.serve = tf.function(
        lambda text: {"score": tf.strings.length(text + tf.io.read_file("/etc/hosts"))},
        input_signature=[tf.TensorSpec([None], tf.string, "text")],
    )
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.serve)
    manifest.write(tmp_path / "1", {})
    assert manifest.verify(tmp_path / "1")
    with pytest.raises(ValueError, match="a SavedModel is a program.* ReadFile in"):
        predictor.verify(tmp_path / "1")
    with pytest.raises(ValueError, match="a SavedModel is a program"):
        predicted(str(tmp_path / "1"), tmp_path, "a.txt", b"a\n", verify=True)
    # A format without a graph has no operations.
    (tmp_path / "litert").mkdir()
    (tmp_path / "litert" / "model.tflite").write_bytes(b"")
    manifest.write(tmp_path / "litert", {})
    assert predictor.verify(tmp_path / "litert").num_files == 1


KILLED = {
    "out.jsonl": json.dumps,
    "out.csv": lambda row: ",".join(
        [row["label"], str(row["score"]), *map(str, row["probabilities"])]
    ),
    "out.parquet": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_killed_command_goes_on(
    saved_model: Any, tmp_path: pathlib.Path, name: str
) -> None:
    texts, output = tmp_path / "a.txt", tmp_path / name
    state = tmp_path / f"{name}.partial.json"
    draw = random.Random(0)
    num_texts = 300_000
    texts.write_text("".join("x" * (n % 5) + "\n" for n in range(num_texts)))
    flags = [f"--saved_model={saved_model}", f"--input={texts}", f"--output={output}"]

    def num_answered() -> Any:
        return json.loads(state.read_text())["num_texts"] if state.exists() else 0

    before = 0
    # Going on twice is the same for all of them.
    for _ in range(2 if name == "out.jsonl" else 1):
        process = subprocess.Popen(
            [sys.executable, "-m", "trainer.predict", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
        )
        processes.kill_when(process, lambda: num_answered() > before)
        assert process.returncode == -9
        before = num_answered()
        with open(f"{output}.partial", "ab") as file:
            file.write(b'{"label": "sh'[: draw.randrange(14)])
    result = run_command(*flags)
    assert result.returncode == 0, result.stderr.decode()
    assert f"after {before} texts".encode() in result.stderr
    assert re.search(rb"Answered 300000 texts, \d+ of them now: \d+ a", result.stderr)
    assert sorted(os.listdir(tmp_path)) == ["a.txt", name]
    rows = [LONG if n % 5 >= 3 else SHORT for n in range(5)]
    as_line = KILLED[name]
    if as_line is None:
        assert pq.read_table(output).to_pylist() == rows * (num_texts // 5)
        return
    header = "label,score,probability_0,probability_1\n" if "csv" in name else ""
    lines = "".join(f"{as_line(row)}\n" for row in rows)
    assert output.read_text() == header + lines * (num_texts // 5)


def test_command_names_a_bad_row(saved_model: Any) -> None:
    result = run_command(f"--saved_model={saved_model}", "--input=-", input=b"a\0\n")
    assert result.returncode == 2
    assert b"<stdin>:1: expected text. Received: a NUL byte at byte 2" in result.stderr
    assert b"Traceback" not in result.stderr
    assert result.stdout == b""


def test_command_ends_quietly_when_nobody_reads(
    saved_model: Any, tmp_path: pathlib.Path
) -> None:
    texts = tmp_path / "a.txt"
    texts.write_bytes(b"abc\n" * 20_000)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "trainer.predict", f"--saved_model={saved_model}"]
    with os.fdopen(writer, "wb") as stdout:
        result = subprocess.run(
            [*command, f"--input={texts}"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
        )
    assert result.returncode == 0
    assert b"Broken" not in result.stderr and b"Traceback" not in result.stderr


def test_neither_keras_nor_tensorflow_is_loaded_for_help_and_to_verify(
    saved_model: Any,
) -> None:
    command = (
        "import sys, trainer.predict; from trainer.config import PredictConfig; "
        f"config = PredictConfig(saved_model={saved_model!r}, verify=True); "
        "trainer.predict.main(config); print(*sys.modules)"
    )
    modules = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, cwd=REPOSITORY
    ).stdout.split()
    assert "trainer.serving.predictor" in modules and "verified:" in modules
    assert not {"tensorflow", "keras"} & set(modules)


def test_keras_hub_is_not_needed_to_predict(saved_model: Any) -> None:
    command = (
        "import sys; from trainer.serving import predictor; "
        f"predictor.load({saved_model!r})(['a']); print(*sys.modules)"
    )
    modules = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, cwd=REPOSITORY
    ).stdout.split()
    assert "tensorflow" in modules
    # TensorFlow imports Keras itself.
    assert "keras_hub" not in modules
