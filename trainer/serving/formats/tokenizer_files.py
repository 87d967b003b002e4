"""The tokenizer as files, for programs that are not this one.

    write(folder, preset, window_length=128, truncation="head")

Beside a model that takes token ids they let a program make those that `TextEncoder`
makes: `tokenizer.json` is read by Hugging Face's `tokenizers` (Rust, Python, and its
ports to phones and browsers), the others by `transformers`. In two cases the ids
differ: text that spells a special token, such as "[SEP]", is that token to these
programs; and truncation to `head_tail` is something they do not have.
"""

from __future__ import annotations

import base64
import json
import logging
import pathlib
from typing import Any, Callable, Mapping, NamedTuple

from trainer.config import Truncation
from trainer.data import sentence_pieces
from trainer.data.special_tokens import Pieces
from trainer.modeling.presets import Preset

_logger = logging.getLogger(__name__)

_MAX_CHARACTERS_PER_WORD = 100


class _Kind(NamedTuple):
    """What is written of a way to cut words.

    Attributes:
      special: what transformers calls the special tokens → what `SpecialTokens` does.
      write_vocabulary: the files beside the JSON that all have.
      settings: of tokenizer_config.json.
      parts: of tokenizer.json.
    """

    special: Mapping[str, str]
    write_vocabulary: Callable[[pathlib.Path, Preset], None]
    settings: Callable[[Preset], dict[str, Any]]
    parts: Callable[[Preset], dict[str, Any]]


def write(
    folder: pathlib.Path, preset: Preset, *, window_length: int, truncation: Truncation
) -> None:
    """Writes tokenizer.json, tokenizer_config.json, special_tokens_map.json, and the
    vocabulary as the first release of the kind had it: vocab.txt, say.

    Args:
      window_length: longest result in tokens, [CLS] and [SEP] included.
      truncation: `head_tail` is written as `head`, with a warning.
    """
    if truncation == "head_tail":
        _logger.warning(
            "%s: these tokenizers cannot keep head and tail of a text: those of more "
            "than %d tokens are cut at the end there, and get other probabilities",
            folder,
            window_length,
        )
    side = "left" if truncation == "tail" else "right"
    of_kind = _KINDS[preset.kind.pieces]
    roles = preset.special._asdict()
    special = {
        name: roles[role]
        for name, role in of_kind.special.items()
        if roles[role] in preset.vocabulary
    }
    of_kind.write_vocabulary(folder, preset)
    write_json(
        folder / "tokenizer_config.json",
        {
            # By the class transformers knows what its model takes: of a BERT's
            # segments DistilBERT's knows nothing.
            "tokenizer_class": preset.kind.tokenizer,
            **of_kind.settings(preset),
            "model_max_length": window_length,
            "truncation_side": side,
            **special,
        },
    )
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer.json",
        {
            **_common(preset, special, window_length, side),
            **of_kind.parts(preset),
        },
    )


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes it as people can read it."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _common(
    preset: Preset, special: Mapping[str, str], window_length: int, side: str
) -> dict[str, Any]:
    """What tokenizer.json has of every kind, truncation set."""
    ids = _ids(preset)
    return {
        "version": "1.0",
        "truncation": {
            "direction": side.capitalize(),
            "max_length": window_length,
            "strategy": "LongestFirst",
            "stride": 0,
        },
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, token in sorted({(ids[t], t) for t in special.values()})
        ],
    }


def _ids(preset: Preset) -> dict[str, int]:
    return {token: index for index, token in enumerate(preset.vocabulary)}


def _template(preset: Preset) -> dict[str, Any]:
    """The ends around a text, and around two."""
    ids, special = _ids(preset), preset.special
    first, last = (
        {"SpecialToken": {"id": t, "type_id": 0}} for t in (special.start, special.end)
    )
    text, second = ({"Sequence": {"id": i, "type_id": 0}} for i in "AB")
    between, rest = [last] * special.num_between, [second, last]
    if preset.kind.has_segments:
        rest = [_of_second(each) for each in rest]
    return {
        "type": "TemplateProcessing",
        "single": [first, text, last],
        "pair": [first, text, *between, *rest],
        "special_tokens": {
            t: {"id": t, "ids": [ids[t]], "tokens": [t]}
            for t in (special.start, special.end)
        },
    }


def _of_second(piece: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A piece of the template as one of the second segment."""
    return {kind: {**facts, "type_id": 1} for kind, facts in piece.items()}


def _write_words(folder: pathlib.Path, preset: Preset) -> None:
    (folder / "vocab.txt").write_text(
        "".join(f"{token}\n" for token in preset.vocabulary), encoding="utf-8"
    )


def _word_settings(preset: Preset) -> dict[str, Any]:
    return {
        "do_lower_case": preset.lowercase,
        "strip_accents": preset.strip_accents,
        "tokenize_chinese_chars": True,
    }


def _word_parts(preset: Preset) -> dict[str, Any]:
    """As Hugging Face's `tokenizers` writes a BERT's."""
    return {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": preset.strip_accents,
            "lowercase": preset.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": _template(preset),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": preset.special.unknown,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": _MAX_CHARACTERS_PER_WORD,
            "vocab": _ids(preset),
        },
    }


def _write_bytes(folder: pathlib.Path, preset: Preset) -> None:
    write_json(folder / "vocab.json", _ids(preset))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in preset.merges)]
    text = "".join(f"{line}\n" for line in lines)
    (folder / "merges.txt").write_text(text, encoding="utf-8")


def _byte_settings(preset: Preset) -> dict[str, Any]:
    return {"add_prefix_space": False}


def _byte_parts(preset: Preset) -> dict[str, Any]:
    """As Hugging Face's `tokenizers` writes a RoBERTa's."""
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    return {
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": _template(preset),
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": preset.special.unknown,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": _ids(preset),
            "merges": [" ".join(pair) for pair in preset.merges],
        },
    }


def _write_sentences(folder: pathlib.Path, preset: Preset) -> None:
    (folder / "sentencepiece.bpe.model").write_bytes(preset.sentence_model)


def _sentence_settings(_: Preset) -> dict[str, Any]:
    return {}


def _sentence_parts(preset: Preset) -> dict[str, Any]:
    """As transformers makes an XLM-R's of its SentencePiece model."""
    model = sentence_pieces.read_model(preset.sentence_model)
    charsmap = base64.b64encode(model.charsmap).decode()
    blanks = {
        "type": "Metaspace",
        "replacement": "\u2581",
        "prepend_scheme": "always",
        "split": True,
    }
    return {
        "normalizer": (
            {"type": "Precompiled", "precompiled_charsmap": charsmap}
            if charsmap
            else None
        ),
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, blanks],
        },
        "post_processor": _template(preset),
        "decoder": blanks,
        "model": {
            "type": "Unigram",
            "unk_id": preset.vocabulary.index(preset.special.unknown),
            "vocab": [list(each) for each in zip(preset.vocabulary, model.scores)],
            "byte_fallback": False,
        },
    }


_BERTS = {
    "unk_token": "unknown",
    "sep_token": "end",
    "pad_token": "pad",
    "cls_token": "start",
    "mask_token": "mask",
}
_FAIRSEQS = {**_BERTS, "bos_token": "start", "eos_token": "end"}
_KINDS: Mapping[Pieces, _Kind] = {
    "word": _Kind(_BERTS, _write_words, _word_settings, _word_parts),
    "byte": _Kind(_FAIRSEQS, _write_bytes, _byte_settings, _byte_parts),
    "sentence": _Kind(_FAIRSEQS, _write_sentences, _sentence_settings, _sentence_parts),
}
