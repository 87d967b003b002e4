"""What README and the pages say is so: commands run, examples are what comes out.

A command stands in an `sh` block, one a line; other blocks hold no commands. Every
command is in one of two tables: `RUN_BY` names the test that runs it, `NOT_RUN` says
why none can. A new command without an entry fails, and so does an entry without one.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading
import typing
import urllib.request
from typing import Any, Iterator

import pytest
from absl import flags as absl_flags

from tests import mistakes, tiny
from trainer import exit_codes, flags

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
}
README = PAGES["README.md"]
ENTRY_POINTS = ("main", "predict", "serve", "audit", "study", "compare")
# Makes a run of minutes one of seconds; later flags win.
SMALL = [
    "--num_train_examples=48",
    "--num_eval_examples=32",
    "--max_length=32",
    "--num_buckets=1",
]

# Words of a command → the test that runs it: here, or FILE::TEST.
RUN_BY = {
    "bash scripts/quickstart.sh": "test_quickstart_ends_with_the_table",
    "--num_workers=2": "test_two_workers_on_one_machine",
    "--num_shards=2": "tests/serving/test_shards.py::"
    "test_the_launcher_answers_all_parts_and_joins_them",
    "--output=parts.jsonl": "test_own_data_then_predict_and_serve",
    "tests.mistakes": "test_the_mistakes_it_shows_are_what_a_user_sees",
    "--dataset=files:tickets.csv": "test_the_mistakes_it_shows_are_what_a_user_sees",
    "--review_page=review.html": "tests/stages/test_look.py::"
    "test_the_program_writes_the_page_of_what_it_doubts",
    "--corrections=corrections.jsonl": "tests/stages/test_look.py::"
    "test_strict_ends_with_2_and_corrections_mend_it",
    "--dataset=files:my_reviews.csv": "test_own_data_then_predict_and_serve",
    "--output=answers.jsonl": "test_own_data_then_predict_and_serve",
    "--signature=embed": "test_own_data_then_predict_and_serve",
    "--dataset=files:prices.csv": "tests/test_regression.py::"
    "test_reports_how_far_values_are_off",
    "--dataset=files:pairs.csv": "tests/test_pairs.py::test_learns_which_text_is_which",
    "--output=pairs.jsonl": "tests/test_pairs.py::test_predict_reads_two_columns",
    "--output=why.jsonl": "tests/serving/test_explain.py::"
    "test_predict_writes_the_words",
    "--export_explain": "tests/stages/test_explain.py::"
    "test_a_finished_run_explains_itself_and_its_export",
    "--drift_report": "tests/test_experiment.py::"
    "test_says_whether_new_texts_have_drifted",
    "--export_to_label": "tests/stages/test_labelling.py::"
    "test_a_finished_run_says_who_chooses_now",
    "--verify": "test_own_data_then_predict_and_serve",
    "-m trainer.serve": "test_own_data_then_predict_and_serve",
    "curl": "test_own_data_then_predict_and_serve",
    "--study=learning_curve": "tests/studies/test_driver.py::"
    "test_a_stopped_study_continues_where_it_was",
    "--study=folds": "tests/studies/test_folds.py::"
    "test_jobs_that_are_killed_leave_the_same_study",
    "--study_dir=runs/prices": "tests/studies/test_numbers.py::"
    "test_a_killed_study_is_an_undisturbed_one_and_a_fold_is_the_run_alone",
    "--range_test": "tests/studies/test_sweep.py::"
    "test_a_range_test_leaves_a_curve_and_no_checkpoint",
    "--sweep=": "tests/studies/test_sweep.py::test_a_killed_sweep_ends_with_the_same_table",
    "--study=ladder": "tests/studies/test_ladder.py::"
    "test_the_smallest_that_is_not_shown_to_be_worse",
    "--study=seeds": "tests/studies/test_seeds.py::test_it_says_how_much_is_luck",
    "--challenger=": "tests/champion/test_compare.py::"
    "test_the_better_one_is_told_on_texts_that_neither_has_seen",
    "--promote=not_worse": "tests/stages/test_challenge.py::test_a_month_of_versions",
    "--promote=3": "tests/champion/test_compare.py::"
    "test_promoted_by_hand_a_version_is_tried_first",
    "--rollback": "tests/serving/test_promotion.py::"
    "test_rolled_back_the_one_before_serves",
    "--history=": "tests/champion/test_compare.py::"
    "test_promoted_by_hand_a_version_is_tried_first",
    "scripts.benchmarks.benchmark": "tests/test_benchmark.py::test_it_runs",
    "scripts.benchmarks.measure_scaling": "tests/test_measure_scaling.py::test_it_runs",
}
# Words of a command → why no test runs it. What else is checked of it: that its paths
# and modules are there, and that its flags of this program parse.
NOT_RUN = {
    "imdb_bert_base.flags": "downloads 25,000 reviews and BERT-base; needs a GPU",
    "pip install": "installs into the environment that runs the tests",
    "docker run": "neither Docker nor the image of TensorFlow Serving is here",
    "sbatch": "no Slurm is here; tests/test_launchers.py runs the script with a fake",
    "bash scripts/test.sh": "runs these tests",
    "-m pytest": "runs these tests",
    "tfjs/install.sh": "compiles for a minute; scripts/test.sh runs it before the tests",
    "-m black": "scripts/test.sh runs it before the tests",
    "-m flake8": "scripts/test.sh runs it before the tests",
    "-m mypy": "scripts/test.sh runs it before the tests",
    "-m tests.soak": "kills a real run at random moments, for some 8 minutes",
    "measure_label_audit": "minutes of a processor of its own; it only measures",
    "measure_evaluation": "minutes of a processor of its own; it only measures",
    "measure_rows": "minutes of a processor of its own; it only measures",
    "measure_memory": "minutes of a processor of its own; it only measures",
    "measure_coverage": "minutes of a processor of its own; it only measures",
    "measure_remedies": "minutes of a processor of its own; it only measures",
    "measure_labelling": "minutes of a processor of its own; it only measures",
    "measure_explanations": "minutes of a processor of its own; it only measures",
    "measure_plans": "gigabytes of ten million rows; it only measures",
    "measure_step": "minutes of a processor of its own; it only measures",
    "fingerprint_runs.py": "minutes; compares two commits",
    "diff before.json": "compares what fingerprint_runs.py printed",
}

# Flags in the pages that are not of `ENTRY_POINTS`: those of our other programs, whose
# source must have them, and those of others' programs.
OUR_FLAGS = {
    "num_words": "scripts/benchmarks/measure_explanations.py",
    "work_dir": "scripts/benchmarks/measure_labelling.py",
    "num_pool": "scripts/benchmarks/measure_labelling.py",
    "num_epochs": "scripts/benchmarks/measure_plans.py",
    "num_workers": "scripts/launchers/launch_local.py",
    "num_shards": "scripts/launchers/launch_local.py",
    "num_gpus": "scripts/launchers/launch_local.py",
    "num_at_once": "scripts/launchers/launch_local.py",
    "num_rows": "scripts/benchmarks/measure_rows.py",
    "num_samples": "scripts/benchmarks/measure_coverage.py",
    "num_truth": "scripts/benchmarks/measure_coverage.py",
    "time_limit": "scripts/benchmarks/measure_coverage.py",
    "until": "scripts/benchmarks/measure_memory.py",
    "num_texts": "scripts/benchmarks/measure_evaluation.py",
    "formats": "scripts/benchmarks/measure_rows.py",
    "before": "scripts/benchmarks/measure_rows.py",
    "rounds": "tests/soak.py",
    "num_steps": "scripts/benchmarks/benchmark.py",
    "repeats": "scripts/benchmarks/benchmark.py",
    "document": "scripts/benchmarks/measure_scaling.py",
    "figure": "scripts/benchmarks/measure_scaling.py",
    "folder": "scripts/benchmarks/measure_scaling.py",
}
FOREIGN_FLAGS = {
    "flagfile": "absl",
    "help": "absl",
    "check": "black",
    "logdir": "tensorboard",
    "rm": "docker",
    "mount": "docker",
    "enable_batching": "TensorFlow Serving",
    "batching_parameters_file": "TensorFlow Serving",
    "nodes": "sbatch",
    "array": "sbatch",
    "gpus-per-node": "sbatch",
}


def blocks(page: str, *, kind: str) -> list[str]:
    """The contents of a page's fenced blocks of one kind, such as "sh"."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)
    return [content for name, content in fenced if name == kind]


