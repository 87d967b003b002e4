"""Tests of trainer/evaluation/report.py."""

from __future__ import annotations

import copy
import dataclasses
import html.parser
import inspect
import re
import subprocess
import sys
from typing import Any

import jinja2
import pytest

from tests.evaluation.tiny_report import (
    NAMES,
    emptied_report,
    sample,
    tiny_report,
)
from trainer.data.audit import findings
from trainer.evaluation import confusions, figures, schema
from trainer.evaluation import metrics as metrics_lib
from trainer.evaluation import report as report_lib
from trainer.tasks.predictions import Predictions

HOSTILE = "<script>alert('stolen')</script>"
VOID_ELEMENTS = {"meta", "br", "img"}


def _full_report(label_names: Any = NAMES) -> Any:
    # What a report says, it says from report.json.
    return schema.Report.from_json(tiny_report(label_names).to_json())


def _replaced(report: Any, path: Any, **changes: Any) -> Any:
    """The report with changes in a part of it. path: "data.source"; "": the whole."""
    if not path:
        return dataclasses.replace(report, **changes)
    name, _, rest = path.partition(".")
    if isinstance(report, dict):
        return {**report, name: _replaced(report[name], rest, **changes)}
    part = _replaced(getattr(report, name), rest, **changes)
    return dataclasses.replace(report, **{name: part})


class _Page(html.parser.HTMLParser):
    """The page's elements, text and images; fails on tags left open."""

    def __init__(self, page: Any) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[Any] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.links: list[Any] = []
        self.feed(page.replace("<wbr>", ""))
        assert not self._open

    def handle_starttag(self, tag: Any, attrs: Any) -> None:
        attributes = dict(attrs)
        self.tags.append(tag)
        self.links += [attributes[key] for key in ("src", "href") if key in attributes]
        if tag == "img":
            self.images.append(attributes)
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)

    def handle_endtag(self, tag: Any) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: Any) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> Any:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_page_shows_every_part() -> None:
    report = _full_report()
    page = _Page(report_lib.render_html(report))
    after = report.after["test"]
    low, high = after.confidence_intervals_95["accuracy"]
    expected = [
        f"Accuracy on 1,100 held-out test texts: {after.accuracy:.1%} "
        f"({100 * low:.1f} to {100 * high:.1f}), before fine-tuning "
        f"{report.before['test'].accuracy:.1%}.",
        "The movie was terrible and boring.",
        "positive 51.3%",
        "negative 98.7%",
        "Validation, 90 texts",
        f"{report.before['validation'].mcc:.3f}".replace("-", "−"),
        after.most_confident_errors[0].text,
        "Best step 20",
        "Parameters 22,713,216",
        "toy.csv UTF-8, by commas 9,964",
        "Rows that are used 9,963",
        "Rows that were skipped 1",
        "line 17: no label",
        "Doubts Reasons not to trust this result, each with what to do:",
        "Texts cut. 13.4% of the training texts are longer than the model reads",
        "321 7.4%",
        "Tokens, median 222",
        "Truncated texts 13.4%",
        "Texts with contradicting labels 2",
        "128, 384, 512",
        "11.3%",
        "2.4e-07",
        "Train and validate 1 h 02 min",
        "61.2 per second",
        "tensorflow 2.21.0",
        "model_dir runs/toy",
        "dropout the preset's own (0.1) -1.0",
        "eval_batch_size 64 tokens_per_batch off 0",
        "--model_dir=runs/toy --label_names=negative,positive",
        "python -m trainer.predict --saved_model=runs/toy",
    ]
    # Cells follow one another with only blanks between.
    missing = [each for each in expected if each not in page.text]
    assert not missing, missing


def test_page_is_self_contained() -> None:
    page_text = report_lib.render_html(_full_report())
    page = _Page(page_text)
    assert "script" not in page.tags and "link" not in page.tags
    assert all(link.startswith(("data:image/svg+xml", "#")) for link in page.links)
    assert "url(" not in page_text and "@import" not in page_text


def test_page_shows_the_pictures_of_the_held_out_split() -> None:
    report = _full_report()
    drawn = [
        *report_lib._comparison_pictures(report, "test"),
        *figures.held_out_pictures(report.after["test"]),
        *figures.kept_pictures(report.kept),
        *figures.learning_pictures(report.history, best_step=20),
        *figures.data_pictures(report.data),
    ]
    page = _Page(report_lib.render_html(report))
    shown = [(image["src"], image["alt"]) for image in page.images]
    assert shown == [(picture.source, picture.alternative) for picture in drawn]
    assert all(picture.title in page.text for picture in drawn)


