"""A local server: TensorFlow Serving's REST API for one version, and a demo page.

    server.run(ServeConfig(saved_model="runs/imdb/export"))

For writing and testing clients without the real server, and for a look at a model: the
page classifies what is typed and shows the words that moved the answer. It answers
predictions, status and metadata (https://www.tensorflow.org/tfx/serving/api_rest), one
prediction at a time. Who can reach it may use it: it is bound to loopback unless --host
says otherwise. JSON is left to `rest.py`.
"""

from __future__ import annotations

import json
import logging
import pathlib
import re
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import anyio
import anyio.to_thread
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trainer import stack, storage
from trainer.config import DEFAULT_SIGNATURE, ServeConfig
from trainer.messages import message
from trainer.serving import manifest, versions
from trainer.serving.local import rest
from trainer.serving.local.rest import Refused

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

_PAGE = pathlib.Path(__file__).with_name("page.html")
# Where the page is told what it shows.
_PLACEHOLDER = "{{model}}"
# The page loads nothing, and asks nobody but this server.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_METHODS = ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")
# As kPredictionApiGegex and kModelStatusApiRegex in
# tensorflow_serving/model_servers/http_rest_api_util.cc have them.
_OF_MODEL = r"/([^/:]+)"
_OF_VERSION = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICTION_PATH = re.compile(
    f"(?i)/v1/models{_OF_MODEL}{_OF_VERSION}:(classify|regress|predict)"
)
_STATUS_PATH = re.compile(f"(?i)/v1/models(?:{_OF_MODEL})?{_OF_VERSION}(/metadata)?")
# Codes of TensorFlow's errors, which are absl's, as HTTP has them (ToHTTPStatusCode in
# tensorflow_serving/model_servers/http_server.cc); all others are 500.
_HTTP_STATUS = {
    1: 499,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    14: 503,
    16: 401,
}
# What requests in progress have left after Ctrl-C.
_SHUTDOWN_SECS = 5
_BACKLOG = 128


def run(config: ServeConfig) -> None:
    """Loads the model, and serves it until Ctrl-C.

    Raises:
      ValueError: there is no such model, or the address is taken.
    """
    version = versions.find(config.saved_model)
    if not (version / versions.SAVED_MODEL).is_file():
        raise versions.no_model(version, f"no {versions.SAVED_MODEL} in it")
    with bind(config.host, config.port) as listener:
        model = Model(version, config.name)
        app = make_app(
            model,
            max_request_bytes=config.max_request_bytes,
            max_batch_size=config.max_batch_size,
            labels=read_labels(version),
            example=read_example(version),
        )
        try:
            serve(app, listener, f"{model.name}, version {model.version},")
        except KeyboardInterrupt:
            pass  # The usual end.


