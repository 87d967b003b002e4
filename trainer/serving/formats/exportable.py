"""What is exported, and how every format is asked when it is checked."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import keras
import numpy as np

from trainer.config import DataConfig, TaskName
from trainer.data.tokens import TextEncoder
from trainer.drift.reference import TrainingTexts
from trainer.modeling import ensemble
from trainer.modeling.adapters import Adapter
from trainer.modeling.ensemble import ServedForward
from trainer.modeling.presets import Preset
from trainer.tasks.task import Decision, Scale


class Answers(NamedTuple):
    """probabilities: float [batch, classes]. labels: int [batch], positions; or, where a
    text may have several, bool [batch, classes]. Of a model that gives numbers both are
    its values, float [batch, 1] and [batch]."""

    probabilities: np.ndarray
    labels: np.ndarray


# Gives a trained classifier anew, outside of any strategy, under a Keras precision
# policy such as "float32".
MakeClassifier = Callable[[str], keras.Model]
# From texts to the answers of a model that was written.
Classify = Callable[[Sequence[str]], Answers]


@dataclasses.dataclass(frozen=True)
class Exportable:
    """What was trained, with all that a served model needs besides.

    Attributes:
      make_classifiers: of each trained classifier; several are an ensemble.
      preset: what they were made of.
      encoder: makes their token ids.
      label_names: the classes, in the order of the logits.
      bucket_lengths: padded lengths in tokens, ascending.
      decision: how a label follows from logits.
      data: how texts are cut.
      task: what a text has, one label or several, or a number.
      scale: that turns a logit into a number; None of labels.
      seen_texts: uint64 [n], what stands for the texts that it was trained or chosen on
        (`serving/seen_texts.py`).
      adapter: what LoRA learned, which is in the classifier too; None but for the
        format that holds it alone.
      training: what is kept of the training texts, for later ones to be held against;
        None: nothing is.
      explains: whether what reads text says, too, which words moved an answer.
    """

    make_classifiers: tuple[MakeClassifier, ...]
    preset: Preset
    encoder: TextEncoder
    label_names: tuple[str, ...]
    bucket_lengths: tuple[int, ...]
    decision: Decision
    data: DataConfig
    task: TaskName = "single_label"
    scale: Scale | None = None
    seen_texts: np.ndarray = dataclasses.field(
        default_factory=lambda: np.empty(0, np.uint64)
    )
    adapter: Adapter | None = None
    training: TrainingTexts | None = None
    explains: bool = False

    def answers(self, outputs: Mapping[str, Any]) -> Answers:
        """What a signature said. outputs: tensors by name."""
        values = {name: output.numpy() for name, output in outputs.items()}
        labels = self.decision.labels_told(values, label_names=self.label_names)
        if self.decision.gives_numbers:
            return Answers(labels[:, np.newaxis], labels)
        return Answers(values["probabilities"], labels)

    def make_classifier(self, policy: str) -> keras.Model:
        """The only classifier, for a format that holds one.

        Raises:
          ValueError: there are several; the formats of an ensemble are checked at the
            start of a study (`config.ENSEMBLE_FORMATS`).
        """
        (make,) = self.make_classifiers
        return make(policy)

    def make_forward(
        self, policy: str, of: Callable[[keras.Model], ServedForward]
    ) -> ServedForward:
        """What is served: the classifier, or the ensemble of all.

        Args:
          of: the forward pass of one classifier.
        """
        models = [of(make(policy)) for make in self.make_classifiers]
        return ensemble.served(models, combine=self.decision.graph_ensemble_logits)
