"""The simplest model: the commonest training label, whatever the text.

answers = commonest.answers(examples)
"""

from __future__ import annotations

import numpy as np

from trainer.baselines.examples import Answers, Examples


def answers(examples: Examples) -> Answers:
    """The label shares of the training texts, for every text."""
    shares = examples.log_shares().astype(np.float32)
    return Answers(
        title="the commonest label",
        logits={
            name: np.tile(shares, (len(examples.labels[name]), 1))
            for name in examples.held_out
        },
        num_features=None,
        settings={},
    )
