"""What a fine-tuned encoder should keep of its general abilities."""

from __future__ import annotations

import dataclasses

from trainer.config.fields import require, require_at_least, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptConfig:
    """What the encoder keeps of its general abilities (none of it is downloaded)."""

    general_texts: str = setting(
        "",
        "Texts of any other kind, `files:PATHS` (a text in each line, or a table with a "
        "column `text`): how alike the encoder's vectors of them are before and after "
        "training, layer by layer, stands in the report. Empty: not looked at.",
    )
    general_probe: str = setting(
        "",
        "Labelled texts of another task, written like --dataset, with the columns `text` "
        "and `label`: what a linear probe reads off the encoder before and after "
        "training stands in the report, with its interval. Empty: not looked at.",
    )
    num_general_examples: int = setting(
        500, "Look at no more texts than this of each of the two, drawn. 0: all."
    )
    watch_general_every: int = setting(
        0,
        "Look at both every so many steps too, for metrics.jsonl and TensorBoard. 0: "
        "only before and after training.",
    )
    max_general_drop: float = setting(
        0.0,
        "How much of the probe's accuracy may go, as a fraction: 0.02 is two points. "
        "Shown to be more (by the 95% interval), it is a doubt of the report; and with "
        "--watch_general_every training stops there. 0: any.",
    )

    @property
    def is_on(self) -> bool:
        """Whether anything is looked at."""
        return bool(self.general_texts or self.general_probe)

    def __post_init__(self) -> None:
        require_at_least(self, 0, "num_general_examples", "watch_general_every")
        require(
            0 <= self.max_general_drop < 1,
            "--max_general_drop must be a fraction from 0 to below 1",
            received=str(self.max_general_drop),
            mend="give 0.02 for two points",
        )
        require(
            self.is_on or not self.watch_general_every,
            "--watch_general_every needs texts to watch",
            received=f"watch_general_every={self.watch_general_every}",
            mend="give --general_texts or --general_probe",
        )
        require(
            bool(self.general_probe) or not self.max_general_drop,
            "--max_general_drop needs the probe whose accuracy may drop",
            received=f"max_general_drop={self.max_general_drop}",
            mend="give --general_probe",
        )
        require(
            not self.general_texts or self.general_texts.startswith("files:"),
            "--general_texts must be files: with paths or globs, separated by commas",
            received=self.general_texts,
            mend="give --general_texts=files:TEXTS.txt, with a text in each line",
        )
