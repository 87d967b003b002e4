"""An input that several machines answer, and the joining of what they wrote."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import sys
from typing import Any, Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests import kills, processes
from tests.serving import part_writer
from trainer.config import PredictConfig, Shard
from trainer.serving import joining, manifest, predictor, questions, shards

NUM_ROWS = 23
BATCH_SIZE = 3


class BatchModel(tf.Module):
    """Its score is of all texts that it is asked together: other batches, others."""

    def __init__(self) -> None:
        super().__init__()
        self.names = tf.Variable(["odd", "even"], trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text: Any) -> Any:
        lengths = tf.strings.length(text)
        share = tf.cast(lengths, tf.float32) / tf.cast(
            tf.reduce_sum(lengths) + 1, tf.float32
        )
        return {
            "label": tf.gather(self.names, (lengths + 1) % 2),
            "score": share,
            "probabilities": tf.stack([share, 1 - share], axis=1),
        }


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("export") / "1"
    model = BatchModel()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.serve})
    manifest.write(folder, {"version": 1})
    return str(folder)


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading takes longer than answering: a model is loaded once a test."""
    loaded: dict[str, Any] = {}
    load = predictor.load_model

    def load_once(folder: Any, **settings: Any) -> Any:
        if str(folder) not in loaded:
            loaded[str(folder)] = load(folder, **settings)
        return loaded[str(folder)]

    monkeypatch.setattr(predictor, "load_model", load_once)


def text_of(number: int) -> str:
    return "x" * (number * 7 % 11) + f" \u00e9 {number}"


def write_csv(path: pathlib.Path, numbers: Any, *, bad: Any = ()) -> None:
    """Texts with line ends within; a row of `bad` has a field too many."""
    rows = [f'{n},"{text_of(n)}\n,{n}"{",too many" * (n in bad)}\n' for n in numbers]
    path.write_text("id,text\n" + "".join(rows), encoding="utf-8")


def write_jsonl(path: pathlib.Path, numbers: Any) -> None:
    rows = [
        json.dumps({"id": None if n < 9 else n, "text": text_of(n)}) for n in numbers
    ]
    path.write_text("".join(f"{row}\n" for row in rows))


def write_lines(path: pathlib.Path, numbers: Any) -> None:
    path.write_text("".join(f"{text_of(n)}\n" for n in numbers), encoding="utf-8")


def write_parquet(path: pathlib.Path, numbers: Any) -> None:
    numbers = list(numbers)
    table = {"id": numbers, "text": [text_of(n) for n in numbers]}
    pq.write_table(pa.table(table), path, row_group_size=4)


def write_examples(path: pathlib.Path, numbers: Any) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for n in numbers:
            values = tf.train.BytesList(value=[text_of(n).encode()])
            feature = {"text": tf.train.Feature(bytes_list=values)}
            features = tf.train.Features(feature=feature)
            writer.write(tf.train.Example(features=features).SerializeToString())


ALL = range(NUM_ROWS)
WITH_IDS = {"keep_fields": ("id",)}
# The files of an input by name, --input, the output's ending, further settings.
INPUTS: dict[str, tuple[dict[str, Any], str, str, dict[str, Any]]] = {
    "csv to jsonl": ({"a.csv": (write_csv, ALL)}, "a.csv", "jsonl", WITH_IDS),
    "csv to csv": (
        {"a.csv": (write_csv, ALL)},
        "a.csv",
        "csv",
        {"keep_fields": ("id", "text")},
    ),
    # Of the first parts, ids are all missing: they are no strings for all that.
    "jsonl to parquet": (
        {"a.jsonl": (write_jsonl, ALL)},
        "a.jsonl",
        "parquet",
        WITH_IDS,
    ),
    "lines": ({"a.txt": (write_lines, ALL)}, "a.txt", "csv", {}),
    "parquet": ({"a.parquet": (write_parquet, ALL)}, "a.parquet", "jsonl", WITH_IDS),
    "examples": ({"a.tfrecord": (write_examples, ALL)}, "a.tfrecord", "jsonl", {}),
    "several files, one without rows": (
        {
            "p1.csv": (write_csv, range(4)),
            "p2.csv": (write_csv, range(0)),
            "p3.csv": (write_csv, range(4, 5)),
            "p4.csv": (write_csv, range(5, NUM_ROWS)),
        },
        "p*.csv",
        "csv",
        WITH_IDS,
    ),
    "no texts": ({"a.txt": (write_lines, range(0))}, "a.txt", "csv", {}),
}