class Model:
    """A loaded SavedModel.

    Attributes:
      name: of the model, in URLs.
      version: the number that its folder is called; 1 where that is not a number.
      signatures: TensorFlow's SignatureDef messages by name.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Loads it.

        Raises:
          ValueError: it cannot be loaded.
        """
        stack.load()
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  (registers the tokenizer's ops)
        from google.protobuf.message import DecodeError
        from tensorflow.core.protobuf import saved_model_pb2

        self.name = name
        self.version = int(folder.name) if re.fullmatch("[0-9]+", folder.name) else 1
        try:
            with (folder / versions.SAVED_MODEL).open("rb") as file:
                content = file.read()
            graphs = saved_model_pb2.SavedModel.FromString(content).meta_graphs
            self.signatures = dict(graphs[0].signature_def)
            # Kept whole, for its functions live as long as it does.
            with storage.literal(folder) as place:
                self._loaded = tf.saved_model.load(str(place))
        except (
            OSError,
            RuntimeError,
            LookupError,
            DecodeError,
            tf.errors.OpError,
        ) as error:
            raise ValueError(
                message(
                    "--saved_model must be a SavedModel that can be loaded",
                    received=f"{folder}: {error}",
                )
            ) from error

    def inputs(self, signature: str) -> dict[str, np.dtype[Any]]:
        """Dtypes of a signature's inputs by name.

        Args:
          signature: its name; "": the default one.

        Raises:
          Refused: there is none of that name.
        """
        import tensorflow as tf

        name = signature or DEFAULT_SIGNATURE
        if name not in self.signatures:
            # Those with underscores are TensorFlow's own.
            known = sorted(n for n in self.signatures if not n.startswith("__"))
            raise rest.refused(
                f"signature_name must be one of {', '.join(known)}", name
            )
        inputs = self.signatures[name].inputs
        return {
            name: np.dtype(tf.as_dtype(inputs[name].dtype).as_numpy_dtype)
            for name in sorted(inputs)
        }

    def predict(self, signature: str, arrays: rest.Arrays) -> rest.Arrays:
        """All outputs of a signature, by name.

        Raises:
          Refused: the graph says no.
        """
        import tensorflow as tf

        function = self._loaded.signatures[signature or DEFAULT_SIGNATURE]
        specs = function.structured_input_signature[1]
        for name, array in arrays.items():
            if not specs[name].shape.is_compatible_with(array.shape):
                raise Refused(
                    message(
                        f"{name} must have the shape {specs[name].shape}, None being "
                        "any size",
                        received=array.shape,
                    )
                )
        try:
            outputs = function(
                **{n: tf.constant(a, specs[n].dtype) for n, a in arrays.items()}
            )
        except tf.errors.OpError as error:
            status = _HTTP_STATUS.get(error.error_code, 500)
            raise Refused(error.message, http_status=status) from error
        except UnicodeDecodeError as error:
            # TensorFlow's Python cannot hand on a message that quotes other bytes.
            raise Refused(error.object.decode("utf-8", errors="replace")) from error
        return {name: outputs[name].numpy() for name in sorted(outputs)}

    def status(self) -> dict[str, Any]:
        """As get_model_status.proto in tensorflow_serving/apis has it."""
        health = {"error_code": "OK", "error_message": ""}
        version = {"version": str(self.version), "state": "AVAILABLE", "status": health}
        return {"model_version_status": [version]}

    def metadata(self) -> dict[str, Any]:
        """As ToJsonString in http_rest_api_util.cc prints it."""
        from google.protobuf import json_format

        signatures = {
            name: json_format.MessageToDict(
                self.signatures[name],
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name in sorted(self.signatures)
        }
        return {
            "model_spec": {
                "name": self.name,
                "signature_name": "",
                "version": str(self.version),
            },
            "metadata": {"signature_def": {"signature_def": signatures}},
        }


def make_app(
    model: Model,
    *,
    max_request_bytes: int,
    max_batch_size: int,
    labels: Sequence[str] = (),
    example: str = "",
) -> Starlette:
    """The REST API, and the demo page at /.

    Args:
      labels: names of the classes, for the page; where there are none, numbers.
      example: a text that the page begins with; "": it waits for one.
    """
    told = {"name": model.name, "version": model.version, "labels": list(labels)}
    page = _page({**told, "example": example, "maxBatchSize": max_batch_size})
    # One at a time: TensorFlow divides one prediction's work among the cores.
    one_at_a_time = anyio.CapacityLimiter(1)

    async def show_page(_: Request) -> Response:
        return Response(page, media_type="text/html", headers=_PAGE_HEADERS)

    async def answer(request: Request) -> Response:
        method, path = request.method, request.url.path
        if not path.lower().startswith("/v1/"):
            raise Refused(
                message(
                    f"the page is at /, the model at /v1/models/{model.name}",
                    received=path,
                ),
                http_status=404,
            )
        if method == "POST" and (match := _PREDICTION_PATH.fullmatch(path)):
            body = await _read_body(request, max_request_bytes)
            content = await anyio.to_thread.run_sync(
                _predict, model, match, body, max_batch_size, limiter=one_at_a_time
            )
        elif method == "GET" and (match := _STATUS_PATH.fullmatch(path)):
            content = _describe(model, match)
        else:
            raise Refused(
                message(
                    f"a request must be POST /v1/models/{model.name}:predict, or GET "
                    f"/v1/models/{model.name}",
                    received=f"{method} {path}",
                )
            )
        return Response(content, media_type="application/json")

    return Starlette(
        routes=[
            Route("/", show_page),
            Route("/{path:path}", answer, methods=_METHODS),
        ],
        exception_handlers={Exception: _refuse, Refused: _refuse},
    )


def _page(told: Mapping[str, Any]) -> str:
    """The demo page, told what it shows."""
    # As part of a page, "</script>" would end it.
    told_text = json.dumps(told).replace("<", r"\u003c")
    return _PAGE.read_text(encoding="utf-8").replace(_PLACEHOLDER, told_text)


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """The request's body, never more of it than may be."""
    too_large = Refused(
        f"a request must have at most {max_bytes} bytes (--max_request_bytes). Send "
        "fewer or shorter instances at a time.",
        http_status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    )
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > max_bytes:
            raise too_large
        body += chunk
    return bytes(body)


def _predict(
    model: Model, match: re.Match[str], body: bytes, max_batch_size: int
) -> bytes:
    """Answers a prediction."""
    name, version, label, method = match.groups()
    _check_served(model, name, version, label)
    request = rest.parse(body)
    signature = rest.signature_name(request)
    inputs = model.inputs(signature)
    if method.lower() != "predict":
        raise Refused(
            message(
                "the model's signatures are for :predict",
                received=f":{method}",
                mend=f"ask /v1/models/{name}:predict",
            )
        )
    arrays = rest.to_arrays(request, inputs, max_batch_size=max_batch_size)
    outputs = model.predict(signature, arrays)
    return rest.to_json(outputs, is_row=rest.is_row(request))


def _describe(model: Model, match: re.Match[str]) -> bytes:
    """Status or metadata."""
    name, version, label, metadata = match.groups()
    if name is None:
        raise rest.refused(f"the path must name the model {model.name}", match[0])
    _check_served(model, name, version, label)
    return _to_json(model.metadata() if metadata else model.status())


def _check_served(
    model: Model, name: str, version: str | None, label: str | None
) -> None:
    if label is not None:
        raise rest.refused("a version must be named by its number", label)
    if name != model.name or version not in (None, str(model.version)):
        wanted = name if version is None else f"{name}, version {int(version)}"
        raise Refused(
            message(
                f"the model must be {model.name}, version {model.version}",
                received=wanted,
            ),
            http_status=HTTPStatus.NOT_FOUND,
        )


async def _refuse(_: Request, error: Exception) -> Response:
    if isinstance(error, Refused):
        return _failure(str(error), error.http_status)
    # What nobody thought of; Starlette logs it as well.
    return _failure(f"{type(error).__name__}: {error}", 500)


def _failure(message: str, http_status: int) -> Response:
    response = Response(
        _to_json({"error": message}), http_status, media_type="application/json"
    )
    if http_status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # Else all the rest of the body would be received.
        response.headers["Connection"] = "close"
    return response


def _to_json(content: Mapping[str, Any]) -> bytes:
    # A request's lone surrogates, in a message, have no bytes of their own.
    return json.dumps(content, indent=4, ensure_ascii=False).encode("utf-8", "replace")


def read_labels(version: Path) -> list[str]:
    """Names of the classes out of a version's manifest; none where it has none."""
    if not (version / manifest.FILE_NAME).is_file():
        return []
    place = version / manifest.FILE_NAME
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        return [str(label) for label in content["constants"]["labels"]]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            message(
                "the manifest beside the model must hold constants.labels",
                place=str(place),
                received=repr(error),
                mend="export the model again",
            )
        ) from error


def read_example(version: Path) -> str:
    """The first text that a version's manifest has to show; "" where it has none."""
    place = version / manifest.FILE_NAME
    if not place.is_file():
        return ""
    samples = json.loads(place.read_text(encoding="utf-8")).get("samples", [])
    return str(samples[0]["text"]) if samples else ""


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, which nobody can connect to yet.

    Raises:
      ValueError: the address is taken, or not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        raise ValueError(
            message(
                "--host and --port must be a free address of this machine",
                received=f"{host}, {port}: {error}",
                mend="--port=0 takes any free port",
            )
        ) from error
    return listener


def serve(app: Starlette, listener: socket.socket, name: str) -> None:
    """Answers requests until Ctrl-C, or for ever."""
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        app,
        log_level=logging.WARNING,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_SHUTDOWN_SECS,
    )
    listener.listen(_BACKLOG)
    shown_host = f"[{host}]" if ":" in host else host
    print(f"{name} is served at http://{shown_host}:{port}/ (Ctrl-C ends)", flush=True)
    uvicorn.Server(config).run(sockets=[listener])
