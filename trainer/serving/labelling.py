"""Of a file of texts those whose labels would teach an exported model most.

    export(PredictConfig(saved_model=..., input="new.txt", export_to_label="new.csv"))

As a run does it at its end (`stages/labelling.py`), with the signatures `serving_default`
and `embed` in place of the model in memory. The choice is in `evaluation/to_label.py`.
"""

from __future__ import annotations

import logging
from typing import Sequence

import numpy as np

from trainer.config import DEFAULT_SIGNATURE, DataConfig, PredictConfig
from trainer.data.unlabelled import read_files
from trainer.evaluation import to_label
from trainer.messages import message
from trainer.serving import manifest, predictor, seen_texts, versions

_logger = logging.getLogger(__name__)

_EMBED = "embed"
_SEED = 0


def export(config: PredictConfig) -> None:
    """Writes the file.

    Raises:
      ValueError: the model or the texts cannot be used, or the file is there already.
      OSError: it cannot be written.
    """
    to_label.check_place(config.export_to_label)
    folder = versions.find(config.saved_model)
    if config.verify:
        _logger.info("%s: %s", folder, predictor.verify(folder))
    facts = manifest.read(folder)
    if manifest.reads_pairs(facts):
        raise ValueError(
            message(
                "--export_to_label chooses among single texts",
                received=f"{folder}, which reads pairs of texts",
                mend="leave it out, and take the answers of the lowest scores",
            )
        )
    if facts.get("task") == "regression":
        raise ValueError(
            message(
                "--export_to_label chooses texts by the probabilities of their labels",
                received=f"{folder}, which gives numbers",
                mend="leave it out, and take texts unlike those it was trained on",
            )
        )
    names = facts["constants"]["labels"]
    seen = seen_texts.read(folder / seen_texts.FILE_NAME)
    if seen is None:
        _logger.warning(
            "%s does not tell which texts it was trained on: they may be among those "
            "chosen",
            folder,
        )
        seen = np.empty(0, np.uint64)
    read = read_files(
        f"files:{config.input}",
        _as_data(config),
        flag="input",
        skipped_by="--bad_rows=null",
    )
    among = to_label.candidates(read, seen, flag="input")
    vectors, asked = _ask(config, among.texts.to_pylist())
    to_label.choose_and_write(
        config.export_to_label,
        among,
        vectors,
        np.array([each["probabilities"] for each in asked]),
        _answers(asked, names),
        _scores(asked),
        count=config.num_to_label,
        seed=_SEED,
        label_names=names,
        layout=to_label.Layout(config.text_field, "label", config.escape),
    )


def _as_data(config: PredictConfig) -> DataConfig:
    """How files are read, as a run has it."""
    return DataConfig(
        text_field=config.text_field,
        encoding=config.encoding,
        column_names=config.column_names,
        escape=config.escape,
        bad_rows="skip" if config.bad_rows == "null" else "error",
    )


def _ask(
    config: PredictConfig, texts: Sequence[str]
) -> tuple[np.ndarray, list[predictor.Prediction]]:
    """Vectors, float32 [n, hidden], and answers of texts."""
    model = predictor.load_model(
        versions.find(config.saved_model), gpu_memory_mib=config.gpu_memory_mib
    )
    missing = {DEFAULT_SIGNATURE, _EMBED} - set(model.signatures)
    if missing:
        raise ValueError(
            message(
                "--export_to_label needs a model with the signatures "
                f"{DEFAULT_SIGNATURE} and {_EMBED}",
                received=f"one with {', '.join(sorted(model.signatures))}",
                mend="name one that was exported as float32 or mixed_bfloat16",
            )
        )
    classify, embed = (
        predictor.Predictor(model.signatures[name])
        for name in (DEFAULT_SIGNATURE, _EMBED)
    )
    asked: list[predictor.Prediction] = []
    vectors: list[np.ndarray] = []

    def ask(batch: list[str]) -> list[None]:
        asked.extend(classify(batch))
        found = [each["embedding"] for each in embed(batch)]
        vectors.append(np.array(found, np.float32))
        return []

    predictor.in_batches(
        ask, texts, batch_size=config.batch_size, description="reading the texts"
    )
    return np.concatenate(vectors), asked


def _answers(asked: Sequence[predictor.Prediction], names: Sequence[str]) -> np.ndarray:
    """int64 [n]; or bool [n, labels] of a model that gives any number of labels."""
    if "chosen" in asked[0]:
        return np.array([each["chosen"] for each in asked], bool)
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[each["label"]] for each in asked], np.int64)


def _scores(asked: Sequence[predictor.Prediction]) -> np.ndarray:
    """float64 [n], how sure the model is; of all labels as `Decision.scores` has it."""
    if "score" in asked[0]:
        return np.array([each["score"] for each in asked])
    values = np.array([each["probabilities"] for each in asked])
    is_chosen = np.array([each["chosen"] for each in asked])
    return np.asarray(np.where(is_chosen, values, 1 - values).prod(axis=1))
