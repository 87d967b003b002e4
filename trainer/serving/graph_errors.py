"""What an operation of a model's graph says, without what Python writes around it.

graph_errors.said(error.message)    # "assertion failed: [text is too long]"
"""

from __future__ import annotations

import re

# What TensorFlow's Python writes around the message of an operation.
_PROLOGUE = re.compile(
    r"\AGraph execution error:\s+"
    r"(?:Detected at node .*\n(?:(?:\s.*|<stack traces unavailable>)\n)*)*"
)
_EPILOGUE = re.compile(r" \[Op:\w+\]\Z")


def said(text: str) -> str:
    """An error's message as TensorFlow's C++ has it, and so TensorFlow Serving."""
    return _EPILOGUE.sub("", _PROLOGUE.sub("", text))
