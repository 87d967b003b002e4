"""The look at a data set that `trainer.audit` takes: what a run would make of it.

    result = audit(config)
    result["class_counts"], result["doubts"]
    write(result, "audit.json")
    print(summary(result))

Rows, labels, splits and doubts are those of a run with the same flags, by the same
code. Only a held-out split without a text is a doubt here, where a run refuses. What is
looked for besides is in `look.py`. What needs the preset (unknown words, texts that are
cut) is left to the run.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import pyarrow.compute as pc

from trainer import storage
from trainer.config import AuditConfig
from trainer.data import label_sets, sources, splits
from trainer.data.audit.findings import Findings
from trainer.data.splits import Pool
from trainer.data.revealing import (
    RevealingWord,
    revealing_words,
    sampled,
    words_of_one_label,
)
from trainer.data.text_rows import TextRows
from trainer.evaluation import doubts, schema
from trainer.evaluation.schema import Doubt
from trainer.messages import filled, shown
from trainer.stages import look
from trainer.stages.look import LookedAt

_PERCENTS = (5, 25, 50, 75, 95, 99)
_MAX_SUSPECTS = 5
# Of a text that stands in many.
_MAX_ROWS = 4
_MAX_SHOWN_WORDS = 8
_MAX_TEXT = 50


def audit(config: AuditConfig) -> dict[str, Any]:
    """Reads and divides the data.

    Returns:
      JSON-able: `label_names`, in order; `num_rows`, the used ones, and `num_skipped`;
      `settled`, a sentence a file on how it was read; `class_counts`, by label; of each
      of `splits` the number of texts and the `class_counts`; `notes`; `doubts`, each
      with its `kind` and `message`; `corrections`, what --corrections changed;
      `words_of_one_label`, each with its `label` and `num_texts`; and the keys of
      `findings.Findings`: `copies`, `near_duplicates`, `suspect_labels` and others.

    Raises:
      ValueError: a run would refuse the data; the message says where and why.
    """
    read = sources.load(config.data)
    pool, parts = splits.make_splits(
        read, config=config.data, seed=config.seed, may_be_empty=True
    )
    facts = splits.facts(pool, parts, read.label_names)
    counts = np.zeros(len(read.label_names), int)
    for data in read.splits.values():
        counts += label_sets.counts(data.labels, len(counts))
    words, shown_words = _words(pool, parts["train"].rows, read.label_names)
    findings = look.look(
        LookedAt(pool, parts, read.label_names, read.reviewed),
        config.data,
        config.checks,
        by_default=True,
    )
    found = [
        *doubts.of_rows(read.facts),
        *_of_splits(facts, pool),
        *doubts.of_words(words),
        *doubts.of_findings(findings),
    ]
    sources_facts = read.facts["splits"].values()
    return {
        "label_names": list(read.label_names),
        "num_rows": sum(each["num_rows"] for each in sources_facts),
        "num_skipped": sum(each["num_skipped_rows"] for each in sources_facts),
        "settled": [
            file["settled"] for each in sources_facts for file in each["files"]
        ],
        "class_counts": dict(zip(read.label_names, counts.tolist())),
        "splits": {
            name: {
                **{key: split[key] for key in ("num_examples", "class_counts")},
                "character_percentiles": _lengths(
                    TextRows(pool.texts, parts[name].rows)
                ),
            }
            for name, split in facts["splits"].items()
        },
        "notes": [*read.facts["notes"], *splits.notes(parts)],
        "corrections": read.facts["corrections"],
        "words_of_one_label": [dataclasses.asdict(word) for word in shown_words],
        "doubts": [dataclasses.asdict(doubt) for doubt in found],
        # As it is read back: lists, where the types have tuples.
        **json.loads(json.dumps(dataclasses.asdict(findings))),
    }


def _of_splits(facts: Mapping[str, Any], pool: Pool) -> Iterator[Doubt]:
    has_classes = not label_sets.are_numbers(pool.labels)
    has_one_label = pool.labels.ndim == 1
    yield from doubts.of_splits(
        facts, has_one_label=has_one_label, has_classes=has_classes
    )


def _words(
    pool: Pool, rows: np.ndarray, label_names: tuple[str, ...]
) -> tuple[list[RevealingWord], list[RevealingWord]]:
    """The words of the training texts to doubt, and those to show."""
    rows = rows[sampled(len(rows))]
    texts, labels = TextRows(pool.texts, rows), pool.labels[rows]
    if label_sets.are_numbers(labels):
        return [], []
    return (
        revealing_words(texts, labels, label_names=label_names),
        words_of_one_label(texts, labels, label_names=label_names),
    )


def refuse(result: Mapping[str, Any]) -> None:
    """Raises ValueError where there is what --audit=strict does not allow."""
    names = {field.name for field in dataclasses.fields(Findings)}
    found = {name: value for name, value in result.items() if name in names}
    look.refuse(schema.from_mapping(Findings, found))


def _lengths(texts: TextRows) -> dict[str, int]:
    """Characters of a text, by percent: what a limit of tokens may cut."""
    if not len(texts):
        return {}
    blocks = texts.arrow_blocks()
    lengths = np.concatenate([pc.utf8_length(block).to_numpy() for block in blocks])
    values = np.percentile(lengths, _PERCENTS, method="inverted_cdf")
    return {str(p): int(value) for p, value in zip(_PERCENTS, values)}


def write(result: Mapping[str, Any], path: str) -> None:
    """Writes a result as JSON."""
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    place = storage.path(path)
    storage.remove_leftovers(place.parent, of=place.name)
    storage.write_text(place, text)


def summary(result: Mapping[str, Any], *, review_page: str = "") -> str:
    """The result for people, in lines of at most 100 columns.

    Args:
      review_page: where the page to review labels on was written; "": nowhere.
    """
    skipped = f", {result['num_skipped']:,} skipped" if result["num_skipped"] else ""
    lines = [
        *_wrapped("Read", result["settled"]),
        f"{'Rows':<10}{result['num_rows']:,} used{skipped}",
        *_class_lines(result["class_counts"], num_rows=result["num_rows"]),
        *(
            f"{'Split':<10}{name}: {split['num_examples']:,} texts"
            for name, split in result["splits"].items()
        ),
        *_correction_lines(result["corrections"]),
        *_wrapped("Note", result["notes"]),
        *_wrapped("Not seen", result["left_out"]),
        *_word_lines(result),
        *_mention_lines(result),
        *_copy_lines(result),
        *_suspect_lines(result),
        *_wrapped("Doubt", [doubt["message"] for doubt in result["doubts"]]),
    ]
    if not result["doubts"]:
        lines.append("Nothing is doubtful.")
    if review_page:
        lines += _wrapped(
            "Review",
            [f"open {review_page} in a browser; it gives the file for --corrections"],
        )
    return "\n".join(lines) + "\n"


def _correction_lines(corrections: Mapping[str, Any] | None) -> list[str]:
    """What --corrections did."""
    if not corrections:
        return []
    counts = (
        f"{corrections[f'num_{verdict}']:,} {verdict}"
        for verdict in ("relabelled", "dropped", "kept")
    )
    return _wrapped("Reviewed", [f"{', '.join(counts)}, by {corrections['file']}"])


def _word_lines(result: Mapping[str, Any]) -> list[str]:
    """The words that nearly one label alone has: a person tells artefacts."""
    by_label: dict[str, list[str]] = {}
    for word in result["words_of_one_label"]:
        named = by_label.setdefault(word["label"], [])
        if len(named) < _MAX_SHOWN_WORDS:
            named.append(f"{word['word']} ({word['num_texts']:,})")
    lines = [f"only in {label}: {', '.join(each)}" for label, each in by_label.items()]
    return _wrapped("Words", lines)


def _mention_lines(result: Mapping[str, Any]) -> list[str]:
    """The groups whose mention goes with a label, the farthest first."""
    told = [
        each
        for each in result["mentions"]
        if not each["interval_95"][0] <= 1 <= each["interval_95"][1]
    ]
    told.sort(key=lambda each: -abs(math.log(each["odds_ratio"])))
    return _wrapped(
        "Groups",
        [
            f"{each['num_texts']:,} training texts mention {each['kind']}: {each['group']};"
            f" {each['num_of_label'] / each['num_texts']:.0%} of them are {each['label']},"
            f" odds ratio {each['odds_ratio']:.2g} ({each['interval_95'][0]:.2g} to"
            f" {each['interval_95'][1]:.2g}) to all other texts"
            for each in told[:_MAX_SUSPECTS]
        ],
    )


def _copy_lines(result: Mapping[str, Any]) -> list[str]:
    """The first texts that stand in several splits, or with several labels."""
    doubtful = [
        each
        for each in result["copies"]
        if len(each["labels"]) > 1 or len(each["splits"]) > 1
    ]
    return _wrapped(
        "One text",
        [
            ", ".join(
                f"{row['file']}:{row['line']} ({row['label']}, {row['split']})"
                for row in each["rows"][:_MAX_ROWS]
            )
            for each in doubtful[:_MAX_SUSPECTS]
        ],
    )


def _suspect_lines(result: Mapping[str, Any]) -> list[str]:
    """The first labels that may be wrong."""
    return _wrapped(
        "Label?",
        [
            f"{each['file']}:{each['line']}: {each['label']}, not {each['suggested']}? "
            f"({shown(each['text'], limit=_MAX_TEXT)})"
            for each in result["suspect_labels"][:_MAX_SUSPECTS]
        ],
    )


def _class_lines(counts: Mapping[str, int], *, num_rows: int) -> list[str]:
    return [
        f"{'Label':<10}{label}: {count:,} texts, {count / num_rows:.1%}"
        for label, count in counts.items()
    ]


def _wrapped(title: str, sentences: Sequence[str]) -> list[str]:
    start = f"{title:<10}"
    return [filled(each, first=start, rest=" " * len(start)) for each in sentences]