def write_input(folder: pathlib.Path, name: str) -> dict[str, Any]:
    """The settings to predict with, of a row of `INPUTS`."""
    files, pattern, ending, settings = INPUTS[name]
    for file, (write, numbers) in files.items():
        write(folder / file, numbers)
    return {
        "input": str(folder / pattern),
        "output": str(folder / "out" / f"answers.{ending}"),
        "batch_size": BATCH_SIZE,
        **settings,
    }


def answer(settings: dict[str, Any], *parts: str, **changes: Any) -> None:
    for part in parts:
        predictor.predict_file(PredictConfig(**{**settings, **changes}, shard=part))


def all_of(count: int) -> list[str]:
    return [f"{index}/{count}" for index in range(count)]


def join(settings: dict[str, Any]) -> int:
    return joining.join(PredictConfig(output=settings["output"], join=True))


@pytest.mark.parametrize("name", INPUTS)
def test_parts_joined_are_what_one_machine_writes(
    name: str, saved_model: str, tmp_path: pathlib.Path
) -> None:
    settings = write_input(tmp_path, name) | {"saved_model": saved_model}
    output = pathlib.Path(settings["output"])
    num_rows = predictor.predict_file(PredictConfig(**settings))
    assert num_rows == (0 if name == "no texts" else NUM_ROWS)
    expected = output.read_bytes()
    output.unlink()
    # More parts than batches, too: then some are of no rows.
    for count in (1, 2, 5, 11):
        # In any order.
        answer(settings, *reversed(all_of(count)))
        assert join(settings) == num_rows
        assert output.read_bytes() == expected, count
        beside = set(os.listdir(output.parent)) - {output.name}
        assert len(beside) == 2 * count and all("-of-" in each for each in beside)
        # With their flags, they are held against these.
        joining.join(PredictConfig(**settings, join=True))
        shutil.rmtree(output.parent)