def test_hostile_texts_and_labels_stay_text() -> None:
    report = _full_report(label_names=(HOSTILE, "cost: $\\frac$ \"quoted\" & 'so'"))
    error = dataclasses.replace(
        report.after["test"].most_confident_errors[0], text=HOSTILE
    )
    report = _replaced(report, "after.test", most_confident_errors=(error,))
    report = _replaced(
        report, "data.source.splits.train", skipped_rows=(HOSTILE,), source=HOSTILE
    )
    other = schema.Disagreement(
        text=HOSTILE,
        label=HOSTILE,
        model=HOSTILE,
        baseline=HOSTILE,
        file="toy.csv",
        line=2,
    )
    report = _replaced(report, "comparisons.tfidf", only_model_right=(other,))
    report = _replaced(
        report,
        "",
        title=HOSTILE,
        samples=(dataclasses.replace(report.samples[0], text=HOSTILE),),
        doubts=(schema.Doubt(kind=HOSTILE, message=HOSTILE),),
        worth=HOSTILE,
        environment={HOSTILE: HOSTILE},
        config={**report.config, "data": {HOSTILE: HOSTILE}},
    )
    page = _Page(report_lib.render_html(report))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 16


def test_groups_are_shown_where_there_are_any() -> None:
    report = _full_report()
    assert "Groups" not in _Page(report_lib.render_html(report)).text
    for name, number in (("train", 41), ("validation", 5), ("test", 12)):
        report = _replaced(report, f"data.splits.{name}", num_groups=number)
    assert "Groups 41 5 12" in _Page(report_lib.render_html(report)).text


# What a run may not have: parts of the report by path, with what they become.
ABSENT = {
    "samples": [("", {"samples": ()})],
    "doubts-words": [("", {"doubts": (), "settings_in_words": {}})],
    "lengths": [("data", {"longest_text": None})],
    "histogram": [("data.splits.train", {"length_histogram": ()})],
    "curves": [
        ("after.test", {"risk_coverage": (), "roc": (), "precision_recall": ()})
    ],
    "baselines": [("", {"baselines": {}, "comparisons": {}, "worth": None})],
    "comparisons": [("", {"comparisons": {}, "worth": None})],
    "disagreements-cost": [
        (
            f"comparisons.{name}",
            {"only_model_right": (), "only_baseline_right": (), "cost_ratio": None},
        )
        for name in ("commonest", "tfidf", "frozen")
    ],
    "before_of_samples": [
        ("", {"samples": (dataclasses.replace(sample("a", *NAMES), before=None),)})
    ],
    "history": [
        ("", {"history": schema.History(train=(), validation=())}),
        ("training", {"best_step": None, "weights": "last"}),
    ],
    "data": [
        (
            "data",
            {
                "splits": {},
                "num_validation_texts_in_train": None,
                "num_test_texts_in_train": None,
                "source": schema.SourcesFacts(splits={}, notes=(), warnings=()),
            },
        )
    ],
    "formats": [("export", {"formats": ()})],
    "decision_split": [("decision", {"split": None, "quality": {}})],
    "config-environment-timing": [
        ("", {"config": {}, "environment": {}}),
        ("timing", {"secs_to_first_step": None, "input_wait_fraction": None}),
    ],
    "intervals-errors": [
        ("after.test", {"confidence_intervals_95": {}, "most_confident_errors": ()})
    ],
    "before": [("", {"before": {}})],
    "after": [("", {"after": {}})],
    "before-after": [("", {"before": {}, "after": {}})],
}


@pytest.mark.parametrize("parts", ABSENT.values(), ids=ABSENT)
def test_absent_parts_are_left_out(parts: Any) -> None:
    report = _full_report()
    for path, changes in parts:
        report = _replaced(report, path, **changes)
    _check_absent(report)


def test_all_may_be_absent_together() -> None:
    report = emptied_report()
    page = _check_absent(report)
    assert not page.images
    for heading in (
        "sentences",
        "Worth it?",
        "Metrics",
        "Right and wrong",
        "Formats",
        "Settings",
    ):
        assert heading not in page.text
    assert "warning" not in page.text and "Doubts" not in page.text
    # What every run has.
    for heading in ("Learning", "Data", "The exported model", "The run"):
        assert heading in page.text