def commands_of(page: str) -> list[str]:
    """The commands of a page, continuations joined."""
    text = "".join(blocks(page, kind="sh")).replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines()]


# The same command may stand on several pages.
COMMANDS = sorted({command for page in PAGES for command in commands_of(page)})


def command(words: str) -> str:
    """The one command that has these words."""
    (found,) = [line for line in COMMANDS if words in line]
    return found


def flags_of(entry_point: str) -> Any:
    """The flags that `--help` of an entry point lists, of this program."""
    flag_values: Any = absl_flags.FlagValues()  # type: ignore[no-untyped-call]
    flags.define(config_class(entry_point), flag_values)
    return flag_values


def config_class(entry_point: str) -> type:
    """The config class of `python -m trainer.ENTRY_POINT`."""
    module = importlib.import_module(f"trainer.{entry_point}")
    result: type = typing.get_type_hints(module.main)["config"]
    return result


def parse(entry_point: str, *arguments: str) -> Any:
    """The config that a command line gives, checked as the program does."""
    flag_values = flags_of(entry_point)
    absl_flags.DEFINE_multi_string("flagfile", None, "", flag_values=flag_values)
    rest = flag_values(["program", *arguments])
    assert rest == ["program"], rest
    return flags.read(config_class(entry_point), flag_values)


