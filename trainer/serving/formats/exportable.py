"""What is exported, and how every format is asked when it is checked."""

from __future__ import annotations

import dataclasses
from typing import Callable, NamedTuple, Sequence

import keras
import numpy as np

from trainer.config import DataConfig
from trainer.data.tokens import TextEncoder
from trainer.modeling.presets import Preset
from trainer.tasks.task import Decision


class Answers(NamedTuple):
    """probabilities: float [batch, classes]. labels: int [batch], positions."""

    probabilities: np.ndarray
    labels: np.ndarray


# From texts to the answers of a model that was written.
Classify = Callable[[Sequence[str]], Answers]


@dataclasses.dataclass(frozen=True)
class Exportable:
    """A trained classifier with all that a served model needs besides.

    Attributes:
      make_classifier: gives the trained classifier anew, outside of any strategy, under
        a Keras precision policy such as "float32".
      preset: what it was made of.
      encoder: makes its token ids.
      label_names: the classes, in the order of the logits.
      bucket_lengths: padded lengths in tokens, ascending.
      decision: how a label follows from logits.
      data: how texts are cut.
    """

    make_classifier: Callable[[str], keras.Model]
    preset: Preset
    encoder: TextEncoder
    label_names: tuple[str, ...]
    bucket_lengths: tuple[int, ...]
    decision: Decision
    data: DataConfig
