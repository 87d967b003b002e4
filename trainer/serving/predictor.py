"""Answers a file of texts with an exported SavedModel.

    python -m trainer.predict --saved_model=DIR --input=texts.txt --output=out.jsonl

or, from Python:

    predict = load("/runs/imdb/export")
    predict(["What a film!"])  # [{"label": "positive", "score": 0.98, ...}]

It needs NumPy, TensorFlow and TensorFlow Text, not Keras: everything else is in the
SavedModel. What is asked is left to `questions`, how answers are written to `answers`,
resuming after a kill to `resumable`, what of an input several machines answer to
`shards`, writing the SavedModel to the export.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import pathlib
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Sequence, TextIO

import numpy as np

from trainer import console, stack, storage
from trainer.config import (
    DEFAULT_SIGNATURE,
    EXPLAIN_SIGNATURE,
    PredictConfig,
    shard_of,
)
from trainer.data import pairs
from trainer.data.words import words
from trainer.messages import message, shown
from trainer.serving import (
    answers,
    graph_errors,
    manifest,
    questions,
    resumable,
    shards,
    stock_ops,
    versions,
)
from trainer.serving.answers import Answer, Format, Layout, Output, Writer
from trainer.serving.questions import STANDARD_STREAM, Question

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

# Inputs of these names take serialized tf.train.Examples, with the feature `text`; the
# second is what TensorFlow calls that of a signature for Classify.
EXAMPLES = ("examples", "inputs")
_FIRST_OUTPUTS = (
    *("label", "labels", "score", "probabilities", "abstain"),
    *("value", "low", "high"),
)
# What --explain adds to an answer.
_EXPLANATION = {
    "words": Output("string", (None,)),
    "begin": Output("int32", (None,)),
    "end": Output("int32", (None,)),
    "attribution": Output("float32", (None,)),
    "completeness_gap": Output("float32", ()),
}
# Of a model that gives any number of labels, which ones: bool [batch, labels].
_CHOSEN = "chosen"

_logger = logging.getLogger(__name__)

Prediction = dict[str, Any]


def predict_file(
    config: PredictConfig, *, on_text: Callable[[str], object] | None = None
) -> int:
    """Writes an answer for each row of the input, in its order.

    Each holds the outputs of the signature by name, such as "label", "score" (the
    probability of that label) and "probabilities" (of all classes, in the model's
    order), or "labels", a list, of a model that gives any number; before them what is kept of the input. The input is read as it is needed. An
    output file that was begun by a process that was stopped is continued.

    Args:
      on_text: called with each text of the input in turn, also with those that were
        answered before.

    Returns:
      How many rows have their answer, those of before included.

    Raises:
      ValueError: the model or the input cannot be used, or one row of the input. A
        file is then not written, but what was answered is kept beside it, to be continued;
        lines on standard output stay.
      OSError: the output cannot be written; the error names it.
    """
    written = answers.format_of(config.output)
    _check_output(config)
    folder = versions.find(config.saved_model)
    if config.verify:
        _logger.info("%s: %s", folder, verify(folder))
    part = shards.part_of(config) if config.shard else None
    belongs_to = model_and_settings(config, folder)
    if part:
        belongs_to = part.belongs_to(config, belongs_to)
        if shards.is_answered(_target(config), part.shard, belongs_to):
            _logger.info("Part %s is answered already.", part.shard)
            return len(part.rows)
    batches = _read_batches(config, part, on_text)
    with _output(config, belongs_to, written) as output:
        output.skip(_keys(batch) for batch in batches)
        num_before = output.num_texts
        if num_before:
            _logger.info("Continuing after %d texts answered before.", num_before)
        predict = _loaded(config, folder)
        writer = answers.make_writer(written, _layout(config, predict, folder))
        started = time.monotonic()
        try:
            num_bad = _answer(predict, batches, writer, output)
        except ValueError as error:
            raise ValueError(f"{error}{_kept(output, part)}") from error
        if part and isinstance(output, resumable.ResumableOutput):
            part.finish(
                output,
                belongs_to,
                place=_target(config),
                header=writer.header,
                saved_model=str(folder),
            )
    secs = time.monotonic() - started
    _say_how_many(output.num_texts, num_before, num_bad, secs=secs)
    return output.num_texts


def _kept(output: _Output, part: shards.Part | None) -> str:
    """What becomes of the answers before a row that cannot be used, for a message."""
    if part and isinstance(output, resumable.ResumableOutput):
        return part.keep(output)
    return output.keep()


def _read_batches(
    config: PredictConfig,
    part: shards.Part | None,
    on_text: Callable[[str], object] | None,
) -> Iterator[list[Question]]:
    """The batches of the input, or of a part of it."""
    rows = questions.read(config, stretches=part.stretches if part else None)
    batches = _batches(_heard(rows, on_text), config.batch_size)
    # Read before the model is loaded, so that a wrong input is named at once.
    first = list(itertools.islice(batches, 1))
    return itertools.chain(first, batches)


def _loaded(config: PredictConfig, folder: Path) -> Predictor:
    """The model to ask; raises ValueError where it reads other texts than are given."""
    predict = load(
        str(folder),
        signature=config.signature,
        explain=config.explain,
        gpu_memory_mib=config.gpu_memory_mib,
    )
    manifest.refuse_other_inputs(
        of="the model",
        reads=predict.reads_pairs or _was_trained_on_pairs(folder),
        asked=bool(config.second_text_field),
    )
    return predict


def _was_trained_on_pairs(folder: Path) -> bool:
    """Of serialized examples a signature does not say, and the manifest does."""
    has_manifest = (folder / manifest.FILE_NAME).is_file()
    return has_manifest and manifest.reads_pairs(manifest.read(folder))


def _say_how_many(
    num_texts: int, num_before: int, num_bad: int, *, secs: float
) -> None:
    num_now = num_texts - num_before
    _logger.info(
        "Answered %d texts, %d of them now: %.0f a second.",
        num_texts,
        num_now,
        num_now / secs,
    )
    if num_bad:
        _logger.warning(
            "%d of these %d rows could not be used: their answers are null, and say why.",
            num_bad,
            num_now,
        )


def _heard(
    rows: Iterator[Question], on_text: Callable[[str], object] | None
) -> Iterator[Question]:
    """The same rows, of which `on_text` hears the texts."""
    for question in rows:
        if on_text is not None and question.text is not None:
            on_text(question.text)
        yield question


def verify(folder: Path) -> manifest.Verified:
    """Checks a version's files against its manifest, and the ops of its graph.

    Raises:
      ValueError: a file is not as it was or is new, or an op is none of an export's.
    """
    verified = manifest.verify(folder)
    if (folder / versions.SAVED_MODEL).is_file():
        stock_ops.check_ops(folder)
    return verified


def _target(config: PredictConfig) -> pathlib.Path:
    """The file to write; of a part, its own."""
    target = shards.target_of(config.output)
    return shards.place_of(target, shard_of(config.shard)) if config.shard else target


def _check_output(config: PredictConfig) -> None:
    """Tries the output before anything is read.

    Raises:
      ValueError: it is one of the files that are read.
      OSError: it cannot be written; the error names it.
    """
    if config.output == STANDARD_STREAM:
        return
    target = _target(config)
    if target.is_file() or not target.exists():
        storage.check_writable(target, is_file=True)
    if config.input == STANDARD_STREAM or not target.is_file():
        return
    if any(target.samefile(file) for file in questions.files(config.input)):
        raise ValueError(
            message(
                "--output must be another file than those of --input",
                received=f"input={config.input}, output={config.output}",
                mend="give the output another name or folder",
            )
        )


def _layout(config: PredictConfig, predict: Predictor, folder: Path) -> Layout:
    return Layout(
        start=questions.fields(config),
        outputs=predict.outputs,
        has_error=config.bad_rows == "null",
        class_names=_class_names(folder),
    )


def _class_names(folder: Path) -> list[str]:
    """In the order of the probabilities; none where no manifest says them."""
    if not (folder / manifest.FILE_NAME).is_file():
        return []
    labels: list[str] = manifest.read(folder).get("constants", {}).get("labels", [])
    return labels


class Predictor:
    """A signature of a loaded SavedModel, as a function from texts to predictions.

    Args:
      label_names: in the order of the probabilities, for a model that chooses any number
        of them; empty: they are not known, and it says which by `chosen`.

    Attributes:
      input_names: of the signature's tensors.
      outputs: what it gives a text, by name.
    """

    outputs: Mapping[str, Output]

    def __init__(self, signature: Any, *, label_names: Sequence[str] = ()):
        self._signature = signature
        self._label_names = label_names
        self.input_names = tuple(signature.structured_input_signature[1])
        specs = signature.structured_outputs
        found = {name: _output_of(specs[name]) for name in sorted(specs)}
        if _CHOSEN in found and label_names:
            del found[_CHOSEN]
            found["labels"] = Output("string", (None,))
        # By name, but the usual ones first and in their order.
        names = dict.fromkeys([*_FIRST_OUTPUTS, *found])
        self.outputs = {name: found[name] for name in names if name in found}
        self._names = tuple(self.outputs)

    @property
    def reads_pairs(self) -> bool:
        """Whether it is asked pairs of texts, each as `pairs.joined` makes it."""
        return pairs.are_read(self.input_names)

    def __call__(self, texts: list[str]) -> list[Prediction]:
        """One prediction a text: the outputs by name, in a fixed order.

        Strings are str; numbers and truth values are Python's, or lists of them.

        Args:
          texts: of a model that reads pairs, pairs; see `reads_pairs`.

        Raises:
          ValueError: the model refuses a text, or gave a number that is not finite.
        """
        import tensorflow as tf

        columns: Mapping[str, Sequence[Any]] = (
            pairs.columns(texts)
            if self.reads_pairs
            else {
                name: [_example(text) for text in texts] if name in EXAMPLES else texts
                for name in self.input_names
            }
        )
        try:
            outputs = self._signature(
                **{name: tf.constant(rows, tf.string) for name, rows in columns.items()}
            )
        except tf.errors.OpError as error:
            raise ValueError(
                message(
                    "the model must answer all texts that it is asked together",
                    # An operation's message has several lines.
                    received=" ".join(graph_errors.said(error.message).split()),
                    mend=(
                        "leave out the text that it refuses, which --batch_size=1 finds"
                        if len(texts) > 1
                        else f"leave this text out: {shown(texts[0])}"
                    ),
                )
            ) from error
        answers_by_name = [
            (
                self._labels(outputs[_CHOSEN], texts)
                if name == "labels" and name not in outputs
                else _column(name, outputs[name], texts)
            )
            for name in self._names
        ]
        return [
            dict(zip(self._names, row)) for row in zip(*answers_by_name, strict=True)
        ]

    def _labels(self, chosen: Any, texts: list[str]) -> list[list[str]]:
        """The names of those that each text gets."""
        return [
            [name for name, is_chosen in zip(self._label_names, row) if is_chosen]
            for row in _column(_CHOSEN, chosen, texts)
        ]


class ExplainingPredictor(Predictor):
    """A predictor that says, too, which words moved an answer.

    Args:
      signature: as of `Predictor`.
      explain: the model's signature `explain`.
    """

    def __init__(
        self, signature: Any, explain: Any, *, label_names: Sequence[str] = ()
    ) -> None:
        super().__init__(signature, label_names=label_names)
        self._explain = Predictor(explain)
        self.outputs = {**self.outputs, **_EXPLANATION}

    def __call__(self, texts: list[str]) -> list[Prediction]:
        """As of `Predictor`, with what `--explain` adds."""
        pairs = zip(super().__call__(texts), self._explain(texts), texts, strict=True)
        return [
            {**answer, **_explanation(explained, text)}
            for answer, explained, text in pairs
        ]


def _explanation(explained: Prediction, text: str) -> Prediction:
    """What --explain adds, of the outputs of `explain` for a text."""
    tokens = ("tokens", "begin", "end", "attribution")
    found = words(text, *(explained[name] for name in tokens))
    return {
        "words": [word.text for word in found],
        "begin": [word.begin for word in found],
        "end": [word.end for word in found],
        "attribution": [word.attribution for word in found],
        "completeness_gap": explained["completeness_gap"],
    }


def load(
    saved_model: str,
    *,
    signature: str = DEFAULT_SIGNATURE,
    explain: bool = False,
    gpu_memory_mib: int = 0,
    may_be_held: bool = False,
) -> Predictor:
    """Loads a SavedModel.

    Args:
      saved_model: a version's folder, or an export folder: then its newest version.
      signature: one that takes one string a row.
      explain: whether to say, too, which words moved an answer.
      gpu_memory_mib: MiB to take of every GPU's memory; 0: as it is needed.
      may_be_held: whether a version that is held may be meant.

    Raises:
      ValueError: there is none, or one without the signature.
    """
    folder = versions.find(saved_model, may_be_held=may_be_held)
    model = load_model(folder, gpu_memory_mib=gpu_memory_mib)
    _check_signature(model.signatures, signature, folder)
    names = _class_names(folder)
    if not explain:
        return Predictor(model.signatures[signature], label_names=names)
    if EXPLAIN_SIGNATURE not in model.signatures:
        raise ValueError(
            message(
                "--explain needs a model with the signature `explain`",
                received=f"{folder}, which has {', '.join(sorted(model.signatures))}",
                mend="give the command of its run again with --export_explain, which "
                "exports the trained weights once more",
            )
        )
    return ExplainingPredictor(
        model.signatures[signature],
        model.signatures[EXPLAIN_SIGNATURE],
        label_names=names,
    )


def load_model(folder: Path, *, gpu_memory_mib: int = 0) -> Any:
    """Loads the SavedModel of a version's folder, as TensorFlow gives it.

    Raises:
      ValueError: there is none, or one that cannot be loaded.
    """
    if not (folder / versions.SAVED_MODEL).is_file():
        raise versions.no_model(folder, f"no {versions.SAVED_MODEL} in it")
    stack.load()
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the tokenizer's ops)

    from trainer.runtime import gpus

    gpus.limit(memory_mib=gpu_memory_mib)
    try:
        with storage.literal(folder) as place:
            return tf.saved_model.load(str(place))
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            message(
                "--saved_model must be a SavedModel that can be loaded",
                received=f"{folder}: {error}",
            )
        ) from error


def in_batches(
    ask: Callable[[list[str]], Sequence[Any]],
    texts: Sequence[str],
    *,
    batch_size: int,
    description: str,
) -> list[Any]:
    """What is said of each text, asked `batch_size` at a time, with a progress line."""
    starts = range(0, len(texts), batch_size)
    results: list[Any] = []
    for start in console.progress(
        starts, description, unit="batches", total=len(starts)
    ):
        results += ask(list(texts[start : start + batch_size]))
    return results


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
    return specs == [("string", 1)] * (2 if pairs.are_read(inputs) else 1)


def _output_of(spec: Any) -> Output:
    """What a tensor of this signature gives a text: all dimensions but the first."""
    is_known = spec.shape.rank is not None
    return Output(
        spec.dtype.name, tuple(spec.shape.as_list()[1:]) if is_known else None
    )


def _example(text: str) -> bytes:
    import tensorflow as tf

    features = tf.train.Features(
        feature={
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[half.encode()]))
            # A model that reads single texts does not look at the second.
            for name, half in zip(pairs.INPUTS, pairs.split(text))
        }
    )
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


def _batches(rows: Iterator[Question], batch_size: int) -> Iterator[list[Question]]:
    while batch := list(itertools.islice(rows, batch_size)):
        yield batch


def _keys(batch: Sequence[Question]) -> list[str]:
    return [question.key for question in batch]


class _Stream:
    """Lines to what cannot be continued: standard output, a pipe, a device."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.num_texts = 0

    def skip(self, keys: Iterator[list[str]]) -> None:
        """Skips none."""

    def append(self, keys: Sequence[str], lines: Sequence[str]) -> None:
        """Writes the lines of a batch."""
        self._stream.writelines(f"{line}\n" for line in lines)
        self.num_texts += len(keys)

    def keep(self) -> str:
        """There is nothing to say of lines that are gone out."""
        return ""


