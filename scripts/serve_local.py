"""Serves a SavedModel on this machine as TensorFlow Serving would, with a demo page.

    python scripts/serve_local.py --saved_model=runs/imdb/export
    curl -d '{"instances": ["What a film!"]}' localhost:8501/v1/models/model:predict

For writing and testing clients without the real server, and for a look at a model: the
page at http://localhost:8501/ classifies what is typed and shows the words that moved
the answer. It speaks the REST API of TensorFlow Serving
(https://www.tensorflow.org/tfx/serving/api_rest): predictions, status and metadata, of
one version, one prediction at a time. Who can reach it may use it: it is bound to
loopback unless --host says otherwise. Ctrl-C ends it.

Needs the `serve` extra, TensorFlow and tensorflow-text. JSON is left to
`serving_rest.py`. Errors have the words of TensorFlow Serving's repository as of July
2026; where they come from is said beside each.
"""

from __future__ import annotations

import argparse
import json
import logging
import pathlib
import re
import socket
import sys
from http import HTTPStatus
from typing import Any, Mapping, Sequence

import anyio
import anyio.to_thread
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

from scripts import serving_rest  # noqa: E402
from scripts.serving_rest import Code, Status, invalid  # noqa: E402
from trainer import stack  # noqa: E402

_PAGE = pathlib.Path(__file__).with_suffix(".html")
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
# kPredictionApiGegex and kModelStatusApiRegex in
# tensorflow_serving/model_servers/http_rest_api_util.cc.
_OF_MODEL = r"/([^/:]+)"
_OF_VERSION = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICTION_PATH = re.compile(
    f"(?i)/v1/models{_OF_MODEL}{_OF_VERSION}:(classify|regress|predict)"
)
_STATUS_PATH = re.compile(f"(?i)/v1/models(?:{_OF_MODEL})?{_OF_VERSION}(/metadata)?")
_DEFAULT_SIGNATURE = "serving_default"
_SAVED_MODEL_FILE = "saved_model.pb"
# What requests in progress have left after Ctrl-C.
_SHUTDOWN_SECS = 5
_BACKLOG = 128


class Model:
    """A loaded SavedModel.

    Attributes:
      name: of the model, in URLs.
      version: the number that its folder is called; 1 where that is not a number.
      signatures: TensorFlow's SignatureDef messages by name.
    """

    def __init__(self, folder: pathlib.Path, name: str):
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
        self.version = int(folder.name) if _is_number(folder.name) else 1
        try:
            content = (folder / _SAVED_MODEL_FILE).read_bytes()
            graphs = saved_model_pb2.SavedModel.FromString(content).meta_graphs
            self.signatures = dict(graphs[0].signature_def)
            # Kept whole, for its functions live as long as it does.
            self._loaded = tf.saved_model.load(str(folder))
        except (
            OSError,
            RuntimeError,
            LookupError,
            DecodeError,
            tf.errors.OpError,
        ) as e:
            raise ValueError(
                f"--saved_model must be a SavedModel that can be loaded. Received: "
                f"{folder}: {e}"
            ) from e

    def inputs(self, signature: str) -> dict[str, np.dtype[Any]]:
        """Dtypes by input; words of http_rest_api_handler.cc and json_tensor.cc."""
        import tensorflow as tf

        name = signature or _DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise invalid(
                f'Serving signature name: "{name}" not found in signature def'
            )
        inputs = self.signatures[name].inputs
        if not inputs:
            raise invalid(
                f"Failed to get input map for signature: {signature or 'DEFAULT'}"
            )
        return {
            name: np.dtype(tf.as_dtype(inputs[name].dtype).as_numpy_dtype)
            for name in sorted(inputs)
        }

    def predict(
        self, signature: str, arrays: serving_rest.Arrays
    ) -> serving_rest.Arrays:
        """All outputs of a signature, by name.

        Raises:
          Status: the graph says no.
        """
        import tensorflow as tf

        function = self._loaded.signatures[signature or _DEFAULT_SIGNATURE]
        specs = function.structured_input_signature[1]
        # Of predict_util.cc, shortened; can only be so where one of them was {"b64": …}.
        if missing := sorted(specs.keys() - arrays.keys()):
            raise invalid(
                f"input size does not match signature: {len(arrays)}!={len(specs)}. "
                f"Missing but required: {{{','.join(missing)}}}."
            )
        for name, array in arrays.items():
            if not specs[name].shape.is_compatible_with(array.shape):
                raise invalid(
                    f"input {name} must have the shape {specs[name].shape}, None being "
                    f"any size. Received: {array.shape}"
                )
        try:
            outputs = function(
                **{n: tf.constant(a, specs[n].dtype) for n, a in arrays.items()}
            )
        except tf.errors.OpError as error:
            raise Status(Code(error.error_code), error.message) from error
        except UnicodeDecodeError as error:
            # TensorFlow's Python cannot hand on a message that quotes other bytes.
            message = error.object.decode("utf-8", errors="replace")
            raise Status(Code.INVALID_ARGUMENT, message) from error
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


