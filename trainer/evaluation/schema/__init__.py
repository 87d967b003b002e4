"""The report of a run as types: what report.json holds, key by key.

    report = Report(title="tiny BERT on reviews", status="complete", ...)
    text = report.to_json()                 # the content of report.json
    Report.from_json(text) == report
    report.after["test"].accuracy           # 0.823

    # Dicts of the same keys, which may hold finished parts, become dataclasses too:
    from_mapping(SplitEvaluation, {**metrics, "accuracy_by_length": length_bins, ...})

A field's name is its key in report.json, and the order of the fields is the order of
the keys. Programs outside of this one read that file, so renaming a field breaks
them; adding one does not.

Every key is always there. What was not measured, or does not exist in this run, is
None or empty; the type of the field says which. The keys of a mapping are data (names
of splits, labels, metrics, packages), so a run without a test split has no "test" in
its mappings from split names. A field has a default only where stages may leave it out.

Values are what JSON has: str, int, float, bool, None, tuples for its arrays, plain
dicts for its objects with free keys. Fractions and probabilities are in [0, 1].

The numbers are computed where they arise; the page that shows them is in `report.py`.
"""

from __future__ import annotations

from trainer.evaluation.schema.aliases import (
    Config,
    Environment,
    GroupRateName,
    Interval,
    SampleChoice,
    SliceGapName,
    Verdict,
)
from trainer.evaluation.schema.baselines import (
    BaselineFacts,
    BaselineScores,
    Comparison,
    Disagreement,
)
from trainer.evaluation.schema.causes import (
    ErrorCauses,
    ErrorCluster,
    ErrorNeighbours,
    HeldOutError,
    TrainNeighbour,
)
from trainer.evaluation.schema.contest import Challenge, Contest, SliceContest
from trainer.evaluation.schema.data import (
    CorrectionsFacts,
    DataFacts,
    LengthCount,
    SourceFacts,
    SourceFile,
    SourcesFacts,
    SplitFacts,
)
from trainer.evaluation.schema.decision import (
    CalibrationQuality,
    DecisionFacts,
    DecisionQuality,
    LabelQuality,
)
from trainer.evaluation.schema.export import ExportFacts, FormatFacts
from trainer.evaluation.schema.groups import (
    Changes,
    Counterfactual,
    Direction,
    GroupRate,
    GroupSlices,
    Groups,
    SignedGap,
    SliceGap,
    SliceGroup,
    TemplateFacts,
    TemplateGroup,
)
from trainer.evaluation.schema.kept import (
    GeneralTexts,
    Kept,
    LayerKept,
    MaskedWordsKept,
    ProbeKept,
    Watched,
)
from trainer.evaluation.schema.number_contest import (
    NumberChallenge,
    NumberContest,
    NumberSliceContest,
)
from trainer.evaluation.schema.numbers import (
    FarValue,
    IntervalQuality,
    NumberBaseline,
    NumberComparison,
    NumberDecision,
    NumberEvaluation,
    NumberHistory,
    NumberLengthBin,
    NumberPrediction,
    NumberRecord,
    NumberSample,
    NumberScores,
    NumbersReport,
)
from trainer.evaluation.schema.reading import from_mapping
from trainer.evaluation.schema.report import Commands, Doubt, Paths, Report
from trainer.evaluation.schema.scores import (
    ClassScores,
    ConfidentError,
    Curve,
    ErrorWord,
    LabelPair,
    LabelScores,
    LabelSetScores,
    LengthBin,
    OrdinalScores,
    ReliabilityBin,
    SplitEvaluation,
    TopK,
)
from trainer.evaluation.schema.texts import (
    ExplainedWord,
    Explanation,
    Prediction,
    Sample,
)
from trainer.evaluation.schema.training import (
    History,
    MaskedLoss,
    PretrainingFacts,
    ReweighedCell,
    StartFacts,
    Timing,
    TrainRecord,
    TrainingFacts,
    ValidationRecord,
)

__all__ = [
    "BaselineFacts",
    "BaselineScores",
    "CalibrationQuality",
    "Challenge",
    "Changes",
    "ClassScores",
    "Commands",
    "Comparison",
    "ConfidentError",
    "Config",
    "Contest",
    "CorrectionsFacts",
    "Counterfactual",
    "Curve",
    "DataFacts",
    "DecisionFacts",
    "DecisionQuality",
    "Direction",
    "Disagreement",
    "Doubt",
    "Environment",
    "ErrorCauses",
    "ErrorCluster",
    "ErrorNeighbours",
    "ErrorWord",
    "ExplainedWord",
    "Explanation",
    "ExportFacts",
    "FarValue",
    "FormatFacts",
    "GeneralTexts",
    "GroupRate",
    "GroupRateName",
    "GroupSlices",
    "Groups",
    "HeldOutError",
    "History",
    "Interval",
    "IntervalQuality",
    "Kept",
    "LabelPair",
    "LabelQuality",
    "LabelScores",
    "LabelSetScores",
    "LayerKept",
    "LengthBin",
    "LengthCount",
    "MaskedLoss",
    "MaskedWordsKept",
    "NumberBaseline",
    "NumberChallenge",
    "NumberComparison",
    "NumberContest",
    "NumberDecision",
    "NumberEvaluation",
    "NumberHistory",
    "NumberLengthBin",
    "NumberPrediction",
    "NumberRecord",
    "NumberSample",
    "NumberScores",
    "NumberSliceContest",
    "NumbersReport",
    "OrdinalScores",
    "Paths",
    "Prediction",
    "PretrainingFacts",
    "ProbeKept",
    "ReliabilityBin",
    "ReweighedCell",
    "Report",
    "Sample",
    "SampleChoice",
    "SignedGap",
    "SliceContest",
    "SliceGap",
    "SliceGapName",
    "SliceGroup",
    "SourceFacts",
    "SourceFile",
    "SourcesFacts",
    "SplitEvaluation",
    "SplitFacts",
    "StartFacts",
    "TemplateFacts",
    "TemplateGroup",
    "Timing",
    "TrainNeighbour",
    "TrainRecord",
    "TrainingFacts",
    "TopK",
    "ValidationRecord",
    "Verdict",
    "Watched",
    "from_mapping",
]