def _check_absent(report: Any) -> Any:
    page_text = report_lib.render_html(report)
    page = _Page(page_text)
    assert "None" not in page.text and "Undefined" not in page.text
    # No link leads nowhere.
    for link in page.links:
        assert not link.startswith("#") or f'id="{link[1:]}"' in page_text
    assert report_lib.summary_table(report)
    return page


# What the template asks for by its name, rather than shows row by row.
READ_BY_NAME = {
    "report": (
        "title worth samples baselines comparisons training data decision export "
        "commands timing environment paths"
    ),
    "report.baselines.tfidf": "title num_features settings",
    "report.comparisons.tfidf": (
        "only_model_right only_baseline_right num_only_model_right "
        "num_only_baseline_right"
    ),
    "report.comparisons.tfidf.only_model_right[0]": (
        "text label model baseline file line"
    ),
    "compared": "columns rows titles",
    "report.paths": "predictions",
    "report.samples[0]": "text before after label",
    "report.samples[0].after": "label score",
    "report.training": "weights",
    "report.data": (
        "label_names splits source num_contradicting_texts num_test_texts_in_train "
        "num_validation_texts_in_train num_test_texts_in_validation bucket_lengths "
        "padded_fraction"
    ),
    "report.data.source": "splits notes",
    "report.data.source.splits.train": (
        "source files num_rows num_skipped_rows skipped_rows num_blank_lines"
    ),
    "report.data.source.splits.train.files[0]": "name num_rows settled",
    "report.data.splits.test": (
        "num_examples class_counts num_duplicates length_percentiles truncated_fraction"
    ),
    "report.data.splits.test.class_counts": "positive",
    "report.decision": "temperature split thresholds abstain_below quality",
    "report.decision.quality.test": (
        "before after equal_thresholds thresholds accuracy coverage "
        "accuracy_of_covered accuracy_of_abstained"
    ),
    "report.decision.quality.test.thresholds": "f1_macro",
    "report.decision.quality.test.before": "expected_calibration_error",
    "report.export": "formats",
    "report.export.formats[0]": (
        "format status bytes latency_ms texts_per_sec accuracy max_difference num_texts "
        "num_ties"
    ),
    "report.training.reweighed[0]": "group label num_texts weight",
    "report.commands": "predict",
    "held_out": "majority_class_accuracy per_class top_k most_confident_errors",
    "held_out.per_class.positive": (
        "precision_interval_95 precision recall_interval_95 recall f1 support expected "
        "expected_p_holm"
    ),
    "held_out.most_confident_errors[0]": (
        "predicted score label length text file line"
    ),
    "": (
        "report headline doubts split held_out compared comparison_pictures "
        "metric_tables learning_pictures "
        "held_out_pictures data_pictures confusions settings flagfiles"
    ),
    "confusions[0]": "label predicted count fraction",
    "settings[0]": "caption rows",
    "metric_tables[0]": "split num_texts rows",
}


@pytest.fixture(scope="module")
def context() -> Any:
    """What the template gets; its pictures take a second to draw."""
    return report_lib._context(tiny_report())


@pytest.mark.parametrize(
    "path, name",
    [(path, name) for path, names in READ_BY_NAME.items() for name in names.split()],
)
def test_page_fails_without_what_it_reads(path: Any, name: Any, context: Any) -> None:
    context = copy.deepcopy(context)
    owner = context
    for key in re.findall(r"\w+", path):
        owner = owner[int(key) if key.isdecimal() else key]
    del owner[name]
    with pytest.raises(jinja2.UndefinedError, match=name):
        report_lib._template().render(context)


def test_undefined_metrics_are_dashes() -> None:
    undefined = metrics_lib.classification_metrics(
        [1, 1],
        Predictions([[0.0, 1.0]] * 2),
        label_names=NAMES,
        num_resamples=0,
        seed=0,
    )
    nothing = {"accuracy_by_length": (), "most_confident_errors": ()}
    measured = schema.from_mapping(schema.SplitEvaluation, {**undefined, **nothing})
    report = _full_report()
    report = dataclasses.replace(
        report,
        before={**report.before, "test": measured},
        after={**report.after, "test": measured},
    )
    page = _Page(report_lib.render_html(report))
    assert "Area under the ROC curve – –" in page.text
    assert "negative – – – 0" in page.text
    assert "Accuracy on 2 held-out test texts: 100.0%, before" in page.text


