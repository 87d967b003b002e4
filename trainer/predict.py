"""Classifies a file of texts with an exported SavedModel, an object a text.

python -m trainer.predict --saved_model=DIR --input=FILE --output=FILE
"""

from __future__ import annotations

import os
import sys

from trainer import flags
from trainer.config import PredictConfig
from trainer.serving import predictor


def main(config: PredictConfig) -> None:
    try:
        predictor.predict_file(config)
    except BrokenPipeError:
        # Whoever read our output wants no more of it. Python flushes standard output
        # once more when it exits, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    flags.run(PredictConfig, main)
