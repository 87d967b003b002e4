r"""Answers a file of texts with an exported SavedModel, an answer a row.

    python -m trainer.predict --saved_model=runs/a/export --input=a.csv --output=a.jsonl

The newest version in the folder, or the version whose folder is given. Started again
after it was stopped, it continues where it was. Other things to ask a model for:

    python -m trainer.predict --saved_model=… --input='part-*.csv' --output=a.parquet
    python -m trainer.predict --saved_model=… --input=a.csv --output=b.csv \
        --keep_fields=id,text --bad_rows=null
    python -m trainer.predict --saved_model=… --input=a.txt --signature=embed
    python -m trainer.predict --saved_model=runs/a/export/3 --verify
"""

from __future__ import annotations

import os
import sys

from trainer import flags
from trainer.config import PredictConfig
from trainer.serving import predictor, versions


def main(config: PredictConfig) -> None:
    try:
        if config.input:
            predictor.predict_file(config)
        else:
            print(predictor.verify(versions.find(config.saved_model)))
    except BrokenPipeError:
        # Whoever read our output wants no more of it. Python flushes standard output
        # once more when it exits, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    flags.run(PredictConfig, main)
