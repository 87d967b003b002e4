"""Which tokens are masked, and as what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainer.modeling.masking import Masked, Masking
from trainer.modeling.pieces import fold_in

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = (
    *SPECIAL,
    *(f"word{i}" for i in range(60)),
    *(f"##{i}" for i in range(35)),
)
LENGTH = 48
MASK = VOCABULARY.index("[MASK]")


def make_batch(num_rows: int, *, length: int = LENGTH) -> tuple[np.ndarray, np.ndarray]:
    """Texts of 2 to `length` tokens, some of them unknown; and their row numbers."""
    generator = np.random.default_rng(0)
    num_tokens = generator.integers(2, length + 1, num_rows)
    token_ids = generator.integers(
        len(SPECIAL), len(VOCABULARY), (num_rows, length)
    ).astype(np.int32)
    token_ids[generator.random(token_ids.shape) < 0.05] = 1
    place = np.arange(length)
    token_ids[:, 0] = 2
    token_ids[place == num_tokens[:, None] - 1] = 3
    token_ids[place >= num_tokens[:, None]] = 0
    return token_ids, np.arange(100, 100 + num_rows, dtype=np.int32)


def mask(
    masking: Masking,
    token_ids: np.ndarray,
    rows: np.ndarray,
    *,
    seed: int = 0,
    step: int = 0,
    jit_compile: bool = False,
) -> Masked:
    """What a step masks, as arrays."""

    def compute(token_ids: tf.Tensor, rows: tf.Tensor) -> Masked:
        return masking(token_ids, rows, seed=fold_in(tf.constant([seed, 1]), step))

    function = tf.function(compute, autograph=False, jit_compile=jit_compile)
    masked = function(tf.constant(token_ids), tf.constant(rows))
    return Masked(*(each.numpy() for each in masked))


@pytest.mark.parametrize("whole_words", [False, True])
def test_a_mask_is_a_function_of_seed_step_row_and_place(whole_words: bool) -> None:
    """Not of the other rows of a batch, nor of what compiles it."""
    masking = Masking(VOCABULARY, fraction=0.15, whole_words=whole_words)
    token_ids, rows = make_batch(6)
    whole = mask(masking, token_ids, rows)
    for other in (
        mask(masking, token_ids, rows, jit_compile=True),
        Masked(
            *map(
                np.concatenate,
                zip(
                    mask(masking, token_ids[:2], rows[:2]),
                    mask(masking, token_ids[2:], rows[2:]),
                ),
            )
        ),
    ):
        for one, again in zip(whole, other):
            np.testing.assert_array_equal(one, again)
    changes: tuple[dict[str, Any], ...] = ({"step": 1}, {"seed": 1})
    for change in changes:
        assert (
            mask(masking, token_ids, rows, **change).token_ids != whole.token_ids
        ).any()
    moved = mask(masking, token_ids, rows + 1)
    assert (moved.token_ids != whole.token_ids).any()


def test_longer_padding_masks_the_same() -> None:
    """A graph of any length, too."""
    masking = Masking(VOCABULARY, fraction=0.15)
    token_ids, rows = make_batch(6, length=32)
    padded = np.pad(token_ids, ((0, 0), (0, 16)))
    any_length = tf.function(
        lambda ids: masking(ids, tf.constant(rows), seed=tf.constant([3, 4])),
        input_signature=[tf.TensorSpec([6, None], tf.int32)],
        autograph=False,
    )
    for ids in (token_ids, padded):
        fixed = masking(tf.constant(ids), tf.constant(rows), seed=tf.constant([3, 4]))
        for one, other in zip(fixed, any_length(tf.constant(ids))):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("fraction", [0.02, 0.15, 0.5, 0.97])
@pytest.mark.parametrize("whole_words", [False, True])
def test_as_many_as_wanted_and_never_special(
    fraction: float, whole_words: bool
) -> None:
    masking = Masking(VOCABULARY, fraction=fraction, whole_words=whole_words)
    token_ids, rows = make_batch(200)
    masked = mask(masking, token_ids, rows)
    num_words = (~np.isin(token_ids, range(len(SPECIAL)))).sum(axis=1)
    assert (num_words == 0).any(), "no text without a word: the test would show less"
    expected = np.minimum(
        np.maximum(np.floor(fraction * num_words + 0.5), 1), num_words
    )
    counts = masked.weights.sum(axis=1)
    np.testing.assert_array_equal(masking.num_masked(num_words), expected)
    if whole_words:
        assert (counts <= expected).all() and (counts > 0)[num_words > 0].all()
    else:
        np.testing.assert_array_equal(counts, expected)
    assert masked.positions.shape[1] == np.ceil(fraction * LENGTH)
    chosen = masked.weights > 0
    originals = np.take_along_axis(token_ids, masked.positions, axis=1)
    np.testing.assert_array_equal(masked.labels, originals)
    assert not np.isin(originals[chosen], range(len(SPECIAL))).any()
    for row, places in enumerate(masked.positions):
        places = places[chosen[row]]
        assert len(set(places)) == len(places)
        kept = np.setdiff1d(np.arange(LENGTH), places)
        np.testing.assert_array_equal(masked.token_ids[row, kept], token_ids[row, kept])


def test_80_10_10() -> None:
    """Over 30,000 masked tokens; each share within 4 standard errors."""
    masking = Masking(VOCABULARY, fraction=0.5)
    token_ids, rows = make_batch(200)
    masked_share, kept_share, places = [], [], np.zeros(LENGTH)
    others: list[np.ndarray] = []
    for step in range(14):
        masked = mask(masking, token_ids, rows, step=step)
        chosen = masked.weights > 0
        now = np.take_along_axis(masked.token_ids, masked.positions, axis=1)[chosen]
        before = masked.labels[chosen]
        masked_share.append(now == MASK)
        kept_share.append(now == before)
        others.append(now[(now != MASK) & (now != before)])
        np.add.at(places, masked.positions[chosen], 1)
    num = sum(map(len, masked_share))
    assert num > 30_000
    # Of the tokens that are drawn, one in 100 is [MASK], and one the token itself.
    for shares, expected in ((masked_share, 0.801), (kept_share, 0.101)):
        share = np.concatenate(shares).mean()
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / num)
    drawn = np.bincount(np.concatenate(others), minlength=len(VOCABULARY))
    assert drawn[MASK] == 0 and (np.delete(drawn, MASK) > 0).all()
    # All places alike, by how many texts have a word there.
    rates = places[1:-1] / (token_ids[:, 1:-1] >= len(SPECIAL)).sum(axis=0) / 14
    assert rates.std() < 0.06


def test_whole_words() -> None:
    """All pieces of a word, or none; but for a first word that is too long."""
    masking = Masking(VOCABULARY, fraction=0.3, whole_words=True)
    token_ids, rows = make_batch(200)
    # Of one to three pieces each.
    is_piece = np.arange(LENGTH) % 5 >= 3
    inner = (token_ids >= len(SPECIAL)) & is_piece
    token_ids = np.where(inner, 70, np.where(token_ids >= 65, 20, token_ids))
    masked = mask(masking, token_ids.astype(np.int32), rows)
    word = np.cumsum(token_ids != 70, axis=1)
    shares, num_words = [], 0
    for row in range(len(rows)):
        places = masked.positions[row][masked.weights[row] > 0]
        words = np.unique(word[row, places])
        num_words += len(words)
        whole = (np.isin(word[row], words) & (token_ids[row] >= len(SPECIAL))).sum()
        if len(words) > 1:
            assert whole == len(places)
        wanted = masking.num_masked((token_ids[row] >= len(SPECIAL)).sum())
        shares.append(len(places) / max(wanted, 1))
    assert num_words > 500 and np.mean(shares) > 0.85


def test_a_vocabulary_without_mask_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vocabulary has \[MASK\]"):
        Masking(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"), fraction=0.15)
