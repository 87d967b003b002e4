"""Text that should be JSON, from a file or a variable that anybody may have written.

content = json_text.parse(path.read_text(encoding="utf-8"))
"""

from __future__ import annotations

import json
from typing import Any


def parse(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
      ValueError: it is no JSON, or is nested more deeply than Python reads: 100,000
        brackets would else be an error of Python's own.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("brackets that are nested too deeply") from error