def program_in(line: str) -> tuple[str, list[str]] | None:
    """Entry point and flags of a command that calls this program, also within one."""
    words = shlex.split(line)
    for position, word in enumerate(words):
        if word.startswith("trainer."):
            return word.removeprefix("trainer."), words[position + 1 :]
        if word.endswith("slurm.sbatch"):
            return "main", words[position + 1 :]
    return None


def local(line: str) -> list[str]:
    """The words of a command, with this interpreter."""
    return [
        sys.executable if word in ("python", ".venv/bin/python") else word
        for word in shlex.split(line)
    ]


def run(line: str, *, cwd: pathlib.Path) -> str:
    """Runs a command with this interpreter, and returns what it prints."""
    done = subprocess.run(
        local(line),
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=600,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_newcomer_reads_readme_in_five_minutes() -> None:
    assert len(README.splitlines()) <= 160


def test_readme_links_every_page() -> None:
    links = set(re.findall(r"\]\(([\w./]+)\)", README))
    assert links >= PAGES.keys() - {"README.md"}


@pytest.mark.parametrize("page", PAGES)
def test_code_stands_in_fenced_blocks(page: str) -> None:
    """An indented block would hide a command from these tests."""
    outside = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"^ {4,}\S.*", outside, re.MULTILINE)
    fences = re.findall(r"^```(.*)$", PAGES[page], re.MULTILINE)
    assert set(fences[::2]) <= {"sh", "text", "json"} and set(fences[1::2]) <= {""}


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_run_or_it_is_said_why_not(line: str) -> None:
    run_by = {RUN_BY[words] for words in RUN_BY if words in line}
    reasons = {NOT_RUN[words] for words in NOT_RUN if words in line}
    assert run_by or reasons, "name the test that runs it, or say why none can"


@pytest.mark.parametrize("words", [*RUN_BY, *NOT_RUN])
def test_every_entry_is_of_a_command(words: str) -> None:
    assert any(words in line for line in COMMANDS)


@pytest.mark.parametrize("name", sorted(set(RUN_BY.values())))
def test_the_tests_that_run_commands_are_there(name: str) -> None:
    file, _, test = name.rpartition("::")
    path = ROOT / file if file else pathlib.Path(__file__)
    assert f"def {test}(" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", [line for line in COMMANDS if program_in(line)])
