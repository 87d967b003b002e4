"""The stage that says of a few held-out texts which words moved the answer.

    explanations = explain.run(run, material, built, after)     # the report's

Integrated gradients (`modeling/attributions.py`) on a copy of the trained classifier, on
one device in float32: of several workers the chief is alone here.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import tensorflow as tf

from trainer import console
from trainer.data import label_sets
from trainer.data.words import words
from trainer.evaluation.schema import ExplainedWord, Explanation, SampleChoice
from trainer.modeling import attributions
from trainer.modeling.forward import Forward
from trainer.stages import copies
from trainer.stages.build import Built
from trainer.stages.context import Run
from trainer.stages.measure import After
from trainer.stages.prepare import Material
from trainer.tasks.task import Decision

# Of one text: what `schema.Explanation` holds of it, as NumPy arrays and numbers.
_Explain = Callable[[str], dict[str, Any]]


def run(
    run: Run, material: Material, built: Built, after: After
) -> tuple[Explanation, ...]:
    """The surest errors and the texts nearest to the border, explained."""
    split = material.held_out
    if not run.config.explain or split is None:
        return ()
    chosen = choose(
        after.labels[split],
        after.logits[split],
        after.decision,
        count=run.config.explain,
    )
    explain = _explainer(run, material, built, after.decision)
    asked = console.progress(
        chosen.items(), "explaining", unit="texts", total=len(chosen)
    )
    found = tuple(
        _explanation(explain, material, after, split, index, why)
        for index, why in asked
    )
    run.stopwatch.lap("explain_secs")
    return found


def choose(
    labels: np.ndarray, logits: np.ndarray, decision: Decision, *, count: int
) -> dict[int, SampleChoice]:
    """Rows to explain, at most so many: half of them the surest errors, surest first;
    the others, and more where there are fewer errors, the nearest to the border.

    Args:
      labels: see `label_sets.pairs`.
      logits: float [n, classes].

    Returns:
      Row → why.
    """
    probabilities = decision.probabilities(logits)
    given = decision.choose(probabilities)
    scores = decision.scores(probabilities)
    errors = np.flatnonzero(~label_sets.is_right(labels, given))
    surest = errors[np.argsort(-scores[errors], kind="stable")][: (count + 1) // 2]
    nearest = np.argsort(decision.margins(probabilities), kind="stable")
    rows: dict[int, SampleChoice] = {int(row): "surest wrong" for row in surest}
    for row in nearest.tolist():
        if len(rows) < count:
            rows.setdefault(row, "nearest to the border")
    return rows


def _explainer(
    run: Run, material: Material, built: Built, decision: Decision
) -> _Explain:
    """A function that explains one text; its graph is made once."""
    classifier = copies.classifier(
        run.config.model, material, built.classifier, "float32"
    )
    forward = Forward(
        classifier, window_length=run.config.data.max_length, differentiable=False
    )
    encoder = material.encoder
    attribute = attributions.explainer(
        forward, encoder, decision, constants=decision.constants()
    )

    @tf.function(input_signature=[tf.TensorSpec([1], tf.string)], autograph=False)
    def explain(text: tf.Tensor) -> dict[str, tf.Tensor]:
        token_ids = encoder(text).token_ids
        attributed = attribute(
            token_ids.to_tensor(encoder.pad_id),
            tf.cast(token_ids.row_lengths(), tf.int32),
        )
        located = encoder.locate(text)
        return {
            "token_ids": located.token_ids.flat_values,
            "begin": located.begin.flat_values,
            "end": located.end.flat_values,
            "attribution": attributions.of_tokens(located, attributed.attribution)[0],
            "difference": attributed.difference[0],
            "chosen": attributed.chosen[0],
        }

    return lambda text: {
        name: value.numpy() for name, value in explain(tf.constant([text])).items()
    }


def _explanation(
    explain: _Explain,
    material: Material,
    after: After,
    split: str,
    index: int,
    why: SampleChoice,
) -> Explanation:
    """Of a text of a split."""
    row = int(material.splits[split].rows[index])
    pool = material.texts.pool
    text = pool.texts[row].as_py()
    explained = explain(text)
    tokens = [material.encoder.vocabulary[i] for i in explained["token_ids"]]
    columns = (explained[name].tolist() for name in ("begin", "end", "attribution"))
    found = words(text, tokens, *columns)
    (answer,) = after.decision.answers(
        after.logits[split][[index]], label_names=material.label_names
    )
    file, line = pool.places.of(row)
    difference = float(explained["difference"])
    return Explanation(
        text=text,
        label=label_sets.name_of(after.labels[split][index], material.label_names),
        predicted=answer["label"],
        explained=material.label_names[int(explained["chosen"])],
        score=answer["score"],
        why=why,
        words=tuple(
            ExplainedWord(begin=word.begin, end=word.end, attribution=word.attribution)
            for word in found
        ),
        difference=difference,
        completeness_gap=difference - sum(word.attribution for word in found),
        file=file,
        line=line,
    )
