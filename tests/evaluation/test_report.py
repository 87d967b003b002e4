"""Tests of trainer/evaluation/report.py."""

import copy
import html.parser
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from trainer.evaluation import figures
from trainer.evaluation import metrics as metrics_lib
from trainer.tasks.single_label_decision import Predictions
from trainer.evaluation import report as report_lib
from trainer.evaluation import slices

NAMES = ("negative", "positive")
HOSTILE = "<script>alert('stolen')</script>"
VOID_ELEMENTS = {"meta", "br", "img"}
HISTORY = {
    "train": [
        {
            "step": step,
            "loss": 0.7 / step,
            "learning_rate": 5e-5,
            "gradient_norm": 1.0,
            "examples_per_sec": 60.0,
        }
        for step in range(1, 30)
    ],
    "validation": [
        {"step": 10, "loss": 0.5, "accuracy": 0.7, "f1_macro": 0.7, "mcc": 0.4},
        {"step": 20, "loss": 0.4, "accuracy": 0.8, "f1_macro": 0.8, "mcc": 0.6},
    ],
}


def _measured(num_examples, skill, *, label_names=NAMES):
    generator = np.random.default_rng(num_examples)
    labels = generator.integers(len(label_names), size=num_examples)
    logits = generator.normal(size=(num_examples, len(label_names)))
    logits[np.arange(num_examples), labels] += skill
    lengths = generator.integers(20, 600, size=num_examples)
    texts = [f"text number {index} of this split" for index in range(num_examples)]
    return {
        **metrics_lib.classification_metrics(
            labels,
            Predictions(logits),
            label_names=label_names,
            num_resamples=100,
            seed=0,
        ),
        "accuracy_by_length": slices.accuracy_by_length(
            labels, logits.argmax(axis=1), lengths, longest_text=512
        ),
        "most_confident_errors": slices.most_confident_errors(
            texts,
            labels,
            Predictions(logits),
            lengths,
            label_names=label_names,
            limit=3,
        ),
    }


def _data(label_names):
    return {
        "source": {"num_rows_read": 9963, "skipped": ["line 17: no label"]},
        "label_names": list(label_names),
        "splits": {
            "train": {
                "num_examples": 4321,
                "class_counts": {label_names[0]: 4000, label_names[1]: 321},
                "num_duplicates": 3,
                "length_percentiles": {"5": 61, "50": 222, "95": 703},
                "truncated_fraction": 0.134,
            }
        },
        "bucket_lengths": [128, 384, 512],
        "padded_fraction": 0.113,
        "num_contradicting_texts": 2,
        "num_test_texts_in_train": 0,
    }


def _format(name, **changes):
    return {
        "format": name,
        "status": "published",
        "path": f"runs/toy/export/{name}/1",
        "latency_ms": 71.5,
        "texts_per_sec": 9.25,
        "num_texts": 500,
        "max_difference": 3e-7,
        **changes,
    }


def _quality(**changes):
    calibrations = (("before", 0.125), ("after", 0.015))
    return {
        "num_examples": 90,
        **{when: {"expected_calibration_error": error} for when, error in calibrations},
        "accuracy": 0.85,
        "accuracy_of_covered": 0.95,
        **changes,
    }


def _full_report(label_names=NAMES):
    report = {
        "title": "tiny BERT on toy reviews",
        "status": "complete",
        "before": {
            "validation": _measured(90, 0.0, label_names=label_names),
            "test": _measured(1100, 0.0, label_names=label_names),
        },
        "after": {
            "validation": _measured(90, 1.0, label_names=label_names),
            "test": _measured(1100, 1.2, label_names=label_names),
        },
        "samples": [
            {
                "text": "The movie was terrible and boring.",
                "before": {"label": label_names[1], "score": 0.513},
                "after": {"label": label_names[0], "score": 0.987},
            }
        ],
        "history": HISTORY,
        "training": {
            "total_steps": 30,
            "num_steps_run": 30,
            "best_step": 20,
            "stopped_early": False,
            "num_train_examples": 4321,
            "num_parameters": 22713216,
            "num_trainable_parameters": 22713216,
            "best_metric": "accuracy",
            "weights": "best",
        },
        "data": _data(label_names),
        "export": {
            "path": "runs/toy/export/1",
            "version": 1,
            "parity_max_difference": 2.4e-7,
            "num_parity_texts": 32,
            "formats": [
                _format("float32", bytes=90_900_000, accuracy=0.84),
                _format("int8", bytes=23_700_000, accuracy=0.5, status="refused"),
            ],
        },
        "decision": {
            "temperature": 1.25,
            "thresholds": [0.25, 0.75],
            "abstain_below": 0.8,
            "split": "validation",
            "quality": {
                "validation": _quality(coverage=0.9, accuracy_of_abstained=0.625),
                "test": _quality(coverage=1.0, accuracy_of_abstained=None),
            },
        },
        "warnings": ["13.4% of the texts were truncated."],
        "config": {"model_dir": "runs/toy", "data": {"label_names": list(label_names)}},
        "environment": {"tensorflow": "2.21.0"},
        "timing": {
            "training_secs": 3725.0,
            "examples_per_sec": 61.2,
            "compile_secs": 80.25,
            "secs_to_first_step": 7.5,
            "input_wait_fraction": 0.0123,
            "peak_host_memory_bytes": 3 * 2**29,
            "peak_device_memory_bytes": None,
        },
        "commands": {"predict": "python -m trainer.predict --saved_model=runs/toy"},
        "paths": {"report": "runs/toy/report.html", "saved_model": "runs/toy/export/1"},
    }
    # What a report says, it says from report.json.
    return json.loads(json.dumps(report, allow_nan=False))


