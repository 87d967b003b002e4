r"""Answers a file of texts with an exported SavedModel, an answer a row.

    python -m trainer.predict --saved_model=runs/a/export --input=a.csv --output=a.jsonl

The newest version in the folder, or the version whose folder is given. Started again
after it was stopped, it continues where it was. Other things to ask a model for:

    python -m trainer.predict --saved_model=… --input='part-*.csv' --output=a.parquet
    python -m trainer.predict --saved_model=… --input=a.csv --output=b.csv \
        --keep_fields=id,text --bad_rows=null
    python -m trainer.predict --saved_model=… --input=a.txt --signature=embed
    python -m trainer.predict --saved_model=runs/a/export/3 --verify
    python -m trainer.predict --saved_model=… --input=a.csv --output=a.jsonl \
        --drift_report=drift.html --fail_on_drift
    python -m trainer.predict --saved_model=… --input=new.txt \
        --export_to_label=to_label.csv --num_to_label=200

Four machines answer a quarter each, of which one joins all when they have ended:

    python -m trainer.predict --saved_model=… --input=a.csv --output=a.jsonl --shard=0/4
    python -m trainer.predict --output=a.jsonl --join
"""

from __future__ import annotations

import os
import sys

from trainer import exit_codes, flags, storage
from trainer.config import PredictConfig
from trainer.drift import page, report
from trainer.messages import message
from trainer.serving import joining, labelling, predictor, questions, versions


def main(config: PredictConfig) -> None:
    try:
        if config.export_to_label:
            labelling.export(config)
        elif config.join:
            joining.join(config)
        elif config.drift_report:
            _predict_and_report(config)
        elif config.input:
            predictor.predict_file(config)
        else:
            print(predictor.verify(versions.find(config.saved_model)))
    except BrokenPipeError:
        # Whoever read our output wants no more of it. Python flushes standard output
        # once more when it exits, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _predict_and_report(config: PredictConfig) -> None:
    """Answers the texts, and says whether they have drifted.

    Raises:
      ValueError: as of `predictor.predict_file`; or the model has no reference.
      SystemExit: they have, and --fail_on_drift.
    """
    places = (config.drift_report, page.json_path(config.drift_report))
    if config.output in places or config.input in places:
        raise ValueError(
            message(
                "--drift_report and the JSON beside it must be other files than --input"
                " and --output",
                received=f"{', '.join(places)}; input={config.input},"
                f" output={config.output}",
                mend="give the report another name",
            )
        )
    for place in places:
        storage.check_writable(storage.path(place), is_file=True)
    # Before hours of predictions.
    folder = versions.find(config.saved_model)
    report.reference_of(folder)
    drawn = report.Draw(config.num_drift_texts)
    predictor.predict_file(config, on_text=drawn.add)
    facts = report.report(
        folder,
        drawn,
        level=config.drift_level,
        batch_size=config.batch_size,
        gpu_memory_mib=config.gpu_memory_mib,
    )
    page.write(facts, config.drift_report)
    # Standard output may be the answers.
    stream = sys.stderr if config.output == questions.STANDARD_STREAM else sys.stdout
    print(page.summary(facts, config.drift_report), end="", file=stream)
    if facts.is_drifted and config.fail_on_drift:
        sys.exit(exit_codes.DRIFTED)


if __name__ == "__main__":
    flags.run(PredictConfig, main)
