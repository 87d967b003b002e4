"""In which languages texts are, as py3langid tells.

facts = languages(rows, expected=("en",))
facts.other_share
"""

from __future__ import annotations

import collections
import re

import numpy as np

from trainer.data import pairs
from trainer.data import extras
from trainer.data.audit.findings import LanguageFacts, OddText
from trainer.data.audit.rows import Rows
from trainer.data.duplicates import first_32_bits
from trainer.messages import message

# In so few letters English is taken for any language.
_MIN_LETTERS = 20
# The beginning tells the language.
_MAX_CHARACTERS = 1000
# A thousand take a second or so.
_MAX_TEXTS = 20_000
_MIN_PROBABILITY = 0.9
_NUM_EXAMPLES = 20
_LETTER = re.compile(r"[^\W\d_]")


def languages(rows: Rows, *, expected: tuple[str, ...]) -> LanguageFacts:
    """The languages of the texts, of 20,000 at most.

    Args:
      expected: codes of two letters.

    Raises:
      ValueError: the extra `audit` is not installed, or a code is not known.
    """
    extras.require("py3langid", asked_for=f"--languages={','.join(expected)}")
    from py3langid import langid

    identifier = langid.LanguageIdentifier.from_model_file(
        langid.MODEL_FILE, norm_probs=True
    )
    known = sorted(set(map(str, identifier.labels)))
    unknown = [code for code in expected if code not in known]
    if unknown:
        raise ValueError(
            message(
                "--languages must be codes that are known",
                received=", ".join(unknown),
                mend=f"take them from {', '.join(known)}",
            )
        )
    counts: collections.Counter[str] = collections.Counter()
    examples: list[OddText] = []
    for row in _some(rows):
        text = rows.text(row)[:_MAX_CHARACTERS]
        if len(_LETTER.findall(text)) < _MIN_LETTERS:
            continue
        code, probability = identifier.classify(text)
        if probability < _MIN_PROBABILITY:
            continue
        counts[code] += 1
        if code not in expected and len(examples) < _NUM_EXAMPLES:
            place = rows.facts(row)
            excerpt = pairs.shown(" ".join(text[:100].split()))
            examples.append(
                OddText(what=code, excerpt=excerpt, file=place.file, line=place.line)
            )
    total = counts.total()
    others = sum(count for code, count in counts.items() if code not in expected)
    return LanguageFacts(
        expected=expected,
        num_texts=total,
        counts=dict(counts.most_common()),
        other_share=others / total if total else 0.0,
        examples=tuple(examples),
    )


def _some(rows: Rows) -> list[int]:
    """All rows, or some of them by a hash: the same in whatever order they stand."""
    hashes = first_32_bits(rows.pool.digests, b"languages:")
    chosen = np.sort(np.argsort(hashes, kind="stable")[:_MAX_TEXTS])
    result: list[int] = chosen.tolist()
    return result
