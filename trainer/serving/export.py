"""Trained classifier → a numbered version that a model server takes, in each format.

    export = publish(exportable, folder, config=config.serving, checks=checks, facts={...})
    export["path"]          # /runs/a/export/3
    export["formats"]       # size, latency and accuracy of each

    folder/3/               the float32 SavedModel, by which the others are measured
    folder/int8/3/          another format; a model base path of its own
    folder/latest           "3": the newest version that is complete
    folder/batching_parameters.txt

A version is written aside, checked against the model in memory, and renamed in;
`latest` follows when all is there. A server ignores names that are no numbers.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import pathlib
import statistics
import time
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence, TypeVar

import numpy as np
import tensorflow as tf

from trainer import console, storage
from trainer.config import EXPORT_FORMATS, ServingConfig
from trainer import environment
from trainer.data import label_sets
from trainer.drift import reference as drift_reference
from trainer.messages import message
from trainer.modeling import weights
from trainer.serving import (
    canary,
    formats,
    manifest,
    model_card,
    promotion as promotions,
    seen_texts,
    stock_ops,
    versions,
    warmup,
)
from trainer.serving.formats import saved_model
from trainer.serving.formats.exportable import Answers, Classify, Exportable
from trainer.serving.promotion import Promotion
from trainer.tasks.task import Scale


class Rounding(NamedTuple):
    """How far a probability may be off by the precision it was computed in.

    Attributes:
      relative: a logit, relative to the largest one.
      least: a probability, however small the logits.
    """

    relative: float
    least: float


# Of the trained model's answers from those of the SavedModel, which computes in float32,
# in batches of other shapes and perhaps elsewhere. Float32 has 24 bits, some of which
# the sums of a dozen layers cost; bfloat16 has 8: the quickstart's model was 0.007 off.
ROUNDINGS = {
    "float32": Rounding(relative=1e-5, least=1e-5),
    "mixed_bfloat16": Rounding(relative=0.02, least=0.05),
}
_REFERENCE = "float32"
# Where a SavedModel keeps its variables, and under which name ServingModule has them.
_VARIABLES = "variables/variables"
_WEIGHTS = "weights"
_CHECK_BATCH_SIZE = 16
_NUM_TIMED_TEXTS = 20
# Of a format beside float32, on the mean, where --max_value_shift does not say.
_MAX_SHIFT_SPREADS = 0.05
_USUAL_BATCH_SIZE = 8

_logger = logging.getLogger(__name__)

Facts = dict[str, Any]
_Given = TypeVar("_Given")


@dataclasses.dataclass(frozen=True)
class Checks:
    """What each format is checked with.

    Attributes:
      texts: held-out ones, and then some without a label.
      labels: of the first n texts, see `label_sets.pairs`; at least one.
      probabilities: [len(texts), classes], what the trained model itself gave; of one
        that gives numbers its values, [len(texts), 1].
      weights: of the trained model, by path.
      precision: that the model computed the probabilities in, "float32" or
        "mixed_bfloat16".
      largest_logit: by size, divided by the temperature.
      scale: of a model that gives numbers: what turns a logit into a value; else None.
    """

    texts: Sequence[str]
    labels: np.ndarray
    probabilities: np.ndarray
    weights: Mapping[str, np.ndarray]
    precision: str = "float32"
    largest_logit: float = 0.0
    scale: Scale | None = None

    @property
    def tolerance(self) -> float:
        """How far an exact export's probabilities may be from these.

        Where logits are off by e, softmax is off by p (1 - p) 2e, which is e / 2 at
        most. A value, in spreads, is off by e, and by what float32 rounds off the
        largest one, however small the spread is beside it.
        """
        relative, least = ROUNDINGS[self.precision]
        if self.scale is not None:
            largest = np.abs(self.probabilities).max() + abs(self.scale.mean)
            rounded = 2 * np.finfo(np.float32).eps * float(largest) / self.scale.spread
            return max(least, relative * self.largest_logit) + float(rounded)
        return max(least, relative * self.largest_logit / 2)

    def differences(self, probabilities: np.ndarray) -> np.ndarray:
        """How far these are from the trained model's; values in spreads."""
        found: np.ndarray = np.abs(probabilities - self.probabilities)
        return found if self.scale is None else found / self.scale.spread

    def accuracy(self, labels: np.ndarray) -> float | None:
        """The share of labels that are right; None of numbers."""
        if self.scale is not None:
            return None
        return float(label_sets.is_right(self.labels, labels).mean())

    def distances(self, values: np.ndarray) -> Facts:
        """How far numbers are from the truth, and from the trained model's, on the mean.

        Args:
          values: float [n], of the first n texts.

        Returns:
          `mae` and `value_shift`, in the unit of the numbers; both None of labels.
        """
        if self.scale is None:
            return {"mae": None, "value_shift": None}
        expected = self.probabilities[: len(values), 0]
        return {
            "mae": float(np.abs(values - self.labels).mean()),
            "value_shift": float(np.abs(values - expected).mean()),
        }


