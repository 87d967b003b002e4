"""Writes and joins parts without a model, as `predictor` does with one.

It does not import TensorFlow, so that a process can be forked at each of its operations.
"""

from __future__ import annotations

import itertools
import json
import pathlib

from trainer.config import PredictConfig
from trainer.serving import answers, joining, questions, resumable, shards
from trainer.serving.answers import Layout, Output

NUM_TEXTS = 10
_BATCH_SIZE = 3
_LAYOUT = Layout((), {"label": Output("string", ())}, False, ())


def write(folder: pathlib.Path, ending: str) -> None:
    """Two parts of the folder's input, which is made, and the file of both."""
    texts = folder / "input.txt"
    if not texts.exists():
        whole = "".join(f"text {n}\n" for n in range(NUM_TEXTS))
        texts.with_suffix(".new").write_text(whole)
        texts.with_suffix(".new").rename(texts)
    texts.with_suffix(".new").unlink(missing_ok=True)
    output = str(folder / f"answers.{ending}")
    for shard in ("0/2", "1/2"):
        _write_part(
            PredictConfig(
                saved_model="none",
                input=str(texts),
                output=output,
                batch_size=_BATCH_SIZE,
                shard=shard,
            )
        )
    joining.join(PredictConfig(output=output, join=True))


def _write_part(config: PredictConfig) -> None:
    part = shards.part_of(config)
    target = shards.target_of(config.output)
    place = shards.place_of(target, part.shard)
    belongs_to = part.belongs_to(config, {})
    if shards.is_answered(place, part.shard, belongs_to):
        return
    writer = answers.make_writer(answers.format_of(config.output), _LAYOUT)
    rows = questions.read(config, stretches=part.stretches)
    batches = iter(lambda: [each.key for each in itertools.islice(rows, 3)], [])
    with resumable.opened(place, belongs_to, batch_size=_BATCH_SIZE) as output:
        output.skip(batches)
        for keys in batches:
            header = [] if output.num_texts else writer.header
            lines = [writer.line({"label": key}) for key in keys]
            output.append(keys, [*header, *lines])
        part.finish(
            output, belongs_to, place=place, header=writer.header, saved_model=""
        )


def write_csv(folder: pathlib.Path) -> None:
    """The action of a test, as `kills` calls it."""
    write(folder, "csv")


def write_parquet(folder: pathlib.Path) -> None:
    """The same with Parquet."""
    write(folder, "parquet")


def num_rows(output: pathlib.Path) -> int:
    """How many rows a joined file has."""
    if output.suffix == ".csv":
        return len(output.read_text().splitlines()) - 1
    import pyarrow.parquet as pq

    rows = pq.read_table(output).column("label").to_pylist()
    assert [json.loads(row)[0] for row in rows] == [f"text {n}" for n in range(10)]
    return len(rows)
