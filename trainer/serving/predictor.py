"""Answers a file of texts with an exported SavedModel.

    python -m trainer.predict --saved_model=DIR --input=texts.txt --output=out.jsonl

or, from Python:

    predict = load("/runs/imdb/export")
    predict(["What a film!"])  # [{"label": "positive", "score": 0.98, ...}]

It needs NumPy, TensorFlow and TensorFlow Text, not Keras: everything else is in the
SavedModel. Reading files is left to `trainer.data.readers`, resuming after a kill to
`resumable`, writing the SavedModel to the export.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import pathlib
import sys
import time
from typing import TYPE_CHECKING, Any, Iterator, Sequence, TextIO

import numpy as np
from tqdm import tqdm

from trainer import stack
from trainer.config import DEFAULT_SIGNATURE, PredictConfig
from trainer.data.readers.reading import read_rows
from trainer.data.readers.rows import BadRow
from trainer.messages import message, shown
from trainer.serving import manifest, resumable, versions

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

STANDARD_STREAM = "-"
# An input of this name takes serialized tf.train.Examples, with the feature `text`.
EXAMPLES = "examples"
_FIRST_OUTPUTS = ("label", "score", "probabilities", "abstain")

_logger = logging.getLogger(__name__)

Prediction = dict[str, Any]


def predict_file(config: PredictConfig) -> int:
    """Writes one JSON object for each text of the input, in its order.

    Each holds the outputs of the signature by name, such as "label", "score" (the
    probability of that label) and "probabilities" (of all classes, in the model's
    order). The input is read as it is needed. An output file that was begun by a
    process that was stopped is continued.

    Returns:
      How many texts have their line, those of before included.

    Raises:
      ValueError: the model or the input cannot be used, or one row of the input. A
        file is then not written, but what was answered is kept beside it, to be continued;
        lines on standard output stay.
    """
    folder = versions.find(config.saved_model)
    if config.verify:
        _logger.info("%s: %s", folder, manifest.verify(folder))
    batches = _batches(_texts(config), config.batch_size)
    # Read before the model is loaded, so that a wrong input is named at once.
    first = list(itertools.islice(batches, 1))
    batches = itertools.chain(first, batches)
    with _output(config, folder) as output:
        output.skip(batches)
        num_before = output.num_texts
        if num_before:
            _logger.info("Continuing after %d texts answered before.", num_before)
        predict = load(str(folder), signature=config.signature)
        started = time.monotonic()
        try:
            _answer(predict, batches, output)
        except ValueError as error:
            raise ValueError(f"{error}{output.keep()}") from error
    num_now = output.num_texts - num_before
    _logger.info(
        "Answered %d texts, %d of them now: %.0f a second.",
        output.num_texts,
        num_now,
        num_now / (time.monotonic() - started),
    )
    return output.num_texts


class Predictor:
    """A signature of a loaded SavedModel, as a function from texts to predictions."""

    def __init__(self, signature: Any):
        self._signature = signature
        (self._input,) = signature.structured_input_signature[1]
        # By name, but the usual ones first and in their order.
        names = sorted(signature.structured_outputs)
        first = [name for name in _FIRST_OUTPUTS if name in names]
        self._outputs = list(dict.fromkeys([*first, *names]))

    def __call__(self, texts: list[str]) -> list[Prediction]:
        """One prediction a text: the outputs by name, in a fixed order.

        Strings are str; numbers and truth values are Python's, or lists of them.

        Raises:
          ValueError: the model gave a number that is not finite.
        """
        import tensorflow as tf

        rows = [_example(text) for text in texts] if self._input == EXAMPLES else texts
        outputs = self._signature(**{self._input: tf.constant(rows, tf.string)})
        columns = [_column(name, outputs[name], texts) for name in self._outputs]
        return [dict(zip(self._outputs, row)) for row in zip(*columns, strict=True)]


def load(saved_model: str, *, signature: str = DEFAULT_SIGNATURE) -> Predictor:
    """Loads a SavedModel.

    Args:
      saved_model: a version's folder, or an export folder: then its newest version.
      signature: one that takes one string a row.

    Raises:
      ValueError: there is none, or one without the signature.
    """
    folder = versions.find(saved_model)
    if not (folder / versions.SAVED_MODEL).is_file():
        raise versions.no_model(folder, f"no {versions.SAVED_MODEL} in it")
    stack.load()
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the tokenizer's ops)

    try:
        model = tf.saved_model.load(str(folder))
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            message(
                "--saved_model must be a SavedModel that can be loaded",
                received=f"{folder}: {error}",
            )
        ) from error
    _check_signature(model.signatures, signature, folder)
    return Predictor(model.signatures[signature])


def _check_signature(signatures: Any, name: str, folder: Path) -> None:
    inputs = {
        each: signatures[each].structured_input_signature[1] for each in signatures
    }
    usable = [each for each in inputs if _takes_strings(inputs[each])]
    if name in usable:
        return
    what = "none of that name"
    if name in inputs:
        what = "one that takes " + ", ".join(
            f"{spec.dtype.name} {each}" for each, spec in inputs[name].items()
        )
    raise ValueError(
        message(
            f"--signature must be one that takes a string a row; {folder} has"
            f" {', '.join(sorted(usable)) or 'none'}",
            received=f"{name}, {what}",
        )
    )


def _takes_strings(inputs: Any) -> bool:
    specs = [(spec.dtype.name, spec.shape.rank) for spec in inputs.values()]
    return specs == [("string", 1)]


def _example(text: str) -> bytes:
    import tensorflow as tf

    value = tf.train.BytesList(value=[text.encode("utf-8")])
    features = tf.train.Features(feature={"text": tf.train.Feature(bytes_list=value)})
    serialized: bytes = tf.train.Example(features=features).SerializeToString()
    return serialized


def _column(name: str, output: Any, texts: list[str]) -> list[Any]:
    """One output as Python values, a value or nested list a text."""
    values = output.numpy()
    if values.shape[:1] != (len(texts),):
        raise ValueError(
            message(
                f"the model must give one {name} a text",
                received=f"shape {values.shape} for {len(texts)} texts",
            )
        )
    if output.dtype.is_floating:
        # What Python's own floats are; bfloat16 would stay NumPy's.
        values = values.astype(np.float64)
        is_finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if not is_finite.all():
            text = texts[int(np.argmin(is_finite))]
            raise ValueError(
                message(
                    f"the model must give a finite {name}",
                    received=f"NaN or infinity for {shown(text)}",
                )
            )
    plain: list[Any] = _decoded(values.tolist())
    return plain


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _texts(config: PredictConfig) -> Iterator[str]:
    is_standard = config.input == STANDARD_STREAM
    file_format = config.input_format
    if is_standard and file_format == "auto":
        file_format = "text"
    for row in read_rows(
        sys.stdin.buffer if is_standard else config.input,
        text_field=config.text_field,
        label_field=None,
        file_format=file_format,
        allow_empty_text=True,
        encoding=config.encoding,
        column_names=config.column_names,
        escape=config.escape,
    ):
        # To leave a row out would shift every line after it.
        if isinstance(row, BadRow):
            raise ValueError(str(row))
        yield row.text


def _batches(texts: Iterator[str], batch_size: int) -> Iterator[list[str]]:
    while batch := list(itertools.islice(texts, batch_size)):
        yield batch


class _Stream:
    """Lines to what cannot be continued: standard output, a pipe, a device."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.num_texts = 0

    def skip(self, batches: Iterator[list[str]]) -> None:
        """Skips none."""

    def append(self, texts: Sequence[str], lines: Sequence[str]) -> None:
        """Writes the lines of a batch."""
        self._stream.writelines(f"{line}\n" for line in lines)
        self.num_texts += len(texts)

    def keep(self) -> str:
        """There is nothing to say of lines that are gone out."""
        return ""


