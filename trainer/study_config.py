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
import functools
from typing import Any, Literal

from trainer import sweep_space
from trainer.config import ENSEMBLE_FORMATS, ExperimentConfig, sections, setting
from trainer.messages import message

StudyName = Literal["learning_curve", "folds", "seeds", "sweep", "ladder"]
ExportFolds = Literal["none", "final", "ensemble"]
Sampler = Literal["sobol", "optuna"]

# With --sampler=optuna the first trials are Sobol's, too: there is nothing to learn from.
NUM_SOBOL_TRIALS = 8
# What reads a run's answers as one label a text each.
_OF_ONE_LABEL = ("folds", "sweep", "ladder")
# What chooses the most probable label itself.
_OF_NO_ORDER = ("folds", "ladder")


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
        "says (--num_folds; --fold=3 makes that run alone). `seeds`: the same run with "
        "several --seeds. `sweep`: trials of the settings of --sweep, chosen on "
        "validation. `ladder`: the models of --presets, all else equal, with the simple "
        "baselines.",
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
        "were best in the median fold, its temperature, thresholds and abstaining (of "
        "numbers its interval) fitted on the answers to the texts of all folds together; "
        "`ensemble`, one model in "
        "STUDY_DIR/export that answers by the mean probability of the folds' models, "
        "with the same temperature, thresholds and abstaining, and is as many times "
        "larger and slower. With --export=false the folds' own models are not exported; "
        "this is, all the same. A finished study takes another value.",
        may_change=True,
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
        "every size is run with each, as are the last trials of a sweep and all models of "
        "a ladder. A seed stands for another draw of the training "
        "texts (where not all are used), another order and other first weights, so "
        "several show how far a result depends on these. Empty: --seed alone.",
    )

    sweep: tuple[str, ...] = setting(
        (),
        "A setting that the trials of a sweep differ in, as NAME=VALUES; may be given "
        "several times. VALUES are log:LOW:HIGH (rates), linear:LOW:HIGH (whole numbers "
        "stay whole) or a list separated by commas: learning_rate=log:1e-5:2e-4, "
        "num_train_epochs=2,3,4.",
        repeated=True,
    )
    num_trials: int = setting(
        16,
        "How many different settings a sweep tries, drawn by --sampler and --seed. A "
        "study with more of them begins with the same ones.",
    )
    sampler: Sampler = setting(
        "sobol",
        "What draws the settings of a sweep's trials. `sobol`: Sobol's sequence, which "
        "fills the space evenly. `optuna`: the first "
        f"{NUM_SOBOL_TRIALS} likewise, later ones by Optuna's TPE, near to what was good "
        "so far. It needs the extra `optuna`, and --rungs=1.",
    )
    rungs: tuple[str, ...] = setting(
        ("1",),
        "Shares of the training texts, ascending, separated by commas, the last one 1: "
        "as in 0.25,0.5,1. All trials train on the first share, each with its whole "
        "schedule; the best --keep_fraction of them on the next, and so on. "
        "1: all trials train on all texts.",
    )
    keep_fraction: float = setting(
        0.5,
        "The share of the trials, in (0, 1), that goes from one of --rungs on to the "
        "next, rounded up.",
    )
    range_test: bool = setting(
        False,
        "With --study=sweep: find where a sweep of --learning_rate should look. Over "
        "100 steps it rises from a hundredth of --learning_rate to its hundredfold; the "
        "page shows the loss and suggests a range. Without --sweep that is all.",
    )
    presets: tuple[str, ...] = setting(
        (),
        "The models of a ladder, separated by commas, the smallest first; each as "
        "--preset takes it.",
    )

    def __post_init__(self) -> None:
        # First the study's own: what is wrong with a run, its config says.
        if not self.study_dir:
            raise ValueError(message("--study_dir is required", received="none"))
        if self.dry_run:
            raise ValueError(
                message(
                    "--dry_run is of a single run",
                    received="--dry_run of a study",
                    mend="give trainer.main one of its runs: the same flags, without the "
                    "study's own",
                )
            )
        if self.labelling.export_to_label:
            raise ValueError(
                message(
                    "--export_to_label is of a single run, for all runs of a study would "
                    "write one file",
                    received=f"export_to_label={self.labelling.export_to_label}",
                    mend="ask an exported model of one of its runs: trainer.predict has "
                    "the same flag",
                )
            )
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
        if self.study == "sweep":
            self._check_sweep()
        if self.study == "ladder":
            self._check_ladder()

    def _check_kind(self) -> None:
        """Raises ValueError for settings that the kind of study cannot use, or lacks."""
        refused = {"multi_label": _OF_ONE_LABEL, "ordinal": _OF_NO_ORDER}
        if self.study in refused.get(self.data.task, ()):
            raise ValueError(
                message(
                    f"--study={self.study} compares answers of one label a text, the most "
                    "probable one",
                    received=f"task={self.data.task}",
                    mend="give --study=seeds or learning_curve, or single runs of "
                    "trainer.main, which --num_folds and --fold make of folds",
                )
            )
        unused = [
            f"--{name}={','.join(value) if isinstance(value, tuple) else value}"
            for name, value, kinds in (
                ("train_sizes", self.train_sizes, ("learning_curve",)),
                ("seeds", self.seeds, ("learning_curve", "seeds", "sweep", "ladder")),
                ("export_folds", self.export_folds, ("folds",)),
                ("sweep", self.sweep, ("sweep",)),
                ("rungs", self.rungs, ("sweep",)),
                ("sampler", self.sampler, ("sweep",)),
                ("range_test", self.range_test, ("sweep",)),
                ("presets", self.presets, ("ladder",)),
            )
            if self.study not in kinds
            and value not in ((), "none", ("1",), "sobol", False)
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
        if self.export_folds != "none":
            self._check_gates_of_folds()
        if self.export_folds == "ensemble":
            self._refuse_ensemble_of_numbers()
            self._check_formats_of_ensemble()
            self._check_weights_of_ensemble()
        if self.study == "seeds" and len(self.seeds) < 2:
            raise ValueError(
                message(
                    "--study=seeds needs two --seeds or more",
                    received=",".join(self.seeds) or "none",
                    mend="give --seeds=0,1,2",
                )
            )

    def _refuse_ensemble_of_numbers(self) -> None:
        """Raises ValueError where texts have numbers: each fold has its own unit."""
        if self.data.task == "regression":
            raise ValueError(
                message(
                    "--export_folds=ensemble averages probabilities, and the models of "
                    "--task=regression each answer in the spread of their own fold",
                    received="export_folds=ensemble, task=regression",
                    mend="give --export_folds=final, which is one model of all texts",
                )
            )

    def _check_formats_of_ensemble(self) -> None:
        formats = self.serving.export_formats
        kept = [name for name in formats if name in ENSEMBLE_FORMATS]
        if len(kept) < len(formats):
            raise ValueError(
                message(
                    "--export_folds=ensemble must be given formats that hold several "
                    f"models: {', '.join(ENSEMBLE_FORMATS)}",
                    received=f"--export_formats={','.join(formats)}",
                    mend=f"give --export_formats={','.join(kept)}, or "
                    "--export_folds=final, which is one model",
                )
            )

    def _check_weights_of_ensemble(self) -> None:
        """It reads checkpoints: of last weights these have what is trained, no mean."""
        has_best = self.data.validation_one_in or self.data.validation_dataset
        if self.optimizer.ema and not has_best:
            raise ValueError(
                message(
                    "--export_folds=ensemble with --ema needs a validation split, for it "
                    "is made of the runs' best weights",
                    received="--validation_one_in=0",
                    mend="give --validation_one_in=10, or --export_folds=final",
                )
            )

    def _check_gates_of_folds(self) -> None:
        """Of what is exported no text is held out, to measure groups by."""
        for name in ("max_slice_gap", "max_flips"):
            value = getattr(self.serving, name)
            if value:
                raise ValueError(
                    message(
                        f"--{name} needs texts that are held out from the model, and "
                        f"--export_folds={self.export_folds} trains on all of them",
                        received=f"{name}={value}",
                        mend="leave it out: the runs of the folds report their groups",
                    )
                )

    def _check_sweep(self) -> None:
        if not (self.sweep or self.range_test):
            raise ValueError(
                message(
                    "a sweep must be told what to try",
                    received="no --sweep",
                    mend="give --sweep=learning_rate=log:1e-5:2e-4, or --range_test to "
                    "find where to look",
                )
            )
        if self.num_trials < 2:
            raise ValueError(
                message("--num_trials must be at least 2", received=self.num_trials)
            )
        if not 0 < self.keep_fraction < 1:
            raise ValueError(
                message(
                    "--keep_fraction must be above 0 and below 1",
                    received=self.keep_fraction,
                )
            )
        if not self.rung_shares:
            raise ValueError(
                message(
                    "--rungs must be ascending shares above 0, the last one 1",
                    received=",".join(self.rungs),
                    mend="write them as in --rungs=0.25,0.5,1",
                )
            )
        if self.sampler == "optuna":
            self._check_optuna()
        self._require_validation_texts("a sweep")
        for axis in self.axes:
            for value in axis.values:
                self._refuse_value(axis.name, value)

    def _check_optuna(self) -> None:
        if len(self.rung_shares) > 1:
            raise ValueError(
                message(
                    "--sampler=optuna must learn from trials on all texts",
                    received=f"--rungs={','.join(self.rungs)}",
                    mend="give --rungs=1, or --sampler=sobol",
                )
            )
        if self.num_trials <= NUM_SOBOL_TRIALS:
            raise ValueError(
                message(
                    f"--sampler=optuna must have more than {NUM_SOBOL_TRIALS} trials: "
                    "the first ones are drawn by Sobol's sequence",
                    received=f"--num_trials={self.num_trials}",
                    mend=f"give --num_trials={2 * NUM_SOBOL_TRIALS}, or "
                    "--sampler=sobol",
                )
            )

    def _check_ladder(self) -> None:
        if len(set(self.presets)) < max(len(self.presets), 2):
            different = ",".join(dict.fromkeys(self.presets))
            raise ValueError(
                message(
                    "--presets must be two different models or more, separated by commas",
                    received=",".join(self.presets) or "none",
                    mend=(
                        f"give --presets={different}"
                        if "," in different
                        else "give --presets=bert_tiny_en_uncased,bert_small_en_uncased"
                    ),
                )
            )
        self._require_validation_texts("a ladder")

    def _require_validation_texts(self, what: str) -> None:
        if not (self.data.validation_one_in or self.data.validation_dataset):
            raise ValueError(
                message(
                    f"{what} chooses on validation texts, so that test stays fresh",
                    received="--validation_one_in=0",
                    mend="set --validation_one_in=10, or give --validation_dataset",
                )
            )

    def _refuse_value(self, name: str, value: sweep_space.Value) -> None:
        try:
            self.run(0, **{name: value})
        except ValueError as error:
            raise ValueError(
                message(
                    f"--sweep={name}=... must have values that a run of these settings "
                    "takes",
                    received=f"{sweep_space.flag_value(value)}, of which it says: {error}",
                    mend="change that value, or what it does not go with",
                )
            ) from error

    @functools.cached_property
    def axes(self) -> tuple[sweep_space.Axis, ...]:
        """What the trials of a sweep differ in."""
        return sweep_space.parse(self.sweep)

    @property
    def rung_shares(self) -> tuple[float, ...]:
        """--rungs as numbers; empty: they are not such shares."""
        try:
            shares = tuple(map(float, self.rungs))
        except ValueError:
            return ()
        is_right = shares == tuple(sorted(set(shares))) and shares[:1] > (0.0,)
        return shares if is_right and shares[-1] == 1 else ()

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
