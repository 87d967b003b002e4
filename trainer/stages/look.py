"""The look at the texts that a run and `trainer.audit` take: what is doubtful in them.

    texts = LookedAt(pool, parts, label_names, reviewed)
    findings = look(texts, config.data, config.checks, by_default=False)
    refuse(findings)        # for --audit=strict

What costs seconds is always looked at; the rest where flags ask for it, and in
`trainer.audit`, which takes its time, wherever its libraries are installed. What was
left out is said, with how to get it.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Iterator, Mapping

from trainer.config import ChecksConfig, DataConfig
from trainer.data import clusters, extras
from trainer.data import label_sets
from trainer.data.audit import copies, odd_encodings
from trainer.data.audit.domain_classifier import domain_facts
from trainer.data.audit.findings import (
    MAX_LISTED,
    Copies,
    Findings,
    Mention,
    OddText,
)
from trainer.data.audit.languages import languages
from trainer.data.audit.near_pairs import near_pairs
from trainer.data.audit.rows import Rows
from trainer.data.splits import Pool, Split
from trainer.data.text_rows import TextRows
from trainer.groups import lexicon, mentions
from trainer.messages import message
from trainer.stages import suspects

_logger = logging.getLogger(__name__)

_MAX_FAULTS = 50


@dataclasses.dataclass(frozen=True)
class LookedAt:
    """What is looked at.

    Attributes:
      pool: all texts.
      splits: of them.
      label_names: the classes in order.
      reviewed: digests of texts whose label a person has reviewed.
    """

    pool: Pool
    splits: Mapping[str, Split]
    label_names: tuple[str, ...]
    reviewed: frozenset[bytes] = frozenset()


def look(
    texts: LookedAt, data: DataConfig, checks: ChecksConfig, *, by_default: bool
) -> Findings:
    """All that is found.

    Args:
      by_default: whether to look at what takes longer, too, without being asked.

    Raises:
      ValueError: what a flag asks for cannot be looked at.
    """
    rows = Rows(texts.pool, texts.splits, texts.label_names)
    found = dataclasses.replace(_quick(rows), mentions=_mentions(texts, checks))
    left_out: list[str] = []
    if _is_wanted("rensa", data.near_duplicate_similarity, by_default, left_out):
        near = clusters.found_in(
            texts.pool.texts,
            texts.pool.digests,
            data,
            similarity=data.least_similarity,
        )
        facts, pairs = near_pairs(rows, near, similarity=data.least_similarity)
        found = dataclasses.replace(
            found, near_duplicates_facts=facts, near_duplicates=pairs
        )
    found = _with_suspects(found, rows, texts.reviewed, checks, by_default, left_out)
    if checks.languages:
        told = languages(rows, expected=checks.languages)
        found = dataclasses.replace(found, languages=told)
    if by_default:
        found = dataclasses.replace(found, domain=domain_facts(rows))
    return dataclasses.replace(found, left_out=tuple(left_out))


def _quick(rows: Rows) -> Findings:
    every = copies.copies(rows)
    odd = [_odd_text(rows, *each) for each in odd_encodings.odd_texts(rows.pool.texts)]
    return Findings(
        num_copies=sum(each.num_rows - 1 for each in every),
        num_copies_across=sum(len(each.splits) > 1 for each in every),
        num_contradictions=sum(len(each.labels) > 1 for each in every),
        copies=tuple(every[:MAX_LISTED]),
        num_odd_encodings=len(odd),
        odd_encodings=tuple(odd[:MAX_LISTED]),
        small_classes=copies.small_classes(rows),
    )


def _mentions(texts: LookedAt, checks: ChecksConfig) -> tuple[Mention, ...]:
    """Of groups, in the training texts."""
    words = lexicon.load(checks.group_terms)
    if words is None or label_sets.are_numbers(texts.pool.labels):
        return ()
    train = texts.splits["train"].rows
    found = mentions.groupings(TextRows(texts.pool.texts, train), words.kinds)
    return mentions.by_label(
        found, texts.pool.labels[train], label_names=texts.label_names
    )


def _odd_text(rows: Rows, row: int, what: str, excerpt: str) -> OddText:
    place = rows.facts(row)
    return OddText(what=what, excerpt=excerpt, file=place.file, line=place.line)


def _is_wanted(
    library: str, similarity: float, by_default: bool, left_out: list[str]
) -> bool:
    """Whether near-duplicates are to be looked for."""
    if similarity > 0:
        extras.require(library, asked_for=f"--near_duplicate_similarity={similarity:g}")
        return True
    if similarity == 0 or not by_default:
        return False
    if not extras.has(library):
        left_out.append(f"near-duplicates: {extras.INSTALL}")
        return False
    return True


def _with_suspects(
    found: Findings,
    rows: Rows,
    reviewed: frozenset[bytes],
    checks: ChecksConfig,
    by_default: bool,
    left_out: list[str],
) -> Findings:
    """The same with the labels that may be wrong."""
    if checks.out_of_fold:
        extras.require("cleanlab", asked_for=f"--out_of_fold={checks.out_of_fold}")
        noise, listed = suspects.by_file(rows, checks.out_of_fold, reviewed=reviewed)
    elif rows.pool.labels.ndim > 1 or label_sets.are_numbers(rows.pool.labels):
        if by_default:
            left_out.append("wrong labels: they are looked for where a text has one")
        return found
    elif checks.audit_model == "tfidf" or (
        checks.audit_model == "auto" and by_default and extras.has("cleanlab")
    ):
        extras.require("cleanlab", asked_for=f"--audit_model={checks.audit_model}")
        noise, listed = suspects.by_tfidf(rows, reviewed=reviewed)
    else:
        if checks.audit_model == "auto" and by_default:
            left_out.append(f"wrong labels: {extras.INSTALL}")
        return found
    return dataclasses.replace(found, label_noise=noise, suspect_labels=listed)


def refuse(findings: Findings) -> None:
    """Raises ValueError where there is what --audit=strict does not allow."""
    faults = list(_faults(findings))
    if not faults:
        return
    rest = len(faults) - _MAX_FAULTS
    lines = faults[:_MAX_FAULTS] + ([f"... and {rest} more"] if rest > 0 else [])
    refusal = message(
        "--audit=strict allows no text in two splits, no text of two labels and no "
        f"class with fewer than {copies.LEAST_TEXTS} texts",
        received=f"{len(faults)} of these",
        mend="remove or mend what is named (--corrections does it for single texts), or "
        "continue with --audit=report:",
    )
    raise ValueError("\n  ".join([refusal, *lines]))


def _faults(findings: Findings) -> Iterator[str]:
    for each in findings.copies:
        if len(each.labels) > 1:
            yield f"{_rows_of(each)}: one text, {len(each.labels)} labels"
        elif len(each.splits) > 1:
            yield f"{_rows_of(each)}: one text, {len(each.splits)} splits"
    for name, count in findings.small_classes.items():
        texts = "1 text" if count == 1 else f"{count} texts"
        yield f"the class {name!r}: {texts}"


def _rows_of(copied: Copies) -> str:
    rest = copied.num_rows - len(copied.rows)
    named = ", ".join(map(str, copied.rows))
    return named + (f" and {rest} more" if rest else "")
