"""Tests of trainer/config/."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from typing import Any

import pytest

from trainer.config import (
    AuditConfig,
    ChecksConfig,
    DataConfig,
    ExperimentConfig,
    GroupsConfig,
    KeptConfig,
    LabellingConfig,
    ModelConfig,
    OptimizerConfig,
    PredictConfig,
    PretrainingConfig,
    RuntimeConfig,
    ServeConfig,
    ServingConfig,
    TrainingConfig,
    differences,
    sections,
)

REQUIRED: dict[str, Any] = dict(
    model_dir="runs/a", dataset="files:a.csv", preset="tiny"
)
REQUIRED_TO_PREDICT: dict[str, Any] = dict(saved_model="m", input="-")
SECTIONS = {
    "data": DataConfig,
    "model": ModelConfig,
    "optimizer": OptimizerConfig,
    "pretraining": PretrainingConfig,
    "training": TrainingConfig,
    "runtime": RuntimeConfig,
    "serving": ServingConfig,
    "checks": ChecksConfig,
    "kept": KeptConfig,
    "groups": GroupsConfig,
    "labelling": LabellingConfig,
}
# Every setting at a value that is not its default, so that a test can see each of
# them carried through; what they exclude is in INSTEAD.
OFF_DEFAULT: dict[str, Any] = dict(
    model_dir="runs/b",
    sample_texts=("Good, very good.", "", "naïve 🎬"),
    num_bootstrap_resamples=7,
    explain=3,
    baselines=("tfidf",),
    num_before_examples=9,
    head_start="frozen",
    dry_run=True,
    layer_decay=0.9,
    unfreeze_every=20,
    decay_towards="start",
    ema=0.9,
    lora_rank=4,
    lora_alpha=8.0,
    lora_targets=("key",),
    dataset="files:b.csv",
    validation_dataset="files:c.csv",
    test_dataset="files:d.csv",
    text_field="review",
    label_field="stars",
    group_field="author",
    encoding="cp1252",
    column_names=("review", "stars", "author"),
    escape="backslash",
    label_names=("bad", "good"),
    bad_rows="skip",
    test_one_in=0,
    validation_one_in=3,
    split_near_duplicates="together",
    near_duplicate_similarity=0.5,
    corrections="fixed.jsonl",
    num_train_examples=100,
    num_eval_examples=50,
    max_length=64,
    truncation="head_tail",
    num_buckets=2,
    download=True,
    tfds_data_dir="/tfds",
    max_cache_gb=0.5,
    cache_dir="/cache",
    preset="other",
    pooling="mean",
    dropout=0.25,
    learning_rate=1e-3,
    schedule="cosine",
    warmup_fraction=0.5,
    weight_decay=0.5,
    clip_norm=2.5,
    num_train_epochs=5,
    global_batch_size=16,
    tokens_per_batch=4096,
    accumulation_steps="auto",
    eval_batch_size=8,
    logging_steps=3,
    eval_every_steps=20,
    save_every_steps=0,
    keep_checkpoints=5,
    early_stopping_patience=4,
    pretrain_learning_rate=2e-5,
    mask_fraction=0.3,
    mask_whole_words=True,
    masked_lm_head="checkpoint",
    best_metric="f1_macro",
    class_weights=("bad:2", "good:0.5"),
    label_smoothing=0.1,
    seed=11,
    strategy="mirrored",
    collective_communication="ring",
    cluster_timeout_secs=30.0,
    precision="mixed_bfloat16",
    num_virtual_devices=4,
    jit_compile="on",
    rematerialize=True,
    steps_per_call=4,
    compile_cache_dir="/xla",
    gpu_memory_growth=False,
    deterministic=False,
    long_text="windows",
    max_windows=2,
    window_overlap=7,
    export_dir="/models",
    export_formats=("float32", "int8"),
    keep_exports=0,
    max_accuracy_drop=0.5,
    num_export_examples=9,
    drift_reference=False,
    export_explain=True,
    calibrate=False,
    decision_metric="mcc",
    abstain_accuracy=0.9,
    max_serving_batch_size=3,
    num_folds=4,
    fold=2,
    evaluate_test=False,
    export=False,
    trackers=("tensorboard",),
    audit="strict",
    audit_model="none",
    out_of_fold="out_of_fold.parquet",
    languages=("en", "de"),
    promote="not_worse",
    champion="runs/c/export",
    promote_margin=0.02,
    min_slice=40,
    general_texts="files:e.txt",
    general_probe="files:f.csv",
    num_general_examples=8,
    watch_general_every=5,
    max_general_drop=0.02,
    group_terms="terms.json",
    slice_fields=("country", "channel"),
    positive_label="good",
    counterfactuals=("gender", "direction"),
    num_counterfactual_texts=7,
    reweigh_by="column:country",
    augment_counterfactuals=("gender",),
    max_slice_gap=0.1,
    max_flips=0.05,
    error_causes=True,
    export_to_label="to_label.csv",
    unlabelled="files:unlabelled.txt",
    num_to_label=7,
)
# Settings at values that exclude some of OFF_DEFAULT, which are at their defaults here.
INSTEAD: dict[str, Any] = dict(
    warmup_fraction=-1.0,
    num_warmup_steps=9,
    num_virtual_devices=1,
    strategy="tpu",
    tpu="grpc://a:1",
    decision_metric="none",
    abstain_accuracy=0.0,
    given_decision=("1.5", "0.2", "0.4", "0.6"),
    lora_rank=0,
    freeze_layers=2,
    head_start="random",
    init_from="runs/c",
    split_near_duplicates="alone",
    replay_dataset="files:g.csv",
    replay_fraction=0.2,
    label_smoothing=0.0,
    focal_gamma=1.5,
)
BEGUN: dict[str, Any] = dict(
    lora_init_from="a/peft/1",
    pooling="first",
    head_start="random",
)
# The same for what pretrains the encoder, which the others leave as it came.
PRETRAINED: dict[str, Any] = INSTEAD | dict(
    freeze_layers=0, pretrain_steps=40, pretrain_dataset="files:unlabelled.txt"
)
ON_TRAIN: dict[str, Any] = PRETRAINED | dict(pretrain_dataset="", pretrain_on="train")
# The same for what needs one label a text.
SEVERAL: dict[str, Any] = INSTEAD | dict(
    task="multi_label",
    label_separator="|",
    class_weights=("none",),
    given_decision=(),
    corrections="",
    out_of_fold="",
    audit_model="none",
    counterfactuals=(),
    reweigh_by="",
    max_flips=0.0,
)
# The same for numbers instead of labels.
NUMBERS: dict[str, Any] = INSTEAD | dict(
    task="regression",
    interval_coverage=0.8,
    label_names=(),
    corrections="",
    class_weights=("none",),
    focal_gamma=0.0,
    best_metric="accuracy",
    init_from="",
    replay_dataset="",
    replay_fraction=-1.0,
    reweigh_by="",
    augment_counterfactuals=(),
    given_decision=(),
    max_accuracy_drop=0.01,
    max_value_shift=0.3,
    export_explain=False,
    max_slice_gap=0.0,
    max_flips=0.0,
    explain=0,
    out_of_fold="",
    audit_model="none",
    slice_fields=(),
    positive_label="",
    counterfactuals=(),
    error_causes=False,
    export_to_label="",
    unlabelled="",
    trackers=(),
)
# The same for pairs of texts.
PAIRS: dict[str, Any] = INSTEAD | dict(
    second_text_field="answer",
    long_text="truncate",
    truncation="head",
    explain=0,
    export_explain=False,
    sample_texts=(),
    export_to_label="",
    unlabelled="",
)
_NOT_PRETRAINED = {"pretrain_steps", "pretrain_dataset", "pretrain_on"}
_NOT_PRETRAINED |= {"task", "label_separator", "second_text_field"}
_NOT_PRETRAINED |= {"interval_coverage", "max_value_shift"}
_EXCLUDED = {"warmup_fraction", "num_virtual_devices", "decision_metric"}
_EXCLUDED |= {"abstain_accuracy", "lora_rank", "lora_init_from"}
_EXCLUDED |= {"head_start", "split_near_duplicates", "label_smoothing"}
_NOT_REPLAYED = {"init_from", "replay_dataset", "replay_fraction"}
# Which settings each of them leaves at their defaults.
UNCHANGED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "off_default": (
        {},
        {"num_warmup_steps", "tpu", "given_decision", "freeze_layers", "focal_gamma"}
        | {"lora_init_from", *_NOT_PRETRAINED, *_NOT_REPLAYED},
    ),
    "instead": (INSTEAD, _EXCLUDED | _NOT_PRETRAINED),
    "begun": (
        BEGUN,
        {"num_warmup_steps", "tpu", "given_decision", "freeze_layers", "focal_gamma"}
        | {"pooling", "head_start", *_NOT_PRETRAINED, *_NOT_REPLAYED},
    ),
    "pretrained": (
        PRETRAINED,
        _EXCLUDED
        | {"freeze_layers", "pretrain_on", "task", "label_separator"}
        | {"second_text_field", "interval_coverage", "max_value_shift"},
    ),
    "on_train": (
        ON_TRAIN,
        _EXCLUDED
        | {"freeze_layers", "pretrain_dataset", "task", "label_separator"}
        | {"second_text_field", "interval_coverage", "max_value_shift"},
    ),
    "several": (
        SEVERAL,
        (_EXCLUDED | _NOT_PRETRAINED | set(SEVERAL) - set(INSTEAD) | {"given_decision"})
        - {"task", "label_separator", "audit_model"},
    ),
    "pairs": (
        PAIRS,
        (_EXCLUDED | _NOT_PRETRAINED | set(PAIRS) - set(INSTEAD))
        - {"second_text_field"},
    ),
    "numbers": (
        NUMBERS,
        (_EXCLUDED | _NOT_PRETRAINED | set(NUMBERS) - set(INSTEAD) | _NOT_REPLAYED)
        - {"task", "interval_coverage", "max_value_shift", "audit_model"}
        | {"given_decision", "focal_gamma"},
    ),
}
# What a run may go on with another value of: nothing that its weights depend on, nor
# anything that was done with the old value already.
MAY_CHANGE = {
    "model_dir",
    "dry_run",
    "num_bootstrap_resamples",
    "explain",
    "baselines",
    "export",
    "download",
    "tfds_data_dir",
    "cache_dir",
    "max_cache_gb",
    "collective_communication",
    "cluster_timeout_secs",
    "tpu",
    "accumulation_steps",
    "eval_batch_size",
    "logging_steps",
    "save_every_steps",
    "keep_checkpoints",
    "strategy",
    "precision",
    "num_virtual_devices",
    "jit_compile",
    "rematerialize",
    "steps_per_call",
    "compile_cache_dir",
    "gpu_memory_growth",
    "deterministic",
    "export_dir",
    "export_formats",
    "keep_exports",
    "max_accuracy_drop",
    "max_value_shift",
    "num_export_examples",
    "drift_reference",
    "export_explain",
    "calibrate",
    "decision_metric",
    "abstain_accuracy",
    "given_decision",
    "interval_coverage",
    "trackers",
    "max_serving_batch_size",
    "promote",
    "champion",
    "promote_margin",
    "min_slice",
    "audit",
    "audit_model",
    "out_of_fold",
    "languages",
    "group_terms",
    "slice_fields",
    "positive_label",
    "counterfactuals",
    "num_counterfactual_texts",
    "max_slice_gap",
    "max_flips",
    "error_causes",
    "export_to_label",
    "unlabelled",
    "num_to_label",
}


def make_config(**changes: Any) -> ExperimentConfig:
    """A config of these settings, each put into the section it belongs to."""
    settings = REQUIRED | changes
    parts: dict[str, Any] = {
        name: section(
            **{
                field.name: settings.pop(field.name)
                for field in dataclasses.fields(section)
                if field.name in settings
            }
        )
        for name, section in SECTIONS.items()
    }
    return ExperimentConfig(**settings, **parts)


def leaves(config: Any) -> dict[str, Any]:
    """Every setting of a config, those of its sections too, by name."""
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        found.update(leaves(value) if field.name in SECTIONS else {field.name: value})
    return found


NOT_TOGETHER: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no_model_dir": (dict(model_dir=""), ["--model_dir is required"]),
    "no_dataset": (dict(dataset=""), ["--dataset is required"]),
    "no_preset": (dict(preset=""), ["--preset is required"]),
    "same_field_twice": (
        dict(text_field="x", label_field="x"),
        ["--text_field and --label_field must differ", "'x'"],
    ),
    "both_warmups": (
        dict(num_warmup_steps=5, warmup_fraction=0.5),
        ["--num_warmup_steps or --warmup_fraction", "=5", "=0.5"],
    ),
    "both_warmups_zero": (
        dict(num_warmup_steps=0, warmup_fraction=0.0),
        ["--num_warmup_steps or --warmup_fraction", "not both"],
    ),
    "to_label_out_of_nothing": (
        dict(export_to_label="a.csv"),
        ["--export_to_label and --unlabelled go together", "unlabelled=none"],
    ),
    "unlabelled_for_nothing": (
        dict(unlabelled="files:a.txt"),
        ["--export_to_label and --unlabelled go together", "export_to_label=none"],
    ),
    "to_label_as_text": (
        dict(export_to_label="a.txt", unlabelled="files:a.txt"),
        ["--export_to_label must be a file that ends with .csv", "a.txt"],
    ),
    "none_to_label": (
        dict(num_to_label=0),
        ["--num_to_label must be at least 1", "num_to_label=0"],
    ),
    "head_from_two_places": (
        dict(init_from="runs/c", head_start="frozen"),
        ["--init_from brings the head along", "leave one of the two away"],
    ),
    "replay_of_nothing": (
        dict(replay_fraction=0.5),
        ["--replay_fraction needs texts", "without --replay_dataset"],
    ),
    "replay_of_all": (
        dict(replay_dataset="files:g.csv", replay_fraction=1.0),
        ["--replay_fraction must be in (0, 1), or -1", "replay_fraction=1.0"],
    ),
    "replay_of_none": (
        dict(replay_dataset="files:g.csv", replay_fraction=0.0),
        ["--replay_fraction must be in (0, 1), or -1", "replay_fraction=0.0"],
    ),
    "replay_beside_clusters": (
        dict(replay_dataset="files:g.csv", split_near_duplicates="together"),
        ["cannot promise it of near-duplicates", "--split_near_duplicates=alone"],
    ),
    "virtual_devices_unused": (
        dict(num_virtual_devices=2, strategy="one_device"),
        ["--num_virtual_devices", "--strategy=mirrored", "strategy=one_device"],
    ),
    "tpu_without_its_name": (
        dict(strategy="tpu"),
        ["--strategy=tpu", "--tpu", "Received: none"],
    ),
    "tpu_unused": (
        dict(strategy="mirrored", tpu="local"),
        ["--tpu is for --strategy=tpu", "tpu=local", "strategy=mirrored"],
    ),
    "timeout_infinite": (
        dict(cluster_timeout_secs=math.inf),
        ["--cluster_timeout_secs", "finite"],
    ),
    "timeout_nan": (
        dict(cluster_timeout_secs=float("nan")),
        ["--cluster_timeout_secs", "nan"],
    ),
    "patience_without_validation": (
        dict(early_stopping_patience=2, validation_one_in=0),
        ["--early_stopping_patience", "--validation_one_in", "--validation_dataset"],
    ),
    "evaluations_without_validation": (
        dict(eval_every_steps=20, validation_one_in=0),
        ["--eval_every_steps", "--validation_one_in", "eval_every_steps=20"],
    ),
    "one_label_name": (dict(label_names=("a",)), ["--label_names", "two", ": a"]),
    "label_name_twice": (
        dict(label_names=("a", "b", "a")),
        ["--label_names", "different", "a,b,a"],
    ),
    "label_mapped_twice": (
        dict(label_names=("1=a", "2=b", "1 = b")),
        ["--label_names", "each label once", "1=a,2=b,1 = b"],
    ),
    "labels_mapped_to_one_class": (
        dict(label_names=("1=a", "2=a")),
        ["--label_names", "two different names"],
    ),
    "mapped_label_missing": (dict(label_names=("=a", "b")), ["LABEL=NAME", "=a,b"]),
    "mapped_name_missing": (dict(label_names=("1=", "b")), ["LABEL=NAME", "1=,b"]),
    "label_name_empty": (dict(label_names=("a", "", "b")), ["LABEL=NAME", "a,,b"]),
    **{
        f"parts_{value}": (
            dict(accumulation_steps=value),
            [
                "--accumulation_steps must be a whole number of at least 1, or auto",
                f"accumulation_steps={value}; auto takes",
            ],
        )
        for value in (0, -1, 1.5, "many")
    },
    "never_unfrozen": (
        dict(unfreeze_every=10, freeze_layers=-1),
        [
            "--unfreeze_every",
            "unfreeze_every=10, freeze_layers=-1",
            "--freeze_layers=N",
        ],
    ),
    "test_all": (dict(test_one_in=1), ["--test_one_in", "0", "2", "=1"]),
    "test_negative": (dict(test_one_in=-2), ["--test_one_in", "=-2"]),
    "validation_all": (dict(validation_one_in=1), ["--validation_one_in", "=1"]),
    "validation_negative": (dict(validation_one_in=-1), ["--validation_one_in", "-1"]),
    "no_room_for_a_token": (
        dict(max_length=2),
        ["--max_length", "[CLS]", "max_length=2"],
    ),
    "no_buckets": (dict(num_buckets=0), ["--num_buckets", "1 to 16", ": 0"]),
    "too_many_buckets": (dict(num_buckets=17), ["--num_buckets", "1 to 16", "17"]),
    "budget_of_few_tokens": (
        dict(tokens_per_batch=511, max_length=64),
        ["--tokens_per_batch", "at least 512", "tokens_per_batch=511, max_length=64"],
    ),
    "budget_of_few_windows": (
        dict(tokens_per_batch=1023, max_length=64, max_windows=2, long_text="windows"),
        ["--tokens_per_batch", "--max_windows", "at least 1024"],
    ),
    "nothing_masked": (
        dict(mask_fraction=0.0),
        ["--mask_fraction", "above 0", "mask_fraction=0.0", "0.15"],
    ),
    "all_masked": (dict(mask_fraction=1.0), ["--mask_fraction", "below 1", "=1.0"]),
    "pretraining_without_texts": (
        dict(pretrain_steps=9),
        ["--pretrain_steps needs texts", "Received: neither", "--pretrain_on=train"],
    ),
    "pretraining_on_two": (
        dict(pretrain_steps=9, pretrain_on="train", pretrain_dataset="files:u.txt"),
        ["not both", "--pretrain_dataset=files:u.txt and --pretrain_on=train"],
    ),
    "pretraining_texts_unused": (
        dict(pretrain_dataset="files:u.txt"),
        ["--pretrain_steps must be above 0", "--pretrain_dataset=files:u.txt"],
    ),
    "pretraining_choice_unused": (
        dict(pretrain_on="train"),
        ["--pretrain_steps must be above 0", "--pretrain_on=train"],
    ),
    "pretrained_and_frozen": (
        dict(pretrain_steps=9, pretrain_on="train", freeze_layers=2),
        ["--freeze_layers leaves as it came", "freeze_layers=2", "one of the two"],
    ),
    "pretrained_under_lora": (
        dict(pretrain_steps=9, pretrain_on="train", lora_rank=2),
        ["--lora_rank leaves as it came", "pretrain_steps=9, lora_rank=2"],
    ),
    "slice_field_twice": (
        dict(slice_fields=("country", "country")),
        ["--slice_fields must name columns once each", "country,country"],
    ),
    "slice_field_blank": (
        dict(slice_fields=("country", "")),
        ["--slice_fields must name columns", ": country,"],
    ),
    "counterfactual_twice": (
        dict(counterfactuals=("gender", "gender")),
        ["--counterfactuals must name kinds once each", "gender,gender"],
    ),
    "reweigh_by_what": (
        dict(reweigh_by="gender"),
        ["--reweigh_by must be terms:KIND or column:NAME", "--reweigh_by=terms:gender"],
    ),
    "reweigh_by_nothing": (dict(reweigh_by="column:"), ["--reweigh_by must be"]),
    "augmented_twice": (
        dict(augment_counterfactuals=("gender", "gender")),
        ["--augment_counterfactuals must name kinds once each"],
    ),
    "augmented_without_terms": (
        dict(group_terms="none", augment_counterfactuals=("gender",)),
        ["--augment_counterfactuals goes by the words", "--group_terms=own"],
    ),
    "reweighed_without_terms": (
        dict(group_terms="none", reweigh_by="terms:gender"),
        ["--reweigh_by goes by the words", "--group_terms=own"],
    ),
    "direction_without_positive_label": (
        dict(counterfactuals=("direction",)),
        ["--counterfactuals=direction needs --positive_label", "Received: none"],
    ),
    "counterfactual_texts_negative": (
        dict(num_counterfactual_texts=-1),
        ["--num_counterfactual_texts must be at least 0", "=-1"],
    ),
    "group_terms_of_no_file": (
        dict(group_terms="terms"),
        ["--group_terms must be own, none, or a file that ends with .json", ": terms"],
    ),
    "swaps_without_terms": (
        dict(group_terms="none", counterfactuals=("gender",)),
        ["--counterfactuals swaps the words of --group_terms", "--group_terms=own"],
    ),
    "flips_without_swaps": (
        dict(max_flips=0.1),
        ["--max_flips needs words to swap", "max_flips=0.1", "--counterfactuals=gen"],
    ),
    "flips_of_direction_alone": (
        dict(max_flips=0.1, counterfactuals=("direction",), positive_label="good"),
        ["--max_flips needs words to swap"],
    ),
    "slice_gap_without_groups": (
        dict(max_slice_gap=0.1, group_terms="none"),
        ["--max_slice_gap needs groups", "group_terms=none", "--slice_fields"],
    ),
    "slice_gap_without_resamples": (
        dict(max_slice_gap=0.1, num_bootstrap_resamples=0),
        ["--max_slice_gap goes by the interval", "--num_bootstrap_resamples=1000"],
    ),
    **{
        f"{name}_{value}": (
            {name: value},
            [f"--{name} must be a fraction from 0 to below 1", "0.05 for five points"],
        )
        for name in ("max_slice_gap", "max_flips")
        for value in (-0.1, 1.0, math.nan)
    },
    "one_window": (dict(max_windows=1), ["--max_windows", "at least 2", "=1"]),
    "window_of_shared_tokens": (
        dict(window_overlap=62, max_length=64),
        ["--window_overlap", "below 62", "[CLS]", ": 62"],
    ),
    "overlap_negative": (dict(window_overlap=-2), ["--window_overlap", ": -2"]),
    "unknown_format": (
        dict(export_formats=("float32", "onnx")),
        ["--export_formats", "bfloat16, int8", "float32,onnx"],
    ),
    "no_reference_format": (
        dict(export_formats=("int8",)),
        ["--export_formats", "must be float32", ": int8"],
    ),
    "mean_pooled_huggingface": (
        dict(export_formats=("float32", "huggingface"), pooling="mean"),
        ["--export_formats=huggingface", "--pooling=first", "pooling=mean"],
    ),
    "mean_pooled_peft": (
        dict(export_formats=("float32", "peft"), pooling="mean", lora_rank=2),
        ["--export_formats=peft", "--pooling=first", "pooling=mean"],
    ),
    "peft_without_lora": (
        dict(export_formats=("float32", "peft")),
        ["--export_formats=peft", "lora_rank=0; give --lora_rank, or export hugging"],
    ),
    "start_without_lora": (
        dict(lora_init_from="a"),
        ["--lora_init_from begins", "lora_rank=0; give the adapter's rank"],
    ),
    "start_of_a_mean": (
        dict(lora_init_from="a", lora_rank=2, pooling="mean"),
        ["--lora_init_from needs --pooling=first", "pooling=mean"],
    ),
    "two_heads": (
        dict(lora_init_from="a", lora_rank=2, head_start="frozen"),
        ["--lora_init_from brings a head", "head_start=frozen; give one"],
    ),
    "two_starts": (
        dict(lora_init_from="a", lora_rank=2, init_from="runs/a"),
        ["both bring the head along", "init_from=runs/a; give one"],
    ),
    "drop_above_one": (dict(max_accuracy_drop=1.1), ["--max_accuracy_drop", "1.1"]),
    "abstain_always": (dict(abstain_accuracy=1.1), ["--abstain_accuracy", "[0, 1]"]),
    "abstain_without_validation": (
        dict(abstain_accuracy=0.9, validation_one_in=0),
        ["--abstain_accuracy", "--validation_dataset", "abstain_accuracy=0.9"],
    ),
    "thresholds_without_validation": (
        dict(decision_metric="mcc", validation_one_in=0),
        ["--decision_metric", "--validation_one_in", "decision_metric=mcc"],
    ),
    "decision_of_a_class": (
        dict(given_decision=("1", "0", "1")),
        ["--given_decision", "two classes or more", "1,0,1"],
    ),
    "decision_in_words": (dict(given_decision=("a", "0", ".5", ".5")), ["a,0,.5,.5"]),
    "decision_of_no_sum": (dict(given_decision=("1", "0", ".5", ".6")), ["sum to 1"]),
    "decision_twice": (
        dict(given_decision=("1", "0", ".5", ".5"), decision_metric="mcc"),
        ["--given_decision stands for", "decision_metric=mcc", "leave these out"],
    ),
    "folds_without_a_fold": (
        dict(num_folds=5),
        ["which fold", "num_folds=5 without --fold", "give --fold=0"],
    ),
    "tracker_of_no_name": (dict(trackers=("wandb",)), ["--trackers", "wandb"]),
    "no_cache": (dict(cache_dir=""), ["--cache_dir"]),
    "dropout_of_all": (dict(dropout=1.0), ["--dropout", "[0, 1)", "dropout=1.0"]),
    "dropout_negative": (dict(dropout=-0.1), ["--dropout", "dropout=-0.1"]),
    "dropout_nan": (dict(dropout=float("nan")), ["--dropout", "nan"]),
    "no_learning_rate": (dict(learning_rate=0.0), ["--learning_rate", "above 0"]),
    "learning_rate_infinite": (dict(learning_rate=math.inf), ["finite"]),
    "clip_norm_infinite": (dict(clip_norm=math.inf), ["--clip_norm", "finite"]),
    "learning_rate_nan": (dict(learning_rate=float("nan")), ["--learning_rate"]),
    "warmup_above_one": (
        dict(warmup_fraction=1.1),
        ["--warmup_fraction", "[0, 1]", "1.1"],
    ),
    "smoothing_of_all": (
        dict(label_smoothing=1.0),
        ["--label_smoothing", "[0, 1)", "label_smoothing=1.0"],
    ),
    "gamma_negative": (dict(focal_gamma=-1.0), ["--focal_gamma", "0 or above"]),
    "gamma_nan": (dict(focal_gamma=float("nan")), ["--focal_gamma"]),
    "gamma_and_smoothing": (
        dict(focal_gamma=2.0, label_smoothing=0.1),
        ["--focal_gamma and --label_smoothing", "leave one of them out"],
    ),
    "smoothing_negative": (dict(label_smoothing=-0.1), ["--label_smoothing"]),
    "smoothing_nan": (dict(label_smoothing=float("nan")), ["--label_smoothing"]),
    **{
        f"class_weights_{name}": (
            dict(class_weights=entries),
            ["--class_weights must be none, balanced, or NAME:WEIGHT", received],
        )
        for name, entries, received in (
            ("of_nothing", (), "class_weights="),
            ("without_weight", ("bad", "good:2"), "class_weights=bad,good:2"),
            ("without_name", (":2",), "class_weights=:2"),
            ("zero", ("bad:0",), "class_weights=bad:0"),
            ("negative", ("bad:-1",), "class_weights=bad:-1"),
            ("infinite", ("bad:inf",), "class_weights=bad:inf"),
            ("nan", ("bad:nan",), "class_weights=bad:nan"),
            ("twice", ("bad:1", "bad:2"), "class_weights=bad:1,bad:2"),
            ("mixed", ("balanced", "bad:2"), "class_weights=balanced,bad:2"),
        )
    },
    "warmup_negative": (dict(warmup_fraction=-0.5), ["--warmup_fraction", "-0.5"]),
}


@pytest.mark.parametrize("changes, words", NOT_TOGETHER.values(), ids=NOT_TOGETHER)
def test_settings_that_do_not_go_together(
    changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError) as caught:
        make_config(**changes)
    for word in words:
        assert word in str(caught.value)


TOGETHER: dict[str, dict[str, Any]] = {
    "nothing_but_the_required": {},
    "no_splits": dict(test_one_in=0, validation_one_in=0),
    "patience_with_own_validation": dict(
        early_stopping_patience=2,
        eval_every_steps=10,
        validation_one_in=0,
        validation_dataset="files:b.csv",
    ),
    "no_warmup": dict(num_warmup_steps=0),
    "no_warmup_as_share": dict(warmup_fraction=0.0),
    "warmup_to_the_end": dict(warmup_fraction=1.0),
    "virtual_devices_auto": dict(num_virtual_devices=2, strategy="auto"),
    "tpu": dict(strategy="tpu", tpu="local"),
    "tpu_auto": dict(strategy="auto", tpu="grpc://a:1,grpc://b:1"),
    "no_dropout": dict(dropout=0.0),
    "balanced": dict(class_weights=("balanced",)),
    "name_with_a_colon": dict(class_weights=("a:b:2", "c:1e-1")),
    "shortest": dict(max_length=3),
    "least_budget": dict(tokens_per_batch=512, max_length=64),
    "least_budget_of_windows": dict(
        tokens_per_batch=1024, max_length=64, max_windows=2, long_text="windows"
    ),
    "all_formats": dict(
        export_formats=("float32", "bfloat16", "int8", "litert", "huggingface", "peft"),
        lora_rank=2,
    ),
    "begun_with_an_adapter": dict(lora_init_from="a", lora_rank=2),
}


@pytest.mark.parametrize("changes", TOGETHER.values(), ids=TOGETHER)
def test_settings_that_go_together(changes: dict[str, Any]) -> None:
    kept = leaves(make_config(**changes))
    assert changes.items() <= kept.items()


MINIMA = {
    "max_windows": 2,
    "keep_exports": 0,
    "num_export_examples": 0,
    "max_serving_batch_size": 1,
    "num_train_examples": 0,
    "num_eval_examples": 0,
    "weight_decay": 0,
    "clip_norm": 0,
    "num_warmup_steps": -1,
    "unfreeze_every": 0,
    "num_train_epochs": 1,
    "global_batch_size": 1,
    "tokens_per_batch": 0,
    "logging_steps": 0,
    "eval_batch_size": 0,
    "steps_per_call": 0,
    "eval_every_steps": 0,
    "save_every_steps": 0,
    "keep_checkpoints": 1,
    "cluster_timeout_secs": 1,
    "early_stopping_patience": 0,
    "seed": 0,
    "num_virtual_devices": 1,
    "num_bootstrap_resamples": 0,
    "explain": 0,
}


@pytest.mark.parametrize("name, minimum", MINIMA.items(), ids=MINIMA)
def test_least_values(name: str, minimum: int) -> None:
    assert leaves(make_config(**{name: minimum}))[name] == minimum
    with pytest.raises(ValueError, match=f"--{name} must be at least {minimum}. Rec"):
        make_config(**{name: minimum - 1})


CHOICES = {
    (section, name): typing.get_args(hint)
    for section in (*SECTIONS.values(), PredictConfig)
    for name, hint in typing.get_type_hints(section).items()
    if typing.get_origin(hint) is typing.Literal
}


@pytest.mark.parametrize("section, name", CHOICES, ids=[name for _, name in CHOICES])
def test_unknown_choice(section: type, name: str) -> None:
    required = REQUIRED_TO_PREDICT if section is PredictConfig else {}
    with pytest.raises(ValueError) as caught:
        section(**required, **{name: "nonsense"})
    message = str(caught.value)
    assert f"--{name} must be one of" in message and "nonsense" in message
    assert all(choice in message for choice in CHOICES[section, name])


@pytest.mark.parametrize("instead, at_default", UNCHANGED.values(), ids=UNCHANGED)
def test_json_keeps_every_setting(
    instead: dict[str, Any], at_default: set[str]
) -> None:
    config = make_config(**OFF_DEFAULT | instead)
    defaults = leaves(make_config())
    unchanged = {n for n, value in leaves(config).items() if value == defaults[n]}
    assert unchanged == at_default, "a setting is lacking: nobody would see it lost"

    again = ExperimentConfig.from_json(config.to_json())

    assert again == config
    # Equal is not the same: (1,) == (1,) but 1 == 1.0 == True.
    assert {n: type(v) for n, v in leaves(again).items()} == {
        n: type(v) for n, v in leaves(config).items()
    }


def test_json_is_for_readers() -> None:
    text = make_config(learning_rate=3e-5).to_json()
    assert json.loads(text)["optimizer"]["learning_rate"] == 3e-5
    assert text.endswith("}\n") and '\n  "optimizer": {\n    "learning_rate"' in text


@pytest.mark.parametrize("section", [None, "optimizer"])
def test_unknown_field_is_refused(section: str | None) -> None:
    values = json.loads(make_config().to_json())
    (values[section] if section else values)["momentum"] = 0.9
    owner = "OptimizerConfig" if section else "ExperimentConfig"
    with pytest.raises(ValueError, match=f"settings of {owner}.*momentum"):
        ExperimentConfig.from_json(json.dumps(values))


def test_json_is_checked_like_flags() -> None:
    text = make_config().to_json().replace('"max_length": 512', '"max_length": 2')
    with pytest.raises(ValueError, match="--max_length"):
        ExperimentConfig.from_json(text)


@pytest.mark.parametrize(
    "config, name",
    [(make_config(), "model_dir")]
    + [
        (getattr(make_config(), section), dataclasses.fields(SECTIONS[section])[0].name)
        for section in SECTIONS
    ]
    + [(PredictConfig(**REQUIRED_TO_PREDICT), "input")],
    ids=lambda value: type(value).__name__,
)
def test_frozen(config: Any, name: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, name, "other")


def test_sections() -> None:
    assert sections(ExperimentConfig) == SECTIONS
    assert sections(DataConfig) == sections(PredictConfig) == {}


@pytest.mark.parametrize(
    "name",
    [
        *(*OFF_DEFAULT, "num_warmup_steps", "tpu", "given_decision"),
        *("lora_init_from", "pretrain_steps", "pretrain_dataset", "focal_gamma"),
        *("init_from", "replay_dataset", "replay_fraction", "task", "label_separator"),
        *("second_text_field", "interval_coverage", "max_value_shift"),
    ],
)
def test_differences(name: str) -> None:
    # Of folds one has to be named, and what is watched; what begins must be LoRA; and
    # what pretrains needs texts.
    together: dict[str, dict[str, Any]] = {
        "lora_init_from": {"lora_rank": 2},
        "fold": {"num_folds": 4, "fold": 1},
        "interval_coverage": {"task": "regression"},
        "max_value_shift": {"task": "regression"},
        "label_separator": {"task": "multi_label"},
        "replay_fraction": {"replay_dataset": "files:g.csv"},
        "num_folds": {"num_folds": 3, "fold": 2},
        "watch_general_every": {"general_texts": "files:e.txt"},
        "max_general_drop": {"general_probe": "files:f.csv"},
        "counterfactuals": {"positive_label": "bad"},
        "export_to_label": {"unlabelled": "files:c.txt", "export_to_label": "a.csv"},
        "unlabelled": {"unlabelled": "files:c.txt", "export_to_label": "a.csv"},
        "max_flips": {"counterfactuals": ("gender",)},
        "pretrain_steps": {"pretrain_steps": 3, "pretrain_on": "train"},
        "pretrain_dataset": {"pretrain_steps": 3, "pretrain_dataset": "files:c.txt"},
    }
    before = make_config(**together.get(name, {}))
    value = (NUMBERS | PAIRS | SEVERAL | BEGUN | PRETRAINED | OFF_DEFAULT)[name]
    after = make_config(**together.get(name, {}) | {name: value})
    expected = {} if name in MAY_CHANGE else {name: (leaves(before)[name], value)}
    assert differences(before, after) == expected
    assert differences(after, after) == {}


def test_differences_names_all() -> None:
    found = differences(make_config(), make_config(**OFF_DEFAULT))
    assert set(found) == set(OFF_DEFAULT) - MAY_CHANGE
    assert found["learning_rate"] == (5e-5, 1e-3)


IN_PARTS: dict[str, Any] = {"input": "a.txt", "output": "b.csv"}


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(saved_model=""), "--saved_model is required"),
        (dict(input=""), "--input is required"),
        (dict(output=""), "--output is required"),
        (dict(batch_size=0), "--batch_size must be at least 1. Received: batch_size=0"),
        (dict(gpu_memory_mib=-1), "--gpu_memory_mib must be at least 0."),
        (dict(input_format="xml"), "--input_format must be one of auto, text, csv"),
        (dict(drift_report="a.json"), "--drift_report must be .* ends with .html"),
        (
            dict(drift_report="a.html", input="", verify=True),
            "--drift_report is of the texts of --input",
        ),
        (dict(fail_on_drift=True), "--fail_on_drift needs --drift_report=FILE.html"),
        (dict(drift_level=0.0), "--drift_level must be in .*Received: 0.0"),
        (dict(drift_level=float("nan")), "--drift_level must be in .*Received: nan"),
        (dict(num_drift_texts=0), "--num_drift_texts must be at least 1"),
        (
            dict(input="a.txt", export_to_label="a.jsonl"),
            "--export_to_label must be .* ends with .csv",
        ),
        (dict(export_to_label="a.csv"), "--export_to_label chooses .* input=-; give"),
        (
            dict(input="a.txt", export_to_label="a.csv", output="b.csv"),
            "--export_to_label writes texts to label .* output=b.csv; leave",
        ),
        (
            dict(input="a.txt", export_to_label="a.csv", num_to_label=0),
            "--num_to_label must be at least 1",
        ),
        (
            dict(input="a.txt", export_to_label="a.csv", shard="0/2"),
            "--export_to_label writes texts to label .* shard=0/2; leave",
        ),
        (dict(IN_PARTS, shard="2"), "--shard must be I/N, .*shard=2; 2/8 is the third"),
        (dict(IN_PARTS, shard="-1/2"), "--shard must be I/N, .*shard=-1/2"),
        (dict(IN_PARTS, shard="2/2"), "shard=2/2; of 2 parts .* 0/2 and the last 1/2"),
        (dict(IN_PARTS, shard="0/0"), "shard=0/0; 0/1 is all of it"),
        (dict(IN_PARTS, shard="0/2", join=True), "--join is of all parts"),
        (dict(input="a.txt", shard="0/2"), "--shard needs --output=FILE"),
        (dict(output="b.csv", shard="0/2"), "--shard is of files.* input=-; write"),
        (dict(output="b.csv", join=True), "--join is of files.* input=-; write"),
        (
            dict(IN_PARTS, shard="0/2", drift_report="a.html"),
            "--drift_report is of all texts.*shard=0/2; leave it out, and ask",
        ),
        (dict(IN_PARTS, join=True, input=""), "--input is required"),
        (dict(IN_PARTS, join=True, saved_model=""), "--saved_model is required"),
        (
            dict(saved_model="", input="", output="a.csv", join=True, batch_size=3),
            "--join goes by --output alone, .* batch_size=3; leave these out, or give",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_predict_config(changes: dict[str, Any], words: str) -> None:
    assert PredictConfig(**REQUIRED_TO_PREDICT).output == "-"
    with pytest.raises(ValueError, match=words):
        PredictConfig(**REQUIRED_TO_PREDICT | changes)


@pytest.mark.parametrize("text", ["[]", "3", "{", '{"data": 3}', "null"])
def test_what_is_no_config_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ExperimentConfig.from_json(text)


@pytest.mark.parametrize("encoding", ["cp125", "base64", "undefined", ""])
def test_encoding_that_is_none(encoding: str) -> None:
    with pytest.raises(ValueError, match="--encoding must be an encoding of text"):
        DataConfig(encoding=encoding)
    with pytest.raises(ValueError, match="--encoding must be an encoding of text"):
        PredictConfig(saved_model="a", input="b", encoding=encoding)


def test_encoding_that_is_misspelled_is_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'windows-1252'"):
        DataConfig(encoding="window-1252")


@pytest.mark.parametrize("names", [("a", "a"), ("a", ""), ("a", " ")])
def test_column_names_that_name_no_columns(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="--column_names must be different names"):
        DataConfig(column_names=names)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_one(port: int) -> None:
    with pytest.raises(ValueError, match=f"from 0 to 65535. Received: {port}$"):
        ServeConfig(saved_model="a", port=port)


@pytest.mark.parametrize(
    ("changes", "mend"),
    [
        ({"near_duplicate_similarity": 1.5}, {"near_duplicate_similarity": 1.0}),
        ({"near_duplicate_similarity": -0.5}, {"near_duplicate_similarity": 0.5}),
        (
            {"split_near_duplicates": "together", "near_duplicate_similarity": 0.0},
            {"near_duplicate_similarity": 0.7},
        ),
        ({"languages": ("english",)}, {"languages": ("en",)}),
        ({"audit": "off", "languages": ("en",)}, {"audit": "report"}),
        ({"audit": "off", "audit_model": "tfidf"}, {"audit": "report"}),
        ({"audit_model": "tfidf", "out_of_fold": "a.parquet"}, {"out_of_fold": ""}),
    ],
)
def test_looks_that_do_not_go_together(
    changes: dict[str, Any], mend: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="--.* Received: "):
        make_config(**changes)
    make_config(**changes | mend)


def test_what_the_audit_itself_refuses() -> None:
    data = DataConfig(dataset="files:a.csv")
    for checks, page in (
        (ChecksConfig(audit="off"), ""),
        (ChecksConfig(audit_model="none"), "review.html"),
    ):
        with pytest.raises(ValueError, match="--(audit|review_page) "):
            AuditConfig(data=data, checks=checks, review_page=page)
