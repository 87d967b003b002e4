"""What a run is: frozen dataclasses, the checks between their fields, JSON.

Every field is declared once, here, with its default and its help; `flags.py`
makes the command-line flags from these declarations, so a flag, its default and
its documentation cannot drift apart.

    config = ExperimentConfig(
        model_dir="/tmp/run", data=DataConfig(dataset="files:reviews.csv")
    )
    ExperimentConfig.from_json(config.to_json()) == config

A config says what the user asked for and is never written back. What follows
from it (the number of classes, the total of steps) is computed elsewhere.
"""

from __future__ import annotations

from trainer.config.fields import (
    EXPLAIN_SIGNATURE,
    Escape,
    GUIDE_SENTENCES,
    MIN_SLICE,
    NO_TERMS,
    OWN_TERMS,
    sections,
    setting,
    settings,
)
from trainer.config.data import (
    DataConfig,
    LongText,
    SplitNearDuplicates,
    TaskName,
    Truncation,
    label_pair,
)
from trainer.config.model import LORA_TARGETS, ModelConfig, Pooling
from trainer.config.optimizer import DEFAULT_WARMUP_FRACTION, OptimizerConfig, Schedule
from trainer.config.training import (
    BestMetric,
    EVAL_EXAMPLES_PER_ACCELERATOR,
    LOG_LINES_PER_RUN,
    MOST_LOGGING_STEPS,
    PretrainingConfig,
    TrainingConfig,
    named_class_weights,
)
from trainer.config.runtime import ACCELERATOR_STEPS_PER_CALL, RuntimeConfig
from trainer.config.serving import (
    DecisionMetric,
    ENSEMBLE_FORMATS,
    EXPORT_FORMATS,
    INTERVAL_COVERAGE,
    ServingConfig,
)
from trainer.config.checks import ChecksConfig
from trainer.config.kept import KeptConfig
from trainer.config.groups import DIRECTION, GroupsConfig
from trainer.config.labelling import (
    LabellingConfig,
    MAX_TRAIN_TEXTS,
    MAX_UNLABELLED_TEXTS,
    NUM_TO_LABEL,
)
from trainer.config.experiment import ExperimentConfig, differences
from trainer.config.shards import Shard, shard_of
from trainer.config.commands import (
    AuditConfig,
    CompareConfig,
    DEFAULT_SIGNATURE,
    PredictConfig,
    ServeConfig,
)

__all__ = [
    "ACCELERATOR_STEPS_PER_CALL",
    "AuditConfig",
    "BestMetric",
    "ChecksConfig",
    "CompareConfig",
    "DEFAULT_SIGNATURE",
    "DEFAULT_WARMUP_FRACTION",
    "DIRECTION",
    "DataConfig",
    "DecisionMetric",
    "ENSEMBLE_FORMATS",
    "EVAL_EXAMPLES_PER_ACCELERATOR",
    "EXPLAIN_SIGNATURE",
    "EXPORT_FORMATS",
    "Escape",
    "ExperimentConfig",
    "GUIDE_SENTENCES",
    "GroupsConfig",
    "INTERVAL_COVERAGE",
    "KeptConfig",
    "LOG_LINES_PER_RUN",
    "LORA_TARGETS",
    "LabellingConfig",
    "LongText",
    "MAX_TRAIN_TEXTS",
    "MAX_UNLABELLED_TEXTS",
    "MOST_LOGGING_STEPS",
    "ModelConfig",
    "MIN_SLICE",
    "NO_TERMS",
    "NUM_TO_LABEL",
    "OWN_TERMS",
    "OptimizerConfig",
    "Pooling",
    "PredictConfig",
    "PretrainingConfig",
    "RuntimeConfig",
    "Schedule",
    "ServeConfig",
    "ServingConfig",
    "Shard",
    "SplitNearDuplicates",
    "TaskName",
    "TrainingConfig",
    "Truncation",
    "differences",
    "label_pair",
    "named_class_weights",
    "sections",
    "setting",
    "settings",
    "shard_of",
]
