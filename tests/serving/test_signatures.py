"""The SavedModel's graph: what it takes and gives, and that rows are on their own."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from typing import Any, Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.serving import tiny_export
from tensorflow.python.saved_model import fingerprinting_utils
from tests.serving.tiny_export import DECISION, LABELS, MAX_LENGTH
from trainer.modeling.forward import Forward
from trainer.serving import formats, predictor, stock_ops
from trainer.serving.signatures import ServingModule
from trainer.serving.formats.exportable import Exportable

TEXTS = (*tiny.labelled_sentences(30)[0], "", "caf\u00e9, na\u00efve!", "bad " * 100)
DECIDED: dict[str, Any] = {
    "label": (tf.string, [None]),
    "score": (tf.float32, [None]),
    "probabilities": (tf.float32, [None, len(LABELS)]),
    "abstain": (tf.bool, [None]),
}


@dataclasses.dataclass(frozen=True)
class Served:
    """A classifier, and its SavedModel, which is not where it was written."""

    source: Exportable
    path: pathlib.Path
    model: Any
    max_windows: int

    def __call__(self, signature: str = "serving_default", **inputs: Any) -> Any:
        found = self.model.signatures[signature](
            **{name: tf.constant(value) for name, value in inputs.items()}
        )
        return {name: value.numpy() for name, value in found.items()}

    def probabilities(self, *texts: str | bytes) -> np.ndarray:
        """[texts, classes]."""
        text = np.array([t if isinstance(t, bytes) else t.encode() for t in texts])
        result: np.ndarray = self(text=text.astype(object))["probabilities"]
        return result

    def expected(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, classes], by KerasHub's layers."""
        logits = tiny_export.logits_in_memory(
            self.source, texts, max_windows=self.max_windows
        )
        return self.source.decision.probabilities(logits)