@pytest.mark.parametrize("num_rows", [0, 1, 3, 4, 23, 24, 1000])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_parts_are_whole_batches_that_follow_each_other(
    num_rows: int, count: int
) -> None:
    parts = [
        shards.rows_of(Shard(index, count), num_rows, batch_size=4)
        for index in range(count)
    ]
    assert [row for part in parts for row in part] == list(range(num_rows))
    assert all(part.start % 4 == 0 for part in parts if part)
    batches = [-(-len(part) // 4) for part in parts]
    assert max(batches) - min(batches) <= 1


def test_a_part_is_a_file_that_can_be_read_by_itself(
    saved_model: str, tmp_path: pathlib.Path
) -> None:
    settings = write_input(tmp_path, "several files, one without rows")
    answer(settings | {"saved_model": saved_model}, "1/3")
    (part,) = (tmp_path / "out").glob("*.csv")
    assert part.name == "answers-00001-of-00003.csv"
    rows = part.read_text().splitlines()
    assert rows[0].startswith("file,line,id,label,score")
    # The third to the fifth of eight batches.
    assert [row.split(",")[2] for row in rows[1:]] == [str(n) for n in range(6, 15)]


def test_only_what_is_not_answered_is_answered(
    saved_model: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a launcher may give every command again."""
    settings = write_input(tmp_path, "csv to csv") | {"saved_model": saved_model}
    answer(settings, "0/2")
    place = tmp_path / "out" / "answers-00000-of-00002.csv"
    expected, inode = place.read_bytes(), place.stat().st_ino
    answer(settings, "0/2")
    assert place.stat().st_ino == inode
    answer(settings, "0/2", keep_fields=())
    assert place.read_bytes() != expected
    answer(settings, "0/2")
    assert place.read_bytes() == expected
    place.write_bytes(expected[:-1] + b" ")
    answer(settings, "0/2")
    assert place.read_bytes() == expected


def test_rows_of_other_parts_are_not_looked_at(
    saved_model: str, tmp_path: pathlib.Path
) -> None:
    """A row that cannot be used stops its own part alone; or is answered there by null."""
    settings = write_input(tmp_path, "csv to jsonl") | {"saved_model": saved_model}
    write_csv(tmp_path / "a.csv", ALL, bad=(13,))
    answer(settings, "0/4", "1/4", "3/4")
    with pytest.raises(ValueError, match="a.csv:28: expected 2 fields"):
        answer(settings, "2/4")
    answer(settings, *all_of(4), bad_rows="null")
    join(settings)
    rows = (tmp_path / "out" / "answers.jsonl").read_text().splitlines()
    assert [json.loads(row)["label"] is None for row in rows] == [
        number == 13 for number in ALL
    ]


def test_what_is_said_of_a_bad_row_mends_all_parts(
    saved_model: str, tmp_path: pathlib.Path
) -> None:
    settings = write_input(tmp_path, "csv to jsonl") | {"saved_model": saved_model}
    write_csv(tmp_path / "a.csv", ALL, bad=(16,))
    answer(settings, "0/4", "1/4", "3/4")
    with pytest.raises(ValueError, match="a.csv:34: ") as caught:
        answer(settings, "2/4")
    write_csv(tmp_path / "a.csv", ALL)
    (names,) = re.findall(r"remove (\S+) and (\S+) to begin anew", str(caught.value))
    for name in names:
        os.unlink(name)
    answer(settings, *all_of(4))
    assert join(settings) == NUM_ROWS


Change = Callable[[pathlib.Path, dict[str, Any]], object]


def first_of(folder: pathlib.Path) -> pathlib.Path:
    return folder / "out" / "answers-00000-of-00003.csv"


def describe(folder: pathlib.Path, **changes: Any) -> None:
    """Writes other values into what lies beside the first part."""
    place = shards.description_of(first_of(folder))
    values = json.loads(place.read_text())
    place.write_text(json.dumps(values | changes))


def stop(folder: pathlib.Path, settings: dict[str, Any]) -> None:
    """Leaves the first part as a kill does, in its middle."""
    place = first_of(folder)
    place.rename(f"{place}.partial")


def remove_two(folder: pathlib.Path, settings: dict[str, Any]) -> None:
    """Removes all that there is of two parts."""
    del settings
    for path in (folder / "out").glob("*-0000[12]-*"):
        path.unlink()


def answer_another_input(folder: pathlib.Path, settings: dict[str, Any]) -> None:
    """Answers the last part of an input that has more rows meanwhile."""
    write_csv(folder / "a.csv", range(30))
    answer(settings, "2/3")


ANSWERED: list[tuple[str, Change, list[str], list[str]]] = [
    (
        "one missing",
        lambda folder, _: first_of(folder).unlink(),
        ["all 3 parts beside it, finished. Received: 0/3 missing; give the command"],
        ["0/3"],
    ),
    (
        "two missing, without a trace",
        remove_two,
        ["Received: 1/3, 2/3 missing"],
        ["1/3", "2/3"],
    ),
    ("unfinished", stop, ["0/3 unfinished", "what was begun continues"], []),
    (
        "without its description",
        lambda folder, _: shards.description_of(first_of(folder)).unlink(),
        ["0/3 without the .shard.json of it"],
        ["0/3"],
    ),
    (
        "with a damaged description",
        lambda folder, _: shards.description_of(first_of(folder)).write_text("[1]"),
        ["0/3 with a damaged description"],
        ["0/3"],
    ),
    (
        "with another's description",
        lambda folder, _: describe(folder, shard="1/3"),
        ["0/3 said to be 1/3"],
        ["0/3"],
    ),
    (
        "cut",
        lambda folder, _: os.truncate(first_of(folder), 70),
        ["0/3 changed since they were finished"],
        ["0/3"],
    ),
    (
        "changed",
        lambda folder, _: first_of(folder).write_bytes(
            first_of(folder).read_bytes().replace(b"even", b"evil", 1)
        ),
        ["answers-00000-of-00003.csv must be as it was when it was finished"],
        ["0/3"],
    ),
    (
        "of other rows",
        lambda folder, _: describe(folder, stop_row=9),
        ["part 0/3 must answer rows 0 to 6. Received: 0 to 9; remove it"],
        [],
    ),
    (
        "of another setting",
        lambda _, settings: answer(settings, "1/3", bad_rows="null"),
        ["of the same model, input and settings", "bad_rows is error for 0/3 and null"],
        ["0/3", "1/3", "2/3"],
    ),
    (
        "of another batch size",
        lambda _, settings: answer(settings, "1/3", batch_size=4),
        ["batch_size is 3 for 0/3 and 4 for 1/3; and so in 1 of 3 parts against 0/3"],
        ["0/3", "1/3", "2/3"],
    ),
    (
        "of an input that changed",
        answer_another_input,
        ["input is a file of", "num_rows is 23 for 0/3 and 30 for 2/3"],
        ["0/3", "1/3", "2/3"],
    ),
    (
        "two sets",
        lambda _, settings: answer(settings, "0/2"),
        [
            "the parts of one set beside it. Received: sets of 2, 3 parts; remove",
            "answers-*-of-00002.csv* or answers-*-of-00003.csv*",
        ],
        [],
    ),
]


@pytest.fixture(scope="module")
def answered(
    saved_model: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, dict[str, Any], bytes]:
    """A folder with three parts and, beside them, what they are to be joined to."""
    folder = tmp_path_factory.mktemp("answered")
    settings = write_input(folder, "csv to csv") | {"saved_model": saved_model}
    predictor.predict_file(PredictConfig(**settings))
    output = pathlib.Path(settings["output"])
    expected = output.read_bytes()
    output.unlink()
    answer(settings, *all_of(3))
    return folder, settings, expected


@pytest.mark.parametrize(
    "change, words, mended_by",
    [each[1:] for each in ANSWERED],
    ids=[each[0] for each in ANSWERED],
)
def test_what_does_not_fit_is_refused_and_mended(
    change: Change,
    words: list[str],
    mended_by: list[str],
    answered: tuple[pathlib.Path, dict[str, Any], bytes],
    tmp_path: pathlib.Path,
) -> None:
    """With the message's mend, where it is to give commands again, it can be joined."""
    source, settings, expected = answered
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)
    settings = {
        name: (
            value.replace(str(source), str(folder))
            if name in ("input", "output")
            else value
        )
        for name, value in settings.items()
    }
    change(folder, settings)
    output = pathlib.Path(settings["output"])
    output.write_text("old")
    with pytest.raises(ValueError) as caught:
        join(settings)
    for each in words:
        assert each in str(caught.value)
    assert output.read_text() == "old"
    assert not list(output.parent.glob(".*"))
    if mended_by:
        answer(settings, *mended_by)
        join(settings)
        is_same_input = "input is" not in words[0]
        assert (output.read_bytes() == expected) == is_same_input


def test_flags_of_others_are_refused(
    answered: tuple[pathlib.Path, dict[str, Any], bytes], tmp_path: pathlib.Path
) -> None:
    _, settings, expected = answered
    with pytest.raises(ValueError) as caught:
        joining.join(PredictConfig(**{**settings, "escape": "backslash"}, join=True))
    assert "of the flags. Received: escape is auto for 0/3 and backslash" in str(
        caught.value
    )
    joining.join(PredictConfig(**settings, join=True))
    output = pathlib.Path(settings["output"])
    assert output.read_bytes() == expected
    output.unlink()


def test_parts_of_another_model_are_named(
    saved_model: str, tmp_path: pathlib.Path
) -> None:
    """As when a newer version came between the first part and the last."""
    other = tmp_path / "2"
    shutil.copytree(saved_model, other)
    (other / manifest.FILE_NAME).unlink()
    manifest.write(other, {"version": 2})
    settings = write_input(tmp_path, "lines")
    answer(settings, "0/2", saved_model=saved_model)
    answer(settings, "1/2", saved_model=str(other))
    with pytest.raises(ValueError) as caught:
        join(settings)
    assert f"model is {saved_model} (" in str(caught.value)
    assert f"and {other} (" in str(caught.value)


def test_an_input_that_changes_while_a_part_is_answered_is_named(
    saved_model: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = write_input(tmp_path, "lines") | {"saved_model": saved_model}
    counted = questions.counted

    def written_to_after(config: PredictConfig) -> dict[str, int]:
        counts = counted(config)
        with open(tmp_path / "a.txt", "a", encoding="utf-8") as file:
            file.write("one more\n")
        return counts

    monkeypatch.setattr(questions, "counted", written_to_after)
    with pytest.raises(ValueError, match="stays as it is while it is read") as caught:
        answer(settings, "0/2")
    assert not list((tmp_path / "out").glob("*.shard.json"))
    monkeypatch.undo()
    for name in re.findall(r"remove (\S+) and (\S+) to begin", str(caught.value))[0]:
        os.unlink(name)
    answer(settings, "0/2", "1/2")
    assert join(settings) == NUM_ROWS + 1


def test_parts_are_no_input(saved_model: str, tmp_path: pathlib.Path) -> None:
    settings = write_input(tmp_path, "csv to csv") | {"saved_model": saved_model}
    output = str(tmp_path / "b.csv")
    answer(settings, "0/2", output=output)
    with pytest.raises(ValueError, match="must not take in the parts of --output"):
        answer(settings, "1/2", output=output, input=str(tmp_path / "*.csv"))


def test_nothing_to_join_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="none, such as a-00000-of-00002.csv; name"):
        join({"output": str(tmp_path / "a.csv")})


# Kills.


@pytest.mark.parametrize(
    "ending", ["csv", pytest.param("parquet", marks=pytest.mark.slow)]
)
def test_killed_before_each_file_operation(ending: str, tmp_path: pathlib.Path) -> None:
    """A part and the joining, given again, make the same files; nothing else is left."""
    action = f"tests.serving.part_writer:write_{ending}"
    expected: bytes | None = None
    for folder in kills.before_each(action, tmp_path):
        part_writer.write(folder, ending)
        output = folder / f"answers.{ending}"
        expected = expected or output.read_bytes()
        assert output.read_bytes() == expected
        lines = ".lines" if ending == "parquet" else ""
        parts = [f"{output.stem}-0000{n}-of-00002.{ending}{lines}" for n in (0, 1)]
        descriptions = [f"{part}.shard.json" for part in parts]
        names = {"input.txt", output.name, *parts, *descriptions}
        assert set(os.listdir(folder)) == names, folder
    assert expected and part_writer.num_rows(output) == part_writer.NUM_TEXTS


@pytest.mark.slow
def test_a_killed_part_continues(saved_model: str, tmp_path: pathlib.Path) -> None:
    """SIGKILL in the middle of a part, in a process of its own, and again."""
    write_lines(tmp_path / "a.txt", range(60_000))
    settings: dict[str, Any] = {
        "saved_model": saved_model,
        "input": str(tmp_path / "a.txt"),
        "output": str(tmp_path / "out" / "a.jsonl"),
    }
    predictor.predict_file(PredictConfig(**settings))
    expected = pathlib.Path(settings["output"]).read_bytes()
    os.unlink(settings["output"])
    answer(settings, "0/2")
    flags = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "trainer.predict", *flags, "--shard=1/2"]
    state = tmp_path / "out" / "a-00001-of-00002.jsonl.partial.json"

    def num_answered() -> int:
        return int(json.loads(state.read_text())["num_texts"]) if state.exists() else 0

    (process,) = processes.start_commands([command])
    processes.kill_when(process, lambda: num_answered() > 0)
    assert 0 < num_answered() < 30_000
    with pytest.raises(ValueError, match="Received: 1/2 unfinished"):
        join(settings)
    (said,) = processes.finish(processes.start_commands([command]))
    assert re.search(r"Continuing after [1-9]\d* texts answered before", said)
    join(settings)
    assert pathlib.Path(settings["output"]).read_bytes() == expected


@pytest.mark.slow
def test_the_launcher_answers_all_parts_and_joins_them(
    saved_model: str, tmp_path: pathlib.Path
) -> None:
    settings = write_input(tmp_path, "csv to csv") | {"saved_model": saved_model}
    predictor.predict_file(PredictConfig(**settings))
    expected = pathlib.Path(settings["output"]).read_bytes()
    settings["output"] = str(tmp_path / "parts" / "a.csv")
    flags = [
        f"--{name}={','.join(value) if isinstance(value, tuple) else value}"
        for name, value in settings.items()
    ]
    launcher = [sys.executable, "-m", "scripts.launchers.launch_local"]
    command = [sys.executable, "-m", "trainer.predict", *flags]
    started = processes.start_commands([[*launcher, "--num_shards=2", "--", *command]])
    (said,) = processes.finish(started)
    assert "[0] " in said and "[1] " in said
    assert pathlib.Path(settings["output"]).read_bytes() == expected