def publish(
    exportable: Exportable,
    folder: storage.Path,
    *,
    config: ServingConfig,
    checks: Checks,
    facts: Mapping[str, Any],
    promotion: Promotion = promotions.ALWAYS,
) -> Facts:
    """Writes the next version, and publishes it if it computes what it should.

    Args:
      promotion: whether the version is to serve.
      facts: what manifest and model card say of the run: `title`, `config`,
        `data_fingerprint`, `data`, `metrics`, `doubts`.

    Returns:
      For the report: `path`, `version`, `num_parity_texts`, `parity_max_difference` of
      a probability, `status` and `status_reason`, and `formats`: what was measured of
      each, `status` "published" or "refused".

    Raises:
      ValueError: the SavedModel's answers differ; nothing is published.
    """
    others = [name for name in EXPORT_FORMATS[1:] if name in config.export_formats]
    # Of all formats: another run may publish one that this run does not.
    with versions.claimed(folder, formats=EXPORT_FORMATS[1:]) as version:
        told: Facts = {"status": promotion.status, "status_reason": promotion.reason}
        if promotion.verdict:
            told["verdict"] = dict(promotion.verdict)
        measured = _publish_all(
            exportable, folder, version, others, config, checks, {**facts, **told}
        )
        if promotion.is_conditional and promotion.status == manifest.PROMOTED:
            _try_in_a_fresh_process(folder, version)
        promotion = promotions.settle(folder, version, promotion)
        promotions.record(
            folder,
            version,
            promotion.status,
            reason=promotion.reason,
            verdict=promotion.verdict,
            **_measured_of_run(facts),
        )
        if versions.latest(folder) == version:
            batching = warmup.batching_parameters(_batch_sizes(config))
            storage.write_text(folder / warmup.BATCHING_FILE, batching)
        versions.remove_old(
            folder, formats=others, keep=config.keep_exports, published=version
        )
    return {
        "path": str(folder / str(version)),
        "version": version,
        "num_parity_texts": len(checks.texts),
        "parity_max_difference": measured[0]["max_difference"],
        "status": promotion.status,
        "status_reason": promotion.reason,
        "formats": measured,
    }


def _try_in_a_fresh_process(folder: storage.Path, version: int) -> None:
    """Raises ValueError where it fails there; the version is then held."""
    place = folder / str(version)
    _logger.info("trying version %d in a fresh process", version)
    try:
        canary.check(place)
    except ValueError as error:
        manifest.set_status(place, manifest.HELD, reason=f"the canary died: {error}")
        raise


def _measured_of_run(facts: Mapping[str, Any]) -> Facts:
    """What the history says of a version's run."""
    metrics = facts.get("metrics", {})
    split = next((name for name in ("test", "validation") if name in metrics), None)
    measured = metrics.get(split, {})
    intervals = measured.get("confidence_intervals_95", {})
    return {
        "data": facts.get("config", {}).get("data", {}).get("dataset"),
        "data_fingerprint": facts.get("data_fingerprint"),
        "split": split,
        "accuracy": measured.get("accuracy"),
        "interval_95": intervals.get("accuracy"),
        **({"mae": measured["mae"]} if "rmse" in measured else {}),
    }


