"""A local server: TensorFlow Serving's REST API for one version, and a demo page.

    server.run(ServeConfig(saved_model="runs/imdb/export"))

For writing and testing clients without the real server, and for a look at a model: the
page classifies what is typed and shows the words that moved the answer. It answers
predictions, status and metadata (https://www.tensorflow.org/tfx/serving/api_rest), one
prediction at a time. Who can reach it may use it: it is bound to loopback unless --host
says otherwise. JSON is left to `rest.py`, the model to `model.py`, clients that are too
many, too slow or too strange to `connections.py`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
import re
import socket
import urllib.parse
import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from trainer.config import EXPLAIN_SIGNATURE, ServeConfig
from trainer.data import pairs
from trainer.messages import message
from trainer.serving import manifest, versions
from trainer.serving.local import connections, rest
from trainer.serving.local.model import Model
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
_OF_VERSION = r"(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_PREDICTION_PATH = re.compile(
    f"(?i)/v1/models{_OF_MODEL}{_OF_VERSION}:(classify|regress|predict)"
)
_STATUS_PATH = re.compile(f"(?i)/v1/models(?:{_OF_MODEL})?{_OF_VERSION}(/metadata)?")
# What requests in progress have left after Ctrl-C.
_SHUTDOWN_SECS = 5
_BACKLOG = 128
_LARGEST_INT64 = 2**63 - 1
# Of an answer that nobody waits for, in the log.
_HUNG_UP = 499
# Where no batching parameters say it.
_MAX_BATCH_SIZE = 64

_logger = logging.getLogger(__name__)


def run(config: ServeConfig) -> None:
    """Loads the model, warms it up, and serves it until Ctrl-C.

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
            max_batch_size=max_batch_size(config.max_batch_size, version),
            labels=read_labels(version),
            example=read_example(version),
        )
        server = make_server(
            app,
            listener,
            host=config.host,
            max_connections=config.max_connections,
            client_timeout_secs=config.client_timeout_secs,
        )
        try:
            # Nobody can connect before.
            model.warm_up(version)
            serve(server, listener, f"{model.name}, version {model.version},")
        except KeyboardInterrupt:
            pass  # The usual end.


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
    explainer = EXPLAIN_SIGNATURE if EXPLAIN_SIGNATURE in model.signatures else ""
    told |= {"example": example, "maxBatchSize": max_batch_size, "explainer": explainer}
    told["readsPairs"] = _reads_pairs(model)
    page = _page(told)

    async def show_page(_: Request) -> Response:
        return Response(page, media_type="text/html", headers=_PAGE_HEADERS)

    api = _Api(
        model, max_request_bytes=max_request_bytes, max_batch_size=max_batch_size
    )
    return Starlette(
        routes=[
            Route("/", show_page),
            Route("/{path:path}", api.answer, methods=_METHODS),
        ],
        exception_handlers={
            Exception: _refuse,
            Refused: _refuse,
            ClientDisconnect: _note_disconnect,
        },
    )


class _Api:
    """TensorFlow Serving's, for one model; see `make_app`."""

    def __init__(
        self, model: Model, *, max_request_bytes: int, max_batch_size: int
    ) -> None:
        self._model = model
        self._max_request_bytes = max_request_bytes
        self._max_batch_size = max_batch_size
        # TensorFlow divides one prediction's work among the cores.
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def answer(self, request: Request) -> Response:
        """The answer to whatever is not asked of the page."""
        method, target = request.method, _target(request)
        if not target.lower().startswith("/v1/"):
            raise Refused(
                message(
                    f"the page is at /, the model at /v1/models/{self._model.name}",
                    received=target,
                ),
                http_status=404,
            )
        if method == "OPTIONS":
            return _answer_options(request)
        if method == "POST" and (match := _PREDICTION_PATH.fullmatch(target)):
            content = await self._predict(request, match)
        elif method == "GET" and (match := _STATUS_PATH.fullmatch(target)):
            content = _describe(self._model, match)
        else:
            raise Refused(
                message(
                    f"a request must be POST /v1/models/{self._model.name}:predict, or GET "
                    f"/v1/models/{self._model.name}",
                    received=f"{method} {target}",
                )
            )
        return Response(content, media_type="application/json")

    async def _predict(self, request: Request, match: re.Match[str]) -> bytes:
        body = await _read_body(request, self._max_request_bytes)
        async with self._one_at_a_time:
            # It may have waited for long.
            if await request.is_disconnected():
                raise ClientDisconnect
            content = await anyio.to_thread.run_sync(
                _predict, self._model, match, body, self._max_batch_size
            )
        if await request.is_disconnected():
            raise ClientDisconnect
        return content