def find_version(folder: pathlib.Path) -> pathlib.Path:
    """The SavedModel that a folder is, or the newest version in it.

    Raises:
      ValueError: there is none.
    """
    if (folder / _SAVED_MODEL_FILE).is_file():
        return folder
    latest = folder / "latest"
    if latest.is_file():
        version = folder / latest.read_text(encoding="utf-8").strip()
        if not (version / _SAVED_MODEL_FILE).is_file():
            raise ValueError(
                f"{latest} must hold the number of a version beside it. Received: "
                f"{version.name!r}. Name the version's own folder."
            )
        return version
    versions = [
        each.parent
        for each in folder.glob(f"*/{_SAVED_MODEL_FILE}")
        if _is_number(each.parent.name)
    ]
    if not versions:
        raise ValueError(
            "--saved_model must be a SavedModel's folder, or a folder of versions with "
            f"numbers for names. Received: {folder}, where there is no "
            f"{_SAVED_MODEL_FILE}"
        )
    return max(versions, key=lambda version: int(version.name))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def make_app(
    model: Model,
    *,
    max_request_bytes: int,
    max_batch_size: int,
    labels: Sequence[str] = (),
) -> Starlette:
    """The REST API, and the demo page at /.

    Args:
      labels: names of the classes, for the page; where there are none, numbers.
    """
    told = {"name": model.name, "version": model.version, "labels": list(labels)}
    # As part of a page, "</script>" would end it.
    told_text = json.dumps(told | {"maxBatchSize": max_batch_size}).replace(
        "<", r"\u003c"
    )
    page = _PAGE.read_text(encoding="utf-8").replace(_PLACEHOLDER, told_text)
    # One at a time: TensorFlow divides one prediction's work among the cores.
    one_at_a_time = anyio.CapacityLimiter(1)

    async def show_page(_: Request) -> Response:
        return Response(page, media_type="text/html", headers=_PAGE_HEADERS)

    async def answer(request: Request) -> Response:
        method, path = request.method, request.url.path
        if not path.lower().startswith("/v1/"):
            raise Status(
                Code.NOT_FOUND,
                f"there is nothing at {path}: the demo is at /, the model at "
                f"/v1/models/{model.name}",
            )
        if method == "POST" and (match := _PREDICTION_PATH.fullmatch(path)):
            body = await _read_body(request, max_request_bytes)
            content = await anyio.to_thread.run_sync(
                _predict, model, match, body, max_batch_size, limiter=one_at_a_time
            )
        elif method == "GET" and (match := _STATUS_PATH.fullmatch(path)):
            content = _describe(model, match)
        else:
            # Of http_rest_api_handler.cc.
            raise invalid(f"Malformed request: {method} {path}")
        return Response(content, media_type="application/json")

    return Starlette(
        routes=[
            Route("/", show_page),
            Route("/{path:path}", answer, methods=_METHODS),
        ],
        exception_handlers={Status: _refuse, Exception: _apologize},
    )


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """The request's body, never more of it than may be."""
    too_large = Status(
        Code.REQUEST_TOO_LARGE,
        f"a request must have at most {max_bytes} bytes (--max_request_bytes). Send "
        "fewer or shorter instances at a time.",
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
    """Answers a prediction, looking at things in TensorFlow Serving's order."""
    name, version, label, method = match.groups()
    request = serving_rest.parse(body)
    signature = serving_rest.signature_name(request)
    _check_servable(model, name, version, label)
    inputs = model.inputs(signature)
    if method.lower() != "predict":
        # Of classifier.cc and regressor.cc in tensorflow_serving/servables/tensorflow.
        kind = {"classify": "classification", "regress": "regression"}[method.lower()]
        raise invalid(
            f"Expected {kind} signature method_name to be tensorflow/serving/"
            f"{method.lower()}. Was: tensorflow/serving/predict"
        )
    arrays = serving_rest.to_arrays(request, inputs, max_batch_size=max_batch_size)
    outputs = model.predict(signature, arrays)
    return serving_rest.to_json(outputs, is_row=serving_rest.is_row(request))


def _describe(model: Model, match: re.Match[str]) -> bytes:
    """Status or metadata; words of get_model_status_impl.cc."""
    name, version, label, metadata = match.groups()
    if name is None:
        raise invalid("Missing model name in request.")
    if metadata:
        _check_servable(model, name, version, label)
        return _to_json(model.metadata())
    if version is not None and not _is_served(model, name, version):
        raise Status(
            Code.NOT_FOUND, f"Could not find version {int(version)} of model {name}"
        )
    if name != model.name:
        raise Status(Code.NOT_FOUND, f"Could not find any versions of model {name}")
    return _to_json(model.status())


def _check_servable(
    model: Model, name: str, version: str | None, label: str | None
) -> None:
    """Words of server_core.cc, basic_manager.cc and manager.h."""
    if label is not None:
        raise invalid(f"Unrecognized servable version label: {label}")
    if not _is_served(model, name, version):
        wanted = f"Latest({name})"
        if version is not None:
            wanted = f"Specific({name}, {int(version)})"
        raise Status(Code.NOT_FOUND, f"Servable not found for request: {wanted}")


def _is_served(model: Model, name: str, version: str | None) -> bool:
    return name == model.name and version in (None, str(model.version))


async def _refuse(_: Request, error: Status) -> Response:
    return _failure(error.message, error.http_status)


async def _apologize(_: Request, error: Exception) -> Response:
    """What nobody thought of; Starlette logs it as well."""
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


def read_labels(version: pathlib.Path) -> list[str]:
    """Names of the classes out of a version's manifest; none where it has none."""
    try:
        manifest = json.loads((version / "manifest.json").read_text(encoding="utf-8"))
        return [str(label) for label in manifest["constants"]["labels"]]
    except FileNotFoundError:
        return []
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            "manifest.json beside the model must hold constants.labels. Received: "
            f"{version / 'manifest.json'}: {error!r}"
        ) from error


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
            "--host and --port must be a free address of this machine. Received: "
            f"{host}, {port}: {error}. --port=0 takes any free port."
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, loads, serves."""
    parser = argparse.ArgumentParser(
        description="Serves a SavedModel as TensorFlow Serving would, with a demo page."
    )
    parser.add_argument(
        "--saved_model",
        type=pathlib.Path,
        required=True,
        help="a version's folder, or a folder of versions, whose newest is taken",
    )
    for flag, default, text in (
        ("--name", "model", "the model's name in URLs"),
        ("--host", "127.0.0.1", "the address to listen at; 0.0.0.0: for everybody"),
        ("--port", 8501, "0: any that is free"),
        ("--max_request_bytes", 8 * 1024**2, "more in a request is refused"),
        ("--max_batch_size", 64, "more rows in a request are refused"),
    ):
        parser.add_argument(
            flag, type=type(default), default=default, help=f"{text} (%(default)s)"
        )
    options = parser.parse_args(arguments)
    for flag in ("max_request_bytes", "max_batch_size"):
        if getattr(options, flag) < 1:
            parser.error(f"--{flag} must be at least 1. Got: {getattr(options, flag)}")
    if not re.fullmatch("[^/:]+", options.name):
        parser.error(f"--name must be without / and :. Received: {options.name!r}")
    try:
        version = find_version(options.saved_model)
        with bind(options.host, options.port) as listener:
            model = Model(version, options.name)
            app = make_app(
                model,
                max_request_bytes=options.max_request_bytes,
                max_batch_size=options.max_batch_size,
                labels=read_labels(version),
            )
            serve(app, listener, f"{model.name}, version {model.version},")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        pass  # The usual end.
    return 0


if __name__ == "__main__":
    sys.exit(main())
