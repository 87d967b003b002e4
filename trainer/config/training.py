"""What is trained on, for how long: masked words first, then the labels."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, Sequence

from trainer.config.fields import require, require_at_least, require_choices, setting

PretrainOn = Literal["dataset", "train"]
MaskedLMHead = Literal["auto", "checkpoint"]
BestMetric = Literal["accuracy", "f1_macro", "mcc", "loss"]
# What keeps an accelerator busy that only predicts.
EVAL_EXAMPLES_PER_ACCELERATOR = 128
# Enough for a curve, and a line every few minutes of a run of hours.
LOG_LINES_PER_RUN = 50
MOST_LOGGING_STEPS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """Training of the encoder on texts without labels, before it is fine-tuned."""

    pretrain_steps: int = setting(
        0,
        "First train the whole encoder for so many steps to guess masked tokens of the "
        "task's own texts (Sun et al. 2019), then fine-tune it. Batches, clipping, "
        "weight decay, schedule and warmup fraction are those of fine-tuning; each "
        "update counts alike. Texts of validation and test are left out. 0: not at all.",
    )
    pretrain_dataset: str = setting(
        "",
        "Texts without labels for --pretrain_steps: `files:PATHS` (paths or globs, "
        "separated by commas) of .txt (a text a line), .csv, .tsv, .json, .jsonl or "
        ".parquet, whose texts are in --text_field. Blank ones are left out. Empty: "
        "none, for --pretrain_on=train.",
    )
    pretrain_on: PretrainOn = setting(
        "dataset",
        "Which texts --pretrain_steps reads: those of --pretrain_dataset, or the `train` "
        "split's.",
    )
    pretrain_learning_rate: float = setting(
        5e-5, "Peak learning rate of --pretrain_steps."
    )
    mask_fraction: float = setting(
        0.15,
        "Share of each text's tokens that are masked, above 0 and below 1. Of these, 80% "
        "become [MASK], 10% any token, and 10% stay (Devlin et al. 2018).",
    )
    mask_whole_words: bool = setting(
        False, "Mask words in all of their pieces, instead of single pieces."
    )
    masked_lm_head: MaskedLMHead = setting(
        "auto",
        "Where the head that guesses tokens comes from: `checkpoint`, the preset's own, "
        "which only Hugging Face folders can have (cls.predictions), or the run is "
        "refused. `auto`: the preset's own where it has one; else it begins as identity "
        "and the tokens' frequencies.",
    )

    def __post_init__(self) -> None:
        require_choices(self)
        require_at_least(self, 0, "pretrain_steps")
        require(
            0 < self.pretrain_learning_rate < math.inf,
            "--pretrain_learning_rate must be above 0 and finite",
            received=self.pretrain_learning_rate,
        )
        require(
            0 < self.mask_fraction < 1,
            "--mask_fraction must be above 0, or there is nothing to guess, and below "
            "1, or there is nothing to guess by",
            received=f"mask_fraction={self.mask_fraction}",
            mend="0.15 is BERT's own",
        )
        named = [f"--pretrain_dataset={self.pretrain_dataset}"]
        named = named if self.pretrain_dataset else []
        named += ["--pretrain_on=train"] if self.pretrain_on == "train" else []
        require(
            self.pretrain_steps > 0 or not named,
            "--pretrain_steps must be above 0 where texts are named for it",
            received=f"{', '.join(named)}, pretrain_steps=0",
            mend="set --pretrain_steps=1000, or leave the others out",
        )
        require(
            self.pretrain_steps == 0 or len(named) == 1,
            "--pretrain_steps needs texts: --pretrain_dataset, or --pretrain_on=train, "
            "and not both",
            received=" and ".join(named) or "neither",
            mend=(
                "name the training file in --pretrain_dataset, too, to read both"
                if named
                else "give --pretrain_on=train for the training texts alone"
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long to train, in what batches, and when to look up."""

    num_train_epochs: int = setting(3, "Times each training example is seen.")
    global_batch_size: int = setting(
        32, "Examples per step, over all replicas together."
    )
    tokens_per_batch: int = setting(
        0,
        "Instead of --global_batch_size examples, each step takes as many as make at "
        "most this many tokens, padding included: more short texts, fewer long ones, "
        "always a multiple of 8 (or, if larger, of a power of two up to a quarter of "
        "what fits at --max_length). Each example then weighs 1 / --global_batch_size "
        "in the gradient, whatever batch it is in (--clip_norm comes after, and binds "
        "sooner for batches of many texts), and warmup and decay of the "
        "learning rate count examples seen / --global_batch_size, so they pass as "
        "without a budget. The number of updates changes, and with it the total of "
        "weight decay and of AdamW's steps, which hardly depend on the gradient's "
        "size: set the learning rate anew. Logging, evaluations and checkpoints "
        "count updates. 0: off.",
    )
    accumulation_steps: int | Literal["auto"] = setting(
        1,
        "Compute each replica's share of the global batch in this many parts, one "
        "after the other, and add their gradients up before the update: the result "
        "of the large batch in the memory of a small one (to rounding; dropout draws "
        "anew for each part). 1: all at once. `auto`: in the fewest parts that fit the "
        "memory, found anew at each start; the batch never changes.",
        may_change=True,
    )
    eval_batch_size: int = setting(
        0,
        "Examples per evaluation step, over all replicas together. 0: "
        "--global_batch_size, but on accelerators at least "
        f"{EVAL_EXAMPLES_PER_ACCELERATOR} for each.",
        may_change=True,
    )
    logging_steps: int = setting(
        0,
        "Write the training loss every so many steps, and after the first. 0: "
        f"about {LOG_LINES_PER_RUN} times a run, but at least every {MOST_LOGGING_STEPS} "
        "steps.",
        may_change=True,
    )
    eval_every_steps: int = setting(
        0,
        "Evaluate on validation every so many steps, besides the end of each "
        "epoch. 0: at the end of each epoch only.",
    )
    save_every_steps: int = setting(
        500,
        "Save the state of the run every so many steps, besides after each "
        "evaluation. 0: after evaluations only.",
        may_change=True,
    )
    keep_checkpoints: int = setting(
        2,
        "Keep the newest so many states of the run, besides the best weights. More "
        "than one, so that there is one before a damaged one.",
        may_change=True,
    )
    early_stopping_patience: int = setting(
        0,
        "Stop after this many evaluations in a row that did not better "
        "--best_metric. 0: never.",
    )
    best_metric: BestMetric = setting(
        "accuracy",
        "The validation metric whose best weights are kept, exported and watched "
        "for early stopping. With --task=regression it is the root mean squared error.",
    )
    class_weights: tuple[str, ...] = setting(
        ("none",),
        "What an example weighs in the training loss, by its label: `none`, all the "
        "same; `balanced`, in inverse proportion to the number of the label's training "
        "examples, as scikit-learn; or NAME:WEIGHT, separated by commas, such as "
        "`spam:5,ham:1` (others weigh 1). Weights are scaled to a mean of 1 over the "
        "training examples. Probabilities of labels made heavier come out higher; "
        "metrics are not weighted.",
    )
    label_smoothing: float = setting(
        0.0,
        "Share in [0, 1) of each training target that is spread evenly over all labels,"
        " so that the model is less sure of itself. Losses of evaluations are without "
        "it. 0: none.",
    )
    focal_gamma: float = setting(
        0.0,
        "Lets texts that are answered well already weigh less in the training loss: "
        "(1 - p)^gamma of it, p being the probability of what is right (focal loss; Lin "
        "et al. 2017 take 2). For many and uneven classes, if it wins on validation. "
        "Losses of evaluations are without it. 0: none.",
    )
    seed: int = setting(
        0,
        "Seed of everything random: the draw of examples, the order of batches, "
        "the head's first weights, dropout.",
    )

    def __post_init__(self) -> None:
        require_choices(self)
        require_at_least(
            self,
            1,
            "num_train_epochs",
            "global_batch_size",
            "keep_checkpoints",
        )
        steps = self.accumulation_steps
        require(
            steps >= 1 if isinstance(steps, int) else steps == "auto",
            "--accumulation_steps must be a whole number of at least 1, or auto",
            received=f"accumulation_steps={steps}",
            mend="auto takes the fewest that fit the memory",
        )
        require(
            self.seed < 2**31,
            "--seed must be below 2147483648",
            received=f"seed={self.seed}",
        )
        require(
            0.0 <= self.label_smoothing < 1.0,
            "--label_smoothing must be in [0, 1)",
            received=f"label_smoothing={self.label_smoothing}",
        )
        require(
            0.0 <= self.focal_gamma < math.inf,
            "--focal_gamma must be 0 or above, and finite",
            received=f"focal_gamma={self.focal_gamma}",
        )
        require(
            not (self.focal_gamma and self.label_smoothing),
            "--focal_gamma and --label_smoothing are not for the same run: of a smoothed "
            "target there is no single probability",
            received=f"focal_gamma={self.focal_gamma}, "
            f"label_smoothing={self.label_smoothing}",
            mend="leave one of them out",
        )
        if self.class_weights not in (("none",), ("balanced",)):
            named_class_weights(self.class_weights)
        require_at_least(
            self,
            0,
            "tokens_per_batch",
            "eval_batch_size",
            "logging_steps",
            "eval_every_steps",
            "save_every_steps",
            "early_stopping_patience",
            "seed",
        )


def named_class_weights(entries: Sequence[str]) -> dict[str, float]:
    """Label → weight, of entries of --class_weights written NAME:WEIGHT.

    Raises:
      ValueError: they are not written so, or a weight is not above 0 and finite.
    """
    weights = {}
    for entry in entries:
        # A name may have colons; a number has none.
        name, _, number = entry.strip().rpartition(":")
        try:
            weights[name] = float(number)
        except ValueError:
            weights[name] = math.nan
    require(
        bool(weights)
        and len(weights) == len(entries)
        and all(name and 0 < weight < math.inf for name, weight in weights.items()),
        "--class_weights must be none, balanced, or NAME:WEIGHT for different labels, "
        "separated by commas, with weights above 0",
        received=f"class_weights={','.join(entries)}",
    )
    return weights
