"""Makes masked_lm.npz: what PyTorch and Hugging Face compute of a masked-LM loss.

Run as `make_reference.py` is, in the environment it describes:

    hf/bin/python tests/reference/make_masked_lm_reference.py

A BertForMaskedLM of 2 layers and 16 dimensions with random weights, in float32 and
without dropout, on a batch of which some tokens are masked. Its loss is the mean over
all masked tokens.

masked_lm.npz
  config: its config.json, a JSON string.
  weights/NAME: float32, of the state dict, without the tied decoder's copies.
  token_ids: int32 [4, 20], masked, 0 beyond a row's length.
  num_tokens: int32 [4].
  positions, labels: int32 [4, 5], of the tokens to be guessed.
  label_weights: float32 [4, 5], 1, or 0 where a row has fewer.
  loss: float32.
  gradients/NAME: float32, of the loss, by the same names.
  versions: a JSON string.
"""

from __future__ import annotations

import json
import pathlib
import platform

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
ROWS, LENGTH, MOST = 4, 20, 5
VOCABULARY = 96
CONFIG = {
    "model_type": "bert",
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
# Copies of other tensors.
TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")


def make_batch() -> dict[str, np.ndarray]:
    """Random tokens from [CLS] (2) to [SEP] (3), some of them [MASK] (4)."""
    generator = np.random.default_rng(0)
    num_tokens = np.array([20, 13, 17, 8], np.int32)
    num_masked = [5, 2, 3, 1]
    token_ids = generator.integers(5, VOCABULARY, (ROWS, LENGTH)).astype(np.int32)
    place = np.arange(LENGTH)
    token_ids[:, 0] = 2
    token_ids[place == num_tokens[:, None] - 1] = 3
    token_ids[place >= num_tokens[:, None]] = 0
    positions = np.zeros([ROWS, MOST], np.int32)
    label_weights = np.zeros([ROWS, MOST], np.float32)
    for row, count in enumerate(num_masked):
        places = generator.permutation(np.arange(1, num_tokens[row] - 1))
        positions[row] = places[:MOST]
        label_weights[row, :count] = 1
    labels = np.take_along_axis(token_ids, positions, axis=1)
    for row, count in enumerate(num_masked):
        # The last one keeps its token, as one in ten does.
        token_ids[row, positions[row, : max(count - 1, 1)]] = 4
    return {
        "token_ids": token_ids,
        "num_tokens": num_tokens,
        "positions": positions,
        "labels": labels,
        "label_weights": label_weights,
    }


def main() -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        **CONFIG, initializer_range=0.3, attn_implementation="eager"
    )
    model = transformers.BertForMaskedLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    batch = make_batch()
    targets = np.full([ROWS, LENGTH], -100, np.int64)
    for row in range(ROWS):
        for place, label, weight in zip(
            batch["positions"][row], batch["labels"][row], batch["label_weights"][row]
        ):
            if weight:
                targets[row, place] = label
    token_ids = torch.tensor(batch["token_ids"], dtype=torch.long)
    loss = model(
        input_ids=token_ids,
        attention_mask=(token_ids != 0).long(),
        labels=torch.tensor(targets),
    ).loss
    loss.backward()
    parameters = {n: p for n, p in model.named_parameters() if n not in TIED}
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    np.savez_compressed(
        HERE / "masked_lm.npz",
        config=json.dumps(CONFIG),
        loss=np.array(loss.item(), np.float32),
        versions=json.dumps(versions),
        **batch,  # type: ignore[arg-type]
        **{f"weights/{n}": p.detach().numpy() for n, p in parameters.items()},
        **{f"gradients/{n}": p.grad.numpy() for n, p in parameters.items()},
    )


if __name__ == "__main__":
    main()