class _Page(html.parser.HTMLParser):
    """The page's elements, text and images; fails on tags left open."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.images, self.words, self._open = [], [], [], []
        self.links = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.links += [attributes[key] for key in ("src", "href") if key in attributes]
        if tag == "img":
            self.images.append(attributes)
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_page_shows_every_part():
    report = _full_report()
    page = _Page(report_lib.render_html(report))
    after = report["after"]["test"]
    low, high = after["confidence_intervals_95"]["accuracy"]
    expected = [
        f"Accuracy on 1,100 held-out test texts: {after['accuracy']:.1%} "
        f"({100 * low:.1f} to {100 * high:.1f}), before fine-tuning "
        f"{report['before']['test']['accuracy']:.1%}.",
        "The movie was terrible and boring.",
        "positive 51.3%",
        "negative 98.7%",
        "Validation, 90 texts",
        f"{report['before']['validation']['mcc']:.3f}".replace("-", "−"),
        after["most_confident_errors"][0]["text"],
        "Best step 20",
        "Parameters 22,713,216",
        "Rows read 9,963",
        "line 17: no label",
        "321 7.4%",
        "Tokens, median 222",
        "Truncated texts 13.4%",
        "Texts with contradicting labels 2",
        "128, 384, 512",
        "11.3%",
        "2.4e-07",
        "1 warning 13.4% of the texts were truncated.",
        "Training 1 h 02 min",
        "61.2 per second",
        "tensorflow 2.21.0",
        "model_dir runs/toy",
        "python -m trainer.predict --saved_model=runs/toy",
    ]
    # Cells follow one another with only blanks between.
    missing = [each for each in expected if each not in page.text]
    assert not missing, missing


def test_page_is_self_contained():
    page_text = report_lib.render_html(_full_report())
    page = _Page(page_text)
    assert "script" not in page.tags and "link" not in page.tags
    assert all(link.startswith(("data:image/svg+xml", "#")) for link in page.links)
    assert "url(" not in page_text and "@import" not in page_text


def test_page_shows_the_pictures_of_the_held_out_split():
    report = _full_report()
    drawn = [
        *figures.held_out_pictures(report["after"]["test"]),
        *figures.learning_pictures(report["history"], best_step=20),
    ]
    page = _Page(report_lib.render_html(report))
    shown = [(image["src"], image["alt"]) for image in page.images]
    assert shown == [(picture.source, picture.alternative) for picture in drawn]
    assert all(picture.title in page.text for picture in drawn)


def test_hostile_texts_and_labels_stay_text():
    report = _full_report(label_names=(HOSTILE, "cost: $\\frac$ \"quoted\" & 'so'"))
    report["title"] = report["samples"][0]["text"] = HOSTILE
    report["after"]["test"]["most_confident_errors"][0]["text"] = HOSTILE
    report["warnings"] = report["data"]["source"]["skipped"] = [HOSTILE]
    report["environment"] = {HOSTILE: HOSTILE}
    report["config"]["data"][HOSTILE] = HOSTILE
    page = _Page(report_lib.render_html(report))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 10


@pytest.mark.parametrize(
    "absent",
    [
        ["export"],
        ["decision"],
        ["samples", "history", "training", "data", "warnings", "paths", "commands"],
        ["config", "environment", "timing"],
        ["before"],
        ["after", "before"],
        sorted(_full_report()),
    ],
    ids=lambda absent: "-".join(absent),
)
def test_absent_parts_are_left_out(absent):
    report = _full_report()
    for name in absent:
        del report[name]
    page = _Page(report_lib.render_html(report))
    assert "None" not in page.text and "Undefined" not in page.text
    assert report_lib.summary_table(report)


def test_undefined_metrics_are_dashes():
    report = _full_report()
    for of_splits in (report["before"], report["after"]):
        of_splits["test"] = metrics_lib.classification_metrics(
            [1, 1],
            Predictions([[0.0, 1.0]] * 2),
            label_names=NAMES,
            num_resamples=0,
            seed=0,
        )
    page = _Page(report_lib.render_html(report))
    assert "Area under the ROC curve – –" in page.text
    assert "negative – – – 0" in page.text
    assert "Accuracy on 2 held-out test texts: 100.0%, before" in page.text


def test_time_and_memory_are_in_units_for_people():
    text = _Page(report_lib.render_html(_full_report())).text
    for row in (
        "Training 1 h 02 min",
        "Examples 61.2 per second",
        "Compile 1 min 20 s",
        "To first step 7.5 s",
        "Input wait 1.2%",
        "Peak host memory 1.50 GiB",
    ):
        assert row in text
    # A device that does not tell has no row.
    assert "Peak device memory" not in text


def test_what_is_exported_and_how_it_decides():
    text = _Page(report_lib.render_html(_full_report())).text
    for words in (
        "by the temperature 1.250, fitted on the validation texts",
        "threshold (0.250, 0.750)",
        "Where the score is below 80.0%, it says that it abstains.",
        "Calibration error as trained 12.5% 12.5%",
        "with the temperature 1.5% 1.5%",
        "Texts not abstained from 90.0% 100.0%",
        "of the others right 62.5% \N{EN DASH}",
        "float32 90.9 MB 72 ms 9.2 texts/s 84.0% 3e-07",
        "int8 refused 23.7 MB 72 ms 9.2 texts/s 50.0%",
        "Accuracy on 500 held-out texts",
    ):
        assert words in text, words


def test_an_export_that_decides_plainly():
    report = _full_report()
    report["decision"] |= {"abstain_below": 0.0, "split": None, "quality": {}}
    text = _Page(report_lib.render_html(report)).text
    assert "It never abstains." in text and "fitted on" not in text


def test_rendering_is_pure():
    report = _full_report()
    untouched = copy.deepcopy(report)
    assert report_lib.render_html(report) == report_lib.render_html(report)
    assert report == untouched


def test_evaluation_needs_neither_tensorflow_nor_pyplot():
    code = (
        "import sys\n"
        "from trainer.evaluation import report\n"
        "report.render_html({'history': {'train': [{'step': 1, 'loss': 1.0}]}})\n"
        "assert not {'tensorflow', 'matplotlib.pyplot'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "splits, expected",
    [
        (["test", "validation"], "Accuracy on 1,100 held-out test texts"),
        (["validation"], "Accuracy on 90 held-out validation texts"),
        ([], "No texts were held out, so nothing was measured."),
    ],
)
def test_headline_names_the_split(splits, expected):
    report = _full_report()
    for of_splits in (report["before"], report["after"]):
        for name in {"test", "validation"} - set(splits):
            del of_splits[name]
    assert report_lib.headline(report).startswith(expected)
    page = _Page(report_lib.render_html(report))
    assert ("expect a little less" in page.text) == (splits == ["validation"])


def test_summary_table():
    report = _full_report()
    report["samples"].append(
        {
            "text": "A long\nsentence,\x1b[31m " + "very " * 40,
            "before": {"label": "a label of many words", "score": 0.5},
            "after": {"label": "negative", "score": 1.0},
        }
    )
    table = report_lib.summary_table(report)
    lines = table.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == ["Before", "After"]
    assert lines[1].split("  ")[0] == "The movie was terrible and boring."
    assert "positive 51.3%" in lines[1] and lines[1].endswith("negative 98.7%")
    assert lines[2].startswith("A long sentence, [31m very") and "…  " in lines[2]
    assert "a label of many … 50.0%" in lines[2]
    assert lines[3].startswith("Accuracy on 1,100 test texts (95% interval)")
    accuracy = report["after"]["test"]["accuracy"]
    assert f"{accuracy:.1%} (" in lines[3]
    # Columns stand under one another.
    assert lines[1].index("negative") == lines[0].index("After")
    assert lines[-3:] == [
        "Report      runs/toy/report.html",
        "SavedModel  runs/toy/export/1",
        "Predict     python -m trainer.predict --saved_model=runs/toy",
    ]


def test_summary_never_cuts_the_command():
    report = _full_report()
    report["commands"]["predict"] = "python -m trainer.predict --input=" + "x" * 200
    assert report["commands"]["predict"] in report_lib.summary_table(report)
