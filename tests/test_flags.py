"""Tests of trainer/flags.py, trainer/main.py and the flagfiles in configs/."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import subprocess
import sys
import typing
from typing import Any

import pytest
from absl import flags as absl_flags

from trainer import config as config_lib
from trainer import flags
from trainer.config import ExperimentConfig, PredictConfig, ServeConfig
from trainer.study_config import StudyConfig

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
FLAGFILES = sorted(REPOSITORY.glob("configs/*.flags"))
REQUIRED = ["--model_dir=runs/a", "--dataset=files:a.csv", "--preset=tiny"]

# Written out, since users' flagfiles and scripts hold them: a renamed field must
# not rename a flag unseen.
FLAG_NAMES = """
    model_dir dataset text_field label_field preset num_train_examples
    num_eval_examples max_length truncation num_train_epochs global_batch_size
    eval_batch_size learning_rate num_warmup_steps warmup_fraction weight_decay
    clip_norm logging_steps eval_every_steps early_stopping_patience seed strategy
    precision dropout num_virtual_devices tpu cluster_timeout_secs keep_checkpoints
""".split()


def defined(config_class: type = ExperimentConfig) -> Any:
    """The flags of a config class, apart from the process's own."""
    flag_values: Any = absl_flags.FlagValues()  # type: ignore[no-untyped-call]
    flags.define(config_class, flag_values)
    return flag_values


def parse(*arguments: str) -> ExperimentConfig:
    """The config of a command line."""
    flag_values = defined()
    rest = flag_values(["main", *arguments])
    assert rest == ["main"]
    return flags.read(ExperimentConfig, flag_values)


def fields_with_types(config_class: type) -> dict[str, Any]:
    """Every setting's type, those of the sections too, by name."""
    nested = config_lib.sections(config_class)
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(config_class).items():
        found.update(
            fields_with_types(nested[name]) if name in nested else {name: hint}
        )
    return found


def declared(config_class: type, name: str) -> dataclasses.Field[Any]:
    """The field of this name, of the class or of one of its sections."""
    owners = (config_class, *config_lib.sections(config_class).values())
    (found,) = [
        field
        for owner in owners
        for field in dataclasses.fields(owner)
        if field.name == name
    ]
    return found


@pytest.mark.parametrize("config_class", [ExperimentConfig, PredictConfig, StudyConfig])
def test_every_field_has_a_flag(config_class: type) -> None:
    flag_values = defined(config_class)
    for name, hint in fields_with_types(config_class).items():
        flag, field = flag_values[name], declared(config_class, name)
        value = tuple(flag.value) if isinstance(flag.value, list) else flag.value
        assert value == field.default and type(value) is type(field.default), name
        assert field.metadata["help"], f"--{name} has no help"
        assert field.metadata["help"] in flag.help, name
        if typing.get_origin(hint) is typing.Literal:
            assert tuple(flag.parser.enum_values) == typing.get_args(hint), name


def test_defaults_make_the_default_config() -> None:
    config = parse(*REQUIRED)
    assert config == ExperimentConfig(
        model_dir="runs/a",
        data=config_lib.DataConfig(dataset="files:a.csv"),
        model=config_lib.ModelConfig(preset="tiny"),
    )


@pytest.mark.parametrize("name", FLAG_NAMES)
def test_flag_exists(name: str) -> None:
    assert name in defined()


@pytest.mark.parametrize(
    "name, choices",
    [
        ("strategy", ["auto", "one_device", "mirrored", "multi_worker", "tpu"]),
        ("truncation", ["head", "tail", "head_tail"]),
    ],
)
def test_choices(name: str, choices: list[str]) -> None:
    flag_values = defined()
    assert sorted(flag_values[name].parser.enum_values) == sorted(choices)
    with pytest.raises(absl_flags.IllegalFlagValueError, match=f"--{name}=nonsense"):
        flag_values(["main", f"--{name}=nonsense"])


def test_parts_are_a_number_or_a_word() -> None:
    for text, expected in (("auto", "auto"), ("4", 4)):
        config = parse(*REQUIRED, f"--accumulation_steps={text}")
        assert config.training.accumulation_steps == expected
    for text in ("0", "-1", "many", ""):
        with pytest.raises(ValueError, match=f"or auto. Received: .*=?{text}; auto"):
            parse(*REQUIRED, f"--accumulation_steps={text}")