def _publish_all(
    exportable: Exportable,
    folder: storage.Path,
    version: int,
    others: Sequence[str],
    config: ServingConfig,
    checks: Checks,
    facts: Mapping[str, Any],
) -> list[Facts]:
    """What was measured of each format of a version, float32 first."""
    target = folder / str(version)
    facts = {**facts, **_facts(exportable, version)}
    with storage.new_directory(target, keep_existing=False) as unfinished:
        first = _write(_REFERENCE, unfinished, exportable, checks)
        _refuse_other_weights(unfinished, checks)
        _refuse_differences(first, checks)
        sizes = _batch_sizes(config)
        _complete(unfinished, exportable, {**facts, **first}, batch_sizes=sizes)
        measured = [{**first, "status": "published", "path": str(target)}]
        for name in others:
            place = folder / name / str(version)
            measured.append(
                _publish_other(name, place, exportable, config, checks, facts, first)
            )
    return measured


def _publish_other(
    name: str,
    place: storage.Path,
    exportable: Exportable,
    config: ServingConfig,
    checks: Checks,
    facts: Facts,
    reference: Facts,
) -> Facts:
    """Publishes a format other than float32, unless too much is lost."""
    try:
        with storage.new_directory(place, keep_existing=False) as unfinished:
            measured = _write(name, unfinished, exportable, checks)
            if checks.scale is None:
                drop = reference["accuracy"] - measured["accuracy"]
                measured["accuracy_drop"] = drop
            why = too_lossy(measured, reference, config=config, scale=checks.scale)
            if why:
                raise _Refused(measured, why)
            sizes = _batch_sizes(config)
            _complete(unfinished, exportable, {**facts, **measured}, batch_sizes=sizes)
    except _Refused as refused:
        measured = refused.measured
        _logger.warning("%s was not published: %s", name, refused.why)
        return {**measured, "status": "refused", "path": None}
    return {**measured, "status": "published", "path": str(place)}


class _Refused(Exception):
    """A format that loses too much.

    Attributes:
      measured: what was measured of it.
      why: in words.
    """

    def __init__(self, measured: Facts, why: str) -> None:
        super().__init__()
        self.measured, self.why = measured, why


def too_lossy(
    measured: Facts, reference: Facts, *, config: ServingConfig, scale: Scale | None
) -> str:
    """Why a format is not published, in words; "": it is.

    Args:
      measured: the format's, as in `schema.FormatFacts`.
      reference: those of float32.
      scale: of a model that gives numbers.
    """
    if scale is None:
        if measured["accuracy_drop"] <= config.max_accuracy_drop:
            return ""
        return (
            f"its accuracy on {measured['num_texts']} held-out texts is "
            f"{measured['accuracy']:.2%}, {measured['accuracy_drop']:.2%} below that of "
            f"float32, and --max_accuracy_drop={config.max_accuracy_drop}"
        )
    limit = config.max_value_shift or _MAX_SHIFT_SPREADS * scale.spread
    # Written so that a shift that is no number is refused, too.
    if measured["value_shift"] <= limit:
        return ""
    given = (
        f"--max_value_shift={config.max_value_shift:g}"
        if config.max_value_shift
        else f"a twentieth of the spread is {limit:.3g} (--max_value_shift)"
    )
    return (
        f"its values on {measured['num_texts']} held-out texts are "
        f"{measured['value_shift']:.3g} from those of the trained model, on the mean, and "
        f"{given}; its mean absolute error is {measured['mae']:.4g}, that of float32 "
        f"{reference['mae']:.4g}"
    )


