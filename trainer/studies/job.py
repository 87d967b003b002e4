"""One of the processes that --num_jobs starts; `jobs.py` speaks with it.

    python -m trainer.studies.job <CONFIG_AND_NOTHING_MORE

Standard input has its settings, the JSON of a study's config and an empty line, and
then stays open for as long as the process that started this one lives.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
import time

from trainer import exit_codes, flags, stack
from trainer.runtime import compile_cache
from trainer.study_config import StudyConfig

# In which a run is saved.
_SECS_TO_SAVE = 30.0


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """Nothing is set by flags."""


def main(_: JobConfig) -> None:
    config = StudyConfig.from_json("".join(iter(sys.stdin.readline, "\n")))
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    compile_cache.keep_compiled(
        config.runtime.compile_cache_dir, deterministic=config.runtime.deterministic
    )
    stack.load()
    from trainer.studies import driver

    driver.make_runs(config)


def _end_with_the_parent() -> None:
    """Asks this process to end when standard input does; then makes it."""
    # Not by the buffer, whose lock would be held when Python ends before the parent.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_SECS_TO_SAVE)
    os._exit(exit_codes.RESTART)


if __name__ == "__main__":
    flags.run(JobConfig, main)
