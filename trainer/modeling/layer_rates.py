"""Learning rates that fall, or begin later, from the head down to the embeddings.

    factors = layer_rates.factors(classifier, decay=0.9)    # path → 0.9 ** depth
    optimizer.rate_factors = [factors[v.path] for v in classifier.trainable_variables]
    optimizer.first_updates = layer_rates.first_updates(classifier, every=100)

Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?", section 5.4.3: a layer
is trained at `decay` times the rate of the one above it. Howard and Ruder 2018,
"Universal Language Model Fine-tuning for Text Classification", section 3.3: a layer is
frozen until the one above it has been trained for a while. The head, and the pooler that
it reads, are at depth 0, the top layer at 1, the embeddings one below the lowest layer.
"""

from __future__ import annotations

import keras

from trainer.messages import message
from trainer.modeling import encoders, lora
from trainer.modeling import weights as weights_lib


def factors(classifier: keras.Model, *, decay: float) -> dict[str, float]:
    """What the learning rate of each variable is multiplied with, by path.

    Args:
      decay: above 0, at most 1.
    """
    depths = _depths(classifier)
    return {path: decay**depth for path, depth in depths.items()}


def first_updates(classifier: keras.Model, *, every: int) -> list[int]:
    """How many updates there are before the first of each trainable variable.

    Args:
      every: updates from one layer to the next below it; 0: all begin at once.

    Raises:
      ValueError: nothing that is trained would ever wait.
    """
    depths = _depths(classifier)
    trained = [depths[v.path] for v in classifier.trainable_variables]
    if every and not any(trained):
        raise ValueError(
            message(
                "--unfreeze_every must have a layer to let go of",
                received=f"unfreeze_every={every}, and --freeze_layers leaves the head "
                "alone",
                mend="lower --freeze_layers, or leave --unfreeze_every out",
            )
        )
    return [depth * every for depth in trained]


def _depths(classifier: keras.Model) -> dict[str, int]:
    backbone = classifier.backbone
    layers = backbone.transformer_layers
    result = dict.fromkeys(weights_lib.by_path(classifier), 0)
    embeddings = encoders.embeddings_of(backbone).layers()
    for depth, group in enumerate((*reversed(layers), *embeddings), start=1):
        for variable in group.weights:
            if variable.path in result:
                result[variable.path] = min(depth, len(layers) + 1)
    # Of a kernel's factors, what its layer has.
    for path, pair in lora.factors_of(classifier).items():
        result[pair.a.path] = result[pair.b.path] = result[path]
    return result
