"""What the report says of a split is said of the labels that the export gives."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.tasks.single_label import ClassScoring
from trainer.tasks.single_label_decision import Decision, plain

LOGITS = np.array([[3.0, 1.0], [2.0, 1.0], [1.0, 1.5], [0.0, 2.0]], np.float32)
LABELS = np.array([0, 1, 1, 0])


@pytest.mark.parametrize(
    "decision, confusion",
    [
        (plain(2), ((1, 1), (1, 1))),
        # The second text, of which the model is 62% sure, goes to the other class.
        (Decision(2.0, (0.7, 0.3), 0.0, "validation"), ((1, 1), (0, 2))),
        (Decision(2.0, (0.3, 0.7), 0.0, "validation"), ((1, 1), (2, 0))),
    ],
)
def test_report_is_of_the_decision(
    decision: Decision, confusion: tuple[tuple[int, ...], ...]
) -> None:
    found = ClassScoring().report(
        LABELS,
        LOGITS,
        decision=decision,
        label_names=("no", "yes"),
        texts=["a", "b", "c", "d"],
        lengths=np.array([1, 2, 3, 4]),
        longest_text=8,
        num_resamples=10,
        seed=0,
    )
    predicted = decision.labels(LOGITS)
    probabilities = decision.probabilities(LOGITS)
    assert found.confusion_matrix == confusion
    assert found.accuracy == (predicted == LABELS).mean()
    assert found.accuracy == decision.quality(LABELS, LOGITS)["accuracy"]
    assert found.per_class["yes"].support == 2
    assert found.per_class["yes"].recall == confusion[1][1] / 2
    of_lengths = found.accuracy_by_length
    assert sum(row.accuracy * row.count for row in of_lengths) == 4 * found.accuracy
    errors = {error.text: error for error in found.most_confident_errors}
    names = np.array(["no", "yes"])[predicted]
    assert {text: error.predicted for text, error in errors.items()} == {
        text: names[i] for i, text in enumerate("abcd") if predicted[i] != LABELS[i]
    }
    assert errors["d"].score == pytest.approx(probabilities[3].max())
    losses = -np.log(probabilities[np.arange(4), LABELS])
    assert found.loss == pytest.approx(losses.mean())
