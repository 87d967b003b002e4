"""Prediction from files and pipes, with a tiny SavedModel made here."""

import io
import json
import os
import pathlib
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from trainer.config import PredictConfig
from trainer.serving import predictor

REPOSITORY = pathlib.Path(__file__).parents[2]


class LengthModel(tf.Module):
    """Says "long" of a text of three bytes and more, and NaN of "nan"."""

    def __init__(self):
        super().__init__()
        self.names = tf.Variable(["short", "long"], trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text):
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

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def label_only(self, text):
        return {"label": text}


SHORT = {"label": "short", "score": 0.75, "probabilities": [0.75, 0.25]}
LONG = {"label": "long", "score": 0.75, "probabilities": [0.25, 0.75]}


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "1"
    model = LengthModel()
    tf.saved_model.save(model, str(folder), signatures=model.serve)
    return str(folder)


def parquet(texts):
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), sink)
    return sink.getvalue()


def predicted(saved_model, folder, name, content, **settings):
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
def test_one_object_a_text_in_order(saved_model, tmp_path, name, content, expected):
    assert predicted(saved_model, tmp_path, name, content) == expected


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_batches_keep_the_order(saved_model, tmp_path, batch_size):
    texts = [b"a" * (n % 5) for n in range(23)]
    lines = predicted(
        saved_model, tmp_path, "a.txt", b"\n".join(texts) + b"\n", batch_size=batch_size
    )
    assert lines == [LONG if len(text) >= 3 else SHORT for text in texts]


def test_format_and_field_can_be_told(saved_model, tmp_path):
    settings = {"input_format": "csv", "text_field": "review"}
    content = b"id,review\nabc,a\n"
    assert predicted(saved_model, tmp_path, "a.dat", content, **settings) == [SHORT]


BAD_INPUTS = {
    "no_utf8": ("a.txt", b"a\n\xff\n", ":2: expected UTF-8", "0xFF"),
    "null": ("a.jsonl", b'{"text": "a"}\n{"text": null}\n', ":2:", "found none"),
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
    saved_model, tmp_path, name, content, words, batch_size
):
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
                batch_size=batch_size,
            )
        )

    for word in words:
        assert word in str(error.value)
    assert output.read_text() == "old"
    assert os.listdir(output.parent) == ["out.jsonl"]


def test_output_keeps_a_link_and_refuses_a_folder(saved_model, tmp_path):
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


def test_model_outlives_its_loading(saved_model):
    assert predictor.load(saved_model)(["abc", "é"]) == [LONG, SHORT]


def test_saved_model_that_is_none_is_refused(saved_model, tmp_path):
    model = LengthModel()
    other = {"other": model.serve}
    tf.saved_model.save(model, str(tmp_path / "other"), signatures=other)
    tf.saved_model.save(model, str(tmp_path / "output"), signatures=model.label_only)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"no protocol buffer")
    for folder, words in {
        str(tmp_path / "away"): ["no such folder"],
        str(tmp_path): ["no saved_model.pb", f"did you mean {tmp_path}/output?"],
        str(pathlib.Path(saved_model).parent): [f"did you mean {saved_model}?"],
        str(tmp_path / "broken"): ["can be loaded"],
        str(tmp_path / "other"): ["'serving_default'", "with signatures other"],
        str(tmp_path / "output"): ["inputs text and outputs label"],
    }.items():
        with pytest.raises(ValueError) as error:
            predictor.load(folder)
        for word in [folder, *words]:
            assert word in str(error.value)


def run_command(*flags, **arguments):
    return subprocess.run(
        [sys.executable, "-m", "trainer.predict", *flags],
        capture_output=True,
        cwd=REPOSITORY,
        **arguments,
    )


def test_command_from_pipe_to_pipe(saved_model):
    result = run_command(f"--saved_model={saved_model}", "--input=-", input=b"a\nabc\n")
    assert result.returncode == 0, result.stderr.decode()
    assert list(map(json.loads, result.stdout.splitlines())) == [SHORT, LONG]


def test_command_names_a_bad_row(saved_model):
    result = run_command(f"--saved_model={saved_model}", "--input=-", input=b"a\0\n")
    assert result.returncode == 2
    assert b"<stdin>:1: expected text; found a NUL byte at byte 2" in result.stderr
    assert b"Traceback" not in result.stderr
    assert result.stdout == b""


def test_command_ends_quietly_when_nobody_reads(saved_model, tmp_path):
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


def test_neither_keras_nor_tensorflow_is_loaded_for_help():
    command = "import sys, trainer.predict; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, cwd=REPOSITORY
    ).stdout.split()
    assert "trainer.serving.predictor" in modules
    assert not {"tensorflow", "keras"} & set(modules)


def test_keras_hub_is_not_needed_to_predict(saved_model):
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
