"""The updates: rate, schedule, decay."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from trainer.config.fields import require, require_at_least, require_choices, setting

DecayTowards = Literal["zero", "start"]
Schedule = Literal["linear", "cosine", "constant"]
DEFAULT_WARMUP_FRACTION = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW and its learning-rate schedule."""

    learning_rate: float = setting(5e-5, "Peak learning rate of AdamW.")
    schedule: Schedule = setting(
        "linear",
        "How the learning rate goes from its peak, after the warmup, to the run's "
        "last step: down to 0 in a line, down to 0 along a cosine, or not at all.",
    )
    decay_towards: DecayTowards = setting(
        "zero",
        "Where --weight_decay pulls the encoder: `zero`, or `start`, the weights that it "
        "begins from (L2-SP, Li et al. 2018), so that less is forgotten. A step pulls by "
        "--learning_rate times --weight_decay of the distance: 1e-4 times 100 is a "
        "hundredth.",
    )
    ema: float = setting(
        0.0,
        "Evaluate, keep and export the exponential moving average of the weights: each "
        "step it keeps this share of itself, such as 0.99. In [0, 1); 0: the weights "
        "themselves.",
    )
    layer_decay: float = setting(
        1.0,
        "Learning rate and weight decay of each layer, as a share of those of the layer "
        "above it, in (0, 1]: lower layers change less (Sun et al. 2019 have 0.95). 1: "
        "all alike.",
    )
    unfreeze_every: int = setting(
        0,
        "Let go of the layers one after another, from the head down: the top layer after "
        "this many updates, the next one after as many more, the embeddings last (gradual "
        "unfreezing, Howard and Ruder 2018). Until then a layer's weights stay as they "
        "are, to the bit; it takes no less time or memory. 0: all are trained from the "
        "start.",
    )
    num_warmup_steps: int = setting(
        -1,
        "Steps over which the learning rate rises from 0 to its peak. "
        "-1: as --warmup_fraction says.",
    )
    warmup_fraction: float = setting(
        -1.0,
        "The same as a share of the run's steps, in [0, 1]. -1: "
        f"{DEFAULT_WARMUP_FRACTION}, unless --num_warmup_steps is given.",
    )
    weight_decay: float = setting(
        0.01,
        "Decoupled weight decay per step, times the learning rate; biases and "
        "LayerNorm are left out. 0: none.",
    )
    clip_norm: float = setting(
        1.0,
        "Largest global norm of the gradient, taken over all replicas and "
        "variables. 0: no clipping.",
    )

    def __post_init__(self) -> None:
        require_choices(self)
        require(
            0 < self.learning_rate < math.inf,
            "--learning_rate must be above 0 and finite",
            received=self.learning_rate,
        )
        for name in ("weight_decay", "clip_norm"):
            value = getattr(self, name)
            require(math.isfinite(value), f"--{name} must be finite", received=value)
        require_at_least(self, 0, "weight_decay", "clip_norm")
        require(
            0 <= self.ema < 1, "--ema must be in [0, 1)", received=f"ema={self.ema}"
        )
        require(
            self.decay_towards == "zero" or self.weight_decay > 0,
            "--decay_towards=start pulls by --weight_decay, which must be above 0",
            received=f"weight_decay={self.weight_decay}",
        )
        require(
            0 < self.layer_decay <= 1,
            "--layer_decay must be in (0, 1]",
            received=f"layer_decay={self.layer_decay}",
        )
        require_at_least(self, 0, "unfreeze_every")
        require_at_least(self, -1, "num_warmup_steps")
        require(
            self.warmup_fraction == -1.0 or 0.0 <= self.warmup_fraction <= 1.0,
            "--warmup_fraction must be in [0, 1], or -1",
            received=self.warmup_fraction,
        )
        require(
            self.num_warmup_steps < 0 or self.warmup_fraction < 0,
            "give --num_warmup_steps or --warmup_fraction, not both",
            received=(
                f"num_warmup_steps={self.num_warmup_steps},"
                f" warmup_fraction={self.warmup_fraction}"
            ),
        )
