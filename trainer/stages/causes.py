"""The stage that looks at errors by their cause: kinds of texts, and training texts near.

    found = causes.run(run, material, built, after)     # the report's; None: not asked

It goes by the vectors that the trained head reads: of all held-out texts, and of up to
20,000 training texts, read once by a copy of the classifier on one device. Of several
workers the chief is alone here.
"""

from __future__ import annotations

import numpy as np

from trainer.data import label_sets
from trainer.evaluation import error_causes
from trainer.evaluation.comparisons import evenly
from trainer.evaluation.schema import ErrorCauses, NearestTexts, TrainingText
from trainer.evaluation.slices import shorten_middle
from trainer.stages import copies
from trainer.stages.build import Built
from trainer.stages.context import Run
from trainer.stages.measure import After
from trainer.stages.prepare import Material

_MAX_TRAIN_TEXTS = 20_000
_MAX_ERRORS = 10
_NUM_NEAREST = 3


def run(run: Run, material: Material, built: Built, after: After) -> ErrorCauses | None:
    """Clusters of the held-out texts, and what is near the surest errors."""
    split = material.held_out
    if not run.config.error_causes or split is None:
        return None
    copied = copies.classifier(run.config.model, material, built.classifier, "float32")
    train_rows = evenly(material.splits["train"].rows, _MAX_TRAIN_TEXTS)
    rows = material.splits[split].rows
    vectors, train_vectors = (
        copies.vectors(run, material, copied, each, name=name)
        for each, name in ((rows, split), (train_rows, "train"))
    )
    probabilities = after.decision.probabilities(after.logits[split])
    given = after.decision.choose(probabilities)
    is_error = ~label_sets.is_right(after.labels[split], given)
    texts = material.texts.pool.texts.take(rows).to_pylist()
    scores = after.decision.scores(probabilities)
    errors = np.flatnonzero(is_error)
    surest = errors[np.argsort(-scores[errors], kind="stable")][:_MAX_ERRORS]
    near = error_causes.nearest(
        vectors[surest], train_vectors, count=min(_NUM_NEAREST, len(train_rows))
    )
    found = ErrorCauses(
        split=split,
        num_train_texts=len(train_rows),
        clusters=error_causes.clusters(
            vectors, texts, is_error, seed=run.config.training.seed
        ),
        nearest=tuple(
            NearestTexts(
                text=shorten_middle(texts[error]),
                label=label_sets.name_of(
                    after.labels[split][error], material.label_names
                ),
                predicted=label_sets.name_of(given[error], material.label_names),
                score=float(scores[error]),
                training_texts=tuple(
                    _training_text(material, int(train_rows[row]), float(cosine))
                    for row, cosine in zip(*(part[index] for part in near))
                ),
            )
            for index, error in enumerate(surest.tolist())
        ),
    )
    run.stopwatch.lap("error_causes_secs")
    return found


def _training_text(material: Material, row: int, cosine: float) -> TrainingText:
    pool = material.texts.pool
    file, line = pool.places.of(row)
    return TrainingText(
        text=shorten_middle(pool.texts[row].as_py()),
        label=label_sets.name_of(pool.labels[row], material.label_names),
        similarity=cosine,
        file=file,
        line=line,
    )
