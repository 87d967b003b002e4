"""Groups of people and of texts, and whether the model treats them alike."""

from __future__ import annotations

import dataclasses

from trainer.config.fields import (
    SLICE_FIELDS_MEANING,
    require,
    require_at_least,
    require_names,
    setting,
)

# What --counterfactuals takes besides the kinds of groups.
DIRECTION = "direction"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupsConfig:
    """On which groups of texts the trained model is measured, and what it is asked."""

    slice_fields: tuple[str, ...] = setting(
        (),
        "Columns of --dataset by whose values the model is measured as well, "
        f"{SLICE_FIELDS_MEANING} Empty: only by the groups of --group_terms.",
        may_change=True,
    )
    positive_label: str = setting(
        "",
        "The class whose true and false positive rates, share and probability are looked "
        "at. Empty: of two classes the second; of more each one's rates, and the "
        "probability of a text's own label.",
        may_change=True,
    )
    counterfactuals: tuple[str, ...] = setting(
        (),
        "Kinds of --group_terms whose words are swapped in held-out texts and in neutral "
        "sentences, separated by commas, as `names,gender,nationality,religion,"
        "orientation`: how far the answers move, beside harmless synonyms as the floor. "
        "`direction`, for sentiment alone, adds praise and blame to texts, and needs "
        "--positive_label. Costs two predictions a text and kind. Empty: none.",
        may_change=True,
    )
    num_counterfactual_texts: int = setting(
        500,
        "Swap words in no more held-out texts than this for each kind, drawn of those "
        "that have such words. 0: all.",
        may_change=True,
    )

    def __post_init__(self) -> None:
        require_at_least(self, 0, "num_counterfactual_texts")
        require_names("slice_fields", self.slice_fields, "columns")
        require_names("counterfactuals", self.counterfactuals, "kinds")
        require(
            DIRECTION not in self.counterfactuals or bool(self.positive_label),
            f"--counterfactuals={DIRECTION} needs --positive_label, the class that "
            "praise speaks for",
            received="none",
        )

    @property
    def swapped_kinds(self) -> tuple[str, ...]:
        """Those of --counterfactuals whose words are swapped."""
        return tuple(each for each in self.counterfactuals if each != DIRECTION)