@pytest.fixture(
    scope="module",
    params=[("first", 1), ("mean", 1), ("first", 3), ("mean", 3)],
    ids=["first", "mean", "first_windows", "mean_windows"],
)
def served(
    request: pytest.FixtureRequest,
    tiny_hugging_face: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Served:
    pooling, max_windows = request.param
    source = tiny_export.make_source(
        tiny_hugging_face, pooling, max_windows=max_windows
    )
    folder = tmp_path_factory.mktemp("served")
    (folder / "here").mkdir()
    formats.write("float32", folder / "here", source)
    shutil.move(folder / "here", folder / "moved")
    model = tf.saved_model.load(str(folder / "moved"))
    return Served(source, folder / "moved", model, max_windows)


def test_names_types_and_shapes(served: Served) -> None:
    hidden_size = 16
    text = {"text": (tf.string, [None])}
    ids = {
        name: (tf.int32, [None, None])
        for name in ("token_ids", "padding_mask", "segment_ids")
    }
    expected = {
        "serving_default": (text, DECIDED),
        "classify_text": (text, DECIDED),
        "tf_example": ({"examples": (tf.string, [None])}, DECIDED),
        "tokens": (ids, DECIDED),
        "embed": (text, {"embedding": (tf.float32, [None, hidden_size])}),
        "classify": (
            {"inputs": (tf.string, [None])},
            {
                "classes": (tf.string, [None, len(LABELS)]),
                "scores": (tf.float32, [None, len(LABELS)]),
            },
        ),
    }
    found = {
        name: tuple(
            {key: (spec.dtype, spec.shape.as_list()) for key, spec in specs.items()}
            for specs in (
                signature.structured_input_signature[1],
                signature.structured_outputs,
            )
        )
        for name, signature in served.model.signatures.items()
    }
    assert found == expected


def test_answers_are_those_in_memory(served: Served) -> None:
    expected = served.expected(TEXTS)
    found = served(text=list(TEXTS))
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    assert np.ptp(expected, axis=0).min() > 0.01, "all texts are alike to the model"
    chosen = (expected / DECISION.thresholds).argmax(axis=1)
    assert (chosen != expected.argmax(axis=1)).any(), "thresholds change nothing"
    labels = [label.decode() for label in found["label"]]
    assert labels == [LABELS[index] for index in chosen]
    scores = expected[np.arange(len(TEXTS)), chosen]
    np.testing.assert_allclose(found["score"], scores, atol=1e-6)
    assert 0 < found["abstain"].sum() < len(TEXTS)
    np.testing.assert_array_equal(found["abstain"], scores < DECISION.abstain_below)


def test_all_signatures_say_the_same(served: Served) -> None:
    expected = served(text=list(TEXTS))
    examples = [tiny_export.example(text) for text in TEXTS]
    short = [text for text in TEXTS if len(text.split()) < MAX_LENGTH - 4]
    ids = tiny_export.make_encoder()(tf.constant(short)).token_ids
    padded = ids.to_tensor().numpy()
    mask = tf.sequence_mask(ids.row_lengths(), dtype=tf.int32).numpy()
    of_short = np.array([text in short for text in TEXTS])
    answers = [
        (served("classify_text", text=list(TEXTS)), np.ones(len(TEXTS), bool)),
        (served("tf_example", examples=examples), np.ones(len(TEXTS), bool)),
        (
            served(
                "tokens", token_ids=padded, padding_mask=mask, segment_ids=0 * padded
            ),
            of_short,
        ),
    ]
    for found, rows in answers:
        np.testing.assert_array_equal(found["label"], expected["label"][rows])
        np.testing.assert_allclose(
            found["probabilities"], expected["probabilities"][rows], atol=1e-6
        )


def test_classify_gives_every_class_its_score(served: Served) -> None:
    """By the method that TensorFlow Serving's Classify asks for, and that no other has."""
    found = served("classify", inputs=[tiny_export.example(text) for text in TEXTS])
    expected = served(text=list(TEXTS))["probabilities"]
    np.testing.assert_allclose(found["scores"], expected, atol=1e-6)
    for row in found["classes"]:
        assert [label.decode() for label in row] == list(LABELS)
    signatures = stock_ops.read(served.path).signature_def
    assert {
        name: signature.method_name
        for name, signature in signatures.items()
        if not name.startswith("__")
    } == {
        **dict.fromkeys(served.model.signatures, "tensorflow/serving/predict"),
        "classify": "tensorflow/serving/classify",
    }


def test_fingerprint_is_that_of_the_files(
    served: Served, tmp_path: pathlib.Path
) -> None:
    """The graph's file is changed after TensorFlow wrote it."""
    found = tf.saved_model.experimental.read_fingerprint(str(served.path))
    copy = tmp_path / "1"
    shutil.copytree(served.path, copy)
    fingerprinting_utils.write_fingerprint(str(copy))
    expected = tf.saved_model.experimental.read_fingerprint(str(copy))
    assert found.saved_model_checksum == expected.saved_model_checksum
    assert found.signature_def_hash == expected.signature_def_hash


def test_embedding_is_what_the_head_reads(served: Served) -> None:
    vectors = served("embed", text=list(TEXTS))["embedding"]
    head = served.source.make_classifier("float32").get_layer("logits")
    logits = vectors @ head.kernel.numpy() + head.bias.numpy()
    np.testing.assert_allclose(
        served.source.decision.probabilities(logits), served.expected(TEXTS), atol=1e-6
    )


@pytest.mark.parametrize("size", [0, 1, 2, 33])
def test_any_batch_size(size: int, served: Served) -> None:
    texts = np.array([text.encode() for text in TEXTS[:size]], object)
    found = served(text=texts)
    assert {name: value.shape[0] for name, value in found.items()} == dict.fromkeys(
        DECIDED, size
    )
    expected = served.probabilities(*TEXTS)[:size]
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    assert served("embed", text=texts)["embedding"].shape == (size, 16)
    ids = np.ones([size, 7], np.int32)
    answer = served("tokens", token_ids=ids, padding_mask=ids, segment_ids=0 * ids)
    assert answer["probabilities"].shape == (size, len(LABELS))


def test_no_examples(served: Served) -> None:
    assert served("tf_example", examples=np.array([], object))["label"].shape == (0,)


HOSTILE: dict[str, tuple[bytes, str]] = {
    # What is sent, and a text that is read the same way.
    "empty": (b"", ""),
    "blanks": (b" \t\n\xe3\x80\x80", ""),
    "not_utf8": (b"a \xff\xfe\x80 fi\xc3lm", "a film"),
    "only_not_utf8": (b"\xff\xfe\xfd", ""),
    "cut_character": ("good caf\u00e9".encode()[:-1], "good caf"),
    "surrogate": (b"good \xed\xa0\x80 film", "good film"),
    "nul": (b"go\0od", "good"),
    "special_tokens": (b"[SEP] [CLS]", "[ SEP ] [ CLS ]"),
    "long_text": (b"good " * 200_000, "good " * 3 * MAX_LENGTH),
    "long_word": (b"g" * 1_000_000, "\u4e00"),
    "long_garbage": (b"\xff" * 1_000_000 + b" good", "good"),
}


@pytest.mark.parametrize(("sent", "read"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_are_answered_and_harm_no_others(
    sent: bytes, read: str, served: Served
) -> None:
    found = served.probabilities("a good film", sent, "so dull.")
    expected = served.expected(["a good film", read, "so dull."])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(served.probabilities(sent), expected[1:2], atol=1e-6)


def test_length_of_the_others_does_not_matter(served: Served) -> None:
    texts = ("good", "so very dull " * 100, "", "the plot " * 9)
    together = served.probabilities(*texts)
    for row, text in enumerate(texts):
        np.testing.assert_allclose(
            together[[row]], served.probabilities(text), atol=1e-6
        )


def test_long_texts_as_in_training(served: Served) -> None:
    room = MAX_LENGTH - 2
    if served.max_windows > 1:
        room += (served.max_windows - 1) * (room - tiny_export.OVERLAP)
    kept = "bad " * room
    answer = served.probabilities(kept)
    beyond = served.probabilities(kept + "good wonderful")
    np.testing.assert_allclose(beyond, answer, atol=1e-6)
    last_word = served.probabilities("bad " * (room - 1) + "good")
    assert np.abs(last_word - answer).max() > 1e-3


IDS = np.array([[2, 5, 3]], np.int32)
BAD_TOKENS: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "too_long": (dict(token_ids=np.ones([1, 33], np.int32)), "1 to 32 columns"),
    "no_column": (dict(token_ids=np.ones([1, 0], np.int32)), "1 to 32 columns"),
    "unknown_id": (dict(token_ids=IDS + 10_000), "token_ids must be in 0 to"),
    "negative_id": (dict(token_ids=-IDS), "token_ids must be in 0 to"),
    "unknown_segment": (dict(segment_ids=IDS), "segment_ids must be in 0 to 1"),
    "mask_of_five": (dict(padding_mask=IDS), "padding_mask must be in 0 to 1"),
    "mask_below_zero": (
        dict(padding_mask=np.array([[1, -7, 1]], np.int32)),
        "padding_mask must be in 0 to 1",
    ),
    "mask_of_more_rows": (
        dict(padding_mask=np.ones([2, 3], np.int32)),
        "must be of one shape",
    ),
    "mask_of_fewer_columns": (
        dict(padding_mask=np.ones([1, 1], np.int32)),
        "must be of one shape",
    ),
    "mask_of_one_row_for_two": (
        dict(
            token_ids=np.concatenate([IDS, IDS]), padding_mask=np.ones([1, 3], np.int32)
        ),
        "must be of one shape",
    ),
    "segments_of_more_rows": (
        dict(segment_ids=np.zeros([2, 3], np.int32)),
        "must be of one shape",
    ),
    "segments_of_no_row": (
        dict(segment_ids=np.zeros([0, 3], np.int32)),
        "must be of one shape",
    ),
}


@pytest.mark.parametrize(("changes", "words"), BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_bad_tokens_are_an_error(
    changes: dict[str, np.ndarray], words: str, served: Served
) -> None:
    like = changes.get("token_ids", IDS)
    inputs = dict(
        token_ids=like,
        padding_mask=np.ones_like(like),
        segment_ids=np.zeros_like(like),
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        served("tokens", **(inputs | changes))


def test_shapes_are_checked_where_python_does_not(served: Served) -> None:
    """TensorFlow's C API, and so every server, feeds what the signature cannot have."""
    graph = tf.Graph()
    with tf.compat.v1.Session(graph=graph) as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(served.path))

        def ask(name: str, **inputs: Any) -> Any:
            def output(info: Any) -> Any:
                return graph.get_tensor_by_name(info.name)._as_tf_output()

            signature = loaded.signature_def[name]
            fed = {output(signature.inputs[key]): inputs[key] for key in inputs}
            asked = [output(signature.outputs[key]) for key in signature.outputs]
            return session._call_tf_sessionrun(None, fed, asked, [], None)

        square = np.array([[2, 5, 3]] * 3, np.int32)
        ones, zeros = np.ones_like(square), np.zeros_like(square)
        ask("tokens", token_ids=square, padding_mask=ones, segment_ids=zeros)
        for ids, mask, segments in (
            # These would be broadcast: of every row the same columns.
            (square, ones[0], zeros),
            (square, ones, zeros[0]),
            (square, ones[0, 0], zeros),
            (square[0], ones[0], zeros[0]),
            (square[None], ones[None], zeros[None]),
        ):
            with pytest.raises(tf.errors.InvalidArgumentError, match="token_ids"):
                ask("tokens", token_ids=ids, padding_mask=mask, segment_ids=segments)
        for name, key in (("serving_default", "text"), ("embed", "text")):
            with pytest.raises(tf.errors.InvalidArgumentError):
                ask(name, **{key: np.array([[b"good"], [b"bad"]], object)})


def test_row_without_a_token_is_answered(served: Served) -> None:
    """And harms no others."""
    ids = np.concatenate([IDS, IDS])
    mask = np.array([[0, 0, 0], [1, 1, 1]], np.int32)
    found = served("tokens", token_ids=ids, padding_mask=mask, segment_ids=0 * ids)
    alone = served("tokens", token_ids=IDS, padding_mask=mask[1:], segment_ids=0 * IDS)
    assert np.isfinite(found["probabilities"]).all()
    np.testing.assert_allclose(
        found["probabilities"][1:], alone["probabilities"], atol=1e-6
    )


@pytest.mark.parametrize("example", [b"nonsense", b""], ids=["no_proto", "no_text"])
def test_bad_example_is_an_error(example: bytes, served: Served) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="(?i)example"):
        served("tf_example", examples=[example])


def test_constants_may_be_set_after_loading(served: Served) -> None:
    model = tf.saved_model.load(str(served.path))
    assert model.temperature.numpy() == np.float32(DECISION.temperature)
    np.testing.assert_allclose(model.decision_thresholds, DECISION.thresholds)
    assert model.abstain_below.numpy() == np.float32(DECISION.abstain_below)
    model.abstain_below.assign(1.1)
    model.temperature.assign(100.0)
    found = model.signatures["serving_default"](text=tf.constant(TEXTS))
    assert found["abstain"].numpy().all()
    np.testing.assert_allclose(found["probabilities"], 1 / len(LABELS), atol=0.02)


class Recorder(Forward):
    """Notes the shapes that it is called with, at each call of the graph."""

    def __init__(self, classifier: keras.Model) -> None:
        super().__init__(classifier, window_length=MAX_LENGTH)
        self.shapes: list[tuple[int, ...]] = []

    def __call__(
        self,
        token_ids: tf.Tensor,
        num_tokens: tf.Tensor,
        *,
        dropout_seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        def note(shape: np.ndarray) -> None:
            self.shapes.append(tuple(shape.tolist()))

        with tf.control_dependencies(
            [tf.numpy_function(note, [tf.shape(token_ids)], [])]
        ):
            return super().__call__(tf.identity(token_ids), num_tokens)


def test_each_text_costs_what_its_bucket_costs(tiny_hugging_face: str) -> None:
    """Also short ones beside long ones."""
    source = tiny_export.make_source(tiny_hugging_face, max_windows=2)
    recorder = Recorder(source.make_classifier("float32"))
    module = ServingModule(
        recorder,
        source.encoder,
        LABELS,
        bucket_lengths=source.bucket_lengths,
        decision=DECISION,
    )
    short, long, longest = "good film", "bad " * 20, "bad " * 50
    for texts, shapes in [
        ([short], [(1, 16)]),
        ([short, longest, short, long, short], [(3, 16), (1, 32), (1, 64)]),
        ([long, short], [(1, 16), (1, 32)]),
        (["a " * 14, "a " * 15, "a " * 30, "a " * 31], [(1, 16), (2, 32), (1, 64)]),
        ([], []),
    ]:
        recorder.shapes.clear()
        module.classify_text(tf.constant(texts, tf.string))
        assert sorted(recorder.shapes, key=lambda shape: shape[1]) == shapes


def test_predictor_reads_it(served: Served) -> None:
    predictions = predictor.load(str(served.path))(["a good film", ""])
    expected = served.expected(["a good film", ""])
    for prediction, row in zip(predictions, expected, strict=True):
        index = int((row / DECISION.thresholds).argmax())
        assert prediction["label"] == LABELS[index]
        assert prediction["score"] == pytest.approx(row[index], abs=1e-6)
        assert prediction["probabilities"] == pytest.approx(row.tolist(), abs=1e-6)


def test_each_weight_is_written_once(served: Served) -> None:
    variables = served.path / "variables"
    (data,) = variables.glob("variables.data-*")
    weights = served.source.make_classifier("float32").variables
    num_bytes = sum(variable.numpy().nbytes for variable in weights)
    # Besides the weights there is the graph of objects.
    assert num_bytes < data.stat().st_size < num_bytes + 20_000
    saved = [
        tuple(shape)
        for name, shape in tf.train.list_variables(str(variables / "variables"))
        if name.endswith("VARIABLE_VALUE")
    ]
    expected = [tuple(variable.shape) for variable in weights]
    # And temperature, thresholds, and when to abstain.
    assert sorted(saved) == sorted([*expected, (), (len(LABELS),), ()])
