"""What of a string can be seen, whatever characters it is made of.

    visible("\ufeffｐositive\u200b ")  # "positive"
    is_blank("\u200b\xa0")  # True

Two strings that look the same to a reader are the same after `visible`: it removes
what takes no ink, and unites the widths and ligatures of Unicode.
"""

from __future__ import annotations

import unicodedata

# Invisible, and in other categories than Cf and Cc: combining grapheme joiner, fillers
# of Hangul and Khmer, variation selectors, the blank of Braille. From "Default
# Ignorable Code Point" of Unicode 15's DerivedCoreProperties.txt, Braille's apart.
_OTHER_INVISIBLE = frozenset(
    [0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0]
    + [*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
)
# A text that is not blank shows it within so many characters, nearly always.
_FIRST_LOOK = 16


def visible(string: str) -> str:
    """A string in NFKC, without invisible characters and outer white space."""
    if not string.isascii() or not string.isprintable():
        # Before NFKC, because one of them may stand between a letter and its accent.
        string = "".join(c for c in string if not _is_invisible(c))
        string = unicodedata.normalize("NFKC", string)
    return string.strip()


def is_blank(string: str) -> bool:
    """Whether nothing of a string can be seen."""
    is_seen = any(
        c.isalnum() and ord(c) not in _OTHER_INVISIBLE for c in string[:_FIRST_LOOK]
    )
    return not is_seen and not visible(string)


def _is_invisible(character: str) -> bool:
    if ord(character) in _OTHER_INVISIBLE:
        return True
    # Tabs and ends of lines are of Cc as well.
    return unicodedata.category(character) in ("Cf", "Cc") and not character.isspace()
