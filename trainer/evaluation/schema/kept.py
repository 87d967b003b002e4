"""What of the encoder's general abilities is left after training."""

from __future__ import annotations

import dataclasses
from typing import Literal

from trainer.evaluation.schema.aliases import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneralTexts:
    """Texts that tell what the encoder kept.

    Attributes:
      source: as the flag names it.
      num_available: texts of it.
      num_left_out: of these, because the run trains on them.
      num_texts: that were drawn of the others.
    """

    source: str
    num_available: int
    num_left_out: int
    num_texts: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerKept:
    """How alike a layer's vectors of general texts are, before and after.

    Attributes:
      layer: 0 after the embeddings, 1 after the first layer.
      alikeness: see `kept/similarity.py`; None: all vectors are the same.
      alikeness_of_halves: of two random halves of the texts.
      neighbour_overlap: the share of the ten nearest texts that stayed so.
      neighbour_overlap_of_halves: of two random halves of the texts.
    """

    layer: int
    alikeness: float | None
    alikeness_of_halves: tuple[float | None, float | None]
    neighbour_overlap: float
    neighbour_overlap_of_halves: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeKept:
    """What a linear probe of another task reads off the encoder, before and after.

    Attributes:
      commonest: the accuracy of always answering the commonest label.
      before: accuracy of the probe on the vectors of the encoder as it came.
      after: accuracy of a probe fitted again, on those of the trained encoder.
      difference: after minus before.
      interval_95: of the difference, paired by text.
      mcnemar_p: McNemar's exact test, two-sided.
      difference_of_halves: of two random halves of the texts.
      old_probe_after: accuracy of the probe of `before`, asked about the vectors of the
        trained encoder: what is lost here and not in `after` has only moved.
      verdict: "worse": a loss is shown; "better": a gain is; "not_shown": neither.
    """

    texts: GeneralTexts
    num_labels: int
    commonest: float
    before: float
    after: float
    difference: float
    interval_95: Interval
    mcnemar_p: float
    difference_of_halves: tuple[float, float]
    old_probe_after: float
    verdict: Literal["better", "not_shown", "worse"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedWordsKept:
    """How well the encoder guesses masked tokens of general texts, before and after.

    Losses are means over the texts, in nats a masked token.

    Attributes:
      head: "checkpoint": that of the preset; "frequencies": it has none, and how often
        tokens stand in the texts is in its place. Neither is trained.
      num_texts: that have a token which may be masked.
      num_tokens: that were masked.
      difference: after minus before: above 0 is a loss of ability.
      interval_95: of the difference, paired by text.
      difference_of_halves: of two random halves of the texts.
      realigned: `after` with the vectors mapped to what they were by a linear map; what
        is lost in `after` and not here has only moved.
    """

    head: Literal["checkpoint", "frequencies"]
    num_texts: int
    num_tokens: int
    before: float
    after: float
    difference: float
    interval_95: Interval
    difference_of_halves: tuple[float, float]
    realigned: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watched:
    """What the encoder kept at a step of training.

    Attributes:
      probe_accuracy: of a probe fitted again; None without --general_probe.
      probe_drop: the accuracy of the encoder as it came, minus that.
      alikeness: of the last layer; None without --general_texts.
    """

    step: int
    probe_accuracy: float | None = None
    probe_drop: float | None = None
    alikeness: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What the encoder kept of its general abilities, with the exported weights.

    Attributes:
      sentence: the result.
      texts: of --general_texts; None without.
      layers: of these texts, the embeddings first; empty without.
      chance_overlap: the neighbour overlap of unrelated vectors; None without.
      masked_words: of these texts; None without, and where the vocabulary has no [MASK].
      probe: of --general_probe; None without.
      watched: at steps of training, with --watch_general_every.
      stopped_at: the step at which --max_general_drop stopped training; None: it did
        not.
    """

    sentence: str
    texts: GeneralTexts | None
    layers: tuple[LayerKept, ...]
    chance_overlap: float | None
    masked_words: MaskedWordsKept | None
    probe: ProbeKept | None
    watched: tuple[Watched, ...]
    stopped_at: int | None
