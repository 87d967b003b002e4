"""TensorFlow Serving's JSON: from a request to arrays, from arrays to an answer.

    request = serving_rest.parse(b'{"instances": ["What a film!"]}')
    arrays = serving_rest.to_arrays(request, {"text": np.dtype(object)}, max_batch_size=64)
    serving_rest.to_json({"score": np.array([0.5])}, is_row=serving_rest.is_row(request))

What is not as it should be raises a `Status` in TensorFlow Serving's own words. They,
and in which order things are looked at, are those of its repository as of July 2026,
tensorflow_serving/util/json_tensor.cc, where nothing else is said. The API is described
at https://www.tensorflow.org/tfx/serving/api_rest. Models and HTTP are left to
`serve_local.py`; needs NumPy alone.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
import math
from typing import Any, Callable, Iterator, Mapping

import numpy as np

Arrays = dict[str, np.ndarray]
# Dtypes of a signature's inputs by name; that of strings, which are bytes, is object.
Inputs = Mapping[str, np.dtype[Any]]

_WHITESPACE = " \t\r\n"
_INDENT = " " * 4
# kMaxJsonDebugStringBytes: how much of a wrong value is shown.
_MAX_SHOWN = 256
# Whatever bytes a request holds reach the model, and its bytes the client, as there.
_ENCODING = ("utf-8", "surrogateescape")
# What DataTypeString says, where NumPy does not say the same.
_TYPE_NAMES = {"float32": "float", "float64": "double", "object": "string"}
_BYTES_SUFFIX = "_bytes"


class Code(enum.IntEnum):
    """Reasons of a failure: absl's (absl/status/status.h), and one of this program."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16
    # TensorFlow Serving has no limit of its own.
    REQUEST_TOO_LARGE = 413


# ToHTTPStatusCode in tensorflow_serving/model_servers/http_server.cc.
_HTTP_STATUS = {
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
    Code.REQUEST_TOO_LARGE: 413,
}


class Status(Exception):
    """A request cannot be answered."""

    def __init__(self, code: Code, message: str):
        super().__init__(f"{code.name}: {message}")
        self.message = message
        self.http_status = _HTTP_STATUS.get(code, 500)


def invalid(message: str) -> Status:
    """The usual one: the client's mistake."""
    return Status(Code.INVALID_ARGUMENT, message)


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a request; what follows it is not read.

    Raises:
      Status: there is none.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    text = body.decode(*_ENCODING)
    start = len(text) - len(text.lstrip(_WHITESPACE))
    try:
        document, _ = json.JSONDecoder().raw_decode(text, start)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode(*_ENCODING))
        raise invalid(f"JSON Parse error: {error.msg} at offset: {offset}") from error
    except (RecursionError, ValueError) as error:  # Lists in lists, endless numbers.
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_shown(document)} Is not object")
    return document


def signature_name(request: Mapping[str, Any]) -> str:
    """Which signature a request names; "": none."""
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_shown(request)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def is_row(request: Mapping[str, Any]) -> bool:
    """Whether a request, and so its answer, is row by row."""
    return "instances" in request


def to_arrays(
    request: Mapping[str, Any], inputs: Inputs, *, max_batch_size: int
) -> Arrays:
    """What a request gives a signature.

    Raises:
      Status: it does not fit the signature, or has too many rows.
    """
    if "instances" in request and "inputs" in request:
        raise invalid(
            f"JSON Value: {_shown(request)} Not formatted correctly expecting only "
            "one of 'inputs' or 'instances' keys to exist "
        )
    try:
        if "instances" in request:
            return _from_instances(request, inputs, max_batch_size)
        if "inputs" in request:
            return _from_inputs(request["inputs"], inputs, max_batch_size)
    except RecursionError as error:
        raise invalid(f"JSON Parse error: {error}") from error
    raise invalid("Missing 'inputs' or 'instances' key")


def _from_instances(
    request: Mapping[str, Any], inputs: Inputs, max_batch_size: int
) -> Arrays:
    """Row format: a value or an object of values for each row."""
    rows = request["instances"]
    if not isinstance(rows, list):
        raise invalid(
            f"JSON Value: {_shown(request)} Expecting 'instances' to be an list/array"
        )
    if not rows:
        raise invalid(f"JSON Value: {_shown(request)} No values in 'instances' array")
    _check_batch_size(len(rows), max_batch_size)
    if not isinstance(rows[0], dict) and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    has_objects = _is_object(rows[0])
    columns: dict[str, _Column] = {}
    for index, row in enumerate(rows):
        if _is_object(row) != has_objects:
            wanted, got = (
                ("object", "list") if has_objects else ("value/list", "object")
            )
            raise invalid(
                f"Expecting {wanted} but got {got} at item {index} of input list"
            )
        if not has_objects:
            row = {next(iter(inputs)): row}
        _add_row(row, index, columns, inputs, key_is_given=has_objects)
    return {
        name: _to_array(column.values, (len(rows), *column.shape), inputs[name])
        for name, column in columns.items()
    }