def _page(told: Mapping[str, Any]) -> str:
    """The demo page, told what it shows."""
    # As part of a page, "</script>" would end it.
    told_text = json.dumps(told).replace("<", r"\u003c")
    return _PAGE.read_text(encoding="utf-8").replace(_PLACEHOLDER, told_text)


def _target(request: Request) -> str:
    """What a request asks for, as it came: TensorFlow Serving takes a query for a part
    of the path, and decodes no more than the names in it."""
    query: bytes = request.scope["query_string"]
    path: bytes = request.scope["raw_path"]
    return (path + b"?" * bool(query) + query).decode("ascii", "replace")


def _answer_options(request: Request) -> Response:
    """Nothing, as TensorFlow Serving does unless it is told to allow other origins."""
    if not re.search("https?://", request.headers.get("origin", "")):
        raise rest.refused("OPTIONS must have an Origin", request.headers.get("origin"))
    return Response()


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """The request's body, unpacked, never more of it than may be."""
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
    if "gzip" not in request.headers.get("content-encoding", ""):
        return bytes(body)
    # As UncompressGzipAndAllocate in tensorflow_serving/util/net_http/compression: one
    # member, and nothing behind it.
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacking.decompress(bytes(body), max_bytes + 1)
    except zlib.error as error:
        raise rest.refused("a body must be gzip, as its header says", error) from error
    if len(unpacked) > max_bytes:
        raise too_large
    if not unpacking.eof or unpacking.unused_data:
        raise rest.refused("a body must be gzip, whole and alone", f"{len(body)} bytes")
    return unpacked


def _predict(
    model: Model, match: re.Match[str], body: bytes, max_batch_size: int
) -> bytes:
    """Answers a prediction."""
    name, version, label, method = match.groups()
    _check_served(model, name, version, label)
    request = rest.parse(body)
    signature = rest.signature_name(request)
    if method.lower() == "classify" and model.classifiers():
        examples = rest.to_examples(request)
        rest.check_rows(len(examples), max_batch_size)
        return rest.classes_to_json(model.classify(signature, examples))
    if method.lower() == "regress" and model.regressors():
        examples = rest.to_examples(request)
        rest.check_rows(len(examples), max_batch_size)
        return rest.values_to_json(model.regress(signature, examples))
    if method.lower() != "predict":
        raise Refused(
            message(
                "the model's signatures are for :predict",
                received=f":{method}",
                mend=f"ask /v1/models/{name}:predict",
            )
        )
    arrays = rest.to_arrays(
        request, model.inputs(signature), max_batch_size=max_batch_size
    )
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
    number = None if version is None else _version_number(version)
    name = urllib.parse.unquote(name)
    if name != model.name or number not in (None, model.version):
        wanted = name if number is None else f"{name}, version {number}"
        raise Refused(
            message(
                f"the model must be {model.name}, version {model.version}",
                received=wanted,
            ),
            http_status=HTTPStatus.NOT_FOUND,
        )


def _version_number(digits: str) -> int:
    """What 64 bits hold, as there; Python refuses thousands of digits."""
    significant = digits.lstrip("0") or "0"
    is_short = len(significant) <= len(str(_LARGEST_INT64))
    if not is_short or int(significant) > _LARGEST_INT64:
        raise rest.refused(f"a version must be at most {_LARGEST_INT64}", digits)
    return int(significant)


async def _note_disconnect(request: Request, _: Exception) -> Response:
    client = connections.shown_client(request.client)
    _logger.warning("%s hung up before it had its answer.", client)
    return Response(status_code=_HUNG_UP)  # To nobody.


