"""Makes tests/reference/fairlearn_gaps.json: what fairlearn says of drawn tables.

    pip install fairlearn==0.15.0
    python tests/reference/make_fairlearn_table.py >tests/reference/fairlearn_gaps.json

fairlearn is no requirement of the tests; its numbers are. It says 0.0 of a rate that has
no texts, where this program says None: such tables are drawn again.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

_NUM_CASES = 12


def main() -> None:
    # Only here: the tests read what this prints.
    from fairlearn import __version__, metrics

    generator = np.random.default_rng(0)
    cases: list[dict[str, Any]] = []
    while len(cases) < _NUM_CASES:
        num_groups = int(generator.integers(2, 5))
        count = int(generator.integers(20, 60))
        groups = generator.integers(0, num_groups, count)
        labels, predicted = generator.integers(0, 2, (2, count))
        cells = set(zip(groups.tolist(), labels.tolist()))
        if len(cells) < 2 * num_groups:
            continue
        together = {"sensitive_features": groups}
        cases.append(
            {
                "groups": groups.tolist(),
                "labels": labels.tolist(),
                "predicted": predicted.tolist(),
                "equalized_odds": metrics.equalized_odds_difference(
                    labels, predicted, **together
                ),
                "share_chosen": metrics.demographic_parity_difference(
                    labels, predicted, **together
                ),
                "tpr": metrics.true_positive_rate_difference(
                    labels, predicted, **together
                ),
                "fpr": metrics.false_positive_rate_difference(
                    labels, predicted, **together
                ),
            }
        )
    made_with = f"fairlearn {__version__}"
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    print(f'{{"made_with": "{made_with}", "cases": [\n  {lines}\n]}}')


if __name__ == "__main__":
    main()
