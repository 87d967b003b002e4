"""What an example of each label weighs in the training loss: --class_weights.

    weights = class_weights(("balanced",), labels, ("bad", "good"))   # or None
    weights["bad"]

Weights are scaled such that their mean over the training examples is 1: a batch's loss
keeps its size, and the learning rate its meaning. A batch's weights sum to 1 on the
mean only. They are not divided by their sum in the batch, which would make the same
example count more in a batch of light ones, and parts of a batch unequal to the whole.
"""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from trainer.config import named_class_weights
from trainer.messages import did_you_mean, message


def class_weights(
    setting: Sequence[str], labels: np.ndarray, label_names: Sequence[str]
) -> dict[str, float] | None:
    """The weight of an example of each label; None if all are to weigh 1.

    Args:
      setting: `none`; `balanced`, in inverse proportion to the number of examples, as
        scikit-learn's `compute_class_weight`; or NAME:WEIGHT, where labels that are not
        named weigh 1 before all are scaled.
      labels: int [n], of the training examples, positions in `label_names`.
      label_names: the classes in order.

    Raises:
      ValueError: a name is none of the labels.
    """
    if tuple(setting) == ("none",):
        return None
    counts = np.bincount(labels, minlength=len(label_names))
    if tuple(setting) == ("balanced",):
        # Of a label without examples no weight is used.
        weights = 1 / np.maximum(counts, 1)
    else:
        named = named_class_weights(setting)
        _refuse_unknown(named, label_names)
        weights = np.array([named.get(name, 1.0) for name in label_names])
    weights *= len(labels) / (weights * counts).sum()
    return dict(zip(label_names, weights.tolist()))


def _refuse_unknown(named: Mapping[str, float], label_names: Sequence[str]) -> None:
    for name in named:
        if name not in label_names:
            raise ValueError(
                message(
                    "--class_weights must name labels of the data set "
                    f"({', '.join(label_names[:20])})",
                    received=f"{name!r}{did_you_mean(name, label_names)}",
                )
            )