async def _refuse(_: Request, error: Exception) -> Response:
    if isinstance(error, Refused):
        return _failure(str(error), error.http_status)
    # What nobody thought of; Starlette logs it as well.
    return _failure(f"{type(error).__name__}: {error}", 500)


def _failure(message: str, http_status: int) -> Response:
    body = connections.error_body(message)
    response = Response(body, http_status, media_type="application/json")
    if http_status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # Else all the rest of the body would be received.
        response.headers["Connection"] = "close"
    return response


def _to_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=4, ensure_ascii=False).encode("utf-8")


def max_batch_size(setting: int, version: Path) -> int:
    """The most rows of a request.

    Args:
      setting: so many; -1: as many as the batching parameters beside a version allow.
    """
    from trainer.serving import warmup

    if setting != -1:
        return setting
    # Those of a format other than the first lie beside its folder.
    for folder in (version.parent, version.parent.parent):
        place = folder / warmup.BATCHING_FILE
        if place.is_file():
            largest = warmup.max_batch_size(place.read_text(encoding="utf-8"))
            if not largest:
                raise ValueError(
                    message(
                        "batching parameters must have a max_batch_size",
                        place=str(place),
                        received="none",
                        mend="export again, or give --max_batch_size",
                    )
                )
            return largest
    return _MAX_BATCH_SIZE


def _reads_pairs(model: Model) -> bool:
    """Whether the page needs a second box."""
    default = model.signatures.get("serving_default")
    return default is not None and pairs.are_read(default.inputs)


def read_labels(version: Path) -> list[str]:
    """Names of the classes out of a version's manifest; none where it has none."""
    labels: list[str] = _of_manifest(
        version,
        "constants.labels",
        lambda content: [str(label) for label in content["constants"]["labels"]],
        default=[],
    )
    return labels


def read_example(version: Path) -> str:
    """The first text that a version's manifest has to show; "" where it has none."""

    def first(content: Any) -> str:
        samples = content.get("samples", [])
        return str(samples[0]["text"]) if samples else ""

    return str(_of_manifest(version, "samples with a text", first, default=""))


def _of_manifest(
    version: Path, what: str, pick: Callable[[Any], Any], *, default: Any
) -> Any:
    """A part of a version's manifest; the default where it has none.

    Raises:
      ValueError: it is damaged.
    """
    place = version / manifest.FILE_NAME
    if not place.is_file():
        return default
    try:
        return pick(json.loads(place.read_text(encoding="utf-8")))
    except (
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            message(
                f"the manifest beside the model must hold {what}",
                place=str(place),
                received=repr(error),
                mend="export the model again",
            )
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
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            stack.pop_all()
            return listener
    except (OSError, OverflowError) as error:
        raise ValueError(
            message(
                "--host and --port must be a free address of this machine",
                received=f"{host}, {port}: {error}",
                mend="--port=0 takes any free port",
            )
        ) from error


def make_server(
    app: Starlette,
    listener: socket.socket,
    *,
    host: str,
    max_connections: int,
    client_timeout_secs: float,
) -> uvicorn.Server:
    """The app behind what guards it.

    Args:
      listener: bound to an address.
      host: by which it was bound: a name for it, too.
      client_timeout_secs: see `connections.limited`.
    """
    names = connections.names_of(listener, host)
    return uvicorn.Server(
        uvicorn.Config(
            app if names is None else connections.ForNames(app, names),
            http=connections.limited(
                max_connections=max_connections, timeout_secs=client_timeout_secs
            ),
            # Else it sets up all logging anew, and closes what the others write to.
            log_config=None,
            log_level=logging.WARNING,
            lifespan="off",
            # Else a client may call itself by any address, in the log.
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=_SHUTDOWN_SECS,
        )
    )


def serve(server: uvicorn.Server, listener: socket.socket, name: str) -> None:
    """Answers requests until Ctrl-C, or for ever."""
    host, port = listener.getsockname()[:2]
    listener.listen(_BACKLOG)
    shown_host = f"[{host}]" if ":" in host else host
    print(f"{name} is served at http://{shown_host}:{port}/ (Ctrl-C ends)", flush=True)
    server.run(sockets=[listener])
