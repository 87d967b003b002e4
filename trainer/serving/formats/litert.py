"""Classifier → LiteRT (TensorFlow Lite) model for phones: token ids to probabilities.

Of a model of numbers to `value`, `low` and `high`, as its SavedModel has them.

    write(folder, forward, preset, label_names,
          decision=decision, window_length=128, truncation="head")
    Model(folder)(token_ids, num_tokens)            # probabilities [batch, classes]

`model.tflite` holds built-in operations only, one copy of the weights, and takes any
batch size and length. Tokenizing is the app's: the tokenizer's files lie beside, with
`labels.txt` and a README.md that says how. Needs the extra `litert` to run, not to
write.
"""

from __future__ import annotations

import functools
import importlib.util
import pathlib
import string
from typing import Literal, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.config import LongText, Truncation
from trainer.modeling.ensemble import ServedForward
from trainer.modeling import tokenizer_reading
from trainer.modeling.forward import Forward
from trainer.modeling.presets import Preset
from trainer.serving.formats import tokenizer_files
from trainer.tasks.task import Decision
from trainer.serving.formats.exportable import Answers, Classify, Exportable

MODEL_FILE = "model.tflite"

Weights = Literal["float32", "int8"]

_README = string.Template("""\
# Text $kind for LiteRT

`model.tflite` has one signature, `serving_default`, at any batch size and length:

| | name | type | shape |
|---|---|---|---|
| input | `token_ids` | int32 | [batch, length] |
| input | `num_tokens` | int32 | [batch] |
$outputs

- `token_ids`: rows from $start to $end, padded at the end with $pad_id ($pad). The
  tokenizer is `tokenizer.json`, in the format of Hugging Face's `tokenizers`;
  $files what it is made of.
- Texts of more than $window_length tokens: $longer_texts.
- `num_tokens`: how many tokens of a row are not padding.
- $meaning Weights are $weights.
- A model that was trained on pairs reads $start first $between second $end, which
  `.encode(first, second)` gives$segments.

    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file("tokenizer.json").encode("A fine film.").ids
    run = Interpreter("model.tflite").get_signature_runner()
    run(token_ids=np.array([ids], np.int32), num_tokens=np.array([len(ids)], np.int32))
""")

_OUTPUT = "| output | `{}` | float32 | [{}] |"
_OF_LABELS = (
    "`probabilities`: calibrated, in the order of `labels.txt`; how a label follows from\n"
    "  them is in the model card."
)
_OF_NUMBERS = (
    "`value`: in the unit of the training texts' numbers; `low` and `high`, where they\n"
    "  are, as the model card says."
)
_LONGER_TEXTS = {
    "head": "`tokenizer.json` keeps their start, as was done in training",
    "tail": "`tokenizer.json` keeps their end, as was done in training",
    "head_tail": (
        "`tokenizer.json` keeps their start; the model was trained on their first"
        " {num_head} tokens and their last, {window_length} in all, and is better at"
        " that"
    ),
    "windows": (
        "`tokenizer.json` keeps their start; the model was trained on, and takes,"
        " overlapping windows of {window_length} tokens, each from {start} to {end}, back"
        " to back in one row"
    ),
}


def check_installed() -> None:
    """Raises ValueError where there is nothing to run a LiteRT model with."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise ValueError(
            "the export format litert needs the package ai-edge-litert to be checked, "
            "which is not installed; install it with `pip install ai-edge-litert`, or "
            "leave litert out of --export_formats"
        )


def forward_of(
    classifier: keras.Model, *, window_length: int, long_text: LongText
) -> Forward:
    """The forward pass to write, of a classifier in float32.

    Args:
      window_length, long_text: as of `write`.
    """
    return Forward(
        classifier,
        fusion="none",
        window_length=window_length if long_text == "windows" else None,
    )


def write(
    folder: pathlib.Path,
    forward: ServedForward,
    preset: Preset,
    label_names: Sequence[str],
    *,
    decision: Decision,
    window_length: int,
    truncation: Truncation,
    long_text: LongText = "truncate",
    weights: Weights = "int8",
) -> None:
    """Writes the model, the tokenizer's files, the labels and how to use them.

    Args:
      folder: is there, and holds nothing by these names.
      forward: of a classifier in float32, made outside of any strategy (`forward_of`),
        or of an ensemble of such.
      preset: what they were made of, for its vocabulary.
      decision: how logits become probabilities.
      window_length: longest input in tokens, [CLS] and [SEP] included.
      long_text: `windows`: a row of more than `window_length` tokens is several windows
        of so many, back to back, as `TextEncoder` makes them.
      weights: int8: a quarter of the size; activations stay float32, but are
        quantized, each row by its own range, before they are multiplied with weights.
    """
    (folder / MODEL_FILE).write_bytes(_convert(forward, decision, weights))
    tokenizer_files.write(
        folder, preset, window_length=window_length, truncation=truncation
    )
    if not decision.gives_numbers:
        (folder / "labels.txt").write_text(
            "".join(f"{name}\n" for name in label_names), encoding="utf-8"
        )
    readme = _README.substitute(
        _tokenizer_words(preset) | _output_words(decision, len(label_names)),
        window_length=window_length,
        longer_texts=_LONGER_TEXTS[
            "windows" if long_text == "windows" else truncation
        ].format(
            window_length=window_length,
            num_head=window_length // 4,
            start=preset.special.start,
            end=preset.special.end,
        ),
        weights=weights,
    )
    (folder / "README.md").write_text(readme, encoding="utf-8")


def _output_words(decision: Decision, num_classes: int) -> dict[str, str]:
    """What the README says of the outputs, by the names there."""
    if not decision.gives_numbers:
        outputs = _OUTPUT.format("probabilities", f"batch, {num_classes}")
        return {"kind": "classifier", "outputs": outputs, "meaning": _OF_LABELS}
    has_interval = "interval_half_width" in decision.constants()
    names = ("value", "low", "high") if has_interval else ("value",)
    rows = [_OUTPUT.format(name, "batch") for name in names]
    return {"kind": "to number", "outputs": "\n".join(rows), "meaning": _OF_NUMBERS}


def _tokenizer_words(preset: Preset) -> dict[str, str]:
    """What the README says of a preset's tokenizer, by the names there."""
    special, files = preset.special, tokenizer_reading.FILES[preset.kind.pieces]
    named = [f"`{name}`" for name in files if name != tokenizer_reading.SETTINGS]
    ends = {"start": special.start, "end": special.end, "pad": special.pad}
    return ends | {
        "pad_id": str(preset.vocabulary.index(special.pad)),
        "between": special.end * special.num_between,
        "files": f"{' and '.join(named)} {'are' if len(named) > 1 else 'is'}",
        "segments": (
            f"; the segments follow from the first {special.end}"
            if preset.kind.has_segments
            else ""
        ),
    }


