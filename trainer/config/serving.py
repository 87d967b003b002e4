"""What is exported, and whether it takes the place of what serves."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from trainer.config.fields import (
    FIRST_TOKEN_FORMATS,
    MARGIN,
    MARGIN_HELP,
    MIN_SLICE,
    MIN_SLICE_HELP,
    require,
    require_at_least,
    require_choices,
    require_margin,
    setting,
)

Promote = Literal["always", "better", "not_worse", "never"]
DecisionMetric = Literal["none", "accuracy", "f1_macro", "mcc"]
# Those that hold several models as well as one.
ENSEMBLE_FORMATS = ("float32", "bfloat16", "int8", "tokens", "litert")
# Nine of ten, as most studies of conformal intervals have it.
INTERVAL_COVERAGE = 0.9
MAX_ACCURACY_DROP = 0.01
EXPORT_FORMATS = (*ENSEMBLE_FORMATS, *FIRST_TOKEN_FORMATS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """What is exported, and how the exported model decides."""

    export: bool = setting(
        True,
        "Export the trained model. `false`: the run ends with its report and its "
        "checkpoints; started again without this flag, it exports its best weights.",
        may_change=True,
    )
    export_dir: str = setting(
        "",
        "Folder of the exported versions, 1, 2, ..., as a model server takes it."
        " Several runs may share one: each adds a version. Empty: MODEL_DIR/export.",
        may_change=True,
    )
    export_formats: tuple[str, ...] = setting(
        ("float32",),
        "What to export, separated by commas: `float32`, always, as the SavedModel that"
        " all others are measured by; `bfloat16` and `int8`, smaller SavedModels;"
        " `tokens`, a SavedModel that reads token ids and does without TensorFlow Text,"
        " for Java, Go, C and other runtimes; `litert`, for phones, reads token ids;"
        " `huggingface`, a checkpoint for transformers, and `peft`, of a run with"
        " --lora_rank the adapter alone, for PEFT (both need --pooling=first).",
        may_change=True,
    )
    keep_exports: int = setting(
        3, "Keep the newest so many versions of each format. 0: all.", may_change=True
    )
    max_accuracy_drop: float = setting(
        MAX_ACCURACY_DROP,
        "A format other than float32 is not published if its accuracy on held-out texts"
        " is lower by more than this, in [0, 1].",
        may_change=True,
    )
    max_value_shift: float = setting(
        0.0,
        "With --task=regression a format other than float32 is not published if its "
        "values on held-out texts are farther from those of the trained model than this, "
        "on the mean, in the unit of the numbers: its mean absolute error is then at most "
        "this much higher. 0: a twentieth of the spread of the training texts' numbers.",
        may_change=True,
    )
    num_export_examples: int = setting(
        500,
        "Held-out texts on which each exported format is checked and timed. 0: all.",
        may_change=True,
    )
    drift_reference: bool = setting(
        True,
        "Keep beside the export what later texts are held against by `trainer.predict "
        "--drift_report`: counts of the training texts' lengths, unknown tokens and "
        "labels, of the scores and answers on the held-out texts of "
        "--num_export_examples, and the vectors of up to 1,000 of these. No text is "
        "kept, but a vector can tell something of its text.",
        may_change=True,
    )
    export_explain: bool = setting(
        False,
        "Give the SavedModels that read text the signature `explain`, too: how far each "
        "token moved the answer, by integrated gradients, with its bytes in the text. It "
        "doubles the graph, not the weights; a text takes about a hundred times as long "
        "as its classification.",
        may_change=True,
    )
    calibrate: bool = setting(
        True,
        "Fit a temperature on the validation split and divide the logits by it, so that"
        " a score of 80% is right in 80% of the cases. It stays at or near 1 where the "
        "texts are too few to tell. Changes no label.",
        may_change=True,
    )
    decision_metric: DecisionMetric = setting(
        "none",
        "Choose the classes' decision thresholds so that this metric is best on the "
        "validation split, where its gain is beyond its error; `none`: the most probable"
        " class is the label.",
        may_change=True,
    )
    abstain_accuracy: float = setting(
        0.0,
        "The exported model says `abstain` of texts whose score is so low that the "
        "others are right in at least this share of the cases, such as 0.95, by a lower "
        "bound (90%) from the validation split: 0.9 takes 22 texts at least, 0.95 takes "
        "45, 0.99 takes 230. Of too few it abstains always, and a warning says so. 0: "
        "never.",
        may_change=True,
    )
    given_decision: tuple[str, ...] = setting(
        (),
        "Choose labels by this decision instead of fitting one: the temperature, the "
        "score below which to abstain, and each class's threshold (which sum to 1), "
        "separated by commas. With --task=regression half the width of the interval. A "
        "study of folds fits it on texts that were held out, and writes it into the "
        "flagfile of its final run. Empty: fit it on validation.",
        may_change=True,
    )
    interval_coverage: float = setting(
        INTERVAL_COVERAGE,
        "With --task=regression an answer has an interval, from `low` to `high`, that "
        "holds the true number for this share of new texts like those held out (split "
        "conformal, by the distances on the validation split). 0.9 takes 9 validation "
        "texts at least, 0.95 takes 19, 0.99 takes 99. Of too few there is none, and a "
        "warning says so. In (0, 1).",
        may_change=True,
    )
    max_serving_batch_size: int = setting(
        32,
        "Largest batch that a model server shall make of waiting requests; in the "
        "batching parameters and the warmup requests beside the export.",
        may_change=True,
    )

    promote: Promote = setting(
        "always",
        "Whether the exported version is to serve (`latest` names it, and predict and "
        "serve take it): `always`; `better`, if it is shown to be better than the version "
        "that serves, on held-out texts that neither was trained on; `not_worse`, if it "
        "is shown not to be worse by --promote_margin or more; `never`. Otherwise it is "
        "exported and held. The first version is promoted. trainer.compare compares and "
        "promotes by hand.",
        may_change=True,
    )
    champion: str = setting(
        "",
        "The model to compare the trained one with: a version's folder, or a folder of "
        "versions, then the one that serves. Empty: with --promote=better or not_worse, "
        "the version that serves in the folder exported to; else none.",
        may_change=True,
    )
    promote_margin: float = setting(MARGIN, MARGIN_HELP, may_change=True)
    min_slice: int = setting(MIN_SLICE, MIN_SLICE_HELP, may_change=True)
    max_slice_gap: float = setting(
        0.0,
        "Hold the version back where accuracy, TPR or FPR of two groups of a kind "
        "(--group_terms, --slice_fields) lie farther apart than this, as a fraction: by "
        "the 95% interval of the gap, and beyond what chance gives. 0: any gap.",
        may_change=True,
    )
    max_flips: float = setting(
        0.0,
        "Hold the version back where more than this share of the held-out texts gets "
        "another label when the words of a kind of --counterfactuals are swapped, by "
        "the 95% interval. 0: any share.",
        may_change=True,
    )

    @property
    def is_challenger(self) -> bool:
        """Whether the trained model is compared with one that serves."""
        return bool(self.champion) or self.promote in ("better", "not_worse")

    def __post_init__(self) -> None:
        require_choices(self)
        require_at_least(self, 0, "keep_exports", "num_export_examples")
        require_at_least(self, 1, "max_serving_batch_size", "min_slice")
        require_margin(self.promote_margin)
        require(
            0 < self.interval_coverage < 1,
            "--interval_coverage must be a share between 0 and 1",
            received=self.interval_coverage,
            mend="give 0.9 for nine of ten",
        )
        for name in ("max_slice_gap", "max_flips"):
            value = getattr(self, name)
            require(
                0 <= value < 1,
                f"--{name} must be a fraction from 0 to below 1",
                received=value,
                mend="give 0.05 for five points",
            )
        unknown = [name for name in self.export_formats if name not in EXPORT_FORMATS]
        require(
            not unknown and "float32" in self.export_formats,
            f"--export_formats must be float32 and any of {', '.join(EXPORT_FORMATS)},"
            " separated by commas",
            received=",".join(self.export_formats),
        )
        for name in ("max_accuracy_drop", "abstain_accuracy"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"--{name} must be in [0, 1]", received=value)
        require(
            0 <= self.max_value_shift < math.inf,
            "--max_value_shift must be a distance of 0 or more, in the unit of the numbers",
            received=self.max_value_shift,
            mend="give 0.5 for half a unit, or 0 for a twentieth of the spread",
        )
        require(
            not self.given_decision or bool(self.decision_numbers),
            "--given_decision must be a temperature above 0, a score in [0, 1], and "
            "thresholds above 0, which sum to 1, of two classes or more; of numbers half "
            "the width of their interval",
            received=",".join(self.given_decision),
        )
        require(
            not self.given_decision
            or (self.decision_metric, self.abstain_accuracy) == ("none", 0),
            "--given_decision stands for all that --decision_metric and "
            "--abstain_accuracy would fit",
            received=f"decision_metric={self.decision_metric}, "
            f"abstain_accuracy={self.abstain_accuracy} beside it",
            mend="leave these out, or --given_decision",
        )

    @property
    def decision_numbers(self) -> tuple[float, ...]:
        """Those of --given_decision; empty: there is none, or they are none."""
        try:
            numbers = tuple(map(float, self.given_decision))
        except ValueError:
            return ()
        if len(numbers) == 1:
            return numbers if 0 <= numbers[0] < math.inf else ()
        temperature, score, *thresholds = (*numbers, 0.0, 0.0)[: max(2, len(numbers))]
        is_fit = (
            len(thresholds) >= 2
            and 0 < temperature < math.inf
            and 0 <= score <= 1
            and all(threshold > 0 for threshold in thresholds)
            and abs(sum(thresholds) - 1) < 1e-3
        )
        return numbers if is_fit else ()
