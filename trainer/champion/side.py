"""What is told of one of two models that were compared.

side.of(model, latency_ms=3.1).status       # "promoted"
"""

from __future__ import annotations

import dataclasses

from trainer.champion.model import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two.

    Attributes:
      path: of the version.
      version: its number; None: it has none.
      status: "promoted", "held" or "forced".
      bytes: of its files, as its manifest has it.
      latency_ms: the median time of a text alone, measured in turns with the other.
      knows_its_texts: whether it tells which texts it was trained or chosen on.
    """

    path: str
    version: int | None
    status: str
    bytes: int | None
    latency_ms: float
    knows_its_texts: bool


def of(model: Model, latency_ms: float) -> Side:
    """What its manifest says.

    Args:
      latency_ms: measured elsewhere.
    """
    return Side(
        path=str(model.folder),
        version=model.facts.get("version"),
        status=model.facts.get("status", "promoted"),
        bytes=model.facts.get("bytes"),
        latency_ms=latency_ms,
        knows_its_texts=model.seen is not None,
    )
