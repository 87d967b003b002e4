"""What the training before fine-tuning reads: token ids, masks and a plan of its own.

    made = pretraining_material.make(config, unlabelled, preset, encoder, pool_tokens)
    made.plan.total_steps, made.tokens, made.masking

The same parts as of the labelled texts (`prepare.py`): the tokenizer with its cache, the
padded lengths, the plan of every step.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from trainer.config import DataConfig, PretrainingConfig, TrainingConfig
from trainer.data import plans
from trainer.data.tokens import TextEncoder, TokenizedTexts, encode_texts
from trainer.data.unlabelled import Unlabelled
from trainer.messages import message
from trainer.modeling import masked_lm
from trainer.modeling.masked_lm import HeadWeights, read_head
from trainer.modeling.masking import Masking
from trainer.modeling.presets import Preset


@dataclasses.dataclass(frozen=True)
class PretrainingMaterial:
    """Texts without labels, ready to be masked.

    Attributes:
      tokens: the token ids of some texts.
      rows: int64 [n], those of them that are read.
      masking: draws the masks.
      num_masked: float32 [n], how many tokens of each are masked, at most.
      bucket_lengths: the padded lengths, ascending.
      plan: the batches of all steps.
      head: the preset's own, to guess tokens with; None: it has none.
      read_facts: what became of the texts that were read, JSON-able.
    """

    tokens: TokenizedTexts
    rows: np.ndarray
    masking: Masking
    num_masked: np.ndarray
    bucket_lengths: tuple[int, ...]
    plan: plans.TrainingPlan
    head: HeadWeights | None
    read_facts: dict[str, Any]

    def token_counts(self) -> np.ndarray:
        """How often each token that may be masked stands in the texts: int64 [ids]."""
        is_read = np.zeros(len(self.tokens), bool)
        is_read[self.rows] = True
        ids = self.tokens.token_ids[np.repeat(is_read, self.tokens.lengths)]
        return self.masking.token_counts(ids)


def num_masked(
    masking: Masking, tokens: TokenizedTexts, rows: np.ndarray
) -> np.ndarray:
    """How many tokens of each text are masked, at most: int64 [n]; 0: it has no word."""
    num_words = tokens.lengths.astype(np.int64) - tokens.count(masking.special_ids)
    result: np.ndarray = masking.num_masked(num_words[rows])
    return result


def make(
    config: PretrainingConfig,
    unlabelled: Unlabelled,
    preset: Preset,
    encoder: TextEncoder,
    *,
    data: DataConfig,
    training: TrainingConfig,
    pool_tokens: TokenizedTexts | None,
) -> PretrainingMaterial:
    """Tokenizes the texts and plans the batches.

    Args:
      pool_tokens: of the same texts, where they are tokenized already.

    Raises:
      ValueError: the vocabulary has no [MASK], the preset no head where one is
        demanded, or no text a word that can be masked.
    """
    head = read_head(preset)
    if head is None and config.masked_lm_head == "checkpoint":
        raise ValueError(_no_head(preset))
    masking = _masking(config, preset)
    tokens = pool_tokens or encode_texts(
        unlabelled.texts,
        encoder,
        digests=unlabelled.digests,
        cache_dir=data.cache_dir,
        max_cache_bytes=round(data.max_cache_gb * 1e9),
        description="texts without labels",
    )
    counts = num_masked(masking, tokens, unlabelled.rows)
    rows = unlabelled.rows[counts > 0]
    if not len(rows):
        raise ValueError(_no_words(len(counts)))
    bucket_lengths = plans.choose_bucket_lengths(
        tokens.lengths[rows],
        num_buckets=data.num_buckets,
        window_length=data.max_length,
        max_windows=data.num_windows,
        hidden_size=preset.hidden_size,
    )
    return PretrainingMaterial(
        tokens=tokens,
        rows=rows,
        masking=masking,
        num_masked=counts[counts > 0].astype(np.float32),
        bucket_lengths=bucket_lengths,
        plan=_plan(config, training, tokens.lengths[rows], bucket_lengths),
        head=head,
        read_facts={
            **dataclasses.asdict(unlabelled.facts),
            "num_texts": len(rows),
            "num_without_words": int((counts == 0).sum()),
        },
    )


def _masking(config: PretrainingConfig, preset: Preset) -> Masking:
    return Masking(
        preset.vocabulary,
        fraction=config.mask_fraction,
        whole_words=config.mask_whole_words,
        pieces=preset.kind.pieces,
    )


def _plan(
    config: PretrainingConfig,
    training: TrainingConfig,
    lengths: np.ndarray,
    bucket_lengths: tuple[int, ...],
) -> plans.TrainingPlan:
    return plans.TrainingPlan(
        lengths,
        bucket_lengths,
        seed=training.seed,
        batch_size=training.global_batch_size,
        tokens_per_batch=training.tokens_per_batch,
        num_steps=config.pretrain_steps,
    )


def _no_head(preset: Preset) -> str:
    kind = "KerasHub preset" if preset.hugging_face is None else "Hugging Face folder"
    return message(
        "--masked_lm_head=checkpoint needs a preset with a masked-LM head, "
        f"{masked_lm.head_prefix(preset)}* in a Hugging Face folder",
        received=f"--preset={preset.name}, a {kind} without one",
        mend="set --masked_lm_head=auto, or use another --preset",
    )


def _no_words(num_texts: int) -> str:
    return message(
        "--pretrain_steps must have texts with a word that can be masked",
        received=f"none of {num_texts}: the preset knows no word of them",
        mend="use another --preset, or set --pretrain_steps=0",
    )
