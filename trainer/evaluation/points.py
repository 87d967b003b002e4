"""Differences of fractions as people read them, in percentage points.

points(-0.012), signed_points(0.006)        # "−1.2", "+0.6"
"""

from __future__ import annotations


def points(fraction: float, digits: int = 1) -> str:
    """A difference of fractions in percentage points: -0.012 → "−1.2"."""
    # Added to 0.0, the zero that rounding leaves of a negative number loses its sign.
    return f"{round(100 * fraction, digits) + 0.0:.{digits}f}".replace("-", "−")


def signed_points(fraction: float) -> str:
    """The same with a sign, but for 0: 0.006 → "+0.6"."""
    return ("+" if round(100 * fraction, 1) > 0 else "") + points(fraction)
