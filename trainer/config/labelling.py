"""What a person should look at next: errors by cause, and texts worth a label."""

from __future__ import annotations

import dataclasses

from trainer.config.fields import (
    require,
    require_at_least,
    require_to_label,
    setting,
)

NUM_TO_LABEL = 100
NUM_TO_LABEL_HELP = "How many texts --export_to_label writes, at most."
# Of more there is no pass over all.
MAX_TRAIN_TEXTS, MAX_UNLABELLED_TEXTS = 10_000, 100_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabellingConfig:
    """Where the trained model errs, and which texts would teach it most."""

    error_causes: bool = setting(
        False,
        "Say in the report where errors gather: the held-out texts in clusters by the "
        "vectors of the fine-tuned encoder, with those that err more than chance "
        "explains; and for the surest errors the three nearest training texts with their "
        "labels, file and line. Costs one more pass over the held-out texts and over at "
        f"most {MAX_TRAIN_TEXTS:,} training texts, drawn evenly: as long as answering "
        "them.",
        may_change=True,
    )
    export_to_label: str = setting(
        "",
        "File to write, FILE.csv: the texts of --unlabelled whose labels would teach the "
        "trained model most, being in doubt and unlike each other (BADGE), the first the "
        "most. Its label column is empty; once that is filled in, --dataset reads the "
        "file. Empty: none.",
        may_change=True,
    )
    unlabelled: str = setting(
        "",
        "Texts without labels to choose from, as files:PATHS_OR_GLOBS (.txt: a text a "
        "line; else the column of --text_field). Those of any split, copies and "
        f"near-copies are left out. Of more than {MAX_UNLABELLED_TEXTS:,} so many are "
        "read, drawn evenly.",
        may_change=True,
    )
    num_to_label: int = setting(NUM_TO_LABEL, NUM_TO_LABEL_HELP, may_change=True)

    def __post_init__(self) -> None:
        require_at_least(self, 1, "num_to_label")
        require_to_label(self.export_to_label)
        require(
            bool(self.export_to_label) == bool(self.unlabelled),
            "--export_to_label and --unlabelled go together: where to write, and what "
            "to choose from",
            received=f"export_to_label={self.export_to_label or 'none'}, "
            f"unlabelled={self.unlabelled or 'none'}",
            mend="give both, or neither",
        )