def _write(
    name: str, folder: pathlib.Path, exportable: Exportable, checks: Checks
) -> Facts:
    """Writes a format, and measures what was written."""
    _logger.info("exporting %s", name)
    formats.write(name, folder, exportable)
    num_bytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    if name in formats.SAVED_MODELS:
        stock_ops.check(folder)
    classify = formats.reader(name, folder, exportable)
    began = time.monotonic()
    answers = list(_asked(classify, checks.texts, f"checking {name}"))
    secs = time.monotonic() - began
    probabilities = np.concatenate([answer.probabilities for answer in answers])
    labels = np.concatenate([answer.labels for answer in answers])
    held_out = labels[: len(checks.labels)]
    if exportable.training is not None and name in formats.READ_TEXT:
        answered = Answers(probabilities[: len(held_out)], held_out)
        reference = _drift_reference(folder, exportable.training, checks, answered)
        drift_reference.write(folder, reference)
    return {
        "format": name,
        "bytes": num_bytes,
        "latency_ms": _latency_ms(classify, checks.texts),
        "texts_per_sec": len(checks.texts) / secs,
        "num_texts": len(checks.labels),
        "accuracy": checks.accuracy(held_out),
        **checks.distances(held_out),
        "max_difference": float(checks.differences(probabilities).max()),
        **_other_labels(labels, exportable, checks),
    }


def _asked(
    function: Callable[[Sequence[str]], _Given], texts: Sequence[str], doing: str
) -> Iterator[_Given]:
    """What a function gives of texts, batch by batch."""
    starts = range(0, len(texts), _CHECK_BATCH_SIZE)
    for start in console.progress(starts, doing, unit="batches", total=len(starts)):
        yield function(texts[start : start + _CHECK_BATCH_SIZE])


def _drift_reference(
    folder: pathlib.Path,
    training: drift_reference.TrainingTexts,
    checks: Checks,
    answers: Answers,
) -> drift_reference.Reference:
    """What is kept of the texts, as the format itself answers them.

    Args:
      answers: to the labelled texts of the checks.
    """
    # A copy on both sides of a fold would be told by heart.
    texts = list(dict.fromkeys(checks.texts[: len(checks.labels)]))
    chosen = np.linspace(
        0, len(texts) - 1, min(len(texts), drift_reference.MAX_VECTORS)
    ).round()
    drawn = [texts[row] for row in chosen.astype(np.int64)]
    embed = saved_model.embedder(folder)
    vectors = np.concatenate(list(_asked(embed, drawn, "vectors for the reference")))
    chances = answers.probabilities[np.arange(len(answers.labels)), answers.labels]
    return drift_reference.Reference(
        training=training,
        confusion=drift_reference.confusion_matrix(
            checks.labels, answers.labels, num_classes=answers.probabilities.shape[1]
        ),
        scores=drift_reference.binned(chances, drift_reference.SCORE_ENDS),
        vectors=vectors.astype(np.float16),
    )


def _other_labels(
    labels: np.ndarray, exportable: Exportable, checks: Checks
) -> dict[str, int]:
    """How many labels are not those of the model in memory, and how many are ties."""
    if checks.scale is not None:
        # How far off a number is says all.
        return {"num_other_labels": 0, "num_ties": 0}
    is_tie = exportable.decision.is_tie(checks.probabilities, rounding=checks.tolerance)
    expected = exportable.decision.choose(checks.probabilities)
    differs = ~label_sets.is_right(expected, labels)
    return {
        "num_other_labels": int((differs & ~is_tie).sum()),
        "num_ties": int((differs & is_tie).sum()),
    }


def _latency_ms(classify: Classify, texts: Sequence[str]) -> float:
    """The median time of a text alone, in milliseconds."""
    times = []
    for text in texts[:_NUM_TIMED_TEXTS]:
        start = time.perf_counter()
        classify([text])
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def _refuse_other_weights(folder: pathlib.Path, checks: Checks) -> None:
    """Raises ValueError unless the variables are the model's, bit for bit."""
    with storage.literal(folder) as place:
        reader = tf.train.load_checkpoint(str(place / _VARIABLES))
        shapes = reader.get_variable_to_shape_map()
        keys = {weights.name_of_key(key): key for key in shapes}
        names = {f"{_WEIGHTS}/{path}": path for path in checks.weights}
        wrong = [
            path
            for name, path in names.items()
            if name not in keys
            or not np.array_equal(reader.get_tensor(keys[name]), checks.weights[path])
        ]
    if wrong:
        raise ValueError(
            message(
                "the export was not published: its weights must be those that were "
                "trained",
                received=f"other ones for {', '.join(wrong[:5])}"
                f"{' ...' * (len(wrong) > 5)}",
            )
        )


