"""TensorFlow Serving's JSON: from a request to arrays, from arrays to an answer.

    request = rest.parse(b'{"instances": ["What a film!"]}')
    arrays = rest.to_arrays(request, {"text": np.dtype(object)}, max_batch_size=64)
    rest.to_json({"score": np.array([0.5])}, is_row=rest.is_row(request))

The API is described at https://www.tensorflow.org/tfx/serving/api_rest: `instances`
row by row, `inputs` column by column, {"b64": …} for bytes. Whatever bytes a request
holds reach the model, and its bytes the client, as there. What is wrong with a request
is said in this program's words. JSON itself is left to `json_reader.py`, models and
HTTP to `server.py`; needs NumPy alone.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Mapping, Sequence

import numpy as np

from trainer.messages import message, shown
from trainer.serving.local import json_reader

Arrays = dict[str, np.ndarray]
# Dtypes of a signature's inputs by name; that of strings, which are bytes, is object.
Inputs = Mapping[str, np.dtype[Any]]
# Of a tf.train.Example, values by name.
Features = dict[str, list[bytes] | list[int] | list[float]]

# Base64 as absl has it: without padding or with all of it, for which a dot will do.
_BASE64 = re.compile(r"([A-Za-z0-9+/]*)([=.]*)")
_BASE64_SPACE = str.maketrans("", "", " \t\n\v\f\r")
_BYTES_SUFFIX = "_bytes"
_MAX_SHOWN = 200


class Refused(Exception):
    """A request that is not answered.

    Attributes:
      http_status: the code of the answer.
    """

    def __init__(self, text: str, *, http_status: int = 400) -> None:
        super().__init__(text)
        self.http_status = http_status


def refused(rule: str, received: object) -> Refused:
    """The client's mistake."""
    return Refused(message(rule, received=shown(received, limit=_MAX_SHOWN)))


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a request; what follows it is not read, as there.

    Raises:
      Refused: there is none.
    """
    try:
        document = json_reader.read(body)
    except (RecursionError, ValueError) as error:
        raise Refused(message("a request must be JSON", received=error)) from error
    if not isinstance(document, dict):
        raise refused("a request must be a JSON object", document)
    return document


def signature_name(request: Mapping[str, Any]) -> str:
    """Which signature a request names; "": none."""
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise refused("signature_name must be a string", name)
    return name


def is_row(request: Mapping[str, Any]) -> bool:
    """Whether a request, and so its answer, is row by row."""
    return "instances" in request


def to_arrays(
    request: Mapping[str, Any], inputs: Inputs, *, max_batch_size: int
) -> Arrays:
    """What a request gives a signature.

    Raises:
      Refused: it does not fit the signature, or has too many rows.
    """
    if ("instances" in request) == ("inputs" in request):
        raise refused("a request must have either instances or inputs", list(request))
    try:
        columns = (
            _columns_of_rows(request["instances"], inputs)
            if is_row(request)
            else _columns(request["inputs"], inputs)
        )
        for values in columns.values():
            if isinstance(values, list):
                check_rows(len(values), max_batch_size)
        return {
            name: _array(values, inputs[name], name) for name, values in columns.items()
        }
    except RecursionError as error:
        raise Refused(message("a request must be JSON", received=error)) from error


def check_rows(count: int, max_batch_size: int) -> None:
    """Raises Refused where there are too many."""
    if count > max_batch_size:
        raise refused(
            f"a request must have at most {max_batch_size} rows (--max_batch_size)",
            count,
        )


def _columns_of_rows(rows: Any, inputs: Inputs) -> dict[str, list[Any]]:
    """A list of values for each input, from a value or an object for each row."""
    if not isinstance(rows, list) or not rows:
        raise refused("instances must be a list of at least one row", rows)
    has_names = _is_object(rows[0])
    if not has_names and len(inputs) > 1:
        raise refused(
            f"each instance must be an object of {', '.join(sorted(inputs))}", rows[0]
        )
    for row in rows:
        if _is_object(row) is not has_names:
            raise refused("all instances must be objects, or none", row)
        if has_names and row.keys() != inputs.keys():
            raise refused(
                f"an instance must have the keys {', '.join(sorted(inputs))}", row
            )
    if has_names:
        return {name: [row[name] for row in rows] for name in inputs}
    return {name: rows for name in inputs}


def _columns(value: Any, inputs: Inputs) -> dict[str, Any]:
    """The values of each input, of no rows too."""
    if not _is_object(value):
        if len(inputs) > 1:
            raise refused(
                f"inputs must be an object of {', '.join(sorted(inputs))}", value
            )
        return dict.fromkeys(inputs, value)
    if missing := sorted(inputs.keys() - value.keys()):
        raise refused(f"inputs must have {', '.join(missing)}", list(value))
    return {name: value[name] for name in inputs}


def to_examples(request: Mapping[str, Any]) -> list[Features]:
    """What a request to :classify or :regress gives: the features of each of its examples.

    Those of `context` are every example's that has no others of the name.

    Raises:
      Refused: the request has no examples, or what no tf.train.Example can hold.
    """
    rows = request.get("examples")
    if not isinstance(rows, list) or not rows:
        raise refused("examples must be a list of at least one example", rows)
    context = _features(request.get("context", json_reader.Object(())))
    return [{**context, **_features(row)} for row in rows]


def _features(value: Any) -> Features:
    if not isinstance(value, json_reader.Object):
        raise refused("an example must be an object of features", value)
    # Of a key that is there twice, the last counts here (MakeExampleFromJsonObject).
    return {name: _feature(content, name) for name, content in value.members}


def _feature(content: Any, name: str) -> list[bytes] | list[int] | list[float]:
    """The values of a feature, all of one kind."""
    values = content if isinstance(content, list) else [content]
    kinds = {type(value) for value in values}
    if kinds <= {bool, int} and all(-(2**63) <= value < 2**63 for value in values):
        return [int(value) for value in values]
    if kinds == {float}:
        return values
    if kinds <= {str, json_reader.Object}:
        return [_element(value, np.dtype(object), name) for value in values]
    raise refused(
        f"{name} must hold strings, {{'b64': …}}, floats or int64, all alike", content
    )


def _array(value: Any, dtype: np.dtype[Any], name: str) -> np.ndarray:
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    elements = _elements(value, shape, dtype, name)
    with np.errstate(over="ignore"):  # Beyond float32 lies infinity, as there.
        return np.array(elements, dtype).reshape(shape)


def _elements(
    value: Any, shape: Sequence[int], dtype: np.dtype[Any], name: str
) -> list[Any]:
    """The elements of a nested list of this shape, one after the other."""
    if not shape:
        return [_element(value, dtype, name)]
    if not isinstance(value, list) or len(value) != shape[0]:
        raise refused(
            f"lists in {name} must have the same lengths, {list(shape)} here", value
        )
    return [e for item in value for e in _elements(item, shape[1:], dtype, name)]


def _element(value: Any, dtype: np.dtype[Any], name: str) -> Any:
    """One element as the dtype has it."""
    kind = dtype.kind
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "O" and isinstance(value, json_reader.Object) and "b64" in value:
        return _decode_base64(value)
    if kind == "O" and isinstance(value, str):
        return value.encode(*json_reader.ENCODING)
    if kind == "b" and isinstance(value, bool):
        return value
    if kind == "f" and is_number:
        return value
    if kind in "iu" and is_number and isinstance(value, int):
        limits = np.iinfo(dtype)
        if limits.min <= value <= limits.max:
            return value
    wanted = "strings, or {'b64': …}" if kind == "O" else str(dtype)
    raise refused(f"{name} must hold {wanted}", value)


def _is_object(value: Any) -> bool:
    """Whether names are given, for {"b64": …} is a value."""
    return isinstance(value, json_reader.Object) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return (
        isinstance(value, json_reader.Object)
        and len(value.members) == 1
        and isinstance(value.get("b64"), str)
    )


def _decode_base64(value: json_reader.Object) -> bytes:
    """As Base64Unescape in abseil's strings/escaping.cc does."""
    if _is_base64(value):
        match = _BASE64.fullmatch(value["b64"].translate(_BASE64_SPACE))
        missing = -len(match[1]) % 4 if match else 3
        if match and missing < 3 and len(match[2]) in (0, missing):
            return base64.b64decode(match[1] + "=" * missing)
    raise refused("b64 must hold base64", value["b64"])


