"""A support team's 200 tickets in three classes, with ten kinds of mistakes in them.

    python -m tests.mistakes tickets.csv

It is what a person exports from a spreadsheet. README shows what becomes of it.
"""

from __future__ import annotations

import pathlib
import random
import sys
from typing import Mapping

_THINGS = (
    "lamp kettle tent mixer router bottle jacket charger heater scale "
    "camera drill fan clock radio"
).split()
_SENTENCES: Mapping[str, tuple[str, ...]] = {
    "complaint": (
        "The {} broke after a week, I want my money back.",
        "My {} arrived damaged and nobody answers, very bad service.",
        "I am disappointed, the {} does not work at all.",
        "This {} is loud and it smells burnt, terrible.",
    ),
    "praise": (
        "The {} is excellent, thank you for the quick delivery.",
        "I love my new {}, it works perfectly.",
        "Great {} for the price, my family is happy.",
        "What a wonderful {}, I will recommend it to friends.",
    ),
    "question": (
        "How do I clean the {}, is there a manual?",
        "Where can I buy a spare part for the {}?",
        "Does the {} come with a cable, and which one?",
        "When will the {} be in stock again?",
    ),
}
_TIMES = ("", " Bought in {}.", " Ordered in {}.", " It is from {}.")
_MONTHS = "January March May July August October December".split()
_NUM_ROWS = 200


def write_tickets(path: pathlib.Path) -> Mapping[str, list[int]]:
    """Writes the file, and returns its mistakes: kind → lines, counted from 1."""
    generator = random.Random(5)
    labels = list(_SENTENCES)
    rows = []
    for number in range(_NUM_ROWS):
        label = labels[number % 3]
        text = generator.choice(_SENTENCES[label]).format(generator.choice(_THINGS))
        text += generator.choice(_TIMES).format(generator.choice(_MONTHS))
        rows.append([f"T{number:03}", text, label])
    made = _make_mistakes(rows)
    lines = ["\ufeffticket; text; label", *("; ".join(row) for row in rows)]
    # As a spreadsheet in a country of decimal commas writes it.
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8", newline="")
    first = {"separated by semicolons": [1], "a blank after separators": [1]}
    return first | {kind: [row + 2 for row in numbers] for kind, numbers in made}


def _make_mistakes(rows: list[list[str]]) -> list[tuple[str, list[int]]]:
    """Spoils some rows; kind and row numbers, from 0."""
    rows[10][1] = ""
    rows[20][2] = ""
    rows[31][2] = rows[52][2] = "N/A"
    rows[43][2] = "Praise"
    rows[61][2] = "praise\u200b"
    rows[74][1] = "[deleted]"
    rows[90][1] = rows[6][1].upper()
    rows[90][2] = rows[6][2]
    rows[101][1] = rows[3][1]
    rows[112][1] = '"The drill is loud, and I said so'
    return [
        ("no text", [10]),
        ("no label", [20]),
        ("a word for a missing label", [31, 52]),
        ("a label in another case", [43]),
        ("an invisible character in a label", [61]),
        ("a text that says there is none", [74]),
        ("a copy in capitals", [90]),
        ("a copy with another label", [101]),
        ("a quote that is never closed", [112]),
    ]


if __name__ == "__main__":
    write_tickets(pathlib.Path(sys.argv[1]))
