"""Makes many runs of one flagfile, and joins what they say.

    python -m trainer.study --flagfile=configs/quickstart.flags \\
        --study=learning_curve --study_dir=studies/quickstart

A learning curve trains on 100, 300, 1000, ... of the texts and says how accuracy grows,
from where on fine-tuning is worth it, and what the next labels would buy. It takes all
flags of a run. Each run is an ordinary one, in STUDY_DIR/runs/NNN; a study that was
stopped continues when the same command is given again. Read STUDY_DIR/study.html first.
"""

from __future__ import annotations

from trainer import flags, stack
from trainer.data import sources
from trainer.runtime import compile_cache
from trainer.study_config import StudyConfig


def main(config: StudyConfig) -> None:
    compile_cache.keep_compiled(
        config.runtime.compile_cache_dir, deterministic=config.runtime.deterministic
    )
    # As in `main`: a mistake in a table does not wait for TensorFlow.
    load = sources.loaded_early(config.data)
    stack.load()
    from trainer.studies import driver

    print(driver.run(config, load=load), end="")


if __name__ == "__main__":
    flags.run(StudyConfig, main)
