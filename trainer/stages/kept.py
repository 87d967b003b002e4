"""The stage that runs twice, and between: what the encoder keeps of what it could do.

    general = kept.read(run, material)              # before all work: it may refuse
    started = kept.before(run, material, built, general)
    started.watch                                   # within training, or None
    facts = kept.after(run, started, trained)       # the report's `kept`

Nothing is done without --general_texts or --general_probe. All workers take part in
reading the texts with the encoder, whose weights `before` must be those it came with.
"""

from __future__ import annotations

import dataclasses
import logging
import operator
from typing import Callable, Literal, Mapping

import keras
import numpy as np
import pyarrow as pa

from trainer.data import pairs
from trainer.data.duplicates import normalized_digests
from trainer.data.text_rows import TextRows
from trainer.data.tokens import TokenizedTexts, encode_texts
from trainer.evaluation import schema
from trainer.evaluation.evaluator import Evaluator, make_evaluator
from trainer.evaluation.schema import Kept, LayerKept, MaskedWordsKept, Watched
from trainer.kept import masked, measures
from trainer.kept.general import General, read_probe, read_texts
from trainer.kept.masked import Guesses, MaskedWords
from trainer.kept.probe import Probed, probe
from trainer.kept.similarity import alikeness
from trainer.modeling import masked_lm
from trainer.modeling.masking import Masking
from trainer.runtime import agreement
from trainer.stages.build import Built, make_reading_step
from trainer.stages.context import Run
from trainer.stages.prepare import Material
from trainer.stages.train import Trained
from trainer.training.loop import Watch

_logger = logging.getLogger(__name__)

TEXTS, PROBE = "texts", "probe"
# As BERT was trained.
_MASK_FRACTION = 0.15


@dataclasses.dataclass(frozen=True)
class _Words:
    """Masked words of general texts, and what the encoder as it came had of them.

    Attributes:
      guesses: by the present weights.
      before: by those it came with.
      layer: that guesses by them; its own weights are not trained.
      head: whose weights these are.
      table: float32 [vocabulary, hidden], the token embeddings it came with.
    """

    guesses: Callable[[], Guesses]
    before: Guesses
    layer: keras.layers.Layer
    head: Literal["checkpoint", "frequencies"]
    table: np.ndarray


@dataclasses.dataclass(frozen=True)
class Started:
    """The encoder as it came, as its vectors show it.

    Attributes:
      sets: the texts, by name.
      vectors: gives float32 [n, layers + 1, hidden] of each, by the present weights.
      before: the same of the encoder as it came.
      words: masks words of the texts; None without --general_texts.
      probe: fitted to them; None without --general_probe.
      watch: what training calls now and then; None: nothing.
    """

    sets: Mapping[str, General]
    vectors: Callable[[], Mapping[str, np.ndarray]]
    before: Mapping[str, np.ndarray]
    words: _Words | None
    probe: Probed | None
    watch: Watch | None


def read(run: Run, material: Material) -> Mapping[str, General]:
    """The texts to hold the encoder against, by name; {} where none are asked for.

    Raises:
      ValueError: they cannot be used; the message says why.
    """
    config = run.config.kept
    if not config.is_on:
        return {}
    with run.runtime.watchdog.working("reading the general texts"):
        pool = material.texts.pool
        rows = material.splits["train"].rows
        blocks = TextRows(pool.texts, rows).arrow_blocks()
        trained = np.concatenate(
            [normalized_digests(_single_texts(each)) for each in blocks]
        )
        readers = {
            TEXTS: (config.general_texts, read_texts),
            PROBE: (config.general_probe, read_probe),
        }
        found = {
            key: reader(
                name,
                trained,
                run.config.data,
                limit=config.num_general_examples,
                seed=run.config.training.seed,
            )
            for key, (name, reader) in readers.items()
            if name
        }
    for general in found.values():
        if general.facts.num_left_out:
            _logger.warning(
                "%s: %d of %d texts left out, for the run trains on them",
                general.facts.source,
                general.facts.num_left_out,
                general.facts.num_available,
            )
    return found