_Output = _Stream | resumable.ResumableOutput


def _answer(predict: Predictor, batches: Iterator[list[str]], output: _Output) -> None:
    with tqdm(
        desc="Predicting",
        unit=" texts",
        delay=1,
        file=sys.stderr,
        initial=output.num_texts,
    ) as progress:
        for texts in batches:
            output.append(texts, [json.dumps(each) for each in predict(texts)])
            progress.update(len(texts))


@contextlib.contextmanager
def _output(config: PredictConfig, folder: Path) -> Iterator[_Output]:
    """Where to write: a file gets its name only if the block ends well."""
    if config.output == STANDARD_STREAM:
        yield _Stream(sys.stdout)
        sys.stdout.flush()
        return
    # A link stays a link, and its file is replaced.
    target = pathlib.Path(config.output).resolve()
    if target.is_dir():
        raise ValueError(
            message("--output must be a file", received=f"the folder {config.output}")
        )
    if target.exists() and not target.is_file():
        # A pipe or device cannot be replaced, only written to.
        with open(target, "w", encoding="utf-8") as stream:
            yield _Stream(stream)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    belongs_to = {"model": _digest(folder), "signature": config.signature}
    with resumable.opened(target, belongs_to, batch_size=config.batch_size) as output:
        yield output


def _digest(folder: Path) -> str:
    """Tells one model from another, wherever it lies."""
    names = [manifest.FILE_NAME]
    if not (folder / manifest.FILE_NAME).is_file():
        # The index holds a checksum of each variable.
        names = [versions.SAVED_MODEL, "variables/variables.index"]
    digest = hashlib.sha256()
    for name in names:
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                digest.update(file.read())
    return digest.hexdigest()
