"""The simplest model: the commonest training label, whatever the text.

Where a text may have several labels, those that more than half of the texts have.

answers = commonest.answers(examples)
"""

from __future__ import annotations

import numpy as np

from trainer.baselines.examples import Answers, Examples

TITLE = "the commonest label"


def answers(examples: Examples) -> Answers:
    """The label shares of the training texts, for every text."""
    several = examples.may_have_several
    shares = examples.log_odds() if several else examples.log_shares()
    shares = shares.astype(np.float32)
    return Answers(
        title=TITLE,
        logits={
            name: np.tile(shares, (len(examples.labels[name]), 1))
            for name in examples.held_out
        },
        num_features=None,
        settings={},
    )
