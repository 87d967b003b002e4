"""Texts that were decoded wrongly before they came here: "cafÃ©", "caf\ufffd".

found = odd_texts(texts)    # [(17, "mojibake", "... in a cafÃ© on ...")]

UTF-8 that was read as Latin-1 or Windows-1252 makes two or three odd characters of one;
the pairs looked for here hardly stand together in any language. U+FFFD stands where a
decoder gave up. Control characters of Latin-1 are Windows-1252 read as Latin-1.
"""

from __future__ import annotations

import re
from typing import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from trainer.data import pairs

# After a capital A or I of some accent, what the second byte of UTF-8 becomes; without
# quotes and dashes, which do stand behind a capital: „MANHÔ, „SPAß“.
_SECOND = (
    "\u00a0-\u00aa\u00ac-\u00ba\u00bc-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e"
    "\u0192\u02c6\u02dc\u2020\u2021\u20ac\u2122"
)
_ANY = _SECOND + "\u00ab\u00bb\u0080-\u009f\u2010-\u203a"
_KINDS = {
    "a replacement character": "\ufffd",
    "mojibake": (
        f"[\u00c2\u00c3][{_SECOND}]|\u00e2\u20ac[{_ANY}]|\u00e2\u201a\u00ac"
        f"|\u00e2\u201e\u00a2|\u00ef\u00bf\u00bd|\u00ef\u00bb\u00bf"
        # Cyrillic, twice, for one such pair may be a word of Icelandic.
        f"|(?:[\u00d0\u00d1][{_ANY}]){{2}}"
    ),
    # Without U+0085, a line's end of some systems.
    "a control character": "[\u0080-\u0084\u0086-\u009f]",
}
_CONTEXT = 20


def odd_texts(texts: pa.ChunkedArray) -> Iterator[tuple[int, str, str]]:
    """Each with its row, what is odd, and the text around it."""
    everything = "|".join(_KINDS.values())
    start = 0
    for chunk in texts.chunks:
        is_odd = pc.match_substring_regex(chunk, everything)
        for row in pc.indices_nonzero(is_odd).to_pylist():
            text = chunk[row].as_py()
            for what, pattern in _KINDS.items():
                if match := re.search(pattern, text):
                    yield start + row, what, _around(text, match)
                    break
        start += len(chunk)


def _around(text: str, match: re.Match[str]) -> str:
    first, last = max(0, match.start() - _CONTEXT), match.end() + _CONTEXT
    return pairs.shown(" ".join(text[first:last].split()))