def _single_texts(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of pairs each text by itself, for general texts are single ones."""
    halves = (half for text in texts.to_pylist() for half in pairs.split(text) if half)
    return pa.chunked_array([pa.array(halves, pa.large_string())])


def before(
    run: Run, material: Material, built: Built, sets: Mapping[str, General]
) -> Started | None:
    """What the encoder is before training; None where nothing is asked for."""
    if not sets:
        return None
    _logger.info("reading the general texts with the encoder as it came")
    evaluators = {
        name: _evaluator(run, material, general, name) for name, general in sets.items()
    }
    vectors = _reader(run, built, evaluators)
    first = vectors()
    words = None
    if TEXTS in sets:
        words = _words(run, material, built, evaluators[TEXTS], sets[TEXTS])
    probed = None
    if PROBE in sets:
        probed = _probe(sets[PROBE], first[PROBE], run.config.training.seed)
    started = Started(sets, vectors, first, words, probed, watch=None)
    run.stopwatch.lap("general_secs")
    if not run.config.kept.watch_general_every:
        return started
    return dataclasses.replace(started, watch=_watch(run, started))


def after(run: Run, started: Started | None, trained: Trained) -> Kept | None:
    """What the trained weights kept; None where nothing was asked for."""
    if started is None:
        return None
    _logger.info("reading the general texts with the trained encoder")
    now = started.vectors()
    seed = run.config.training.seed
    texts, words, probed = None, None, None
    layers: tuple[LayerKept, ...] = ()
    if TEXTS in started.sets:
        texts = started.sets[TEXTS].facts
        layers = measures.layers_kept(started.before[TEXTS], now[TEXTS], seed=seed)
    if started.words is not None:
        words = _words_kept(started.words, seed)
    if started.probe is not None:
        probed = measures.probe_kept(
            started.probe, now[PROBE][:, -1], started.sets[PROBE], seed=seed
        )
    facts = measures.kept(
        texts,
        layers,
        words,
        probed,
        watched=_watched(run),
        stopped_at=trained.state.step if trained.state.lost_general else None,
    )
    _logger.info("%s", facts.sentence)
    run.stopwatch.lap("general_secs")
    return facts


def _watch(run: Run, started: Started) -> Watch:
    """What measures the present weights, and says whether too much is lost."""
    limit = run.config.kept.max_general_drop

    def watch() -> tuple[Mapping[str, float], bool]:
        now = started.vectors()
        values: dict[str, float] = {}
        is_lost = False
        if started.probe is not None:
            paired = measures.probe_kept(
                started.probe,
                now[PROBE][:, -1],
                started.sets[PROBE],
                seed=run.config.training.seed,
            )
            values["probe_accuracy"] = paired.after
            values["probe_drop"] = -paired.difference
            is_lost = limit > 0 and -paired.interval_95[1] > limit
        if TEXTS in started.sets:
            last = alikeness(started.before[TEXTS][:, -1], now[TEXTS][:, -1])
            values["alikeness"] = last
        return values, _as_the_chief_says(run, is_lost)

    return watch


def _as_the_chief_says(run: Run, is_lost: bool) -> bool:
    """The chief's word: on another machine the probe's last digit may be another."""
    if run.runtime.cluster is None:
        return is_lost
    said = agreement.share(run.runtime.strategy, np.array([is_lost], np.int32))
    return bool(said[0, 0])


def _watched(run: Run) -> tuple[Watched, ...]:
    records = run.folder.watched()
    return tuple(schema.from_mapping(Watched, record) for record in records)


def _probe(general: General, vectors: np.ndarray, seed: int) -> Probed:
    return probe(
        vectors[:, -1],
        general.pool.labels,
        num_classes=len(general.label_names),
        seed=seed,
    )


def _words(
    run: Run, material: Material, built: Built, evaluator: Evaluator, texts: General
) -> _Words | None:
    """Masks words of the general texts; None where the vocabulary has no [MASK]."""
    preset, backbone = material.preset, built.classifier.backbone
    if preset.special.mask not in preset.vocabulary:
        _logger.warning(
            "guessing masked words of the general texts is left out: the vocabulary of "
            "--preset=%s has no %s",
            preset.name,
            preset.special.mask,
        )
        return None
    masking = Masking(
        preset.vocabulary, fraction=_MASK_FRACTION, pieces=preset.kind.pieces
    )
    reader = MaskedWords(masking, seed=run.config.training.seed)
    step = make_reading_step(
        run, built.classifier, reader.of, name="a step over masked general texts"
    )

    def guesses() -> Guesses:
        room = reader.room(len(evaluator.labels), backbone.hidden_dim)
        with run.runtime.watchdog.watching("all workers to read the general texts"):
            evaluator.collect(step, room, description="general texts, masked")
        return reader.read(room)

    own = masked_lm.read_head(preset)
    ids = _tokens(run, material, texts).token_ids
    head = masked_lm.head_for(backbone, own, masking.token_counts(ids))
    return _Words(
        guesses=guesses,
        before=guesses(),
        layer=masked_lm.build_masked_lm(backbone, head).get_layer("masked_lm_head"),
        head="frequencies" if own is None else "checkpoint",
        table=backbone.token_embedding.embeddings.numpy(),
    )


def _words_kept(words: _Words, seed: int) -> MaskedWordsKept:
    now = words.guesses()
    back = masked.realigned(
        now, onto=words.before, halves=measures.halves(len(now.labels), seed)
    )
    return measures.masked_words_kept(
        masked.losses(words.before, words.layer, table=words.table),
        masked.losses(now, words.layer),
        masked.losses(back, words.layer, table=words.table),
        head=words.head,
        num_tokens=int(now.weights.sum()),
        seed=seed,
    )


def _reader(
    run: Run, built: Built, evaluators: Mapping[str, Evaluator]
) -> Callable[[], Mapping[str, np.ndarray]]:
    """Reads all of the texts with the present weights."""
    step = make_reading_step(
        run,
        built.classifier,
        operator.attrgetter("layer_means"),
        name="a step over the general texts",
    )
    backbone = built.classifier.backbone
    num_layers, hidden_size = len(backbone.transformer_layers) + 1, backbone.hidden_dim

    def vectors() -> Mapping[str, np.ndarray]:
        result = {}
        with run.runtime.watchdog.watching("all workers to read the general texts"):
            for name, evaluator in evaluators.items():
                count = len(evaluator.labels)
                room = np.empty([count, num_layers * hidden_size], np.float32)
                evaluator.collect(step, room, description=f"general {name}")
                result[name] = room.reshape(count, num_layers, hidden_size)
        return result

    return vectors


def _tokens(run: Run, material: Material, general: General) -> TokenizedTexts:
    return encode_texts(
        general.pool.texts,
        material.encoder,
        digests=general.pool.digests,
        cache_dir=run.config.data.cache_dir,
        max_cache_bytes=round(run.config.data.max_cache_gb * 1e9),
    )


def _evaluator(run: Run, material: Material, general: General, name: str) -> Evaluator:
    return make_evaluator(
        general.pool,
        np.arange(len(general.pool)),
        _tokens(run, material, general),
        material.bucket_lengths,
        run.runtime.strategy,
        batch_size=run.resolved.eval_batch_size,
        scoring=run.task.scoring,
        label_names=general.label_names,
        name=name,
    )
