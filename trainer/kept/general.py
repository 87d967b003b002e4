"""The texts that tell what an encoder kept: of any kind, and of another task.

    texts = general.read_texts("files:brown/*.txt", trained, config, limit=500, seed=0)
    texts.pool, texts.facts.num_left_out

None of them may be a text that the run trains on, for of those it tells nothing: they
are left out, and counted.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.config import DataConfig
from trainer.data import draws, sources, unlabelled
from trainer.data.duplicates import content_digests, normalized_digests, numbered
from trainer.data.splits import Pool
from trainer.data.text_dataset import TextDataset
from trainer.evaluation.schema import GeneralTexts
from trainer.messages import message

# Fewer say nothing: a share of 20 texts is sure to 20 points.
MIN_TEXTS = 20
# Of two labels of the probe, or nothing could be learned in five folds.
MIN_TEXTS_OF_LABEL = 5


@dataclasses.dataclass(frozen=True)
class General:
    """Texts to hold the encoder against.

    Attributes:
      pool: of them.
      label_names: of the probe's labels; one that stands for none without labels.
      facts: what the report says of them.
    """

    pool: Pool
    label_names: tuple[str, ...]
    facts: GeneralTexts


def read_texts(
    name: str, trained: np.ndarray, config: DataConfig, *, limit: int, seed: int
) -> General:
    """The texts of --general_texts.

    Args:
      trained: uint8 [n, 32], the normalized digests of what the run trains on.
      config: how rows that cannot be used are met.
      limit: how many are drawn. 0: all.
      seed: of the draw.

    Raises:
      ValueError: they cannot be read; or too few are left.
    """
    read = unlabelled.read_files(
        name, DataConfig(bad_rows=config.bad_rows), flag="general_texts"
    )
    labels = np.zeros(len(read.places), np.int32)
    data = TextDataset(read.texts, labels, ("",), read.places)
    return _left(data, trained, name, limit=limit, seed=seed, flag="general_texts")


def read_probe(
    name: str, trained: np.ndarray, config: DataConfig, *, limit: int, seed: int
) -> General:
    """The labelled texts of --general_probe; as `read_texts`."""
    read = sources.load(
        DataConfig(
            dataset=name,
            bad_rows=config.bad_rows,
            download=config.download,
            tfds_data_dir=config.tfds_data_dir,
        )
    )
    data = read.splits["train"]
    left = _left(data, trained, name, limit=limit, seed=seed, flag="general_probe")
    counts = np.bincount(left.pool.labels, minlength=len(left.label_names))
    if (counts >= MIN_TEXTS_OF_LABEL).sum() < 2:
        listed = ", ".join(f"{n} {c}" for n, c in zip(left.label_names, counts))
        raise ValueError(
            message(
                f"--general_probe must have two labels of {MIN_TEXTS_OF_LABEL} texts"
                " at least, besides texts that the run trains on",
                received=f"{name}: {listed}",
                mend="give texts of another task, with their labels",
            )
        )
    return left


def _left(
    data: TextDataset,
    trained: np.ndarray,
    name: str,
    *,
    limit: int,
    seed: int,
    flag: str,
) -> General:
    """What the run does not train on, or a draw of it."""
    normalized = normalized_digests(data.texts)
    is_trained = unlabelled.are_among(normalized, trained)
    if (~is_trained).sum() < MIN_TEXTS:
        first = ""
        if is_trained.any():
            file, line = data.places.of(int(np.flatnonzero(is_trained)[0]))
            first = f", {is_trained.sum()} of them texts that the run trains on (the"
            first += f" first is {file}:{line})"
        raise ValueError(
            message(
                f"--{flag} must have {MIN_TEXTS} texts at least that the run does not"
                " train on",
                received=f"{name}, with {len(data)} texts{first}",
                mend="give more texts, or texts of another kind",
            )
        )
    rows = np.flatnonzero(~is_trained)
    contents = content_digests(data.texts)
    drawn = draws.draw(
        data.labels[rows],
        normalized[rows],
        contents[rows],
        label_names=data.label_names,
        limit=limit or len(rows),
        seed=seed,
    )
    chosen = rows[drawn]
    return General(
        pool=Pool(
            texts=data.texts.take(chosen),
            labels=data.labels[chosen],
            digests=contents[chosen],
            text_numbers=numbered(normalized[chosen]),
            group_numbers=None,
            places=data.places.take(chosen),
        ),
        label_names=data.label_names,
        facts=GeneralTexts(
            source=name,
            num_available=len(data),
            num_left_out=int(is_trained.sum()),
            num_texts=len(chosen),
        ),
    )