def test_flags_reach_their_fields() -> None:
    config = parse(
        *REQUIRED,
        "--nodeterministic",
        "--tpu=local",
        "--cluster_timeout_secs=30",
        "--keep_checkpoints=3",
        "--download",
        "--learning_rate=2e-5",
        "--seed=7",
        "--truncation=tail",
        "--text_field=review",
    )
    assert (config.runtime.tpu, config.runtime.cluster_timeout_secs) == ("local", 30.0)
    assert config.training.keep_checkpoints == 3
    assert config.runtime.deterministic is False
    assert config.data.download is True
    assert config.optimizer.learning_rate == 2e-5
    assert config.training.seed == 7
    assert (config.data.truncation, config.data.text_field) == ("tail", "review")


@pytest.mark.parametrize(
    "override, expected",
    [([], 16), (["--global_batch_size=4"], 4)],
    ids=["file", "override"],
)
def test_flagfile_then_override(
    override: list[str], expected: int, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "run.flags"
    path.write_text(
        "# A comment.\n\n" + "\n".join(REQUIRED) + "\n--global_batch_size=16\n"
    )
    config = parse(f"--flagfile={path}", *override)
    assert config.training.global_batch_size == expected
    assert config.model_dir == "runs/a"


@pytest.mark.parametrize(
    "arguments, name, expected",
    [
        (["--label_names=bad,good"], "label_names", ("bad", "good")),
        (["--label_names=not bad,good"], "label_names", ("not bad", "good")),
        (["--label_names="], "label_names", ()),
        (["--sample_texts=Good, very good."], "sample_texts", ("Good, very good.",)),
        (
            ["--sample_texts=Good, very good.", "--sample_texts=Bad."],
            "sample_texts",
            ("Good, very good.", "Bad."),
        ),
        ([], "sample_texts", ()),
    ],
)
def test_lists(arguments: list[str], name: str, expected: tuple[str, ...]) -> None:
    config = parse(*REQUIRED, *arguments)
    owner = config if hasattr(config, name) else config.data
    assert getattr(owner, name) == expected


@pytest.mark.parametrize("in_file", [False, True], ids=["command_line", "flagfile"])
def test_unknown_flag(in_file: bool, tmp_path: pathlib.Path) -> None:
    argument = "--learning_rat=1e-5"
    if in_file:
        path = tmp_path / "run.flags"
        path.write_text(argument + "\n")
        argument = f"--flagfile={path}"
    with pytest.raises(absl_flags.UnrecognizedFlagError) as caught:
        parse(*REQUIRED, argument)
    assert "learning_rat'" in str(caught.value)
    assert "Did you mean: learning_rate" in str(caught.value)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--max_length=2"], "--max_length must be at least 3"),
        (["--strategy=tpu"], "--strategy=tpu needs to be told of the TPU, with --tpu"),
        (["--strategy=mirrored", "--tpu=local"], "--tpu is for --strategy=tpu"),
        (["--cluster_timeout_secs=0.5"], "--cluster_timeout_secs must be at least 1"),
        (["--keep_checkpoints=0"], "--keep_checkpoints must be at least 1"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_settings_are_checked(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(*REQUIRED, *arguments)


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python on this program, without waiting for longer than it may take."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_import_defines_no_flags() -> None:
    """So that a test may import an entry point, and another entry point too."""
    result = run_python(
        "-c",
        "import trainer.main; from absl import flags; print('seed' in flags.FLAGS)",
    )
    assert result.stdout == "False\n", result.stderr


def run_main(*arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Runs trainer.main; returns also the top-level packages that it imported."""
    # With this option Python writes each module it imports to standard error.
    result = run_python("-X", "importtime", "-m", "trainer.main", *arguments)
    pattern = re.compile(r"^import time: .*\| +(.+)\n", re.MULTILINE)
    modules = {name.split(".")[0] for name in pattern.findall(result.stderr)}
    result.stderr = pattern.sub("", result.stderr)
    assert "absl" in modules, "the imports were not seen"
    return result, modules


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], "error: --model_dir is required. Received: none\n"),
        (
            [*REQUIRED, "reviews.csv", "2"],
            "error: every setting is a flag, --name=value. Received: reviews.csv 2; "
            "write the dashes and the '=', and quote a value that has blanks\n",
        ),
        (
            ["configs/quickstart.flags", "--seed=3"],
            "error: every setting is a flag, --name=value. Received: "
            "configs/quickstart.flags; if it is a file of flags, write "
            "--flagfile=configs/quickstart.flags\n",
        ),
    ],
    ids=["nothing", "positional", "flagfile forgotten"],
)
def test_mistake_on_the_command_line(arguments: list[str], expected: str) -> None:
    result, modules = run_main(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", expected)
    assert not modules & {"tensorflow", "keras", "keras_nlp", "keras_hub"}


# What is wrong with a command line, and a part of the message.
MISTAKES = {
    "mistyped in a flagfile": (
        "--flagfile={}/mistyped.flags",
        "Received: --learning_rat (did you mean 'learning_rate'?)",
    ),
    "a bad choice": ("--strategy=clever", "should be one of <auto|one_device|"),
    "no number": ("--seed=x", "Received: flag --seed=x: invalid literal"),
    "no value": ("--seed", "Received: Missing value for flag --seed"),
    "no flagfile": ("--flagfile=a.flags", "No such file or directory: 'a.flags'"),
    "a folder": ("--flagfile={}", "Is a directory"),
    "a flagfile in UTF-16": ("--flagfile={}/utf16.flags", "must be a text file in UTF"),
    "no name of a flagfile": ("--flagfile", "--flagfile with no argument"),
    "flagfile forgotten, a blank": ("a b.flags", "write '--flagfile=a b.flags'"),
    "no dashes in a flagfile": ("--flagfile={}/dashes.flags", "Received: seed=3;"),
    "a blank for the equals sign": (
        "--flagfile={}/blank.flags",
        "--model_dir runs/a; write '=' between name and value",
    ),
    "a null character": ("--flagfile={}/null.flags", r"--model_dir must be text in"),
    "bytes that are no UTF-8": ("--model_dir=\udcff", r"Received: '\udcff'"),
    "a bad value of a flag of absl's": ("--stderrthreshold=x", "not 'x'"),
}


@pytest.mark.parametrize("argument, part", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_flags_costs_one_line(
    argument: str, part: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "mistyped.flags").write_text("--learning_rat=3\n")
    (tmp_path / "dashes.flags").write_text("seed=3\n")
    (tmp_path / "blank.flags").write_text("--model_dir runs/a\n")
    (tmp_path / "null.flags").write_text("--model_dir=a\0b\n")
    (tmp_path / "utf16.flags").write_text("--seed=3\n", encoding="utf-16")
    result = run_python("-m", "trainer.main", argument.format(tmp_path))
    assert result.returncode == 2 and part in result.stderr
    assert re.fullmatch("error: .+\n", result.stderr)


@pytest.mark.parametrize(
    "entry_point", ["main", "predict", "serve", "audit", "study", "compare"]
)
def test_a_mistake_in_flags_ends_every_entry_point_with_2(entry_point: str) -> None:
    result = run_python("-m", f"trainer.{entry_point}", "--mistyped=1")
    assert result.returncode == 2
    assert result.stderr.startswith("error: every flag must be one that --help shows. ")


def test_mistake_in_a_table_is_named_before_tensorflow_is_imported(
    tmp_path: pathlib.Path,
) -> None:
    table = tmp_path / "a.csv"
    table.write_text("text,label\na,0\nb,1\nc\n")
    result, modules = run_main(
        f"--model_dir={tmp_path}/run", f"--dataset=files:{table}", "--preset=a"
    )
    assert result.returncode == 2
    assert f"{table}:4: expected 2 fields" in result.stderr
    assert not modules & {"tensorflow", "keras", "keras_nlp", "keras_hub"}
    assert not (tmp_path / "run").exists()


def test_help() -> None:
    result, modules = run_main("--help")
    shown = " ".join(result.stdout.split())
    assert "python -m trainer.main --flagfile=" in shown
    for name in fields_with_types(ExperimentConfig):
        help_text = declared(ExperimentConfig, name).metadata["help"]
        assert re.search(rf"--(\[no\])?{name}(=[\w|]+)?: ", shown), name
        assert " ".join(help_text.split()) in shown, name
    assert result.returncode == 0 and "--flagfile=FILE" in shown
    headings = re.findall(r"^[A-Z][a-z]+$", result.stdout, re.MULTILINE)
    assert headings == [
        *("Data", "Model", "Optimizer", "Pretraining", "Training", "Serving"),
        *("Checks", "Kept", "Groups", "Labelling", "Runtime", "Other"),
    ]
    assert not modules & {"tensorflow", "keras", "keras_nlp", "keras_hub"}


@pytest.mark.parametrize(
    ("config_class", "line"),
    [
        (ExperimentConfig, "--dataset: required"),
        (ExperimentConfig, "--dropout: default -1, the preset's own"),
        (ExperimentConfig, "--clip_norm: default 1"),
        (ExperimentConfig, "--num_train_examples: default 0, all of them"),
        (ExperimentConfig, "--tpu: by default none"),
        (ExperimentConfig, "--[no]calibrate: default on"),
        (ExperimentConfig, "--[no]download: default off"),
        (ExperimentConfig, "--pooling=first|mean: default first"),
        (ExperimentConfig, "--export_formats: default float32"),
        (PredictConfig, "--saved_model: required"),
        (PredictConfig, "--batch_size: default 32"),
        (ServeConfig, "--port: default 8501"),
        (StudyConfig, "--study_dir: required"),
        (StudyConfig, "--num_jobs: default 1"),
        (StudyConfig, "--seeds: by default --seed alone"),
    ],
)
def test_help_says_defaults_in_words(config_class: type, line: str) -> None:
    lines = flags.help_text(config_class, columns=80).splitlines()
    assert f"  {line}" in lines
    # What the program's docstring says is not wrapped here.
    first = next(n for n, each in enumerate(lines) if each.startswith("  --"))
    assert max(map(len, lines[first:])) <= 80


def test_help_of_all_flags() -> None:
    result, _ = run_main("--helpfull")
    assert "--verbosity" in result.stdout and "--dropout" in result.stdout
    assert result.returncode == 0, "absl ends with 1, which is a crash to launchers"


ENDINGS = {
    # What main does, the exit code, the error's one line (None: a traceback).
    "well": ("pass", 0, ""),
    "mistake": ("config.DataConfig(max_length=1)", 2, "error: --max_length must be"),
    "fault": ("int('x')", 1, None),
    "diverged": ("raise FloatingPointError('loss is nan')", 3, "error: loss is nan\n"),
    "full disk": (
        "raise OSError(28, 'No room', 'm/1/x.tmp')",
        2,
        "error: --saved_model=m must be in a place that can be read and written. "
        "Received: No space left on device: m/1/x.tmp; make room, and start again\n",
    ),
    "no permission": (
        # Another place than that of --saved_model=m.
        "raise OSError(13, 'No', 'models/x')",
        2,
        "error: a file must be in a place that can be read and written. "
        "Received: Permission denied: models/x; check its permissions, or name another ",
    ),
    "no permission, of a socket": ("raise OSError(13, 'invalid literal')", 1, None),
    "other OSError": ("raise OSError(5, 'invalid literal', 'm/x')", 1, None),
    "preempted": (
        "raise flags.Preempted('saved at step 7')",
        75,
        "stopped: saved at step 7; start it again to resume\n",
    ),
    "worker lost": ("raise flags.WorkerLost('worker 1')", 75, "stopped: worker 1;"),
}


@pytest.mark.parametrize("statement, code, line", ENDINGS.values(), ids=ENDINGS)
def test_how_a_run_ends(statement: str, code: int, line: str | None) -> None:
    result = run_python(
        "-c",
        "from trainer import config, flags\n"
        f"def main(predict_config):\n    {statement}\n"
        "flags.run(config.PredictConfig, main)",
        "--saved_model=m",
        "--input=-",
    )
    assert result.returncode == code
    if line is None:
        assert "Traceback" in result.stderr and "invalid literal" in result.stderr
    else:
        assert result.stderr.startswith(line)
        assert result.stderr.count("\n") == bool(line)


def test_flagfiles_were_found() -> None:
    assert "quickstart" in [path.stem for path in FLAGFILES]


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_flagfile(path: pathlib.Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next(n for n, line in enumerate(lines) if not line.startswith("#"))
    head = "\n".join(lines[:end])
    assert f"python -m trainer.main --flagfile=configs/{path.name}" in head
    for title in ("Hardware:", "Time:", "Score:"):
        assert re.search(rf"^# +{title} +\w", head, re.MULTILINE), title
    for line in lines[end:]:
        # absl takes a note after a value for a part of the value.
        assert not line or line.startswith("#") or re.fullmatch(r"--\S+", line), line

    config = parse(f"--flagfile={path}")

    assert config.model_dir == f"runs/{path.stem}"
