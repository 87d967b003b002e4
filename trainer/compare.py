r"""Holds a challenger against the model that serves, on labelled texts that both answer.

    python -m trainer.compare --champion=runs/a/export --challenger=runs/b \
        --dataset=files:test.csv --output=compared.json

Says better, not_worse, undecided or worse, with the difference and its interval, how
many texts would settle it, and on which texts the two differ. What serves is changed, by
a person who says why, and read back, like this:

    python -m trainer.compare --champion=runs/a/export --promote=3 --reason="..."
    python -m trainer.compare --champion=runs/a/export --rollback --reason="..."
    python -m trainer.compare --champion=runs/a/export --history=history.html
    python -m trainer.compare --champion=runs/a/export --drift=files:new.txt --page=drift.html
"""

from __future__ import annotations

import functools
import sys
from typing import Callable

from trainer import exit_codes, flags, storage
from trainer.champion import comparing, numbers, pages
from trainer.config import CompareConfig
from trainer.data import unlabelled
from trainer.drift import page, report
from trainer.serving import canary, promotion, versions

# As `trainer.predict --num_drift_texts` has it by default.
_NUM_DRIFT_TEXTS = 2000


def main(config: CompareConfig) -> None:
    for place in filter(None, (config.output, config.page, config.history)):
        storage.check_writable(storage.path(place), is_file=True)
    folder = storage.path(config.champion)
    if config.history:
        storage.write_text(storage.path(config.history), pages.history(folder))
        print(f"{len(promotion.history(folder))} events: {config.history}")
    elif config.drift:
        _drift(config)
    elif config.rollback:
        number = promotion.roll_back(folder, reason=config.reason)
        print(f"version {number} serves")
    elif config.promote:
        promotion.require_version(folder, config.promote)
        canary.check(folder / str(config.promote))
        promotion.promote(folder, config.promote, reason=config.reason)
        print(f"version {config.promote} serves")
    else:
        _compare(config)


def _compare(config: CompareConfig) -> None:
    """Has both models answer, and says how they stand to each other."""
    content: Callable[[], str]
    if config.data.task == "regression":
        of_numbers = comparing.compare_numbers(config)
        text, said = of_numbers.to_json(), numbers.summary(of_numbers)
        content = functools.partial(pages.number_comparison, of_numbers)
    else:
        result = comparing.compare(config)
        text, said = result.to_json(), comparing.summary(result)
        content = functools.partial(pages.comparison, result)
    if config.output:
        storage.write_text(storage.path(config.output), text)
    if config.page:
        storage.write_text(storage.path(config.page), content())
    print(said, end="")


def _drift(config: CompareConfig) -> None:
    """Holds new texts against those that the champion was trained on.

    Raises:
      ValueError: the model has no reference, or the texts cannot be used.
      SystemExit: they have drifted, and --fail_on_drift.
    """
    folder = versions.find(config.champion, flag="champion")
    report.reference_of(folder)
    read = unlabelled.read_files(config.drift, config.data, flag="drift")
    facts = report.report(
        folder,
        report.Draw.of(read.texts.to_pylist(), _NUM_DRIFT_TEXTS),
        batch_size=config.batch_size,
        gpu_memory_mib=config.gpu_memory_mib,
    )
    page.write(facts, config.page)
    print(page.summary(facts, config.page), end="")
    if facts.is_drifted and config.fail_on_drift:
        sys.exit(exit_codes.DRIFTED)


if __name__ == "__main__":
    flags.run(CompareConfig, main)