def test_absent_intervals_are_said_in_words() -> None:
    report = _full_report()
    after = report.after["test"]
    few = dataclasses.replace(after, confidence_intervals_95={"accuracy": (0.5, 0.75)})
    assert report_lib._cell(few, "accuracy")[1] == "50.0 to 75.0"
    assert report_lib._cell(few, "f1_macro")[1] == "too few texts to say"
    # An undefined metric has none; and none was asked for without resamples.
    undefined = dataclasses.replace(few, roc_auc=None)
    assert report_lib._cell(undefined, "roc_auc") == (report_lib.MISSING, "")
    unasked = dataclasses.replace(after, confidence_intervals_95={})
    assert report_lib._cell(unasked, "f1_macro")[1] == ""


def test_time_and_memory_are_in_units_for_people() -> None:
    text = _Page(report_lib.render_html(_full_report())).text
    for row in (
        "Train and validate 1 h 02 min",
        "Train examples 61.2 per second",
        "Compile 1 min 20 s",
        "To first step 7.5 s",
        "Input wait 1.2%",
        "Peak host memory 1.50 GiB",
    ):
        assert row in text
    # A device that does not tell has no row.
    assert "Peak device memory" not in text


def test_what_is_exported_and_how_it_decides() -> None:
    text = _Page(report_lib.render_html(_full_report())).text
    for words in (
        "by the temperature 1.250, fitted on the validation texts",
        "threshold (0.250, 0.750)",
        "Where the score is below 80.0%, it says that it abstains.",
        "Calibration error as trained 12.5% 12.5%",
        "with the temperature 1.5% 1.5%",
        "Macro F1 with equal thresholds 75.0% 75.0%",
        "with the thresholds 80.0% 80.0%",
        "Texts not abstained from 90.0% 100.0%",
        "of the others right 62.5% \N{EN DASH}",
        "float32 90.9 MB 72 ms 9.2 texts/s 84.0% 3e-07",
        "int8 refused 23.7 MB 72 ms 9.2 texts/s 50.0%",
        "Accuracy on 500 held-out texts",
    ):
        assert words in text, words


def test_an_export_that_decides_plainly() -> None:
    plain: Any = {"abstain_below": 0.0, "split": None, "quality": {}}
    report = _replaced(_full_report(), "decision", **plain)
    text = _Page(report_lib.render_html(report)).text
    assert "It never abstains." in text and "fitted on" not in text


def test_rendering_is_pure() -> None:
    report = _full_report()
    untouched = copy.deepcopy(report)
    assert report_lib.render_html(report) == report_lib.render_html(report)
    assert report == untouched


def test_pictures_that_are_drawn_again_are_the_same() -> None:
    history, after = _full_report().history, _full_report().after["test"]
    for kept, drawn in (
        (
            figures.learning_pictures(history, best_step=2),
            inspect.unwrap(figures.learning_pictures)(history, best_step=2),
        ),
        (
            figures.held_out_pictures(after),
            inspect.unwrap(figures.held_out_pictures)(after),
        ),
    ):
        assert drawn and kept == drawn
    others = dataclasses.replace(after, reliability=after.reliability[:-1])
    assert figures.held_out_pictures(others) != figures.held_out_pictures(after)
    # A caller may add to what it got.
    figures.held_out_pictures(after).clear()
    assert figures.held_out_pictures(after)


