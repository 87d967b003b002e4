"""From an encoder's vectors, before and after, to what the report says was kept.

    layers = layers_kept(before, after, seed=0)         # [n, layers + 1, hidden]
    words = masked_words_kept(before, after, realigned, ...)    # losses, [n]
    probe = probe_kept(before[:, -1], after[:, -1], labels, ...)
    sentence(layers, words, probe)

Every measure is also given for two random halves of the texts: how far these lie apart
says how far it can be trusted.
"""

from __future__ import annotations

import math
from typing import Literal, Sequence

import numpy as np

from trainer.evaluation import comparisons
from trainer.evaluation.intervals import mean_interval
from trainer.evaluation.schema import (
    GeneralTexts,
    Kept,
    LayerKept,
    MaskedWordsKept,
    ProbeKept,
    Watched,
)
from trainer.evaluation.worth import signed_points
from trainer.kept.general import General
from trainer.kept.probe import Probed, probe
from trainer.kept.similarity import alikeness, neighbour_overlap

NUM_NEIGHBOURS = 10


def layers_kept(
    before: np.ndarray, after: np.ndarray, *, seed: int
) -> tuple[LayerKept, ...]:
    """Of each layer.

    Args:
      before: float32 [n, layers + 1, hidden], means of the tokens of general texts.
      after: the same of the trained encoder.
      seed: draws the halves.
    """
    drawn = halves(len(before), seed)
    return tuple(
        _layer_kept(layer, before[:, layer], after[:, layer], drawn)
        for layer in range(before.shape[1])
    )


def _layer_kept(
    layer: int, before: np.ndarray, after: np.ndarray, halves: Sequence[np.ndarray]
) -> LayerKept:
    first, second = ((before[half], after[half]) for half in halves)
    return LayerKept(
        layer=layer,
        alikeness=_or_none(alikeness(before, after)),
        alikeness_of_halves=(
            _or_none(alikeness(*first)),
            _or_none(alikeness(*second)),
        ),
        neighbour_overlap=_overlap(before, after),
        neighbour_overlap_of_halves=(_overlap(*first), _overlap(*second)),
    )


def probe_kept(
    before: Probed, after: np.ndarray, general: General, *, seed: int
) -> ProbeKept:
    """Of a probe on another task.

    Args:
      before: the probe of the encoder as it came.
      after: float32 [n, hidden], the trained encoder's vectors of the same texts.
      seed: of the folds, as of those of `before`; and of the halves.
    """
    labels = general.pool.labels
    num_labels = len(general.label_names)
    again = probe(after, labels, num_classes=num_labels, seed=seed)
    paired = comparisons.compare(labels, again.answers, before.answers)
    is_right = [answers == labels for answers in (before.answers, again.answers)]
    gained = is_right[1].astype(float) - is_right[0]
    first, second = (float(gained[half].mean()) for half in halves(len(labels), seed))
    return ProbeKept(
        texts=general.facts,
        num_labels=num_labels,
        commonest=float(np.bincount(labels).max() / len(labels)),
        before=float(is_right[0].mean()),
        after=float(is_right[1].mean()),
        difference=paired.difference,
        interval_95=paired.interval_95,
        mcnemar_p=paired.mcnemar_p,
        difference_of_halves=(first, second),
        old_probe_after=float((before.ask(after) == labels).mean()),
        verdict=paired.verdict,
    )


def masked_words_kept(
    before: np.ndarray,
    after: np.ndarray,
    realigned: np.ndarray,
    *,
    head: Literal["checkpoint", "frequencies"],
    num_tokens: int,
    seed: int,
) -> MaskedWordsKept:
    """Of guessing masked tokens.

    Args:
      before: float64 [n], the loss of each text, in nats; NaN where nothing is masked.
      after: the same of the trained encoder.
      realigned: the same of its vectors, mapped to what they were.
      head: whose they are.
      num_tokens: that are masked.
      seed: of the halves.
    """
    is_there = ~np.isnan(before)
    lost = (after - before)[is_there]
    mean, interval = mean_interval(lost.tolist())
    # There are twenty texts at least.
    assert mean is not None and interval is not None
    first, second = (float(lost[half].mean()) for half in halves(len(lost), seed))
    return MaskedWordsKept(
        head=head,
        num_texts=len(lost),
        num_tokens=num_tokens,
        before=float(before[is_there].mean()),
        after=float(after[is_there].mean()),
        difference=mean,
        interval_95=interval,
        difference_of_halves=(first, second),
        realigned=float(realigned[is_there].mean()),
    )


def kept(
    texts: GeneralTexts | None,
    layers: tuple[LayerKept, ...],
    masked_words: MaskedWordsKept | None,
    probed: ProbeKept | None,
    *,
    watched: tuple[Watched, ...],
    stopped_at: int | None,
) -> Kept:
    """The report's `kept`."""
    chance = None
    if texts is not None:
        chance = min(NUM_NEIGHBOURS / (texts.num_texts - 1), 1.0)
    return Kept(
        sentence=sentence(layers, masked_words, probed),
        texts=texts,
        layers=layers,
        chance_overlap=chance,
        masked_words=masked_words,
        probe=probed,
        watched=watched,
        stopped_at=stopped_at,
    )


def sentence(
    layers: Sequence[LayerKept],
    masked_words: MaskedWordsKept | None,
    probed: ProbeKept | None,
) -> str:
    """What was kept, in one sentence with a full stop."""
    parts = []
    if probed is not None:
        said = {
            "worse": "lost",
            "better": "gained",
            "not_shown": "is not shown to have lost or gained",
        }[probed.verdict]
        low, high = probed.interval_95
        parts.append(
            f"a linear probe on {probed.texts.source} {said}: {probed.before:.1%} before"
            f" fine-tuning, {probed.after:.1%} after ({signed_points(probed.difference)}"
            f" points, {signed_points(low)} to {signed_points(high)})"
        )
    # Without a head of its own an encoder guesses little better than frequencies do,
    # before and after: of that the report has the numbers alone.
    if masked_words is not None and masked_words.head == "checkpoint":
        low, high = masked_words.interval_95
        parts.append(
            f"guessing masked words of general texts costs {masked_words.after:.2f} nats a"
            f" word, {masked_words.before:.2f} before ({masked_words.difference:+.2f},"
            f" {low:+.2f} to {high:+.2f})"
        )
    if layers:
        last = layers[-1]
        alike = "–" if last.alikeness is None else f"{last.alikeness:.2f}"
        parts.append(
            f"the last layer's vectors of {'the general' if parts else 'general'} texts"
            f" are alike to {alike} (CKA; 1: the same)"
            f" and kept {last.neighbour_overlap:.0%} of their neighbours"
        )
    whole = "; ".join(parts)
    return whole[:1].upper() + whole[1:] + "."


def halves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """int64, the positions of two random halves."""
    order = np.random.default_rng(seed).permutation(count)
    return order[: count // 2], order[count // 2 :]


def _overlap(before: np.ndarray, after: np.ndarray) -> float:
    few = min(NUM_NEIGHBOURS, len(before) - 1)
    return neighbour_overlap(before, after, num_neighbours=few)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