class Model:
    """Runs what `write` wrote, without TensorFlow.

    Args:
      num_threads: of the processor; None: as LiteRT chooses.

    Raises:
      ValueError: LiteRT is not installed.
    """

    def __init__(self, folder: pathlib.Path, *, num_threads: int | None = None) -> None:
        check_installed()
        from ai_edge_litert.interpreter import Interpreter

        path = str(folder / MODEL_FILE)
        interpreter = Interpreter(model_path=path, num_threads=num_threads)
        self._run = interpreter.get_signature_runner()

    def __call__(self, token_ids: np.ndarray, num_tokens: np.ndarray) -> np.ndarray:
        """The probabilities; of a model of numbers its values.

        Args:
          token_ids: int [batch, length].
          num_tokens: int [batch], how many of them are not padding.

        Returns:
          float32 [batch, classes]; of numbers [batch, 1].
        """
        outputs = self._run(
            token_ids=np.asarray(token_ids, np.int32),
            num_tokens=np.asarray(num_tokens, np.int32),
        )
        if "value" in outputs:
            values: np.ndarray = outputs["value"][:, np.newaxis]
            return values
        probabilities: np.ndarray = outputs["probabilities"]
        return probabilities


def _convert(forward: ServedForward, decision: Decision, weights: Weights) -> bytes:
    """The flatbuffer."""

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None], tf.int32, name="token_ids"),
            tf.TensorSpec([None], tf.int32, name="num_tokens"),
        ],
    )
    def compute(token_ids: tf.Tensor, num_tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = forward(token_ids, num_tokens)
        if decision.gives_numbers:
            # Which have no names.
            names = tf.constant([], tf.string)
            constants = decision.constants()
            return dict(decision.graph_outputs(logits, constants, label_names=names))
        probabilities = decision.graph_probabilities(logits, decision.constants())
        return {"probabilities": probabilities}

    module = tf.Module()
    # The variables themselves: of a Keras model the converter makes variables of the
    # model, which nothing would give their values.
    module.weights = list(forward.variables.values())
    module.compute = compute
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [compute.get_concrete_function()], module
    )
    if weights == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    model: bytes = converter.convert()
    return model


def write_format(folder: pathlib.Path, exportable: Exportable) -> None:
    """Writes what is exported, as `write` does."""
    forward = functools.partial(
        forward_of,
        window_length=exportable.data.max_length,
        long_text=exportable.data.long_text,
    )
    write(
        folder,
        exportable.make_forward("float32", forward),
        exportable.preset,
        exportable.label_names,
        decision=exportable.decision,
        window_length=exportable.data.max_length,
        truncation=exportable.data.truncation,
        long_text=exportable.data.long_text,
    )


def reader(folder: pathlib.Path, exportable: Exportable) -> Classify:
    """A function that asks what `write_format` wrote."""
    model = Model(folder)

    def classify(texts: Sequence[str]) -> Answers:
        ids = exportable.encoder(tf.constant(list(texts))).token_ids
        padded = ids.to_tensor(exportable.encoder.pad_id)
        probabilities = model(padded.numpy(), ids.row_lengths().numpy())
        return Answers(probabilities, exportable.decision.choose(probabilities))

    return classify
