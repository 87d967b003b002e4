"""The local server: TensorFlow Serving's REST API, its limits, and the demo page."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import logging
import math
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import threading
from concurrent import futures
from typing import Any, Iterator

import httpx2
import numpy as np
import pytest
import tensorflow as tf
import uvicorn
from playwright import sync_api as playwright

from trainer import serve
from trainer.config import ServeConfig
from trainer.serving import manifest
from trainer.serving.local import connections, server
from trainer.serving.local.model import Model

ROOT = pathlib.Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "server.py"
TIMEOUT_SECS = 120.0
LABELS = ["negative", "positive"]
MAX_REQUEST_BYTES = 20_000
MAX_BATCH_SIZE = 8
PREDICT = "/v1/models/tiny:predict"


class CountingModel(tf.Module):
    """Logits are how often a text has the words "good" and "bad"."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def classify(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        # A slash parts words for the model, not for the page.
        words = tf.strings.split(tf.strings.regex_replace(text, "/", " "))
        counts = [
            tf.reduce_sum(tf.cast(words == word, tf.float32), axis=1)
            for word in ("bad", "good")
        ]
        return self._outputs(tf.stack(counts, axis=1))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int32, name)
            for name in ("token_ids", "padding_mask", "segment_ids")
        ]
    )
    def classify_tokens(
        self, token_ids: tf.Tensor, padding_mask: tf.Tensor, segment_ids: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        total = tf.reduce_sum(token_ids * padding_mask + segment_ids, axis=1)
        return self._outputs(tf.cast(tf.stack([-total, total], axis=1), tf.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def embed(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        length = tf.cast(tf.strings.length(text), tf.float32)
        return {"embedding": tf.stack([0.1 * length, 1 / length, tf.sqrt(-length)], 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def repeat(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.Assert(tf.reduce_all(text != "fail"), ["told to fail"])
        return {
            "text_bytes": text,
            "text": text,
            "length": tf.strings.length(text),
            "scaled": tf.cast(tf.strings.length(text), tf.float64) * 0.7,
            "half": tf.cast(tf.strings.length(text), tf.int64) // 2,
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, "a"),
            tf.TensorSpec([None], tf.bool, "b"),
        ]
    )
    def total(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": tf.reduce_sum(tf.where(b, a, 0.0))}

    def _outputs(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(logits)
        return {
            "label": tf.gather(tf.constant(LABELS), tf.argmax(logits, axis=1)),
            "score": tf.reduce_max(probabilities, axis=1),
            "probabilities": probabilities,
            "abstain": tf.reduce_max(probabilities, axis=1) < 0.6,
        }


class ExplainingModel(CountingModel):
    """Says of "good" that it moved the answer by one, and of "bad" by minus one."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def explain(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        words = tf.strings.split(text)
        lengths = words.with_flat_values(tf.strings.length(words.flat_values) + 1)
        end = tf.cumsum(lengths.to_tensor(), axis=1) - 1
        moved = tf.where(words == "good", 1.0, tf.where(words == "bad", -1.0, 0.0))
        return {
            "tokens": words.to_tensor(""),
            "begin": end - lengths.to_tensor() + 1,
            "end": end,
            "attribution": moved.to_tensor(),
            "completeness_gap": tf.fill([tf.size(text)], 0.004),
        }


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A version's folder, with a manifest."""
    # TensorFlow would take the name for a pattern.
    folder = tmp_path_factory.mktemp("export") / "served [1]" / "3"
    folder.parent.mkdir()
    model = CountingModel()
    signatures = {
        "serving_default": model.classify,
        "tokens": model.classify_tokens,
        "embed": model.embed,
        "repeat": model.repeat,
        "total": model.total,
    }
    tf.saved_model.save(model, str(folder), signatures)
    manifest = {"constants": {"labels": LABELS}}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(saved_model: pathlib.Path) -> Model:
    return Model(saved_model, "tiny")


@contextlib.contextmanager
def running(model: Any, **options: Any) -> Iterator[str]:
    """A server in a thread of this process; gives its URL."""
    limits = {"max_request_bytes": MAX_REQUEST_BYTES, "max_batch_size": MAX_BATCH_SIZE}
    app = server.make_app(model, **(limits | {"labels": LABELS} | options))
    listener = server.bind("127.0.0.1", 0)
    listener.listen()
    running = uvicorn.Server(
        uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off")
    )
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(TIMEOUT_SECS)
        listener.close()


@pytest.fixture(scope="module")
def url(model: Model) -> Iterator[str]:
    with running(model) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=TIMEOUT_SECS) as client:
        yield client


def ask(client: httpx2.Client, **request: Any) -> Any:
    response = client.post(PREDICT, json=request)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def softmax(*logits: float) -> list[float]:
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def test_rows_hold_all_outputs_by_name(client: httpx2.Client) -> None:
    answer = ask(client, instances=["good good film", "bad", "film"])

    assert list(answer) == ["predictions"]
    rows = answer["predictions"]
    assert [row["label"] for row in rows] == ["positive", "negative", "negative"]
    assert [row["abstain"] for row in rows] == [False, False, True]
    expected = [softmax(0, 2), softmax(1, 0), softmax(0, 0)]
    for row, probabilities in zip(rows, expected):
        assert row["probabilities"] == pytest.approx(probabilities, abs=1e-6)
        assert row["score"] == max(row["probabilities"])


def test_requests_that_mean_the_same(client: httpx2.Client) -> None:
    text = "good na\u00efve \U0001f600"
    encoded = {"b64": base64.b64encode(text.encode()).decode()}
    unpadded = {"b64": encoded["b64"].rstrip("=")}
    expected = ask(client, instances=[text])
    for instance in ({"text": text}, encoded, unpadded, {"text": encoded}):
        assert ask(client, instances=[instance]) == expected
    ((row,),) = expected.values()
    columns = {name: [value] for name, value in row.items()}
    for inputs in ([text], {"text": [text]}, [encoded], {"text": [unpadded]}):
        assert ask(client, inputs=inputs) == {"outputs": columns}


def test_several_inputs(client: httpx2.Client) -> None:
    rows = [
        {"token_ids": [1, 2], "padding_mask": [1, 0], "segment_ids": [0, 0]},
        {"token_ids": [1, 2], "padding_mask": [1, 1], "segment_ids": [0, -5]},
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    by_row = ask(client, signature_name="tokens", instances=rows)["predictions"]
    by_column = ask(client, signature_name="tokens", inputs=columns)["outputs"]

    assert [row["label"] for row in by_row] == ["positive", "negative"]
    assert by_row[0]["probabilities"] == pytest.approx(softmax(-1, 1), abs=1e-6)
    for name, column in by_column.items():
        assert column == [row[name] for row in by_row]


def test_a_single_output_has_no_name_and_numbers_may_not_be_finite(
    client: httpx2.Client,
) -> None:
    for request, name in (
        ({"instances": ["ab", ""]}, "predictions"),
        ({"inputs": ["ab", ""]}, "outputs"),
    ):
        response = client.post(PREDICT, json={"signature_name": "embed", **request})
        assert response.status_code == 200
        # The shortest digits of float32, and a point in all of them.
        rows = ("[0.2, 0.5, NaN]", "[0.0, Infinity, -0.0]")
        assert "".join(response.text.split()) == (
            '{"' + name + '":[' + ",".join(rows).replace(" ", "") + "]}"
        )


def test_bytes_strings_and_numbers(client: httpx2.Client) -> None:
    text = '"\u00e9"\n\\ <b>'
    raw = b"\xff\xfe\x00"
    instances = [text, {"b64": base64.b64encode(raw).decode()}]
    response = client.post(
        PREDICT, json={"signature_name": "repeat", "instances": instances}
    )

    # Strings are passed on as they are, which is why there is _bytes.
    assert raw[:2] in response.content
    rows = json.loads(response.content.decode(errors="replace"))["predictions"]
    assert [base64.b64decode(row["text_bytes"]["b64"]) for row in rows] == [
        text.encode(),
        raw,
    ]
    assert rows[0]["text"] == text
    assert [row["length"] for row in rows] == [len(text.encode()), 3]
    assert [row["half"] for row in rows] == [len(text.encode()) // 2, 1]
    assert [row["scaled"] for row in rows] == [len(text.encode()) * 0.7, 3 * 0.7]


def test_bytes_that_are_not_utf8_reach_the_model(client: httpx2.Client) -> None:
    body = b'{"signature_name": "repeat", "instances": ["\xff"]}'
    (row,) = json.loads(client.post(PREDICT, content=body).content.decode("latin-1"))[
        "predictions"
    ]
    assert base64.b64decode(row["text_bytes"]["b64"]) == b"\xff"


def test_no_rows(client: httpx2.Client) -> None:
    """Column format allows it, and row format does not, as in TensorFlow Serving."""
    outputs = ask(client, inputs={"text": []})["outputs"]
    assert outputs == dict.fromkeys(["abstain", "label", "probabilities", "score"], [])
    response = client.post(PREDICT, json={"instances": []})
    assert response.status_code == 400
    assert "at least one row. Received: []" in response.json()["error"]


def test_what_follows_the_object_is_not_read(client: httpx2.Client) -> None:
    body = b' \n{"instances": ["good"]} and more'
    assert client.post(PREDICT, content=body).json() == ask(client, instances=["good"])


REFUSED: list[tuple[Any, str]] = [
    (b"", "must be JSON. Received: Expecting value: line 1 column 1"),
    (b'{"instances": }', "must be JSON. Received: Expecting value: line 1 column 15"),
    (b'{"instances": ["\\ud800"]}', "text must be valid Unicode"),
    (b'{"inputs": ' + b"[" * 5000, "must be JSON"),
    ([1], "must be a JSON object. Received: [1]"),
    ({}, "must have either instances or inputs"),
    ({"instances": ["a"], "inputs": ["a"]}, "must have either instances or inputs"),
    ({"instances": "a"}, "must be a list of at least one row. Received: 'a'"),
    (
        {"signature_name": 1, "instances": ["a"]},
        "signature_name must be a string. Received: 1",
    ),
    (
        {"signature_name": "none", "instances": ["a"]},
        "must be one of embed, repeat, serving_default, tokens, total. Received: 'none'",
    ),
    ({"instances": ["a", 5]}, "text must hold strings, or {'b64': …}. Received: 5"),
    ({"instances": [{"text": None}]}, "text must hold strings"),
    ({"inputs": {"text": [True]}}, "text must hold strings"),
    ({"instances": [{"texts": "a"}]}, "must have the keys text. Received: {'texts'"),
    ({"instances": [{"text": "a"}, "b"]}, "must be objects, or none. Received: 'b'"),
    ({"instances": ["a", {"text": "b"}]}, "must be objects, or none"),
    ({"inputs": {"texts": ["a"]}}, "inputs must have text. Received: ['texts']"),
    ({"instances": [{"b64": "?"}]}, "b64 must hold base64. Received: '?'"),
    ({"inputs": [{"b64": 1}]}, "b64 must hold base64. Received: 1"),
    ({"inputs": ["a", ["b"]]}, "text must hold strings"),
    ({"inputs": [["a"], "b"]}, "lists in text must have the same lengths"),
    ({"inputs": [["a", "b"], ["c"]]}, "lists in text must have the same lengths"),
    (
        {"inputs": "a"},
        "text must have the shape (None,), None being any size. Received: ()",
    ),
    (
        {"signature_name": "tokens", "instances": [[1]]},
        "must be an object of padding_mask, segment_ids, token_ids",
    ),
    (
        {"signature_name": "tokens", "inputs": [[1]]},
        "must be an object of padding_mask, segment_ids, token_ids",
    ),
    (
        {"signature_name": "tokens", "instances": [{"token_ids": [1]}]},
        "must have the keys padding_mask, segment_ids, token_ids",
    ),
    (
        {
            "signature_name": "tokens",
            "instances": [{"token_ids": [1]}, {"token_ids": [1, 2]}],
        },
        "must have the keys padding_mask, segment_ids, token_ids",
    ),
    *(
        (
            {
                "signature_name": "tokens",
                "inputs": {
                    "token_ids": [[value]],
                    "padding_mask": [[1]],
                    "segment_ids": [[0]],
                },
            },
            "token_ids must hold int32. Received: ",
        )
        for value in (1.5, 2**31, True, {"b64": "YQ=="}, None, "1")
    ),
    ({"instances": ["a", ["b"]]}, "text must hold strings"),
    ({"instances": [["a"], ["b", "c"]]}, "lists in text must have the same lengths"),
    (
        {"instances": ["a"] * (MAX_BATCH_SIZE + 1)},
        f"at most {MAX_BATCH_SIZE} rows (--max_batch_size). Received: "
        f"{MAX_BATCH_SIZE + 1}",
    ),
    (
        {"inputs": {"text": ["a"] * (MAX_BATCH_SIZE + 1)}},
        f"at most {MAX_BATCH_SIZE} rows (--max_batch_size)",
    ),
    ({"signature_name": "repeat", "instances": ["a", "fail"]}, "told to fail"),
    (
        {"signature_name": "total", "instances": [{"a": 1, "b": True}]},
        "must give a row for each row to be asked by instances",
    ),
]


@pytest.mark.parametrize("request_, expected", REFUSED, ids=range(len(REFUSED)))
def test_bad_requests_are_400(
    client: httpx2.Client, request_: Any, expected: str
) -> None:
    """With words that say what is wrong."""
    body = request_ if isinstance(request_, bytes) else json.dumps(request_).encode()
    response = client.post(PREDICT, content=body)
    assert response.status_code == 400
    answer = response.json()
    assert list(answer) == ["error"]
    assert expected in answer["error"]


def test_a_wrong_value_is_shown_in_part(client: httpx2.Client) -> None:
    response = client.post(PREDICT, json={"instances": "x" * 10_000})
    assert len(response.json()["error"]) < 400


BODY = b'{"instances": ["a"]}'


@pytest.mark.parametrize(
    "text, expected",
    [
        ("YQ==", b"a"),
        ("YQ", b"a"),
        (" Y\tQ\n=\v=\f\r", b"a"),
        ("YQ..", b"a"),
        ("YQ=.", b"a"),
        ("YR==", b"a"),
        ("YWI=", b"ab"),
        ("YWI", b"ab"),
        ("YWJj", b"abc"),
        ("", b""),
        ("YQ=", None),
        ("YQ===", None),
        ("YWI==", None),
        ("YWJj=", None),
        ("Y", None),
        ("Y===", None),
        ("=", None),
        ("YQ==YQ==", None),
        ("YQ=a", None),
        ("_-==", None),
        ("Y\u00a0Q==", None),
    ],
)
def test_base64_is_judged_as_by_absl(
    client: httpx2.Client, text: str, expected: bytes | None
) -> None:
    request = {"signature_name": "repeat", "instances": [{"b64": text}]}
    response = client.post(PREDICT, json=request)
    if expected is None:
        assert response.status_code == 400
        assert "b64 must hold base64" in response.json()["error"]
    else:
        (row,) = response.json()["predictions"]
        assert base64.b64decode(row["text_bytes"]["b64"]) == expected


def test_keys_that_are_there_twice(client: httpx2.Client) -> None:
    """The first counts; and what has two is not base64."""
    body = b'{"instances": [{"text": "good", "text": "bad"}], "instances": ["bad"]}'
    assert client.post(PREDICT, content=body).json() == ask(client, instances=["good"])
    body = b'{"instances": [{"b64": "YQ==", "b64": "YQ=="}]}'
    response = client.post(PREDICT, content=body)
    assert response.status_code == 400
    assert "must have the keys text" in response.json()["error"]


def test_numbers_that_python_reads_otherwise(client: httpx2.Client) -> None:
    def total(number: str) -> httpx2.Response:
        inputs = f'{{"a": [{number}, 5], "b": [true, false]}}'
        body = f'{{"signature_name": "total", "inputs": {inputs}}}'
        return client.post(PREDICT, content=body.encode())

    assert "".join(total("Inf").text.split()) == '{"outputs":Infinity}'
    assert "".join(total("-NaN").text.split()) == '{"outputs":NaN}'
    assert total("1e400").status_code == 400
    assert "must fit a double" in total("1e400").json()["error"]


def test_bodies_in_gzip(client: httpx2.Client) -> None:
    def post(body: bytes) -> httpx2.Response:
        return client.post(PREDICT, content=body, headers={"Content-Encoding": "gzip"})

    packed = gzip.compress(b'{"instances": ["good"]}')
    assert post(packed).json() == ask(client, instances=["good"])
    for body in (BODY, packed[:-1], packed + packed, packed + b"more", b""):
        answer = post(body)
        assert answer.status_code == 400, body
        assert "must be gzip" in answer.json()["error"]
    assert post(gzip.compress(b" " * (MAX_REQUEST_BYTES + 1))).status_code == 413


def test_options(client: httpx2.Client) -> None:
    answer = client.options(PREDICT, headers={"Origin": "https://example.org"})
    assert (answer.status_code, answer.content) == (200, b"")
    # Without which no browser lets a page from there read an answer.
    assert "access-control-allow-origin" not in answer.headers
    assert client.options(PREDICT).status_code == 400


@pytest.mark.parametrize(
    "path, code",
    [
        ("/v1/models/tiny/versions/003", 200),
        ("/V1/Models/tiny", 200),
        ("/v1/models/t%69ny", 200),
        (f"/v1/models/tiny/versions/{2**63 - 1}", 404),
        (f"/v1/models/tiny/versions/{2**63}", 400),
        (f"/v1/models/tiny/versions/{'9' * 5000}", 400),
        # A query is a part of the path there.
        ("/v1/models/tiny?a=b", 404),
        ("/v1/models/tiny/versions/3?a=b", 400),
        ("/v1/models/tiny%2Fversions%2F3", 404),
    ],
)
def test_paths_are_judged_as_there(client: httpx2.Client, path: str, code: int) -> None:
    response = client.get(path)
    assert response.status_code == code
    if code != 200:
        assert list(response.json()) == ["error"]


def test_a_query_is_no_prediction(client: httpx2.Client) -> None:
    assert client.post(f"{PREDICT}?a=b", content=BODY).status_code == 400


def test_errors_of_the_graph_begin_with_what_is_wrong(client: httpx2.Client) -> None:
    request = {"signature_name": "repeat", "instances": ["fail"]}
    error = client.post(PREDICT, json=request).json()["error"]
    assert error.startswith("assertion failed: [told to fail]")
    assert "Graph execution" not in error and "[Op:" not in error


@pytest.mark.parametrize(
    "method, path, code, expected",
    [
        (
            "POST",
            "/v1/models/other:predict",
            404,
            "must be tiny, version 3. Received: other",
        ),
        (
            "POST",
            "/v1/models/tiny/versions/7:predict",
            404,
            "must be tiny, version 3. Received: tiny, version 7",
        ),
        (
            "POST",
            "/v1/models/tiny/labels/stable:predict",
            400,
            "named by its number. Received: 'stable'",
        ),
        (
            "POST",
            "/v1/models/tiny:classify",
            400,
            "are for :predict. Received: :classify",
        ),
        (
            "POST",
            "/v1/models/tiny:guess",
            400,
            "Received: POST /v1/models/tiny:guess",
        ),
        ("POST", "/v1/models/tiny", 400, "Received: POST /v1/models/tiny"),
        ("GET", PREDICT, 400, f"Received: GET {PREDICT}"),
        ("PUT", PREDICT, 400, f"Received: PUT {PREDICT}"),
        ("GET", "/v1/models/other", 404, "must be tiny, version 3. Received: other"),
        (
            "GET",
            "/v1/models/tiny/versions/7",
            404,
            "Received: tiny, version 7",
        ),
        (
            "GET",
            "/v1/models/other/metadata",
            404,
            "must be tiny, version 3. Received: other",
        ),
        ("GET", "/v1/models", 400, "must name the model tiny"),
        (
            "GET",
            "/favicon.ico",
            404,
            "the page is at /, the model at /v1/models/tiny. Received: /favicon.ico",
        ),
    ],
)
def test_wrong_paths(
    client: httpx2.Client, method: str, path: str, code: int, expected: str
) -> None:
    response = client.request(method, path, content=BODY)
    assert response.status_code == code
    assert list(response.json()) == ["error"]
    assert expected in response.json()["error"]


def test_a_version_may_be_named(client: httpx2.Client) -> None:
    response = client.post("/v1/models/tiny/versions/3:predict", content=BODY)
    assert response.json() == client.post(PREDICT, content=BODY).json()


@pytest.mark.parametrize("path", ["", "/versions/3"])
def test_status(client: httpx2.Client, path: str) -> None:
    health = {"error_code": "OK", "error_message": ""}
    assert client.get(f"/v1/models/tiny{path}").json() == {
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": health}
        ]
    }


def test_metadata(client: httpx2.Client) -> None:
    answer = client.get("/v1/models/tiny/metadata").json()
    assert answer == client.get("/v1/models/tiny/versions/3/metadata").json()
    assert answer["model_spec"] == {
        "name": "tiny",
        "signature_name": "",
        "version": "3",
    }
    signature = answer["metadata"]["signature_def"]["signature_def"]["embed"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"] == {
        "text": {
            "dtype": "DT_STRING",
            "tensor_shape": {
                "dim": [{"size": "-1", "name": ""}],
                "unknown_rank": False,
            },
            "name": "embed_text:0",
        }
    }
    dims = signature["outputs"]["embedding"]["tensor_shape"]["dim"]
    assert [dim["size"] for dim in dims] == ["-1", "3"]


@contextlib.contextmanager
def guarded(model: Any, **options: Any) -> Iterator[int]:
    """A server as `run` makes it, in a thread of this process; gives its port."""
    app = server.make_app(
        model, max_request_bytes=MAX_REQUEST_BYTES, max_batch_size=MAX_BATCH_SIZE
    )
    settings: Any = dict(host="127.0.0.1", max_connections=9, client_timeout_secs=60.0)
    listener = server.bind("127.0.0.1", 0)
    listener.listen()
    guarded = server.make_server(app, listener, **(settings | options))
    thread = threading.Thread(target=guarded.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        guarded.should_exit = True
        thread.join(TIMEOUT_SECS)
        listener.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), TIMEOUT_SECS)


def everything(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(100_000):
            received += chunk
    return received


@pytest.fixture
def lines() -> Iterator[queue.Queue[str]]:
    """What is logged, by anybody, at the level of warnings or above."""
    logged: queue.Queue[str] = queue.Queue()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.put(self.format(record))

    handler = Handler(logging.WARNING)
    logging.getLogger().addHandler(handler)
    yield logged
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize(
    "host, code",
    [
        ("localhost", 200),
        ("LocalHost.:1", 200),
        ("127.0.0.1:8501", 200),
        ("127.9.9.9", 200),
        ("[::1]:8501", 200),
        ("[::1]", 200),
        ("rebound.example", 403),
        ("rebound.example:8501", 403),
        ("localhost.example", 403),
        ("127.0.0.1.example", 403),
        ("0.0.0.0:8501", 403),
        ("10.0.0.1", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize("path", ["/", "/v1/models/tiny"])
def test_other_hosts_are_refused_on_loopback(
    own_port: int, path: str, host: str, code: int
) -> None:
    """Or a page elsewhere could read the answers, by DNS rebinding."""
    url = f"http://127.0.0.1:{own_port}{path}"
    answer = httpx2.get(url, headers={"Host": host})
    assert answer.status_code == code
    if code == 403:
        error = answer.json()["error"]
        assert "must be localhost" in error and "--host" in error


@pytest.fixture(scope="module")
def own_port(model: Model) -> Iterator[int]:
    with guarded(model) as port:
        yield port


def test_no_host_is_no_browser(own_port: int) -> None:
    with connect(own_port) as connection:
        connection.sendall(b"GET /v1/models/tiny HTTP/1.0\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 200 ")


def test_the_name_given_is_a_name(model: Model) -> None:
    """Of a machine whose own name means 127.0.1.1, as Debian's."""
    with guarded(model, host="MyBox") as port:
        url = f"http://127.0.0.1:{port}/"
        assert httpx2.get(url, headers={"Host": "mybox:80"}).status_code == 200


def test_any_host_where_others_may_ask() -> None:
    with server.bind("0.0.0.0", 0) as listener:
        assert connections.names_of(listener, "0.0.0.0") is None


HEAD = b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: localhost\r\n"
SLOW = {
    "head": HEAD,
    "body": HEAD + b"Content-Length: 9\r\n\r\n{",
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_a_request_that_does_not_end_is_given_up(
    sent: bytes, lines: queue.Queue[str]
) -> None:
    with guarded(NeverCalled(), client_timeout_secs=0.2) as port:
        with connect(port) as connection:
            connection.sendall(sent)
            answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"--client_timeout_secs" in answer
    assert "took more than 0.2 s" in lines.get(timeout=TIMEOUT_SECS)


def test_a_trickle_is_given_up() -> None:
    """The time counts from the connection's start, not from the last byte."""
    with guarded(NeverCalled(), client_timeout_secs=0.2) as port:
        with connect(port) as connection:
            connection.settimeout(0.02)
            with pytest.raises(OSError):
                for _ in range(1000):
                    connection.sendall(b"P")
                    with contextlib.suppress(TimeoutError):
                        if connection.recv(1) in (b"", b"H"):
                            raise OSError("closed")


def test_one_who_does_not_read_is_given_up(lines: queue.Queue[str]) -> None:
    class Long:
        name, version = "tiny", 3
        signatures: Any = {}

        def inputs(self, _: str) -> Any:
            return {"text": np.dtype(object)}

        def predict(self, *_: Any) -> Any:
            return {"text": np.array([b"a" * 30_000_000], object)}

    with guarded(Long(), client_timeout_secs=0.5) as port, connect(port) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        assert "to take an answer" in lines.get(timeout=TIMEOUT_SECS)
        assert len(everything(connection)) < 30_000_000


def test_an_idle_connection_is_closed_without_a_word(lines: queue.Queue[str]) -> None:
    """Browsers open some for later."""
    with guarded(NeverCalled(), client_timeout_secs=0.2) as port:
        with connect(port) as connection:
            assert everything(connection) == b""
    assert lines.empty()


def test_a_slow_answer_is_not_given_up(model: Model) -> None:
    """Nor is its client, who waits for us."""
    may_end = threading.Event()

    class Slow:
        name, version = model.name, model.version
        signatures = model.signatures
        inputs = model.inputs

        def predict(self, *arguments: Any) -> Any:
            # Longer than a client may take.
            assert not may_end.wait(1.5)
            return model.predict(*arguments)

    with guarded(Slow(), client_timeout_secs=1.0) as port:
        url = f"http://127.0.0.1:{port}{PREDICT}"
        assert httpx2.post(url, content=BODY, timeout=None).status_code == 200


def test_connections_are_counted(model: Model) -> None:
    with guarded(model, max_connections=3) as port:
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(connect(port)) for _ in range(3)]
            for connection in held:
                connection.sendall(HEAD)
            with connect(port) as one_more:
                answer = everything(one_more)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"at most 3 connections (--max_connections)" in answer
            held[0].close()
            # The server may not have seen yet that one has gone.
            assert any(is_served(port) for _ in range(1000))


def is_served(port: int) -> bool:
    """Whether one more client is answered, not one too many."""
    with connect(port) as connection, contextlib.suppress(OSError):
        connection.sendall(b"GET /v1/models/tiny HTTP/1.0\r\n\r\n")
        return everything(connection).startswith(b"HTTP/1.1 200 ")
    return False


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_a_client_that_hangs_up_leaves_a_line(
    sent: bytes, model: Model, lines: queue.Queue[str]
) -> None:
    with guarded(NeverCalled()) as port:
        with connect(port) as connection:
            connection.sendall(sent)
            if sent is not HEAD:
                connection.shutdown(socket.SHUT_WR)
                assert everything(connection) == b""
    if sent is not HEAD:  # What has no end of its head asks nothing.
        line = lines.get(timeout=TIMEOUT_SECS)
        assert "hung up before" in line and "\n" not in line
    assert lines.empty()


def test_a_client_that_hangs_up_while_it_waits(
    model: Model, lines: queue.Queue[str]
) -> None:
    """It leaves a line; and one that gave up waiting is not computed."""
    begun, may_end = threading.Event(), threading.Event()
    calls = []

    class Slow:
        name, version = model.name, model.version
        signatures = model.signatures
        inputs = model.inputs

        def predict(self, *arguments: Any) -> Any:
            calls.append(arguments)
            begun.set()
            assert may_end.wait(TIMEOUT_SECS)
            return model.predict(*arguments)

    sent = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    with guarded(Slow()) as port:
        with connect(port) as asked, connect(port) as queued:
            asked.sendall(sent)
            assert begun.wait(TIMEOUT_SECS)
            queued.sendall(sent)
            for connection in (queued, asked):
                connection.shutdown(socket.SHUT_WR)
                assert everything(connection) == b""
        may_end.set()
        for _ in range(2):
            assert "hung up before" in lines.get(timeout=TIMEOUT_SECS)
    assert lines.empty() and len(calls) == 1


class NeverCalled:
    """A model that no request may reach."""

    name, version = "tiny", 3
    signatures: Any = {}


@pytest.mark.parametrize(
    "header, body",
    [
        (f"Content-Length: {MAX_REQUEST_BYTES + 1}", b""),
        (
            "Transfer-Encoding: chunked",
            b"%x\r\n%s" % (10 * MAX_REQUEST_BYTES, b" " * (MAX_REQUEST_BYTES + 1)),
        ),
    ],
    ids=["declared", "chunked"],
)
def test_a_huge_body_is_refused_before_its_end(header: str, body: bytes) -> None:
    with running(NeverCalled()) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with socket.create_connection(address, TIMEOUT_SECS) as connection:
            start = f"POST {PREDICT} HTTP/1.1\r\nHost: tiny\r\n{header}\r\n\r\n"
            connection.sendall(start.encode() + body)
            answer = b"".join(iter(lambda: connection.recv(100_000), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    # Else the server would go on receiving.
    assert b"connection: close" in head.lower()
    assert json.loads(content) == {
        "error": f"a request must have at most {MAX_REQUEST_BYTES} bytes "
        "(--max_request_bytes). Send fewer or shorter instances at a time."
    }


def test_what_nobody_thought_of_is_500() -> None:
    with running(NeverCalled()) as url:
        response = httpx2.post(url + PREDICT, content=BODY)
    assert response.status_code == 500
    assert "no attribute 'inputs'" in response.json()["error"]


def test_status_while_the_model_is_busy(url: str, model: Model) -> None:
    begun, may_end = threading.Event(), threading.Event()

    class Slow:
        name, version = model.name, model.version
        signatures = model.signatures
        inputs, status = model.inputs, model.status

        def predict(self, *arguments: Any) -> Any:
            begun.set()
            assert may_end.wait(TIMEOUT_SECS)
            return model.predict(*arguments)

    with running(Slow()) as url, futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(httpx2.post, url + PREDICT, content=BODY, timeout=None)
        try:
            assert begun.wait(TIMEOUT_SECS)
            assert httpx2.get(url + "/v1/models/tiny").status_code == 200
            assert not answer.done()
        finally:
            may_end.set()
        assert answer.result(TIMEOUT_SECS).status_code == 200


def make_versions(folder: pathlib.Path, *names: str, latest: str = "") -> None:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "saved_model.pb").touch()
    if latest:
        (folder / "latest").write_text(latest + "\n", encoding="utf-8")


def test_wrong_command_lines(tmp_path: pathlib.Path) -> None:
    def error_of(**settings: Any) -> str:
        with pytest.raises(ValueError) as stopped:
            server.run(ServeConfig(**settings))
        return str(stopped.value)

    assert "no saved_model.pb in it" in error_of(saved_model=str(tmp_path))
    make_versions(tmp_path, "1", latest="2")
    assert "which is no version there" in error_of(saved_model=str(tmp_path))
    folder = str(tmp_path / "1")
    assert "at least 1" in error_of(saved_model=folder, max_batch_size=0)
    assert "must be without / and :" in error_of(saved_model=folder, name="a:b")
    assert "that can be loaded" in error_of(saved_model=folder, port=0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = error_of(saved_model=folder, port=port)
    assert (
        f"Received: 127.0.0.1, {port}: " in error and "Address already in use" in error
    )


def test_a_format_without_signatures_is_refused(tmp_path: pathlib.Path) -> None:
    """A version of LiteRT has a manifest, and nothing that TensorFlow loads."""
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="no saved_model.pb in it"):
        server.run(ServeConfig(saved_model=str(tmp_path)))


def test_without_its_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install starlette uvicorn$"):
        serve.main(ServeConfig(saved_model="anywhere"))


def test_names_of_classes(tmp_path: pathlib.Path, saved_model: pathlib.Path) -> None:
    assert server.read_labels(saved_model) == LABELS
    assert server.read_labels(tmp_path) == []
    (tmp_path / "manifest.json").write_text('{"constants": {}}', encoding="utf-8")
    with pytest.raises(ValueError, match="must hold constants.labels"):
        server.read_labels(tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"samples": [1]}', "{"])
def test_a_damaged_manifest_is_named(content: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    for read in (server.read_labels, server.read_example):
        with pytest.raises(ValueError, match="manifest beside the model must hold"):
            read(tmp_path)


def test_example_of_a_version(tmp_path: pathlib.Path) -> None:
    assert server.read_example(tmp_path) == ""
    (tmp_path / "saved_model.pb").write_bytes(b"")
    for samples, expected in (([], ""), ([{"text": "é"}, {"text": "b"}], "é")):
        manifest.write(tmp_path, {"samples": samples})
        assert server.read_example(tmp_path) == expected
    manifest.write(tmp_path, {})
    assert server.read_example(tmp_path) == ""


@pytest.mark.slow
def test_a_process_of_its_own(saved_model: pathlib.Path) -> None:
    """As a user starts it: says when it is ready, answers, ends at Ctrl-C."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "trainer.serve"),
            *(f"--saved_model={saved_model.parent}", "--port=0"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("model, version 3, is served at http://127.0.0.1:"), line
        url = line.split()[6].rstrip("/")
        answer = httpx2.post(
            f"{url}/v1/models/model:predict", json={"instances": ["good"]}
        )
        assert answer.json()["predictions"][0]["label"] == "positive"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=TIMEOUT_SECS)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, output) == (0, "")
    assert "Traceback" not in errors


@pytest.fixture
def page(browser: playwright.Browser) -> Iterator[playwright.Page]:
    """An empty page; fails if anything was logged as an error, or loaded from afar."""
    with contextlib.closing(browser.new_context()) as context:
        opened = context.new_page()
        problems: list[str] = []
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("http://127.0.0.1:", "data:"))
                else problems.append(request.url)
            ),
        )
        yield opened
        assert not problems


def classify(page: playwright.Page, text: str) -> None:
    page.get_by_label("Your text").fill(text)
    page.get_by_role("button", name="Classify").click()


def wait_for_words(page: playwright.Page) -> None:
    playwright.expect(page.get_by_role("status")).to_contain_text("Classified in")


def test_page_shows_label_probabilities_and_words(
    page: playwright.Page, url: str, tmp_path: pathlib.Path
) -> None:
    page.goto(url)
    # Longer than a batch, so that words are asked for several times.
    neutral = "<b>film</b> & so on and so forth it goes"
    classify(page, f"good good {neutral} bad")
    playwright.expect(page.locator("#words")).to_contain_text(neutral)
    wait_for_words(page)

    assert page.locator("#label").inner_text() == "positive"
    positive, negative = softmax(2, 1)
    assert page.locator("#score").inner_text() == f"{positive:.1%}"
    assert page.locator("#abstain").inner_text() == "The model does not abstain."
    rows = page.locator("#classes li").all()
    assert [row.inner_text().split() for row in rows] == [
        ["positive", f"{positive:.1%}"],
        ["negative", f"{negative:.1%}"],
    ]
    words = page.locator("#words .word")
    # What is typed is text, and leaving out a word changes its logit by one.
    assert " ".join(words.all_inner_texts()) == f"good good {neutral} bad"
    changes = words.evaluate_all("words => words.map(word => word.title)")
    assert changes == ["+1.00", "+1.00", *["+0.00"] * 9, "\u22121.00"]
    directions = words.evaluate_all("words => words.map(word => word.className.trim())")
    assert directions[:3] == ["word for strong", "word for strong", "word"]
    assert directions[-1] == "word against strong"
    colours = words.evaluate_all(
        "words => words.map(word => getComputedStyle(word).backgroundColor)"
    )
    assert colours[0] == colours[1] and len({*colours}) == 3
    page.get_by_text("The strongest words").click()
    cells = page.locator("#strongest td").all_inner_texts()
    assert cells[:3] == ["good", "for", "+1.00"]
    assert cells[-3:] == ["bad", "against", "\u22121.00"]
    assert page.screenshot(path=tmp_path / "page.png", full_page=True)


class SeveralLabels(tf.Module):
    """Any number of labels: each of a word that a text has, or has not."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def classify(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        words = tf.strings.split(text)
        counts = [
            tf.reduce_sum(tf.cast(words == word, tf.float32), axis=1)
            for word in ("fear", "joy", "trust")
        ]
        probabilities = tf.sigmoid(2 * tf.stack(counts, axis=1) - 1)
        return {"probabilities": probabilities, "chosen": probabilities >= 0.5}


def test_page_shows_any_number_of_labels(
    page: playwright.Page, tmp_path: pathlib.Path
) -> None:
    """All of them, those that are chosen marked, and the words of the most probable."""
    model = SeveralLabels()
    tf.saved_model.save(model, str(tmp_path / "1"), {"serving_default": model.classify})
    names = ["fear", "joy", "trust"]
    with running(Model(tmp_path / "1", "several"), labels=names) as url:
        page.goto(url)
        classify(page, "joy joy and fear")
        wait_for_words(page)
        assert page.locator("#label").inner_text() == "fear, joy"
        playwright.expect(page.locator("#score")).to_be_hidden()
        rows = page.locator("#classes li").all()
        assert [row.inner_text().split()[0] for row in rows] == ["joy", "fear", "trust"]
        marked = [row.get_attribute("class") for row in rows]
        assert marked == ["shown", "shown", ""]
        words = page.locator("#words .word")
        changes = words.evaluate_all("words => words.map(word => word.title)")
        assert changes == ["+2.00", "+2.00", "+0.00", "+0.00"]
        classify(page, "nothing")
        playwright.expect(page.locator("#label")).to_have_text("no label")


class Pairs(tf.Module):
    """Of pairs: how much more joy the second text has than the first."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name=name)
            for name in ("text", "text_pair")
        ]
    )
    def classify(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        first, second = (
            tf.reduce_sum(tf.cast(tf.strings.split(text) == "joy", tf.float32), axis=1)
            for text in texts
        )
        chance = tf.sigmoid(second - first)
        return {
            "label": tf.where(chance > 0.5, "more", "less"),
            "score": tf.maximum(chance, 1 - chance),
            "probabilities": tf.stack([1 - chance, chance], axis=1),
        }


def test_page_takes_pairs(page: playwright.Page, tmp_path: pathlib.Path) -> None:
    """In two boxes; a word is left out of the text that it stands in."""
    model = Pairs()
    tf.saved_model.save(model, str(tmp_path / "1"), {"serving_default": model.classify})
    with running(Model(tmp_path / "1", "pairs"), labels=["less", "more"]) as url:
        page.goto(url)
        page.get_by_label("The text that goes with it").fill("joy for joy")
        classify(page, "some joy")
        wait_for_words(page)
        assert page.locator("#label").inner_text() == "more"
        words = page.locator("#words .word")
        changes = words.evaluate_all("words => words.map(word => word.title)")
        assert changes == ["+0.00", "−1.00", "+1.00", "+0.00", "+1.00"]


def test_page_begins_with_the_example(page: playwright.Page, model: Model) -> None:
    """Or waits for a text; no text of ours fits everybody's model."""
    example = "good </script> film"
    with running(model, example=example) as url:
        page.goto(url)
        wait_for_words(page)
        assert page.get_by_label("Your text").input_value() == example
    with running(model) as url:
        page.goto(url)
        assert page.get_by_label("Your text").input_value() == ""
        playwright.expect(page.locator("#result")).to_be_hidden()


def test_page_says_when_the_model_abstains(page: playwright.Page, url: str) -> None:
    page.goto(url)
    classify(page, "film")
    playwright.expect(page.get_by_text("The model abstains")).to_be_visible()


def test_page_looks_at_the_first_words_only(page: playwright.Page, url: str) -> None:
    page.goto(url)
    classify(page, " ".join(["good"] * 101))
    playwright.expect(page.get_by_text("Only the first 100 of the 101")).to_be_visible()
    wait_for_words(page)
    assert page.locator("#words .word").count() == 100


def test_page_asks_the_model_that_explains_itself(
    page: playwright.Page, tmp_path: pathlib.Path
) -> None:
    """By the signature where it is there; that is said, and nothing is left out."""
    model = ExplainingModel()
    signatures = {"serving_default": model.classify, "explain": model.explain}
    tf.saved_model.save(model, str(tmp_path / "1"), signatures)
    with running(Model(tmp_path / "1", "tiny")) as url:
        requests: list[Any] = []
        page.on("request", lambda request: requests.append(request.post_data))
        page.goto(url)
        # A character of several bytes, and of two in the browser, before what counts.
        classify(page, "caf\u00e9 \U0001f600 ##s good bad <b>film</b>")
        wait_for_words(page)
        words = page.locator("#words .word")
        assert words.all_inner_texts() == [
            *("caf\u00e9", "\U0001f600", "##s", "good", "bad", "<b>film</b>")
        ]
        changes = words.evaluate_all("words => words.map(word => word.title)")
        assert changes == [*["+0.00"] * 3, "+1.00", "\u22121.00", "+0.00"]
        playwright.expect(page.locator("#by-gradients")).to_contain_text(
            "All together: +0.00, lacking 0.004"
        )
        playwright.expect(page.locator("#by-leaving-out")).to_be_hidden()
        assert len([data for data in requests if data]) == 2


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("\u7535\u5f71\u5f88\u597d\u3002", 3),
        (
            "\u0e20\u0e32\u0e1e\u0e22\u0e19\u0e15\u0e23\u0e4c\u0e14\u0e35\u0e21\u0e32\u0e01",
            2,
        ),
        ("good \u7535\u5f71", 2),
    ],
    ids=["Chinese", "Thai", "mixed"],
)
def test_page_explains_texts_without_blanks_by_pieces(
    text: str, pieces: int, page: playwright.Page, url: str
) -> None:
    page.goto(url)
    classify(page, text)
    playwright.expect(page.locator("#influence-title")).to_have_text(
        "The pieces that moved it"
    )
    wait_for_words(page)
    words = page.locator("#words .word").all_inner_texts()
    # How many there are is for the browser's dictionary to say.
    assert len(words) >= pieces and page.locator("#words").inner_text() == text


@pytest.mark.parametrize("width", [320, 360, 1000])
def test_page_breaks_no_words_on_a_phone(
    width: int, page: playwright.Page, url: str
) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(url)
    classify(page, f"good film bad/{'a' * 120}/bad bad")
    page.locator("#words .word", has_text="aaa").wait_for()
    wait_for_words(page)
    page.locator("#numbers summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cells = page.locator(
        "#numbers th, #numbers td:not(:first-child), #classes .name, #classes .value"
    )
    num_lines = cells.evaluate_all("""cells => cells.map((cell) => {
          const range = document.createRange();
          range.selectNodeContents(cell);
          const lines = new Set([...range.getClientRects()].map((box) => box.top));
          return [cell.textContent, lines.size];
        })""")
    assert len(num_lines) > 10
    assert [text for text, lines in num_lines if lines > 1] == []


def test_page_says_what_is_wrong(page: playwright.Page, model: Any) -> None:
    """An empty text, a request that is refused, a server that is gone."""
    alert = page.get_by_role("alert")
    with running(model, labels=()) as url:
        page.goto(url)
        classify(page, "good")
        playwright.expect(page.locator("#label")).to_have_text("positive")
        # Without a manifest only the label shown has a name.
        assert page.locator("#classes .name").all_inner_texts() == [
            "positive",
            "class 0",
        ]
        classify(page, " ")
        playwright.expect(page.get_by_text("Type a text first.")).to_be_visible()
        playwright.expect(page.locator("#result")).to_be_hidden()
        classify(page, "good " * MAX_REQUEST_BYTES)
        playwright.expect(alert).to_contain_text("answered 413: a request must have at")
    classify(page, "good")
    playwright.expect(alert).to_contain_text("The server cannot be reached")


def test_page_cannot_be_ended_by_names(page: playwright.Page, model: Any) -> None:
    hostile = "</script><script>document.title = 'hacked'</script>"
    with running(model, labels=("negative", hostile), example="good") as url:
        page.goto(url)
        wait_for_words(page)
        assert page.title() == "Try the model"
        assert hostile in page.locator("#classes .name").all_inner_texts()
