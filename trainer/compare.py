r"""Holds a challenger against the model that serves, on labelled texts that both answer.

    python -m trainer.compare --champion=runs/a/export --challenger=runs/b \
        --dataset=files:test.csv --output=compared.json

Says better, not_worse, undecided or worse, with the difference and its interval, how
many texts would settle it, and on which texts the two differ. What serves is changed, by
a person who says why, and read back, like this:

    python -m trainer.compare --champion=runs/a/export --promote=3 --reason="..."
    python -m trainer.compare --champion=runs/a/export --rollback --reason="..."
    python -m trainer.compare --champion=runs/a/export --history=history.html
"""

from __future__ import annotations

from trainer import flags, storage
from trainer.champion import comparing, pages
from trainer.config import CompareConfig
from trainer.serving import canary, promotion


def main(config: CompareConfig) -> None:
    for place in filter(None, (config.output, config.page, config.history)):
        storage.check_writable(storage.path(place), is_file=True)
    folder = storage.path(config.champion)
    if config.history:
        storage.write_text(storage.path(config.history), pages.history(folder))
        print(f"{len(promotion.history(folder))} events: {config.history}")
    elif config.rollback:
        number = promotion.roll_back(folder, reason=config.reason)
        print(f"version {number} serves")
    elif config.promote:
        promotion.require_version(folder, config.promote)
        canary.check(folder / str(config.promote))
        promotion.promote(folder, config.promote, reason=config.reason)
        print(f"version {config.promote} serves")
    else:
        result = comparing.compare(config)
        if config.output:
            storage.write_text(storage.path(config.output), result.to_json())
        if config.page:
            storage.write_text(storage.path(config.page), pages.comparison(result))
        print(comparing.summary(result), end="")


if __name__ == "__main__":
    flags.run(CompareConfig, main)
