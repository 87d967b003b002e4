"""A complete report of a tiny run, its evaluations measured by the real functions.

report = tiny_report()
dataclasses.replace(report, warnings=())
emptied_report()        # all that may be empty or None is
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Sequence

import numpy as np

from trainer.data import places
from trainer.data.augmented import Augmented
from trainer.data.replay import Replayed
from trainer.evaluation import metrics as metrics_lib
from trainer.evaluation import curves, schema, slices
from trainer.tasks.predictions import Predictions

NAMES = ("negative", "positive")
HISTORY = schema.History(
    train=tuple(
        schema.TrainRecord(
            step=step,
            loss=0.7 / step,
            learning_rate=5e-5,
            gradient_norm=1.0,
            examples_per_sec=60.0,
            secs_left=30.0 - step,
            input_wait_fraction=0.01,
        )
        for step in range(1, 30)
    ),
    pretraining=(
        schema.TrainRecord(
            step=1000,
            loss=6.5,
            learning_rate=5e-5,
            gradient_norm=1.0,
            examples_per_sec=60.0,
            secs_left=0.0,
        ),
    ),
    validation=(
        schema.ValidationRecord(step=10, loss=0.5, accuracy=0.7, f1_macro=0.7, mcc=0.4),
        schema.ValidationRecord(step=20, loss=0.4, accuracy=0.8, f1_macro=0.8, mcc=0.6),
    ),
)
PRETRAINING = schema.PretrainingFacts(
    source="files:toy/*.txt",
    num_read=2060,
    num_held_out=40,
    num_blank=12,
    num_skipped=0,
    num_without_words=5,
    num_texts=2003,
    num_steps=1000,
    head="frequencies",
    masked_loss=schema.MaskedLoss(
        split="validation",
        num_texts=90,
        num_masked_tokens=3210,
        before=7.2912,
        after=6.3249,
    ),
    train_secs=123.0,
)
# Of "café <b>" the second word is no word that was read, and the rest was cut off.
EXPLANATION = schema.Explanation(
    text="Good caf\u00e9 <b> and so on. bad",
    label="negative",
    predicted="positive",
    explained="positive",
    score=0.987,
    why="surest wrong",
    words=(
        schema.ExplainedWord(begin=0, end=4, attribution=2.0),
        schema.ExplainedWord(begin=5, end=10, attribution=0.1),
        schema.ExplainedWord(begin=26, end=29, attribution=-1.0),
    ),
    difference=1.104,
    completeness_gap=0.004,
    file="a.csv",
    line=7,
)
HELD_OUT_ERROR = schema.HeldOutError(
    text="A kettle of <b>fish</b>.",
    label="negative",
    predicted="positive",
    score=0.987,
    file="a.csv",
    line=7,
)
ERROR_CAUSES = schema.ErrorCauses(
    sentence="1 of 2 clusters errs more than chance explains: 25% of the texts.",
    split="test",
    num_texts=1100,
    num_errors=200,
    clusters=(
        schema.ErrorCluster(
            num_texts=275,
            num_errors=80,
            confidence_interval_95=(0.24, 0.35),
            expected_errors=50.0,
            errors_by_scores=61.5,
            p_value=0.00012,
            stands_out=True,
            words=("kettle", "<i>fish"),
            errors=(HELD_OUT_ERROR,),
        ),
        schema.ErrorCluster(
            num_texts=825,
            num_errors=120,
            confidence_interval_95=(0.12, 0.17),
            expected_errors=150.0,
            errors_by_scores=121.0,
            p_value=1.0,
            stands_out=False,
            words=(),
            errors=(),
        ),
    ),
    neighbours=(
        schema.ErrorNeighbours(
            error=HELD_OUT_ERROR,
            neighbours=(
                schema.TrainNeighbour(
                    text="Another kettle.",
                    label="positive",
                    similarity=0.913,
                    file="b.csv",
                    line=1234,
                ),
            ),
        ),
    ),
    num_train_texts=10_000,
    num_train_available=22_000,
)
TIMING = schema.Timing(
    prepare_data_secs=1.5,
    build_model_secs=2.5,
    compile_secs=80.25,
    evaluate_before_secs=3.5,
    secs_to_first_step=7.5,
    train_and_validate_secs=3725.0,
    evaluate_after_secs=4.5,
    export_secs=5.5,
    train_steps_secs=3600.0,
    train_examples_per_sec=61.2,
    input_wait_fraction=0.0123,
    peak_host_memory_bytes=3 * 2**29,
    peak_device_memory_bytes=None,
)


@functools.cache
def evaluation(
    num_examples: int,
    skill: float,
    *,
    label_names: tuple[str, ...] = NAMES,
    num_resamples: int = 100,
) -> schema.SplitEvaluation:
    """Of random texts. skill: added to the logit of the true label."""
    generator = np.random.default_rng(num_examples)
    labels = generator.integers(len(label_names), size=num_examples)
    logits = generator.normal(size=(num_examples, len(label_names)))
    logits[np.arange(num_examples), labels] += skill
    lengths = generator.integers(20, 600, size=num_examples)
    texts = [f"text number {index} of this split" for index in range(num_examples)]
    metrics = metrics_lib.classification_metrics(
        labels,
        Predictions(logits),
        label_names=label_names,
        num_resamples=num_resamples,
        seed=0,
    )
    slices_of_it = {
        "accuracy_by_length": slices.accuracy_by_length(
            labels, logits.argmax(axis=1), lengths, longest_text=512
        ),
        "most_confident_errors": slices.most_confident_errors(
            texts,
            labels,
            Predictions(logits),
            lengths,
            places.Places(
                ("toy.csv",),
                np.zeros(num_examples, np.int32),
                np.arange(2, num_examples + 2),
            ),
            label_names=label_names,
            limit=3,
        ),
        # Of two labels there would be none.
        "top_k": (schema.TopK(k=3, accuracy=0.9, confidence_interval_95=(0.88, 0.92)),),
        "words_of_errors": (
            schema.ErrorWord(
                word="hardly",
                num_texts=31,
                num_errors=12,
                confidence_interval_95=(0.23, 0.56),
                expected_errors=4.2,
                p_value=0.012,
            ),
        ),
        **curves.of(labels, Predictions(logits), label_names=label_names),
    }
    return schema.from_mapping(schema.SplitEvaluation, {**metrics, **slices_of_it})


DOUBT = schema.Doubt(
    kind="texts_cut",
    message="13.4% of the training texts are longer than the model reads: a larger "
    "--max_length lets it read more",
)


def split_facts(
    label_names: Sequence[str], counts: Sequence[int], **changes: Any
) -> schema.SplitFacts:
    """Of a split with so many texts of each label."""
    whole = schema.SplitFacts(
        num_examples=sum(counts),
        num_available=sum(counts),
        class_counts=dict(zip(label_names, counts)),
        num_duplicates=3,
        length_percentiles={"5": 61, "50": 222, "95": 703},
        truncated_fraction=0.134,
        unknown_fraction=0.002,
        num_unknown_texts=0,
        length_histogram=(
            schema.LengthCount(lower=0, upper=300, count=4000),
            schema.LengthCount(lower=300, upper=600, count=250),
            schema.LengthCount(lower=600, upper=9000, count=71),
        ),
    )
    return dataclasses.replace(whole, **changes)


def data_facts(label_names: Sequence[str] = NAMES) -> schema.DataFacts:
    """A data set that is split here, with a bad row."""
    read = schema.SourceFacts(
        source="files:toy.csv",
        files=(
            schema.SourceFile(
                name="toy.csv", num_rows=9964, settled="toy.csv: UTF-8, by commas"
            ),
        ),
        num_rows=9963,
        num_skipped_rows=1,
        skipped_rows=("line 17: no label",),
        num_blank_lines=0,
        num_placeholder_texts=1,
        placeholder_texts=("'nan' in toy.csv:7",),
    )
    return schema.DataFacts(
        label_names=tuple(label_names),
        splits={
            "train": split_facts(label_names, (4000, 321)),
            "validation": split_facts(label_names, (50, 40)),
            "test": split_facts(label_names, (600, 500)),
        },
        num_contradicting_texts=2,
        num_validation_texts_in_train=0,
        num_test_texts_in_train=0,
        source=schema.SourcesFacts(
            splits={"train": read}, notes=(), warnings=("1 bad row",)
        ),
        fingerprint={"train": "2c2e", "validation": "2dce", "test": "adb0"},
        bucket_lengths=(128, 384, 512),
        padded_fraction=0.113,
        longest_text=512,
        replayed=REPLAYED,
        augmented=AUGMENTED,
    )


def format_facts(name: str, **changes: Any) -> schema.FormatFacts:
    """A format that was published."""
    whole = schema.FormatFacts(
        format=name,
        bytes=90_900_000,
        latency_ms=71.5,
        texts_per_sec=9.25,
        num_texts=500,
        accuracy=0.84,
        max_difference=3e-7,
        num_other_labels=0,
        status="published",
        path=f"runs/toy/export/{name}/1",
    )
    return dataclasses.replace(whole, **changes)


def baseline_scores(accuracy: float, **changes: Any) -> schema.BaselineScores:
    """Of a simple model on 1,100 texts; its interval reaches 2.5 points to each side."""
    whole = schema.BaselineScores(
        num_examples=1100,
        loss=0.45,
        accuracy=accuracy,
        f1_macro=accuracy - 0.01,
        mcc=0.5,
        roc_auc=0.85,
        brier_score=0.3,
        expected_calibration_error=0.04,
        confidence_intervals_95={"accuracy": (accuracy - 0.025, accuracy + 0.025)},
    )
    return dataclasses.replace(whole, **changes)


def baseline(
    title: str, *, validation: float | None, test: float | None, **changes: Any
) -> schema.BaselineFacts:
    """A simple model of these accuracies; None: there is no such split."""
    whole = schema.BaselineFacts(
        title=title,
        validation=None if validation is None else baseline_scores(validation),
        test=None if test is None else baseline_scores(test),
        secs=12.0,
        peak_memory_bytes=3 * 2**20,
        num_features=5000,
        settings={"C": 10.0, "chosen on": "validation", "folds": 5},
    )
    return dataclasses.replace(whole, **changes)


def comparison(
    difference: float, low: float, high: float, **changes: Any
) -> schema.Comparison:
    """Of the fine-tuned model with a simple one, on 1,100 test texts."""
    verdict: Any = "better" if low > 0 else "worse" if high < 0 else "not_shown"
    whole = schema.Comparison(
        split="test",
        num_examples=1100,
        difference=difference,
        interval_95=(low, high),
        mcnemar_p=0.0123,
        num_discordant=120,
        num_only_model_right=80,
        num_only_baseline_right=40,
        verdict=verdict,
        cost_ratio=310.0,
        only_model_right=(_disagreement("positive", "positive", "negative"),),
        only_baseline_right=(_disagreement("negative", "positive", "negative"),),
    )
    return dataclasses.replace(whole, **changes)


def _disagreement(label: str, model: str, simple: str) -> schema.Disagreement:
    return schema.Disagreement(
        text="Not a bad film, and not a good one.",
        label=label,
        model=model,
        baseline=simple,
        file="toy.csv",
        line=77,
    )


TFIDF = "TF-IDF with logistic regression"
FROZEN = "logistic regression on frozen vectors"
COMMONEST = "the commonest label"
BASELINES = {
    "commonest": baseline(COMMONEST, validation=0.52, test=0.51, num_features=None),
    "tfidf": baseline(TFIDF, validation=0.75, test=0.74),
    "frozen": baseline(FROZEN, validation=0.7, test=0.72, peak_memory_bytes=None),
}
COMPARISONS = {
    "commonest": comparison(0.319, 0.28, 0.36, cost_ratio=None),
    "tfidf": comparison(0.041, 0.029, 0.053),
    "frozen": comparison(0.061, 0.04, 0.08, cost_ratio=1.5),
}
WORTH = f"Fine-tuning beats {TFIDF} by 4.1 points (2.9 to 5.3), for 310 times its time."


def _quality(*, coverage: float, abstained: float | None) -> schema.DecisionQuality:
    return schema.DecisionQuality(
        num_examples=90,
        before=_calibration(0.125),
        after=_calibration(0.015),
        equal_thresholds=schema.LabelQuality(accuracy=0.875, f1_macro=0.75, mcc=0.5),
        thresholds=schema.LabelQuality(accuracy=0.85, f1_macro=0.8, mcc=0.625),
        accuracy=0.85,
        coverage=coverage,
        accuracy_of_covered=0.95,
        accuracy_of_covered_interval_95=(0.88, 0.98),
        accuracy_of_abstained=abstained,
    )


def _calibration(error: float) -> schema.CalibrationQuality:
    return schema.CalibrationQuality(
        expected_calibration_error=error, loss=0.5, brier_score=0.25
    )


def _prediction(label: str, score: float) -> schema.Prediction:
    return schema.Prediction(
        label=label, score=score, probabilities=(score, 1.0 - score)
    )


def sample(
    text: str,
    before: str,
    after: str,
    *,
    label: str | None = None,
    why: schema.SampleChoice = "given",
) -> schema.Sample:
    """A text and its labels before and after."""
    return schema.Sample(
        text=text,
        before=_prediction(before, 0.513),
        after=_prediction(after, 0.987),
        label=label,
        why=why,
    )


def _training() -> schema.TrainingFacts:
    return schema.TrainingFacts(
        total_steps=30,
        num_steps_run=30,
        stopped_early=False,
        num_train_examples=4321,
        num_parameters=22713216,
        num_trainable_parameters=22713216,
        best_metric="accuracy",
        best_step=20,
        weights="best",
        reweighed=(
            schema.ReweighedCell(
                group="female", label="positive", num_texts=21, weight=1.75
            ),
        ),
    )


def _decision() -> schema.DecisionFacts:
    return schema.DecisionFacts(
        temperature=1.25,
        thresholds=(0.25, 0.75),
        abstain_below=0.8,
        split="validation",
        quality={
            "validation": _quality(coverage=0.9, abstained=0.625),
            "test": _quality(coverage=1.0, abstained=None),
        },
    )


def export_facts() -> schema.ExportFacts:
    int8 = format_facts(
        "int8",
        bytes=23_700_000,
        accuracy=0.5,
        accuracy_drop=0.34,
        status="refused",
        path=None,
    )
    return schema.ExportFacts(
        path="runs/toy/export/1",
        version=1,
        num_parity_texts=32,
        parity_max_difference=2.4e-7,
        formats=(format_facts("float32"), int8),
    )


GENERAL = schema.GeneralTexts(
    source="files:brown.txt", num_available=2602, num_left_out=3, num_texts=500
)
KEPT = schema.Kept(
    sentence="A linear probe lost.",
    texts=GENERAL,
    layers=tuple(
        schema.LayerKept(
            layer=layer,
            alikeness=alike,
            alikeness_of_halves=(alike, None),
            neighbour_overlap=0.7,
            neighbour_overlap_of_halves=(0.8, 0.75),
        )
        for layer, alike in enumerate((1.0, 0.6, None))
    ),
    chance_overlap=0.02,
    masked_words=schema.MaskedWordsKept(
        head="frequencies",
        num_texts=250,
        num_tokens=3210,
        before=6.676,
        after=6.697,
        difference=0.021,
        interval_95=(0.003, 0.039),
        difference_of_halves=(0.015, 0.027),
        realigned=6.68,
    ),
    probe=schema.ProbeKept(
        texts=GENERAL,
        num_labels=5,
        commonest=0.23,
        before=0.92,
        after=0.88,
        difference=-0.04,
        interval_95=(-0.06, -0.02),
        mcnemar_p=0.002,
        difference_of_halves=(-0.05, -0.03),
        old_probe_after=0.7,
        verdict="worse",
    ),
    watched=(schema.Watched(step=10, probe_accuracy=0.9, probe_drop=0.02),),
    stopped_at=10,
)
START = schema.StartFacts(
    source="runs/a",
    path="runs/a/checkpoints/best/step-63",
    sha256="0123456789abcdef" * 4,
    label_names=("bad",),
    new_labels=("good",),
    notes=("new labels: good; their part of the head begins as a new head's",),
    tells_seen_texts=True,
)
REPLAYED = Replayed(
    num_rows=900,
    num_held_out_here=10,
    num_held_out_there=190,
    num_new=50,
    num_drawn=300,
    wanted_fraction=0.3,
    fraction=0.3,
)
AUGMENTED = Augmented(
    kinds=("gender",), num_added=70, num_held_out=2, num_there=1, num_disagreeing=4
)
CHALLENGE = schema.Challenge(
    path="runs/old/export/3",
    sentence="The challenger is better: 86.4% right.",
    split="test",
    verdict="better",
    margin=0.01,
    num_texts=500,
    num_left_out=12,
    champion=0.8,
    champion_interval_95=(0.76, 0.83),
    challenger=0.864,
    challenger_interval_95=(0.83, 0.89),
    difference=0.064,
    interval_95=(0.03, 0.1),
    mcnemar_p=0.001,
    num_discordant=70,
    num_only_champion_right=19,
    num_only_challenger_right=51,
    texts_to_settle=None,
    slices=(
        schema.SliceContest(
            slice="label",
            value="good",
            num_texts=250,
            champion=0.8,
            challenger=0.7,
            difference=-0.1,
            interval_95=(-0.15, -0.05),
            p_holm=0.01,
            is_worse=True,
            blocks=True,
        ),
    ),
)


def tiny_report(label_names: tuple[str, ...] = NAMES) -> schema.Report:
    """A run with both held-out splits, a sample, a warning and two formats."""
    return schema.Report(
        title="tiny BERT on toy reviews",
        status="complete",
        before={
            "validation": evaluation(90, 0.0, label_names=label_names),
            "test": evaluation(1100, 0.0, label_names=label_names),
        },
        after={
            "validation": evaluation(90, 1.0, label_names=label_names),
            "test": evaluation(1100, 1.2, label_names=label_names),
        },
        samples=(
            sample(
                "The movie was terrible and boring.", label_names[1], label_names[0]
            ),
        ),
        decision=_decision(),
        training=_training(),
        data=data_facts(label_names),
        warnings=(DOUBT.message,),
        config={
            "model_dir": "runs/toy",
            "data": {"label_names": list(label_names)},
            "model": {"dropout": -1.0},
            "training": {"eval_batch_size": 64, "tokens_per_batch": 0},
        },
        environment={"tensorflow": "2.21.0"},
        history=HISTORY,
        timing=TIMING,
        export=export_facts(),
        paths=schema.Paths(
            report="runs/toy/report.html",
            saved_model="runs/toy/export/1",
            predictions={
                name: f"runs/toy/predictions/{name}.jsonl"
                for name in ("validation", "test")
            },
        ),
        commands=schema.Commands(
            predict="python -m trainer.predict --saved_model=runs/toy"
        ),
        doubts=(DOUBT,),
        settings_in_words={"dropout": "the preset's own (0.1)"},
        baselines=BASELINES,
        comparisons=COMPARISONS,
        worth=WORTH,
        kept=KEPT,
        champion=CHALLENGE,
        pretraining=PRETRAINING,
        start=START,
        explanations=(EXPLANATION,),
        error_causes=ERROR_CAUSES,
    )


def emptied_report() -> schema.Report:
    """A run without held-out texts, of which all that may be absent is."""
    report = tiny_report()
    return dataclasses.replace(
        report,
        before={},
        after={},
        samples=(),
        decision=dataclasses.replace(report.decision, split=None, quality={}),
        training=dataclasses.replace(
            report.training, best_step=None, weights="last", reweighed=()
        ),
        data=dataclasses.replace(
            report.data,
            splits={"train": report.data.splits["train"]},
            num_validation_texts_in_train=None,
            num_test_texts_in_train=None,
            longest_text=None,
            replayed=None,
            augmented=None,
            source=schema.SourcesFacts(splits={}, notes=(), warnings=()),
        ),
        warnings=(),
        doubts=(),
        settings_in_words={},
        baselines={},
        comparisons={},
        worth=None,
        kept=None,
        champion=None,
        pretraining=None,
        start=None,
        explanations=(),
        error_causes=None,
        config={},
        environment={},
        history=schema.History(train=(), validation=()),
        timing=dataclasses.replace(
            report.timing, secs_to_first_step=None, input_wait_fraction=None
        ),
        export=dataclasses.replace(export_facts(), formats=()),
        paths=dataclasses.replace(report.paths, predictions={}),
    )
