"""Logistic regression where a text may have several labels: a model a label.

    chosen = fit(features, examples, description="TF-IDF")
    chosen.logits(features_of_test)             # float32 [n, labels], log-odds

Each label's model tells the texts that have it from all others, by
`logistic_regression.py`, with a strength of its own (binary relevance: Tsoumakas and
Katakis 2007, "Multi-label classification: an overview"). A label that all training texts
have, or none, keeps the log-odds of its share.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping

import numpy as np

from trainer.baselines import logistic_regression
from trainer.baselines.examples import Examples
from trainer.baselines.logistic_regression import Chosen


@dataclasses.dataclass(frozen=True)
class ChosenEach:
    """The models of all labels.

    Attributes:
      models: by label; None: all training texts have it, or none.
      log_odds: float64 [labels], of the labels' shares of the training texts.
      settings: how the strengths were chosen.
    """

    models: tuple[Chosen | None, ...]
    log_odds: np.ndarray
    settings: Mapping[str, float | int | str]

    def logits(self, features: Any) -> np.ndarray:
        """float32 [n, labels]."""
        columns = []
        for model, log_odds in zip(self.models, self.log_odds):
            if model is None:
                columns.append(np.full(features.shape[0], log_odds, np.float32))
            else:
                absent, present = model.logits(features).T
                columns.append(present - absent)
        return np.stack(columns, axis=1)

    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """The same as weights: float64 [features, labels], and [labels] to add."""
        fitted = {
            index: each.model.linear()
            for index, each in enumerate(self.models)
            if each is not None
        }
        width = max(len(kernel) for kernel, _ in fitted.values())
        kernel, bias = np.zeros([width, len(self.models)]), self.log_odds.copy()
        for index, (of_classes, to_add) in fitted.items():
            kernel[:, index] = of_classes[:, 1] - of_classes[:, 0]
            bias[index] = to_add[1] - to_add[0]
        return kernel, bias


def fit(
    features: Mapping[str, Any],
    examples: Examples,
    *,
    description: str,
    max_exact_numbers: int = logistic_regression.MAX_EXACT_NUMBERS,
    is_settled: bool = False,
) -> ChosenEach:
    """A model for each label; arguments as of `logistic_regression.fit`."""
    models = []
    for index in range(examples.num_classes):
        own = examples.of_label(index)
        models.append(
            None
            if own.has_one_label
            else logistic_regression.fit(
                features,
                own,
                description=f"{description}, label {index + 1}",
                max_exact_numbers=max_exact_numbers,
                is_settled=is_settled,
            )
        )
    return ChosenEach(tuple(models), examples.log_odds(), _settings(models))


def _settings(models: list[Chosen | None]) -> dict[str, float | int | str]:
    fitted = [each for each in models if each is not None]
    if not fitted:
        return {}
    strengths = [float(each.settings["C"]) for each in fitted]
    return {
        "models": len(fitted),
        "C_lowest": min(strengths),
        "C_highest": max(strengths),
        "chosen_on": fitted[0].settings["chosen_on"],
        "solver": fitted[0].settings["solver"],
    }
