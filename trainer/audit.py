"""Looks at a data set before anything is trained on it, without TensorFlow.

    python -m trainer.audit --dataset=files:reviews.csv
    python -m trainer.audit --dataset=files:reviews.csv --output=audit.json \\
        --review_page=review.html

It reads the rows, checks the labels, divides the texts and says what is doubtful, as a
run with these flags would. A file that a run would refuse is refused here too. That
takes seconds; near-duplicates and labels that may be wrong take up to a minute more,
and the extra `audit`. On the review page a person goes through these labels, and gets
the file for --corrections.
"""

from __future__ import annotations

from trainer import flags, storage
from trainer.config import AuditConfig
from trainer.evaluation import review_page
from trainer.stages import audit


def main(config: AuditConfig) -> None:
    for place in filter(None, (config.output, config.review_page)):
        storage.check_writable(storage.path(place), is_file=True)
    result = audit.audit(config)
    if config.output:
        audit.write(result, config.output)
    if config.review_page:
        review_page.write(result, config.review_page, dataset=config.data.dataset)
    print(audit.summary(result, review_page=config.review_page), end="")
    if config.checks.audit == "strict":
        audit.refuse(result)


if __name__ == "__main__":
    flags.run(AuditConfig, main)
