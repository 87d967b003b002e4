"""Looks at a data set before anything is trained on it: in seconds, without TensorFlow.

    python -m trainer.audit --dataset=files:reviews.csv
    python -m trainer.audit --dataset=files:reviews.csv --output=audit.json

It reads the rows, checks the labels, divides the texts and says what is doubtful, as a
run with these flags would. A file that a run would refuse is refused here too.
"""

from __future__ import annotations

from trainer import flags, storage
from trainer.config import AuditConfig
from trainer.stages import audit


def main(config: AuditConfig) -> None:
    if config.output:
        storage.check_writable(storage.path(config.output), is_file=True)
    result = audit.audit(config)
    if config.output:
        audit.write(result, config.output)
    print(audit.summary(result), end="")


if __name__ == "__main__":
    flags.run(AuditConfig, main)