class _Column:
    """What the rows so far gave one input."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape
        self.values: list[Any] = []


def _add_row(
    row: Mapping[str, Any],
    index: int,
    columns: dict[str, _Column],
    inputs: Inputs,
    *,
    key_is_given: bool,
) -> None:
    for name, value in row.items():
        try:
            if name not in inputs:
                raise invalid(f"JSON object: does not have named input: {name}")
            shape = _shape(value)
            values = _values(value, shape, inputs[name])
            column = columns.setdefault(name, _Column(shape))
            _check_same_shape(shape, column.shape)
        except Status as error:
            key = f" key: {name}" if key_is_given else ""
            raise invalid(
                f"Failed to process element: {index}{key} of 'instances' list. "
                f"Error: {error}"
            ) from error
        column.values += values
    if key_is_given and row.keys() != inputs.keys():
        raise invalid(
            f"Failed to process element: {index} of 'instances' list. JSON object: "
            f"{_shown(row)} keys must be equal to: {','.join(sorted(inputs))}"
        )


def _check_same_shape(shape: tuple[int, ...], first: tuple[int, ...]) -> None:
    if math.prod(shape) != math.prod(first):
        raise invalid(
            f"Expecting tensor size: {math.prod(first)} but got: {math.prod(shape)}"
        )
    if shape != first:
        texts = [f"[{','.join(map(str, each))}]" for each in (first, shape)]
        raise invalid(f"Expecting shape {texts[0]} but got: {texts[1]}")


def _from_inputs(value: Any, inputs: Inputs, max_batch_size: int) -> Arrays:
    """Column format: an array for each input, of 0 rows too."""
    if not _is_object(value):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        value = dict.fromkeys(inputs, value)
    for name in inputs:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        if isinstance(value[name], list):
            _check_batch_size(len(value[name]), max_batch_size)
    arrays = {}
    for name, dtype in inputs.items():
        shape = _shape(value[name])
        arrays[name] = _to_array(_values(value[name], shape, dtype), shape, dtype)
    return arrays


def _check_batch_size(size: int, max_batch_size: int) -> None:
    """Words of TensorFlow's core/kernels/batching_util/shared_batch_scheduler.h."""
    if size > max_batch_size:
        raise invalid(
            f"Task size {size} is larger than maximum input batch size {max_batch_size}"
        )


def _shape(value: Any) -> tuple[int, ...]:
    """That of the first elements; whether all others are alike, `_values` finds."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _values(
    value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], level: int = 0
) -> list[Any]:
    """The elements of a nested list, one after the other."""
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} "
                f"in the JSON DOM. Expected at level: {rank}"
            )
        return [_element(value, dtype)]
    if level >= rank:
        raise invalid(
            f"Encountered list at unexpected level: {level} expected < {rank}"
        )
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    return [each for item in value for each in _values(item, shape, dtype, level + 1)]


def _element(value: Any, dtype: np.dtype[Any]) -> Any:
    """One element as the dtype has it."""
    kind = dtype.kind
    if kind == "O" and isinstance(value, dict):
        return _decode_base64(value)
    if kind == "O" and isinstance(value, str):
        try:
            return value.encode(*_ENCODING)
        except UnicodeEncodeError as error:
            raise invalid(
                "JSON Parse error: The surrogate pair in string is invalid."
            ) from error
    if kind == "b" and isinstance(value, bool):
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "f" and is_number and dtype.itemsize >= 4:
        try:
            return float(value)
        except OverflowError as error:
            raise invalid(
                "JSON Parse error: Number too big to be stored in double."
            ) from error
    if kind in "iu" and is_number and isinstance(value, int):
        limits = np.iinfo(dtype)
        if limits.min <= value <= limits.max:
            return value
    type_name = _TYPE_NAMES.get(dtype.name, dtype.name)
    if kind not in "Obiu" and type_name not in ("float", "double"):
        raise Status(
            Code.UNIMPLEMENTED,
            f"Conversion of JSON Value: {_shown(value)} to type: {type_name}",
        )
    raise invalid(
        f"JSON Value: {_shown(value)} Type: {_type_of(value)} is not of expected "
        f"type: {type_name}"
    )


def _to_array(
    values: list[Any], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    with np.errstate(over="ignore"):  # Beyond float32 lies infinity, as there.
        return np.array(values, dtype).reshape(shape)


def _is_object(value: Any) -> bool:
    """Whether names are given, for {"b64": …} is a value."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Mapping[str, Any]) -> bool:
    return value.keys() == {"b64"} and isinstance(value["b64"], str)