def test_evaluation_needs_neither_tensorflow_nor_pyplot() -> None:
    code = (
        "import sys\n"
        "from tests.evaluation.tiny_report import tiny_report\n"
        "from trainer.evaluation import report\n"
        "report.render_html(tiny_report())\n"
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
def test_headline_names_the_split(splits: Any, expected: Any) -> None:
    report = _full_report()
    report = dataclasses.replace(
        report,
        before={name: report.before[name] for name in splits},
        after={name: report.after[name] for name in splits},
    )
    assert report_lib.headline(report).startswith(expected)
    page = _Page(report_lib.render_html(report))
    assert ("expect a little less" in page.text) == (splits == ["validation"])


def test_summary_table() -> None:
    report = _full_report()
    long_text = "A long\nsentence,\x1b[31m " + "very " * 40
    long_sample = sample(long_text, "a label of many words", "negative")
    report = dataclasses.replace(report, samples=(*report.samples, long_sample))
    table = report_lib.summary_table(report)
    lines = table.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == ["Before", "After"]
    assert lines[1].split("  ")[0] == "The movie was terrible and boring."
    assert "positive 51.3%" in lines[1] and lines[1].endswith("negative 98.7%")
    assert lines[2].startswith("A long sentence, [31m very") and "…  " in lines[2]
    assert "a label of many … 51.3%" in lines[2]
    assert lines[3].startswith("Accuracy on 1,100 test texts (95% interval)")
    accuracy = report.after["test"].accuracy
    assert f"{accuracy:.1%} (" in lines[3]
    # Columns stand under one another.
    assert lines[1].index("negative") == lines[0].index("After")
    assert lines[-3:] == [
        "Report      runs/toy/report.html",
        "SavedModel  runs/toy/export/1",
        "Predict     python -m trainer.predict --saved_model=runs/toy",
    ]


def test_summary_wraps_doubts() -> None:
    long = "the [UNK] token is 80% of the text: choose a preset that knows it " * 3
    doubts = tuple(schema.Doubt(kind="a", message=text) for text in (long, "so few"))
    table = report_lib.summary_table(_replaced(_full_report(), "", doubts=doubts))
    lines = table.splitlines()
    start = lines.index("Doubts")
    assert max(map(len, lines)) <= 100 and lines[start - 1] == ""
    assert lines[start + 1].startswith("  - the [UNK] token is")
    assert lines[start + 2].startswith("    ")
    shown = " ".join(" ".join(lines[start:]).split())
    # Whole, and each on lines of its own.
    assert f"Doubts - {long.strip()} - so few Report" in shown
    assert "  - so few" in lines
    no_doubts = _replaced(_full_report(), "", doubts=())
    assert "Doubts" not in report_lib.summary_table(no_doubts)


def test_summary_has_the_simple_models_and_the_verdict() -> None:
    report = _replaced(_full_report(), "", champion=None)
    # A doubt that the verdict tells is not told again.
    told = schema.Doubt(kind="no_better_than_commonest", message="no better, alas")
    report = _replaced(report, "", doubts=(*report.doubts, told))
    lines = report_lib.summary_table(report).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Accuracy on"))
    assert [re.sub(" {2,}", "|", line) for line in lines[start + 1 : start + 5]] == [
        "The commonest label|51.0% (48.5 to 53.5)",
        "TF-IDF with logistic regression|74.0% (71.5 to 76.5)",
        "Logistic regression on frozen vectors|72.0% (69.5 to 74.5)",
        "",
    ]
    # In the column of what came after fine-tuning.
    assert lines[start + 2].index("74.0%") == lines[0].index("After")
    verdict, below = "\n".join(lines[start + 5 :]).split("\n\nDoubts\n")
    assert " ".join(verdict.split()) == report.worth
    assert "13.4%" in below and "alas" not in below
    without = _replaced(report, "", baselines={}, comparisons={}, worth=None)
    table = report_lib.summary_table(without)
    assert "alas" in table and "TF-IDF" not in table


def _rows_of_worth(report: Any) -> dict[str, list[str]]:
    table = report_lib._compared(report, "test")
    assert table
    rows = {
        title: [" ".join(cell).strip() for cell in row] for title, row in table["rows"]
    }
    return {"": table["columns"], **rows}


def test_a_path_in_a_doubt_is_never_cut() -> None:
    path = f"/{'folder/' * 20}reviews.csv:16"
    doubt = schema.Doubt(kind="odd", message=f"86 texts (the first is {path}): mend it")
    table = report_lib.summary_table(_replaced(_full_report(), "", doubts=(doubt,)))
    assert f"{path})" in table


def test_what_was_kept_and_the_champion_are_told_everywhere() -> None:
    report = _full_report()
    text = _Page(report_lib.render_html(report)).text
    assert "Began from the weights of runs/a (sha256 0123456789ab )" in text
    assert "A linear probe lost." in text and "Training was stopped at step 10" in text
    assert "runs/old/export/3" in text and "better: 86.4% right." in text
    assert "The challenger is better" in report_lib.summary_table(report)
    held = _replaced(report, "export", status="held", status_reason="too little")
    held = _replaced(held, "", commands=schema.Commands(predict=None))
    assert "Version 1 is held: too little." in report_lib.summary_table(held)
    assert "trainer.compare --promote" in report_lib.summary_table(held)
    assert "Version 1 is held:" in _Page(report_lib.render_html(held)).text
    without = _replaced(report, "", kept=None, champion=None)
    assert "What it kept" not in _Page(report_lib.render_html(without)).text


def test_page_compares_the_simple_models() -> None:
    report = _full_report()
    rows = _rows_of_worth(report)
    low, high = report.after["test"].confidence_intervals_95["accuracy"]
    accuracy = (
        f"{report.after['test'].accuracy:.1%} {100 * low:.1f} to {100 * high:.1f}"
    )
    assert rows[""] == ["Fine-tuned", "Commonest label", "TF-IDF", "Frozen vectors"]
    assert rows["Accuracy"] == [
        accuracy,
        "51.0% 48.5 to 53.5",
        "74.0% 71.5 to 76.5",
        "72.0% 69.5 to 74.5",
    ]
    # 310 times 12 seconds; what was not measured is a dash.
    assert rows["Time"] == ["1 h 02 min", "12.0 s", "12.0 s", "12.0 s"]
    assert rows["Memory"] == ["1.50 GiB", "3.0 MiB", "3.0 MiB", "–"]
    paired = rows["Fine-tuned minus it, points"]
    assert paired == ["–", "+31.9 28.0 to 36.0", "+4.1 2.9 to 5.3", "+6.1 4.0 to 8.0"]
    assert rows["McNemar’s p"][2:] == ["0.012"] * 2
    assert rows["Texts only fine-tuned has right"][2:] == ["80"] * 2
    assert rows["Texts only it has right"][2:] == ["40"] * 2
    page = _Page(report_lib.render_html(report))
    for words in (
        f"before fine-tuning {report.before['test'].accuracy:.1%}. {report.worth}",
        "features of a text: 5,000; C: 10, chosen on: validation, folds: 5.",
        "Fine-tuned right, TF-IDF wrong: 1 of 80",
        "Frozen vectors right, fine-tuned wrong: 1 of 40",
        "Labelled negative . Fine-tuned: positive ; TF-IDF: negative . toy.csv:77",
        "Not a bad film, and not a good one.",
    ):
        assert words in page.text, words
    assert "Commonest label right" not in page.text


def test_page_leaves_out_what_was_not_compared() -> None:
    report = _replaced(_full_report(), "", comparisons={}, worth=None)
    rows = _rows_of_worth(report)
    assert "Fine-tuned minus it, points" not in rows and rows["Time"][0] == "–"
    assert report_lib._compared(_replaced(report, "", baselines={}), "test") is None
    assert report_lib._compared(_replaced(report, "", after={}), "test") is None


@pytest.mark.parametrize(
    ("value", "shown"), [(0.5, "0.500"), (0.001, "0.001"), (0.0009, "below 0.001")]
)
def test_small_probabilities(value: float, shown: str) -> None:
    report = _replaced(_full_report(), "comparisons.tfidf", mcnemar_p=value)
    assert _rows_of_worth(report)["McNemar’s p"][2] == shown


def test_a_flag_is_not_broken() -> None:
    whole = '<span class="whole">--max_length=256</span>'
    shown = str(report_lib._whole_flags("<b>: --max_length=256; more"))
    assert shown == f"&lt;b&gt;: {whole}; more"


def test_summary_of_simple_models_without_test_texts() -> None:
    report = _full_report()
    changes: Any = {
        when: {"validation": getattr(report, when)["validation"]}
        for when in ("before", "after")
    }
    table = report_lib.summary_table(_replaced(report, "", **changes))
    row = next(line for line in table.splitlines() if "TF-IDF with" in line)
    assert row.endswith("75.0% (72.5 to 77.5)")


def test_most_frequent_confusions_come_first() -> None:
    names = tuple("abcd")
    matrix = ((5, 1, 0, 0), (2, 5, 7, 0), (0, 2, 0, 0), (0, 0, 0, 3))
    measured = dataclasses.replace(
        _full_report(names).after["test"], confusion_matrix=matrix
    )
    pairs = confusions.most_frequent(measured.confusion_matrix, names)
    assert [tuple(pair.values()) for pair in pairs] == [
        ("b", "c", 7, 0.5),
        ("b", "a", 2, 2 / 14),
        ("c", "b", 2, 1.0),
        ("a", "b", 1, 1 / 6),
    ]


def test_a_source_of_many_files_is_summed_up() -> None:
    files = tuple(
        schema.SourceFile(name=f"{n}.csv", num_rows=2, settled="") for n in range(25)
    )
    bad = {"num_skipped_rows": 7, "skipped_rows": ("line 1: no text", "line 2: none")}
    report = _replaced(_full_report(), "data.source.splits.train", files=files, **bad)
    text = _Page(report_lib.render_html(report)).text
    assert "19.csv 2 and 5 more files 10" in text and "20.csv" not in text
    assert "Skipped rows , the first 2 of 7" in text and "line 2: none" in text


def test_a_drawn_sample_says_why_and_what_its_label_is() -> None:
    drawn = sample(
        "My parcel never came.",
        "delivery",
        "refund",
        label="a label of many words",
        why="surest wrong",
    )
    report = dataclasses.replace(_full_report(), samples=(drawn,))
    (line,) = [
        line
        for line in report_lib.summary_table(report).splitlines()
        if "surest" in line
    ]
    assert line.startswith("surest wrong (a label of many …): My parcel nev…  delivery")
    page = _Page(report_lib.render_html(report))
    assert "surest wrong of the test texts, labelled a label of many words" in page.text
    # Nothing of it where the text is a user's own.
    given = _Page(report_lib.render_html(_full_report()))
    assert "surest wrong" not in given.text and "of the test texts, l" not in given.text


def test_errors_name_file_and_line_and_all_answers_their_file() -> None:
    report = _full_report()
    page = _Page(report_lib.render_html(report))
    for error in report.after["test"].most_confident_errors:
        assert f"toy.csv:{error.line}" in page.text
    assert "runs/toy/predictions/test.jsonl" in page.text


@pytest.mark.parametrize(
    "share, is_told", [(0.5, False), (0.74, False), (0.75, True), (0.97, True)]
)
def test_summary_tells_of_uneven_labels(share: float, is_told: bool) -> None:
    """Where the commonest of two labels is 1.5 times as frequent as the mean."""
    report = _full_report()
    for when in ("before", "after"):
        report = _replaced(report, f"{when}.test", majority_class_accuracy=share)
    lines = report_lib.summary_table(report).splitlines()
    told = [line for line in lines if line.startswith(("F1", "Share"))]
    assert len(told) == 2 * is_told
    if is_told:
        test = report.after["test"]
        low, high = test.confidence_intervals_95["f1_macro"]
        assert told[0].endswith(
            f"  {test.f1_macro:.1%} ({100 * low:.1f} to {100 * high:.1f})"
        )
        assert told[1].split()[-2:] == [f"{share:.1%}"] * 2
        assert max(map(len, lines)) <= 100


def test_summary_never_cuts_the_command() -> None:
    command = "python -m trainer.predict --input=" + "x" * 200
    report = _replaced(_full_report(), "commands", predict=command)
    assert command in report_lib.summary_table(report)


def test_a_sample_before_is_told_apart() -> None:
    """Before and after are then of different numbers of texts, and both are said."""
    report = _full_report()
    before = dataclasses.replace(report.before["test"], num_examples=200)
    sampled = dataclasses.replace(report, before={**report.before, "test": before})
    after = report.after["test"].num_examples
    sizes = f"{after:,} (before: 200)"
    assert after != 200
    assert f"Accuracy on {sizes} test texts" in report_lib.summary_table(sampled)
    assert f"Test, {sizes} texts" in report_lib.render_html(sampled)
    assert report_lib.headline(sampled).endswith(" of 200 of them.")
    assert "before: " not in report_lib.summary_table(report)


def test_before_the_export_the_report_says_that_there_is_none() -> None:
    whole = tiny_report()
    report = dataclasses.replace(
        whole,
        status="unpublished",
        export=None,
        paths=dataclasses.replace(whole.paths, saved_model=None),
        commands=schema.Commands(predict=None),
        timing=dataclasses.replace(whole.timing, export_secs=None),
    )
    assert schema.Report.from_json(report.to_json()) == report
    page, table = report_lib.render_html(report), report_lib.summary_table(report)
    assert "The exported model: not yet: no export has passed its checks" in page
    assert "trainer.predict" not in page and "None" not in table
    for name in ("SavedModel", "Predict"):
        assert f"{name:<12}not yet: no export has passed its checks\n" in table


def test_ties_are_said_beside_the_format() -> None:
    whole = tiny_report()
    assert whole.export is not None
    formats = tuple(
        dataclasses.replace(each, num_ties=3) for each in whole.export.formats
    )
    export = dataclasses.replace(whole.export, formats=formats)
    page = report_lib.render_html(dataclasses.replace(whole, export=export))
    assert "3 ties got another label" in page
    assert "ties got another label" not in report_lib.render_html(whole)


def _suspect(text: str) -> findings.SuspectLabel:
    return findings.SuspectLabel(
        file="a.csv",
        line=6,
        split="train",
        digest="ab",
        label="good",
        suggested=text,
        score=0.02,
        suggested_probability=0.98,
        text=f"a {text} film",
    )


def _findings(text: str) -> findings.Findings:
    """One of everything, with a text from strangers in it."""
    row = findings.RowFacts(file="a.csv", line=3, label=text, split="train")
    other = dataclasses.replace(row, line=8, split="test", label="good")
    odd = findings.OddText(what="mojibake", excerpt=text, file="a.csv", line=4)
    return findings.Findings(
        num_copies=4321,
        num_copies_across=1,
        num_contradictions=1,
        copies=(
            findings.Copies(
                kind="exact",
                splits=("train", "test"),
                labels=(text, "good"),
                num_rows=2,
                rows=(row, other),
            ),
        ),
        num_odd_encodings=1,
        odd_encodings=(odd,),
        small_classes={"rare": 7},
        near_duplicates_facts=findings.NearDuplicatesFacts(
            similarity=0.7, num_pairs=399, num_across=68, num_contradicting=13
        ),
        near_duplicates=(
            findings.NearPair(
                similarity=0.83,
                file="a.csv",
                line=5,
                label=text,
                split="train",
                other_file="a.csv",
                other_line=11,
                other_label="good",
                other_split="test",
            ),
        ),
        label_noise=findings.LabelNoise(
            model="TF-IDF",
            num_texts=900,
            accuracy=0.9,
            num_suspects=1,
            estimated_share=0.031,
        ),
        suspect_labels=(_suspect(text),),
        languages=findings.LanguageFacts(
            expected=("en",),
            num_texts=900,
            counts={"en": 890, "de": 10},
            other_share=0.011,
            examples=(dataclasses.replace(odd, what="de", line=7),),
        ),
    )


def test_what_a_look_found_is_shown_by_file_and_line() -> None:
    report = _full_report()
    source = dataclasses.replace(
        report.data.source,
        corrections=schema.CorrectionsFacts(
            file="fixed.jsonl", sha256="ab", num_kept=5, num_relabelled=6, num_dropped=0
        ),
    )
    data = dataclasses.replace(report.data, findings=_findings(HOSTILE), source=source)

    told = dataclasses.replace(report, data=data)
    page = _Page(report_lib.render_html(told))

    for words in (
        "fixed.jsonl : 6 changed, 0 texts left out, 5 found right",
        "Rows whose text stands in another row already 4,321",
        "of these, in two splits 68",
        "of these, with two labels 13",
        "Texts in all labelled rare 7",
        "a.csv:3 (train,",
        "a.csv:8 (test,",
        "a.csv:4: mojibake:",
        "a.csv:5 (train,",
        "a.csv:11 (test,",
        "a.csv:6 (train)",
        "a.csv:7: de:",
    ):
        assert words in page.text, words
    assert "script" not in page.tags and page.text.count(HOSTILE) == 6
    assert schema.Report.from_json(told.to_json()) == told


def test_pretraining_is_told() -> None:
    """What was read, what was left out, and the masked loss before and after."""
    text = _Page(report_lib.render_html(_full_report())).text
    for words in (
        "guess masked tokens of 2,003 texts ( files:toy/*.txt ), in 1,000 steps",
        "40 of the 2,060 texts read were left out, being validation or test texts",
        "Loss of 3,210 masked tokens of 90 validation texts, in nats: 7.291 before, "
        "6.325 after",
        "is the one from before",
    ):
        assert words in text, text[text.index("Before fine-tuning: ") :][:600]
    without = _Page(report_lib.render_html(emptied_report())).text
    assert "masked" not in without


def test_causes_of_errors_are_told() -> None:
    page = _Page(report_lib.render_html(tiny_report()))
    for words in (
        "Where errors gather 1 of 2 clusters errs more than chance explains",
        "kettle, <i>fish 275 80 29.1% (24.0% to 35.0%) 50.0 61.5 0.00012",
        "no word of its own 825 120 14.5% (12.0% to 17.0%) 150.0 121.0 1",
        "Errors in the middle of the cluster kettle, <i>fish",
        "A kettle of <b>fish</b>.",
        "The nearest of 10,000 of 22,000 training texts",
        "labelled negative . Beside it: positive",
        "Labelled positive , cosine 0.91 b.csv:1234 Another kettle.",
    ):
        assert words in page.text, words
    report = dataclasses.replace(tiny_report(), error_causes=None)
    assert "Where errors gather" not in report_lib.render_html(report)
