"""A loaded SavedModel, as the local server asks it.

    model = Model(folder, "imdb")
    model.warm_up(folder)       # Then the first request is as quick as the others.
    model.predict("embed", {"text": np.array([b"What a film!"], object)})

What is JSON of it is left to `rest.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

from trainer import console, stack, storage
from trainer.config import DEFAULT_SIGNATURE
from trainer.messages import message
from trainer.serving import graph_errors, versions
from trainer.serving.local import rest
from trainer.serving.local.rest import Refused

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

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
            ValueError,
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

    def signature(self, name: str) -> Any:
        """A SignatureDef.

        Args:
          name: of the signature; "": the default one.

        Raises:
          Refused: there is none of that name.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            # Those with underscores are TensorFlow's own.
            known = sorted(n for n in self.signatures if not n.startswith("__"))
            raise rest.refused(
                f"signature_name must be one of {', '.join(known)}", name
            )
        return self.signatures[name]

    def inputs(self, signature: str) -> dict[str, np.dtype[Any]]:
        """Dtypes of a signature's inputs by name.

        Args:
          signature: its name; "": the default one.

        Raises:
          Refused: there is none of that name.
        """
        import tensorflow as tf

        inputs = self.signature(signature).inputs
        return {
            name: np.dtype(tf.as_dtype(inputs[name].dtype).as_numpy_dtype)
            for name in sorted(inputs)
        }

    def warm_up(self, folder: Path) -> int:
        """Answers the requests that lie beside the model, so that the next is quick.

        Returns:
          How many there are.

        Raises:
          ValueError: one cannot be read, or is not answered. TensorFlow Serving does
            not serve such a model either.
        """
        import tensorflow as tf
        from google.protobuf.message import DecodeError

        from trainer.serving import warmup

        place = folder / warmup.FILE
        if not place.is_file():
            return 0
        try:
            requests = warmup.read(folder)
            for request in console.progress(
                requests, "warming up", unit="requests", total=len(requests)
            ):
                inputs = request.inputs
                arrays = {name: tf.make_ndarray(inputs[name]) for name in inputs}
                name = request.model_spec.signature_name
                self.signature(name)
                self.predict(name, arrays)
        except (
            DecodeError,
            KeyError,
            Refused,
            TypeError,
            ValueError,
            tf.errors.OpError,
        ) as error:
            raise ValueError(
                message(
                    "a model must answer the warm-up requests that lie beside it",
                    place=str(place),
                    # An operation's message has several lines.
                    received=" ".join(str(error).split()),
                    mend="copy or export the version again",
                )
            ) from error
        return len(requests)

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
            text = graph_errors.said(error.message)
            raise Refused(text, http_status=status) from error
        except UnicodeDecodeError as error:
            # TensorFlow's Python cannot hand on a message that quotes other bytes.
            text = graph_errors.said(error.object.decode("utf-8", errors="replace"))
            raise Refused(text) from error
        return {name: outputs[name].numpy() for name in sorted(outputs)}

    def classifiers(self) -> list[str]:
        """The signatures for :classify, which give classes and scores."""
        import tensorflow as tf

        names = tf.saved_model
        outputs = {names.CLASSIFY_OUTPUT_CLASSES, names.CLASSIFY_OUTPUT_SCORES}
        method = names.CLASSIFY_METHOD_NAME
        return self._of_method(method, inputs={names.CLASSIFY_INPUTS}, outputs=outputs)

    def regressors(self) -> list[str]:
        """The signatures for :regress, which give a number."""
        import tensorflow as tf

        names = tf.saved_model
        return self._of_method(
            names.REGRESS_METHOD_NAME,
            inputs={names.REGRESS_INPUTS},
            outputs={names.REGRESS_OUTPUTS},
        )

    def _of_method(
        self, method: str, *, inputs: set[str], outputs: set[str]
    ) -> list[str]:
        return [
            name
            for name, signature in sorted(self.signatures.items())
            if signature.method_name == method
            and {*signature.inputs} == inputs
            and {*signature.outputs} == outputs
        ]

    def classify(
        self, signature: str, examples: Sequence[rest.Features]
    ) -> list[list[tuple[bytes, np.float32]]]:
        """The classes of each example, with their scores.

        Raises:
          Refused: the signature is of another method, or the graph says no.
        """
        import tensorflow as tf

        self._check_method(signature, self.classifiers(), ":classify")
        names = tf.saved_model
        arrays = {names.CLASSIFY_INPUTS: _serialized(examples)}
        outputs = self.predict(signature, arrays)
        rows = zip(
            outputs[names.CLASSIFY_OUTPUT_CLASSES],
            outputs[names.CLASSIFY_OUTPUT_SCORES],
        )
        return [list(zip(classes, scores)) for classes, scores in rows]

    def regress(self, signature: str, examples: Sequence[rest.Features]) -> np.ndarray:
        """The number of each example: float32 [n].

        Raises:
          Refused: the signature is of another method, or the graph says no.
        """
        import tensorflow as tf

        self._check_method(signature, self.regressors(), ":regress")
        arrays = {tf.saved_model.REGRESS_INPUTS: _serialized(examples)}
        found: np.ndarray = self.predict(signature, arrays)[
            tf.saved_model.REGRESS_OUTPUTS
        ]
        return found

    def _check_method(self, signature: str, known: Sequence[str], method: str) -> None:
        self.signature(signature)
        if (signature or DEFAULT_SIGNATURE) not in known:
            raise rest.refused(
                f"signature_name must be one for {method}, {', '.join(known)}",
                signature or DEFAULT_SIGNATURE,
            )

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


def _serialized(examples: Sequence[rest.Features]) -> np.ndarray:
    """Object [n], a tf.train.Example each."""
    import tensorflow as tf

    lists: dict[type, Any] = {
        bytes: lambda values: {"bytes_list": tf.train.BytesList(value=values)},
        int: lambda values: {"int64_list": tf.train.Int64List(value=values)},
        float: lambda values: {"float_list": tf.train.FloatList(value=values)},
    }
    serialized = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    name: tf.train.Feature(**lists[type(values[0])](values))
                    for name, values in features.items()
                    if values
                }
            )
        ).SerializeToString()
        for features in examples
    ]
    return np.array(serialized, object)