def _decode_base64(value: Mapping[str, Any]) -> bytes:
    """With padding or without."""
    if not _is_base64(value):
        raise invalid(
            f"JSON Value: {_shown(value)} not formatted correctly for base64 data"
        )
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def _type_of(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "Null", False: "False", True: "True"}[value]
    names = ((dict, "Object"), (list, "Array"), (str, "String"))
    return next((name for kind, name in names if isinstance(value, kind)), "Number")


def _shown(value: Any) -> str:
    """The beginning of a value, for errors."""
    text = ""
    for piece in _pieces(value, "\n"):
        text += piece
        if len(text) >= _MAX_SHOWN:
            break
    return text[:_MAX_SHOWN]


def _pieces(value: Any, newline: str) -> Iterator[str]:
    """JSON as RapidJSON's PrettyWriter lays it out, with arrays in one line."""
    inner = newline + _INDENT
    if isinstance(value, dict) and value:
        for index, (name, member) in enumerate(value.items()):
            yield ("," if index else "{") + inner + json.dumps(name) + ": "
            yield from _pieces(member, inner)
        yield newline + "}"
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield ", " if index else "["
            yield from _pieces(item, inner)
        yield "]"
    else:
        yield json.dumps(value, ensure_ascii=False)


def to_json(outputs: Arrays, *, is_row: bool) -> bytes:
    """The answer to a prediction; a single output goes without its name.

    Not always JSON: numbers that are not finite are NaN, Infinity and -Infinity, and
    strings that are not UTF-8 stay what they are, unless the output is called …_bytes.

    Raises:
      Status: the outputs are not a row for each row.
    """
    if is_row:
        texts = {name: _rows(name, array) for name, array in outputs.items()}
        _check_same_number_of_rows(outputs)
        rows = [
            _object(dict(zip(texts, row)), "\n" + 2 * _INDENT)
            for row in zip(*texts.values())
        ]
        separator = ",\n" + 2 * _INDENT
        predictions = f"[\n{2 * _INDENT}{separator.join(rows)}\n{_INDENT}]"
        return _named("predictions", predictions)
    columns = {
        name: _text(array.tolist(), _writer(name, array.dtype))
        for name, array in outputs.items()
    }
    return _named("outputs", _object(columns, "\n" + _INDENT))


def _rows(name: str, array: np.ndarray) -> list[str]:
    if not array.ndim:
        raise invalid(f"Tensor name: {name} has no shape information ")
    write = _writer(name, array.dtype)
    return [_text(row, write) for row in array.tolist()]


def _check_same_number_of_rows(outputs: Arrays) -> None:
    expected = len(next(iter(outputs.values())))
    for name, array in outputs.items():
        if len(array) != expected:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} "
                f"expecting: {expected}"
            )


def _named(name: str, text: str) -> bytes:
    return f'{{\n{_INDENT}"{name}": {text}\n}}'.encode(*_ENCODING)


def _object(members: Mapping[str, str], newline: str) -> str:
    """An object of what is JSON already; a single member alone."""
    if len(members) == 1:
        return next(iter(members.values()))
    inner = newline + _INDENT
    lines = [f"{json.dumps(name)}: {text}" for name, text in members.items()]
    return "{" + inner + f",{inner}".join(lines) + newline + "}"


def _text(value: Any, write: Callable[[Any], str]) -> str:
    if not isinstance(value, list):
        return write(value)
    return f"[{', '.join(_text(item, write) for item in value)}]"


def _writer(name: str, dtype: np.dtype[Any]) -> Callable[[Any], str]:
    """How an output's elements are written."""
    if dtype.kind == "O":
        return _write_bytes if name.endswith(_BYTES_SUFFIX) else _write_string
    if dtype.kind in "biu":
        return json.dumps
    if dtype in (np.float32, np.float64):
        return lambda value: _write_decimal(value, dtype)
    raise invalid(f"Failed to write JSON value for tensor type: {dtype.name}")


def _write_string(value: bytes) -> str:
    return json.dumps(value.decode(*_ENCODING), ensure_ascii=False)


def _write_bytes(value: bytes) -> str:
    return json.dumps({"b64": base64.b64encode(value).decode("ascii")})


def _write_decimal(value: float, dtype: np.dtype[Any]) -> str:
    """WriteDecimal: six digits where they suffice, else as many as the dtype needs."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    if dtype.type(text) != value:
        text = f"{value:.{9 if dtype == np.float32 else 17}g}"
    return text if "." in text or "e" in text else text + ".0"