def _refuse_differences(measured: Facts, checks: Checks) -> None:
    difference, others = measured["max_difference"], measured["num_other_labels"]
    # Written so that a difference that is no number is refused, too.
    if not difference <= checks.tolerance or others:
        raise ValueError(
            message(
                (
                    "the export was not published: its labels must be those of the model "
                    f"in memory, and its probabilities within {checks.tolerance:.2g}"
                    if checks.scale is None
                    else "the export was not published: its values must be within "
                    f"{checks.tolerance:.2g} spreads of those of the model in memory"
                ),
                received=f"{others} other labels and a difference of {difference:.3g} "
                f"among {len(checks.texts)} texts",
            )
        )
    if measured["num_ties"]:
        _logger.info(
            "%d of %d texts get another label from the export: ties, whose best two "
            "labels are as near to each other as rounding moves them (%.2g)",
            measured["num_ties"],
            len(checks.texts),
            checks.tolerance,
        )


def _complete(
    folder: pathlib.Path,
    exportable: Exportable,
    facts: Facts,
    *,
    batch_sizes: Sequence[int],
) -> None:
    """Adds warm-up requests, the model card and, last, the manifest."""
    name = facts["format"]
    if name in formats.SAVED_MODELS:
        facts["signatures"] = _signatures(folder)
        warmup.write(
            folder,
            model_name=model_card.MODEL_NAME,
            encoder=exportable.encoder,
            bucket_lengths=exportable.bucket_lengths,
            batch_sizes=batch_sizes,
        )
    # That of a checkpoint lies where Hugging Face's hub looks for it.
    card = "README.md" if name in ("huggingface", "peft") else "MODEL_CARD.md"
    (folder / card).write_text(model_card.render(facts), encoding="utf-8")
    seen_texts.write(folder / seen_texts.FILE_NAME, exportable.seen_texts)
    manifest.write(folder, facts)


def _facts(exportable: Exportable, version: int) -> Facts:
    """What the manifests of all formats of a version say of it."""
    decision = exportable.decision
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "version": version,
        "task": exportable.task,
        "created": now.isoformat(timespec="seconds"),
        "constants": {
            "labels": list(exportable.label_names),
            **decision.constants(),
        },
        "bucket_lengths": list(exportable.bucket_lengths),
        # What stands before and after the tokens of a text, with its id.
        "ends": {
            exportable.encoder.vocabulary[index]: index
            for index in exportable.encoder.end_ids
        },
        "git_revision": manifest.git_revision(),
        "packages": environment.package_versions(),
    }


def _signatures(folder: pathlib.Path) -> Facts:
    """Name → `inputs` and `outputs`, each name → its dtype and shape, None: any."""

    def tensors(infos: Any) -> Facts:
        return {
            name: {
                "dtype": tf.dtypes.as_dtype(info.dtype).name,
                "shape": [
                    n.size if n.size >= 0 else None for n in info.tensor_shape.dim
                ],
            }
            for name, info in sorted(infos.items())
        }

    return {
        name: {
            "inputs": tensors(signature.inputs),
            "outputs": tensors(signature.outputs),
        }
        for name, signature in sorted(stock_ops.read(folder).signature_def.items())
        if not name.startswith("__")
    }


def _batch_sizes(config: ServingConfig) -> list[int]:
    """The sizes of batches that a server may make, the largest last."""
    largest = config.max_serving_batch_size
    return sorted({min(size, largest) for size in (1, _USUAL_BATCH_SIZE, largest)})