def to_json(outputs: Arrays, *, is_row: bool) -> bytes:
    """The answer to a prediction; a single output goes without its name.

    Not always JSON, as there: numbers that are not finite are NaN, Infinity and
    -Infinity, and strings that are not UTF-8 stay what they are, unless the output is
    called …_bytes.

    Raises:
      Refused: the outputs are not a row for each row.
    """
    columns = {name: _plain(name, array) for name, array in outputs.items()}
    if not is_row:
        content: Any = columns
        if len(columns) == 1:
            (content,) = columns.values()
        return _encoded({"outputs": content})
    sizes = {name: array.shape[:1] for name, array in outputs.items()}
    if () in sizes.values() or len(set(sizes.values())) > 1:
        raise Refused(
            message(
                "a signature must give a row for each row to be asked by instances",
                received=sizes,
                mend="ask by inputs",
            )
        )
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    if len(columns) == 1:
        (rows,) = columns.values()
    return _encoded({"predictions": rows})


def classes_to_json(rows: Sequence[Sequence[tuple[bytes, np.floating[Any]]]]) -> bytes:
    """The answer to :classify: pairs of a class and its score, for each example."""
    results = [
        [[_text(label), float(str(score))] for label, score in row] for row in rows
    ]
    return _encoded({"results": results})


def values_to_json(values: np.ndarray) -> bytes:
    """The answer to :regress: a number for each example. values: float32 [n]."""
    return _encoded({"results": _plain("outputs", values)})


def _plain(name: str, array: np.ndarray) -> Any:
    """An output as JSON has it, a nested list."""
    if array.dtype == object:
        as_bytes = name.endswith(_BYTES_SUFFIX)
        return _map(_base64 if as_bytes else _text, array.tolist())
    if array.dtype == np.float32:
        # The shortest digits of float32, not those of the float64 it is near to.
        return _map(float, array.astype(str).tolist())
    if array.dtype.kind in "biuf":
        return array.tolist()
    raise Refused(
        message(f"{name} must be of a type that JSON has", received=array.dtype)
    )


def _map(convert: Any, value: Any) -> Any:
    if isinstance(value, list):
        return [_map(convert, item) for item in value]
    return convert(value)


def _text(value: bytes) -> str:
    return value.decode(*json_reader.ENCODING)


def _base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode("ascii")}


def _encoded(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=4, ensure_ascii=False).encode(
        *json_reader.ENCODING
    )