def test_the_flags_of_every_command_parse(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    program = program_in(line)
    assert program is not None
    entry_point, arguments = program
    parse(entry_point, *arguments)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_it_names_is_there(page: str) -> None:
    names = r"((?:trainer|scripts|docs|configs|tests)/[\w./]*)"
    paths = re.findall(f"`{names}`", PAGES[page])
    for line in commands_of(page):
        paths += re.findall(rf"(?:^|[\s=<]){names}", line)
        paths += [
            f"{module.replace('.', '/')}.py"
            for module in re.findall(r"-m ((?:trainer|scripts|tests)[\w.]*)", line)
        ]
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing


def anchors_of(text: str) -> list[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.is_file(), target
        assert not anchor or anchor in anchors_of(path.read_text("utf-8")), target


def test_every_config_they_name_is_there_and_every_one_there_is_named() -> None:
    there = {f"configs/{path.name}" for path in ROOT.glob("configs/*.flags")}
    named = {
        page: set(re.findall(r"configs/\w+\.flags", text))
        for page, text in PAGES.items()
    }
    assert named["docs/settings.md"] == there
    assert set().union(*named.values()) == there


def test_every_flag_they_name_is_there() -> None:
    named = {
        flag
        for text in PAGES.values()
        for flag in re.findall(r"(?<![\w-])--(\w[\w-]*)", text)
    }
    known = {name for entry_point in ENTRY_POINTS for name in flags_of(entry_point)}
    others = OUR_FLAGS.keys() | FOREIGN_FLAGS.keys()
    assert len(named - others) > 15
    assert named - others <= known
    assert others <= named, "an entry without a flag in the pages"


@pytest.mark.parametrize("flag, path", OUR_FLAGS.items())
def test_every_flag_of_our_other_programs_is_there(flag: str, path: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf'"(--)?{flag}"', source)


def test_every_extra_they_name_is_there() -> None:
    text = "".join(PAGES.values())
    extras = set(re.findall(r"\.\[(\w+)\]|extra\s`(\w+)`", text))
    names = {name for pair in extras for name in pair if name}
    assert names == {"audit", "gcs", "litert", "optuna", "serve"}
    section = (ROOT / "setup.cfg").read_text().partition("[options.extras_require]")[2]
    assert names <= set(re.findall(r"^(\w+) =$", section, re.MULTILINE))


def test_exit_codes_are_those_of_the_program() -> None:
    text = PAGES["docs/clusters.md"]
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    codes = {value for name, value in vars(exit_codes).items() if name.isupper()}
    assert shown == codes | {0}


def test_every_launcher_is_named_and_opens_with_the_command_shown() -> None:
    text = PAGES["docs/clusters.md"]
    named = set(re.findall(r"`scripts/launchers/(\w+\.\w+|Dockerfile)`", text))
    folder = ROOT / "scripts" / "launchers"
    # A package, or not: that is no launcher.
    assert named == {path.name for path in folder.glob("[!_]*") if path.is_file()}
    head = (folder / "slurm.sbatch").read_text(encoding="utf-8")
    assert command("sbatch") in " ".join(re.sub(r"#|\\\n", " ", head).split())


@pytest.mark.slow
def test_quickstart_ends_with_the_table(tmp_path: pathlib.Path) -> None:
    """The script itself, on fewer reviews; twice, the second time without training."""
    if not (ROOT / ".venv" / "installed_from.txt").is_file():
        pytest.skip("the script would install: run it by hand in this environment")
    outputs = [
        subprocess.run(
            [*shlex.split(command("quickstart.sh")), *SMALL],
            cwd=ROOT,
            env=os.environ | {"MODEL_DIR": str(tmp_path / "run")},
            check=True,
            timeout=600,
            text=True,
            stdout=subprocess.PIPE,
        ).stdout
        for _ in range(2)
    ]
    for output in outputs:
        lines = output.splitlines()
        table = lines[next(i for i, line in enumerate(lines) if "Before" in line) :]
        # What is doubtful of so few texts stands there, too.
        assert "Doubts" in table
        for word in (
            "Before",
            "wonderful",
            "terrible",
            "Accuracy on 32 test texts",
            "Report",
            "SavedModel",
            "python -m trainer.predict --saved_model=",
        ):
            assert any(word in line for line in table), (word, table)
        assert sum('"label":' in line for line in output.splitlines()) == 2
    assert "step " in outputs[0] and "step " not in outputs[1]


@pytest.mark.slow
def test_two_workers_on_one_machine(tmp_path: pathlib.Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    launch = command("--num_workers=2")
    output = run(shlex.join([*shlex.split(launch), *SMALL]), cwd=tmp_path)
    for line in (r"\[0\] step .*6/6", "worker 1 of 2", "export/1"):
        assert re.search(line, output), (line, output)
    assert (tmp_path / "runs" / "two_workers" / "report.html").is_file()


@contextlib.contextmanager
def served(line: str, *, cwd: pathlib.Path) -> Iterator[str]:
    """The URL of a server that a command starts, at a port that is free."""
    process = subprocess.Popen(
        [*local(line), "--port=0"],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    # A server that says nothing ends, and its output with it.
    timer = threading.Timer(120, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        output = ""
        for text in process.stdout:
            output += text
            if url := re.search(r"http://[\d.]+:\d+", text):
                break
        else:
            raise AssertionError(output)
        yield url[0]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.wait(timeout=60)
    finally:
        timer.cancel()
        process.kill()
        process.wait()


def ask(line: str, *, url: str) -> Any:
    """What a server at `url` answers to a `curl -d BODY URL` command."""
    program, data, body, address = shlex.split(line)
    assert (program, data) == ("curl", "-d")
    host, _, path = address.partition("/")
    # Where the server listens unless --port says otherwise.
    assert host == f"localhost:{parse('serve', '--saved_model=a').port}"
    with urllib.request.urlopen(f"{url}/{path}", body.encode(), timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_own_data_then_predict_and_serve(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The commands for a user's own CSV, and all that ask the exported model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    tiny.write_reviews(tmp_path / "my_reviews.csv", count=120)
    own = command("files:my_reviews.csv")
    cache = f"--cache_dir={tmp_path / 'cache'}"
    output = run(shlex.join([*shlex.split(own), *SMALL, cache]), cwd=tmp_path)
    assert "runs/my_reviews/export/1" in output
    for name in re.findall(r"^\| .*`.+$", README, re.MULTILINE)[:7]:
        for file in re.findall(r"`([\w./]+)`", name.split("|")[1]):
            assert (tmp_path / "runs" / "my_reviews" / file).exists(), file

    (tmp_path / "texts.txt").write_text("A good film.\nA bad film.\n")
    (tmp_path / "runs" / "quickstart").symlink_to(tmp_path / "runs" / "my_reviews")
    run(command("--output=answers.jsonl"), cwd=tmp_path)
    answers = (tmp_path / "answers.jsonl").read_text().splitlines()
    (shown,) = blocks("README.md", kind="json")
    assert [json.loads(line).keys() for line in answers] == [
        json.loads(shown).keys()
    ] * 2

    # In this process, which has TensorFlow already.
    for words, expected in (("--signature=embed", '"embedding"'), ("--verify", "")):
        program = program_in(command(words))
        assert program is not None
        config = parse("predict", *program[1])
        importlib.import_module("trainer.predict").main(config)
        printed = capsys.readouterr().out
        assert printed.strip() and expected in printed

    in_parts = [line for line in commands_of("docs/serving.md") if "=parts." in line]
    for line in in_parts:
        program = program_in(line)
        assert program is not None
        importlib.import_module("trainer.predict").main(parse("predict", *program[1]))
    assert len(in_parts) == 3
    joined = (tmp_path / "parts.jsonl").read_bytes()
    assert joined == (tmp_path / "answers.jsonl").read_bytes()

    with served(command("-m trainer.serve"), cwd=tmp_path) as url:
        answer = ask(command("curl"), url=url)
    (shown,) = blocks("docs/serving.md", kind="json")
    rows = json.loads(shown)["predictions"]
    assert answer.keys() == {"predictions"}
    assert [row.keys() for row in answer["predictions"]] == [row.keys() for row in rows]


def test_the_mistakes_it_shows_are_what_a_user_sees(tmp_path: pathlib.Path) -> None:
    """A mended command goes on; what is shown is the beginning, or a part, of it."""
    refused, doubted = [
        text for text in blocks("README.md", kind="text") if "tickets.csv" in text
    ]
    write, look, look_again = [
        line for line in commands_of("README.md") if "tickets" in line
    ]

    def said(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *shlex.split(line)[1:]],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            timeout=120,
            text=True,
            capture_output=True,
        )

    assert said(write).returncode == 0
    done = said(look)
    assert done.returncode == 2
    printed = done.stderr[done.stderr.index("error: ") :]
    assert " ".join(printed.split()).startswith(" ".join(refused.split()))
    done = said(look_again)
    assert done.returncode == 0
    for part in doubted.split("...\n"):
        assert part in done.stdout
    # As many kinds of mistakes as it says.
    assert len(mistakes.write_tickets(tmp_path / "tickets.csv")) - 1 == 10
