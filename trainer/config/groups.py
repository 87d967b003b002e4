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

    reweigh_by: str = setting(
        "",
        "Training texts weigh in the loss such that the label does not go with the group "
        "(Kamiran and Calders 2012): `terms:KIND` for the groups of a kind of "
        "--group_terms, as terms:gender, or `column:NAME` for the values of a column of "
        "--dataset. The simple models learn by the same weights. Whether it helps, and at "
        "what price, the report's groups say. Empty: they weigh the same.",
    )
    augment_counterfactuals: tuple[str, ...] = setting(
        (),
        "Kinds of --group_terms, separated by commas: each training text that mentions a "
        "group of the kind is trained on a second time, with the words of another group "
        "in their place and the same label; one that is held out is left out, one that is "
        "near to a held-out text is not looked for. Longer training by as many texts. "
        "Empty: none.",
    )

    def __post_init__(self) -> None:
        require_at_least(self, 0, "num_counterfactual_texts")
        require_names("slice_fields", self.slice_fields, "columns")
        require_names("augment_counterfactuals", self.augment_counterfactuals, "kinds")
        require(
            not self.reweigh_by
            or self.reweigh_source in ("terms", "column")
            and bool(self.reweigh_name),
            "--reweigh_by must be terms:KIND or column:NAME",
            received=self.reweigh_by,
            mend="write --reweigh_by=terms:gender, say",
        )
        require_names("counterfactuals", self.counterfactuals, "kinds")
        require(
            DIRECTION not in self.counterfactuals or bool(self.positive_label),
            f"--counterfactuals={DIRECTION} needs --positive_label, the class that "
            "praise speaks for",
            received="none",
        )

    @property
    def reweigh_source(self) -> str:
        """What stands before the colon of --reweigh_by."""
        return self.reweigh_by.partition(":")[0]

    @property
    def reweigh_name(self) -> str:
        """The kind or the column of --reweigh_by."""
        return self.reweigh_by.partition(":")[2]

    @property
    def swapped_kinds(self) -> tuple[str, ...]:
        """Those of --counterfactuals whose words are swapped."""
        return tuple(each for each in self.counterfactuals if each != DIRECTION)