_Output = _Stream | resumable.ResumableOutput


def _answer(
    predict: Predictor,
    batches: Iterator[list[Question]],
    writer: Writer,
    output: _Output,
) -> int:
    """Writes all answers; how many of them are null."""
    num_bad = 0
    with console.counter(
        "predicting", unit="texts", initial=output.num_texts
    ) as advance:
        for batch in batches:
            lines = [writer.line(answer) for answer in _answers(predict, batch, writer)]
            header = [] if output.num_texts else writer.header
            output.append(_keys(batch), [*header, *lines])
            num_bad += sum(question.text is None for question in batch)
            advance(len(batch))
    if not output.num_texts:
        output.append([], writer.header)
    return num_bad


def _answers(
    predict: Predictor, batch: Sequence[Question], writer: Writer
) -> Iterator[Answer]:
    """The answers of a batch; those of rows without a text hold null."""
    texts = [question.text for question in batch if question.text is not None]
    predictions = iter(predict(texts) if texts else [])
    nothing: Prediction = dict.fromkeys(predict.outputs)
    for question in batch:
        prediction = nothing if question.text is None else next(predictions)
        error = {answers.ERROR: question.error} if writer.layout.has_error else {}
        yield {**question.start, **prediction, **error}


@contextlib.contextmanager
def _output(
    config: PredictConfig, belongs_to: Mapping[str, Any], written: Format
) -> Iterator[_Output]:
    """Where to write: a file gets its name only if the block ends well."""
    if config.output == STANDARD_STREAM:
        yield _Stream(sys.stdout)
        sys.stdout.flush()
        return
    target = _target(config)
    if target.is_dir():
        raise ValueError(
            message("--output must be a file", received=f"the folder {config.output}")
        )
    if target.exists() and not target.is_file():
        if written.convert is not None:
            raise ValueError(
                message(
                    "--output must be a file to become one of Parquet",
                    received=f"{config.output}, a pipe or device",
                    mend="name a file, or write .jsonl to it",
                )
            )
        # A pipe or device cannot be replaced, only written to.
        with (
            storage.naming_place(config.output),
            open(target, "w", encoding="utf-8") as stream,
        ):
            yield _Stream(stream)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with resumable.opened(
        target,
        {**belongs_to, **({"shard": config.shard} if config.shard else {})},
        batch_size=config.batch_size,
        # A part stays lines: only all of them tell the types of columns.
        convert=None if config.shard else written.convert,
    ) as output:
        yield output


def model_and_settings(config: PredictConfig, folder: Path) -> dict[str, Any]:
    """What decides the answers besides the texts, as JSON can hold it."""
    return {
        "model": _digest(folder),
        "signature": config.signature,
        "format": shards.target_of(config.output).suffix,
        "keep_fields": list(config.keep_fields),
        "bad_rows": config.bad_rows,
        **(
            {"second_text_field": config.second_text_field}
            if config.second_text_field
            else {}
        ),
        # Not at its default: what was begun before there was this, continues.
        **({"explain": True} if config.explain else {}),
    }


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
