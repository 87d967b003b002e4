"""What a study is: the settings of a run, and which runs to make of them.

    config = StudyConfig(
        study_dir="studies/a", data=DataConfig(dataset="files:reviews.csv"), ...
    )
    config.sizes, config.run_seeds          # (), (0,)
    config.run(3, num_train_examples=1000, seed=0).model_dir    # "studies/a/runs/003"
    config.run(0, num_folds=5, fold=0)      # any setting of a run, by its name

All flags of a run are flags of a study, so that one flagfile serves both.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from trainer.config import ExperimentConfig, sections, setting
from trainer.messages import message

StudyName = Literal["learning_curve", "folds", "seeds"]
ExportFolds = Literal["none", "final"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(ExperimentConfig):
    """What `python -m trainer.study` does."""

    model_dir: str = setting(
        "",
        "Taken from a run's flagfile and not used: run NNN of the study is in "
        "STUDY_DIR/runs/NNN, its export too (--export_dir is not used either).",
        may_change=True,
    )
    study: StudyName = setting(
        "learning_curve",
        "Which runs to make. `learning_curve`: the same run on growing shares of the "
        "training texts, each within the next, measured on the same held-out texts. "
        "`folds`: cross-validation, each text held out once, whatever --num_eval_examples "
        "says (--num_folds; --fold=3 makes that run alone). `seeds`: the same run with several --seeds.",
    )
    study_dir: str = setting(
        "",
        "Folder of the study: its runs, study.json, study.html and the picture. A study "
        "that was stopped continues from here. Required.",
        may_change=True,
    )
    num_jobs: int = setting(
        1,
        "Make this many runs at a time, each in a process of its own on this machine. "
        "Several machines with a shared STUDY_DIR work on one study, too: start the same "
        "command on each. Runs give the same whoever makes them.",
        may_change=True,
    )
    export_folds: ExportFolds = setting(
        "none",
        "What a study of folds exports besides each fold's own model: `none`, nothing; "
        "`final`, a model of one more run, trained on all texts for as many epochs as "
        "were best in the median fold, its temperature, thresholds and abstaining fitted "
        "on the answers to the texts of all folds together.",
    )
    train_sizes: tuple[str, ...] = setting(
        (),
        "Numbers of training texts for the learning curve, ascending, separated by "
        "commas. Empty: 100, 300, 1000, 3000 and so on, then all of them (or "
        "--num_train_examples).",
    )
    seeds: tuple[str, ...] = setting(
        (),
        "Seeds, separated by commas, for --study=seeds and --study=learning_curve, whose "
        "every size is run with each. A seed stands for another draw of the training "
        "texts (where not all are used), another order and other first weights, so "
        "several show how far a result depends on these. Empty: --seed alone.",
    )

    def __post_init__(self) -> None:
        # First the study's own: what is wrong with a run, its config says.
        if not self.study_dir:
            raise ValueError(message("--study_dir is required", received="none"))
        if self.num_jobs < 1:
            raise ValueError(
                message("--num_jobs must be at least 1", received=self.num_jobs)
            )
        sizes = _whole_numbers("train_sizes", self.train_sizes, at_least=1)
        if sizes != tuple(sorted(set(sizes))):
            raise ValueError(
                message(
                    "--train_sizes must be ascending, each size once",
                    received=",".join(self.train_sizes),
                    mend=f"give --train_sizes={','.join(map(str, sorted(set(sizes))))}",
                )
            )
        seeds = _whole_numbers("seeds", self.seeds, at_least=0)
        if len(set(seeds)) < len(seeds):
            raise ValueError(
                message(
                    "--seeds must be different numbers",
                    received=",".join(self.seeds),
                    mend=f"give --seeds={','.join(map(str, dict.fromkeys(seeds)))}",
                )
            )
        self._check_kind()
        for seed in self.run_seeds:
            self.run(0, seed=seed, fold=0 if self.study == "folds" else self.data.fold)

    def _check_kind(self) -> None:
        """Raises ValueError for settings that the kind of study cannot use, or lacks."""
        unused = [
            f"--{name}={','.join(value) if isinstance(value, tuple) else value}"
            for name, value, kinds in (
                ("train_sizes", self.train_sizes, ("learning_curve",)),
                ("seeds", self.seeds, ("learning_curve", "seeds")),
                ("export_folds", self.export_folds, ("folds",)),
            )
            if self.study not in kinds and value not in ((), "none")
        ]
        if unused:
            raise ValueError(
                message(
                    f"--study={self.study} must be given what it uses",
                    received=", ".join(unused),
                    mend="leave that out, or name another --study",
                )
            )
        if self.study == "folds" and not self.data.num_folds:
            raise ValueError(
                message(
                    "--study=folds needs --num_folds",
                    received="num_folds=0",
                    mend="give --num_folds=5",
                )
            )
        if self.study == "seeds" and len(self.seeds) < 2:
            raise ValueError(
                message(
                    "--study=seeds needs two --seeds or more",
                    received=",".join(self.seeds) or "none",
                    mend="give --seeds=0,1,2",
                )
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """--train_sizes as numbers; empty: to be chosen by the data."""
        return tuple(map(int, self.train_sizes))

    @property
    def run_seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, at least one."""
        return tuple(map(int, self.seeds)) or (self.training.seed,)

    @property
    def only_run(self) -> int | None:
        """The run that --fold names, to be made alone; None: all are made."""
        is_named = self.study == "folds" and self.data.fold >= 0
        return self.data.fold if is_named else None

    @property
    def shared(self) -> StudyConfig:
        """What processes have in common that work on one study."""
        if self.only_run is None:
            return self
        return dataclasses.replace(self, data=dataclasses.replace(self.data, fold=-1))

    def run(self, number: int, **changes: Any) -> ExperimentConfig:
        """The config of a run: what `trainer.main` would take to make it alone.

        Args:
          number: of the run within the study, from 0.
          changes: settings of a run by name, whatever section they are in; the others
            are the study's.

        Raises:
          ValueError: the settings do not go together.
        """
        # A shared folder would serve what the last run of a study exported.
        changes = {"export_dir": ""} | changes
        values: dict[str, Any] = {}
        nested = sections(ExperimentConfig)
        for field in dataclasses.fields(ExperimentConfig):
            value = getattr(self, field.name)
            if field.name in nested:
                names = {each.name for each in dataclasses.fields(nested[field.name])}
                own = {name: changes.pop(name) for name in names & changes.keys()}
                value = dataclasses.replace(value, **own)
            values[field.name] = value
        folder = f"{self.study_dir.rstrip('/')}/runs/{number:03}"
        return ExperimentConfig(**values | {"model_dir": folder} | changes)


def _whole_numbers(
    name: str, values: tuple[str, ...], *, at_least: int
) -> tuple[int, ...]:
    numbers = [value.strip() for value in values]
    # `isdecimal` takes digits of other scripts, as `int` does.
    if all(text.isdecimal() and int(text) >= at_least for text in numbers):
        return tuple(map(int, numbers))
    raise ValueError(
        message(
            f"--{name} must be whole numbers of at least {at_least}, separated by commas",
            received=",".join(values),
            mend=f"write them as in --{name}={'100,300,1000' if at_least else '0,1,2'}",
        )
    )
