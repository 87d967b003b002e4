"""A run, whole: its sections, the checks between them, JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Mapping, TypeVar

from trainer import json_text
from trainer.config import regression
from trainer.config.checks import ChecksConfig
from trainer.config.data import DataConfig
from trainer.config.fields import (
    FIRST_TOKEN_FORMATS,
    NO_TERMS,
    from_mapping,
    require,
    require_at_least,
    sections,
    setting,
    settings,
)
from trainer.config.groups import GroupsConfig
from trainer.config.kept import KeptConfig
from trainer.config.labelling import LabellingConfig
from trainer.config.model import ModelConfig
from trainer.config.optimizer import OptimizerConfig
from trainer.config.runtime import RuntimeConfig
from trainer.config.serving import INTERVAL_COVERAGE, ServingConfig
from trainer.config.training import PretrainingConfig, TrainingConfig

_Experiment = TypeVar("_Experiment", bound="ExperimentConfig")
TRACKERS = ("tensorboard", "mlflow")
BASELINES = ("commonest", "tfidf", "frozen")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One run, whole."""

    model_dir: str = setting(
        "",
        "Folder of this run: checkpoints, logs, report and export. A run that was "
        "stopped resumes from here. Required.",
        may_change=True,
    )
    dry_run: bool = setting(
        False,
        "Only say what the run would take: steps, weights, seconds a step and in all "
        "(from a rehearsal of a few steps), memory and disk, and the same of the other "
        "presets on this machine. Leaves plan.json in --model_dir, and nothing else.",
        may_change=True,
    )
    sample_texts: tuple[str, ...] = setting(
        (),
        "Texts to try before and after fine-tuning, shown in the report, the model "
        "card and by `trainer.serve`. May be given several times. None: for IMDB's "
        "reviews two sentences on films; else three held-out texts are drawn (the "
        "surest right one, the surest wrong one, the one nearest to the border), and "
        "shown in the report alone, for they are yours to publish.",
        repeated=True,
    )
    num_bootstrap_resamples: int = setting(
        1000,
        "Resamples behind the 95% confidence intervals. 0: no intervals.",
        may_change=True,
    )
    baselines: tuple[str, ...] = setting(
        BASELINES,
        "Simple models to measure beside the fine-tuned one, on the same texts, "
        "separated by commas: `commonest`, always the commonest label; `tfidf`, TF-IDF "
        "of words and word pairs with logistic regression; `frozen`, logistic "
        "regression on the vectors of the encoder as it came (from the preset, or from "
        "--init_from), for one more pass over all texts. With --task=regression "
        "`commonest` is the training texts' mean, and their median, and the regressions "
        "are linear. Empty: none.",
        may_change=True,
    )
    explain: int = setting(
        0,
        "Say in the report of so many held-out texts which words moved the answer, by "
        "integrated gradients: half of them the surest errors, the others the nearest to "
        "the border between two labels. A text takes about a hundred times as long as its "
        "answer: ten of the quickstart's took 83 seconds on two busy cores. 0: of none.",
        may_change=True,
    )
    trackers: tuple[str, ...] = setting(
        (),
        "Where to compare finished runs, separated by commas: `tensorboard`, settings and "
        "metrics as HParams (tensorboard --logdir of the folder above the runs, or of a "
        "study); `mlflow`, settings, metrics, report and the path of the model, in "
        "./mlruns or where MLFLOW_TRACKING_URI says (needs mlflow-skinny). One that fails "
        "costs a warning. Empty: nowhere.",
        may_change=True,
    )
    num_before_examples: int = setting(
        200,
        "Evaluate the weights as they came on at most this many texts of each held-out "
        "split, drawn like --num_eval_examples; their accuracy is near chance. 0: all.",
    )
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    pretraining: PretrainingConfig = dataclasses.field(
        default_factory=PretrainingConfig
    )
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    runtime: RuntimeConfig = dataclasses.field(default_factory=RuntimeConfig)
    serving: ServingConfig = dataclasses.field(default_factory=ServingConfig)
    checks: ChecksConfig = dataclasses.field(default_factory=ChecksConfig)
    kept: KeptConfig = dataclasses.field(default_factory=KeptConfig)
    groups: GroupsConfig = dataclasses.field(default_factory=GroupsConfig)
    labelling: LabellingConfig = dataclasses.field(default_factory=LabellingConfig)

    def __post_init__(self) -> None:
        for name, value in (
            ("model_dir", self.model_dir),
            ("dataset", self.data.dataset),
            ("preset", self.model.preset),
        ):
            require(bool(value), f"--{name} is required", received="none")
        require_at_least(self, 0, "num_bootstrap_resamples", "num_before_examples")
        require_at_least(self, 0, "explain")
        require(
            not self.data.num_folds or self.data.fold >= 0,
            "a run with --num_folds must be told which fold to hold out",
            received=f"num_folds={self.data.num_folds} without --fold",
            mend="give --fold=0, or make all folds with trainer.study --study=folds",
        )
        require(
            set(self.baselines) <= set(BASELINES)
            and len(set(self.baselines)) == len(self.baselines),
            f"--baselines must be any of {', '.join(BASELINES)}, separated by commas",
            received=",".join(self.baselines),
        )
        require(
            set(self.trackers) <= set(TRACKERS),
            f"--trackers must be any of {', '.join(TRACKERS)}, separated by commas",
            received=",".join(self.trackers),
        )
        budget, least = self.training.tokens_per_batch, 8 * self.data.max_text_length
        require(
            budget == 0 or budget >= least,
            "--tokens_per_batch must hold 8 texts of --max_length (times"
            f" --max_windows, with windows), that is at least {least}, or be 0",
            received=f"tokens_per_batch={budget}, max_length={self.data.max_length}",
        )
        self._require_validation()
        self._require_formats()
        self._require_all_trained()
        self._require_groups()
        if self.data.task == "multi_label":
            self._require_multi_label()
        if self.data.task == "ordinal":
            require(
                self.serving.decision_metric == "none",
                "--decision_metric moves thresholds, and the answer of --task=ordinal is "
                "the median, which has none",
                received=f"decision_metric={self.serving.decision_metric}",
                mend="leave it out",
            )
        if self.data.task == "regression":
            given, rule = "task=regression", "is for labels"
            self._refuse(regression.refused(settings(self)), rule=rule, given=given)
        self._require_decision()
        if self.data.second_text_field:
            self._require_pairs()

    def _require_groups(self) -> None:
        """Raises ValueError where a gate, or a swap, has nothing to go by."""
        has_terms = self.checks.group_terms != NO_TERMS
        for name, is_given in (
            ("augment_counterfactuals", bool(self.groups.augment_counterfactuals)),
            ("reweigh_by", self.groups.reweigh_source == "terms"),
        ):
            require(
                has_terms or not is_given,
                f"--{name} goes by the words of --group_terms",
                received="group_terms=none",
                mend="set --group_terms=own, or name a file",
            )
        require(
            has_terms or not self.groups.swapped_kinds,
            "--counterfactuals swaps the words of --group_terms",
            received=f"counterfactuals={','.join(self.groups.counterfactuals)}, "
            "group_terms=none",
            mend="set --group_terms=own, or name a file",
        )
        require(
            bool(self.groups.swapped_kinds) or not self.serving.max_flips,
            "--max_flips needs words to swap",
            received=f"max_flips={self.serving.max_flips} without a kind in "
            "--counterfactuals",
            mend="give --counterfactuals=gender, or other kinds",
        )
        require(
            has_terms
            or bool(self.groups.slice_fields)
            or not self.serving.max_slice_gap,
            "--max_slice_gap needs groups to measure",
            received=f"max_slice_gap={self.serving.max_slice_gap}, group_terms=none, "
            "no slice_fields",
            mend="set --group_terms=own, or name columns with --slice_fields",
        )
        require(
            self.num_bootstrap_resamples > 0 or not self.serving.max_slice_gap,
            "--max_slice_gap goes by the interval of the gap, which needs resamples",
            received="num_bootstrap_resamples=0",
            mend="set --num_bootstrap_resamples=1000",
        )

    def _require_pairs(self) -> None:
        """Raises ValueError for what reads one text."""
        of_words = "words are looked at in one text"
        whys = {
            "explain": (bool(self.explain), of_words),
            "export_explain": (self.serving.export_explain, of_words),
            "sample_texts": (bool(self.sample_texts), "they are single texts"),
            "pretrain_dataset": (
                bool(self.pretraining.pretrain_dataset),
                "it has single texts; --pretrain_on=train reads the pairs",
            ),
            "export_to_label": (
                bool(self.labelling.export_to_label),
                "--unlabelled has single texts",
            ),
        }
        given = f"second_text_field={self.data.second_text_field}"
        self._refuse(whys, rule="is not for pairs of texts", given=given)

    def _refuse(
        self, whys: Mapping[str, tuple[bool, str]], *, rule: str, given: str
    ) -> None:
        """Raises ValueError for the first of some settings that is given.

        Args:
          whys: by name, whether it is given, and why it may not be.
          rule: what is said of it.
          given: the setting that excludes it.
        """
        values = settings(self)
        for name, (is_given, why) in whys.items():
            value = values[name]
            shown = ",".join(value) if isinstance(value, tuple) else value
            require(
                not is_given,
                f"--{name} {rule}: {why}",
                received=f"{name}={shown}, {given}",
                mend="leave it out",
            )

    def _require_decision(self) -> None:
        """Raises ValueError where the answers' settings are those of another task."""
        require(
            self.data.task == "regression"
            or self.serving.interval_coverage == INTERVAL_COVERAGE,
            "--interval_coverage is of the intervals that numbers have",
            received=f"interval_coverage={self.serving.interval_coverage}, "
            f"task={self.data.task}",
            mend="leave it out, or give --task=regression",
        )
        require(
            self.data.task == "regression" or not self.serving.max_value_shift,
            "--max_value_shift is of numbers; of labels --max_accuracy_drop is",
            received=f"max_value_shift={self.serving.max_value_shift}, "
            f"task={self.data.task}",
            mend="leave it out, or give --task=regression",
        )
        numbers = self.serving.decision_numbers
        of_numbers = self.data.task == "regression"
        require(
            not numbers or (len(numbers) == 1) == of_numbers,
            "--given_decision must be "
            + (
                "half the width of the interval with --task=regression"
                if of_numbers
                else "a temperature, a score and thresholds"
            ),
            received=f"given_decision={','.join(self.serving.given_decision)}, "
            f"task={self.data.task}",
            mend="leave it out, and it is fitted on validation",
        )

    def _require_multi_label(self) -> None:
        """Raises ValueError for what needs exactly one label a text."""
        whys = {
            "class_weights": (
                self.training.class_weights != ("none",),
                "an example weighs by its label, and a text may have several, or none",
            ),
            "abstain_accuracy": (
                self.serving.abstain_accuracy > 0,
                "a model abstains from a text by the score of its one label",
            ),
            "given_decision": (
                bool(self.serving.given_decision),
                "its thresholds sum to 1, as those of labels that exclude each other",
            ),
            "out_of_fold": (
                bool(self.checks.out_of_fold),
                "labels that may be wrong are looked for among texts of one label",
            ),
            "counterfactuals": (
                bool(self.groups.counterfactuals),
                "a swap is told by the probability of the one label that a text has",
            ),
            "reweigh_by": (
                bool(self.groups.reweigh_by),
                "a group's texts weigh by their one label",
            ),
            "max_flips": (self.serving.max_flips > 0, "it holds what swaps change"),
            "audit_model": (
                self.checks.audit_model == "tfidf",
                "labels that may be wrong are looked for among texts of one label",
            ),
        }
        rule = "is for one label a text"
        self._refuse(whys, rule=rule, given="task=multi_label")

    def _require_formats(self) -> None:
        """Raises ValueError where a format cannot hold the model."""
        for name in FIRST_TOKEN_FORMATS:
            require(
                self.model.pooling == "first"
                or name not in self.serving.export_formats,
                f"--export_formats={name} needs --pooling=first: transformers'"
                " classifier reads the first token",
                received=f"pooling={self.model.pooling}",
            )
        require(
            bool(self.model.lora_rank) or "peft" not in self.serving.export_formats,
            "--export_formats=peft writes what --lora_rank trains",
            received="lora_rank=0",
            mend="give --lora_rank, or export huggingface, which holds all weights",
        )
        require(
            not (self.optimizer.unfreeze_every and self.model.freeze_layers == -1),
            "--unfreeze_every lets go of the encoder's layers, and --freeze_layers=-1 "
            "never does",
            received=f"unfreeze_every={self.optimizer.unfreeze_every}, freeze_layers=-1",
            mend="give one of the two, or --freeze_layers=N for the N lowest layers",
        )

    def _require_all_trained(self) -> None:
        """Raises ValueError where what shall stay as it came would be pretrained."""
        for name in ("freeze_layers", "lora_rank"):
            value = getattr(self.model, name)
            require(
                not (self.pretraining.pretrain_steps and value),
                f"--pretrain_steps trains the whole encoder, which --{name} leaves as "
                "it came",
                received=f"pretrain_steps={self.pretraining.pretrain_steps}, "
                f"{name}={value}",
                mend="give one of the two",
            )

    def _require_validation(self) -> None:
        """Raises ValueError where a setting needs a split that there is not."""
        has_validation = self.data.validation_one_in or self.data.validation_dataset
        require(
            bool(has_validation) or not self.training.early_stopping_patience,
            "--early_stopping_patience needs a validation split: set"
            " --validation_one_in or --validation_dataset",
            received=(
                f"early_stopping_patience={self.training.early_stopping_patience},"
                " validation_one_in=0"
            ),
        )
        for name in ("decision_metric", "abstain_accuracy"):
            value = getattr(self.serving, name)
            require(
                bool(has_validation) or value in ("none", 0.0),
                f"--{name} needs a validation split: set --validation_one_in or"
                " --validation_dataset",
                received=f"{name}={value}, validation_one_in=0",
            )
        require(
            bool(has_validation) or not self.training.eval_every_steps,
            "--eval_every_steps needs a validation split: set --validation_one_in or"
            " --validation_dataset",
            received=(
                f"eval_every_steps={self.training.eval_every_steps},"
                " validation_one_in=0"
            ),
        )

    def to_json(self) -> str:
        """The whole config as indented JSON, sections as nested objects."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls: type[_Experiment], text: str) -> _Experiment:
        """The config of this class that `to_json` wrote.

        Raises:
          ValueError: the text is no such config.
        """
        try:
            config: _Experiment = from_mapping(cls, json_text.parse(text))
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not a saved config: {error}") from error
        return config


def differences(
    before: ExperimentConfig, after: ExperimentConfig
) -> Mapping[str, tuple[Any, Any]]:
    """Settings that differ and must not, if one run is to be resumed as the other.

    Args:
      before: of the run that is there.
      after: of the same class.

    Returns:
      Setting name → (value before, value after), for every setting that was not
      declared with `may_change`.
    """
    kind = type(after)
    fixed = {
        field.name
        for config_class in (kind, *sections(kind).values())
        for field in dataclasses.fields(config_class)
        if field.metadata.get("may_change") is False
    }
    old, new = settings(before), settings(after)
    return {
        name: (old[name], new[name])
        for name in old
        if name in fixed and old[name] != new[name]
    }
