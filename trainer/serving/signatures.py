"""What a model server runs: text in, decision out, as one TensorFlow graph.

    module = ServingModule(
        forward, encoder, label_names,
        bucket_lengths=(64, 128, 512), decision=decision,
    )
    save(module, folder)

| signature | inputs | outputs |
|---|---|---|
| `serving_default`, `classify_text` | `text`: string [batch], UTF-8 | the decision |
| `tf_example` | `examples`: string [batch], tf.train.Example with a bytes `text` | the same |
| `tokens` | `token_ids`, `padding_mask`, `segment_ids`: int32 [batch, length] | the same |
| `embed` | `text`: string [batch] | `embedding`: float32 [batch, hidden] |
| `explain` | `text`: string [batch] | which tokens moved the decision, below |
| `regress` | `inputs`: string [batch], as `examples` | `outputs`: float32 [batch] |
| `classify` | `inputs`: string [batch], as `examples` | `classes`: string [batch, classes], `scores`: float32 [batch, classes] |

An encoder without segments (`modeling/encoders.py`) takes no `segment_ids`.

The decision is `label`: string [batch]; `score`: float32 [batch], the probability of
that label; `probabilities`: float32 [batch, classes], in the order of the labels; and
`abstain`: bool [batch], whether the score is too low to act on. Of a model that gives
numbers it is `value`: float32 [batch], in the unit of the numbers that it was trained on,
and `low` and `high`, the ends of its interval, where one was fitted. Of a model that gives any
number of labels it is `probabilities` and `chosen`: bool [batch, classes], which of the
labels a text gets. A model that reads pairs of texts takes
`text_pair`, the second text of each, beside `text`, and in an example as well; an empty
one is none. A batch may have any
size, 0 included. Any bytes are answered: what is not UTF-8 is left out. A serialized
example without `text` is an error; so are ids that the model does not have, a mask of
other values than 0 and 1, and token inputs of several shapes or of more columns than a
window has tokens.

`explain` is there where it was asked for. It gives `label`: string [batch], of the
decision; `tokens`: string [batch, most tokens of a text], those that are read, without
[CLS] and [SEP]; `begin`, `end`: int32, which bytes of the text each is; `attribution`:
float32, how far it moved the answer towards the label (modeling/attributions.py; of two
classes in log-odds of the score); and `completeness_gap`: float32 [batch], what the
attributions lack to the difference between the text and one of [MASK] alone. Rows are of
one width, for a server takes no others: what a shorter text has not is "", -1, -1 and 0.

`classify` is for TensorFlow Serving's Classify, at :classify in its REST API, which
takes signatures of its own method alone. A model that gives numbers has `regress` in its
place, for Regress at :regress. No signature, but a function of the loaded
model, is `count_tokens`: `text`: string [batch] → `num_tokens` before truncation,
`num_read` after it and `num_unknown` of these: int32 [batch]. A `TokensModule` has `tokens`, and that as the
default: it needs no tokenizer, so none of TensorFlow Text's operations.
"""

from __future__ import annotations

import pathlib
from typing import Any, Callable, Sequence

import tensorflow as tf
from tensorflow.python.saved_model import fingerprinting_utils

from trainer.config import EXPLAIN_SIGNATURE
from trainer.data import pairs
from trainer.data.tokens import TextEncoder
from trainer.modeling import attributions
from trainer.modeling.ensemble import ServedForward
from trainer.tasks.task import Decision

Outputs = dict[str, tf.Tensor]

# The one signature that has the method of TensorFlow Serving's Classify.
CLASSIFY = "classify"
# And of Regress, of a model that gives numbers.
REGRESS = "regress"
_METHODS = {
    CLASSIFY: tf.saved_model.CLASSIFY_METHOD_NAME,
    REGRESS: tf.saved_model.REGRESS_METHOD_NAME,
}


class TokensModule(tf.Module):
    """What is saved of a model that reads token ids: the weights and the decision.

    Args:
      forward: the classifier; made outside of any strategy.
      window_length: most tokens of a row.

    Attributes:
      temperature, decision_thresholds, abstain_below: float32 variables, the decision's
        constants (those that it has); assigned to a loaded SavedModel they take effect.
    """

    def __init__(
        self,
        forward: ServedForward,
        label_names: Sequence[str],
        *,
        window_length: int,
        decision: Decision,
    ) -> None:
        super().__init__()
        # The variables themselves: tracking the Keras model would save them twice.
        self.weights = forward.variables
        self._constants = {
            name: tf.Variable(value, trainable=False, dtype=tf.float32)
            for name, value in decision.constants().items()
        }
        # As attributes, to be found in a loaded SavedModel by these names.
        for name, variable in self._constants.items():
            setattr(self, name, variable)
        self._decision = decision
        self._label_names = tf.constant(list(label_names))
        self._forward, self._window_length = forward, window_length

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None], tf.int32, name=name)
                for name in _token_inputs(forward)
            ],
            autograph=False,
        )
        def tokens(
            token_ids: tf.Tensor, padding_mask: tf.Tensor, *segment_ids: tf.Tensor
        ) -> Outputs:
            checks = self._checks(token_ids, padding_mask, *segment_ids)
            with tf.control_dependencies(checks):
                vectors = forward.pool(
                    tf.identity(token_ids),
                    padding_mask != 0,
                    segment_ids=segment_ids[0] if segment_ids else None,
                )
            return self._decided(forward.classify(vectors))

        self.tokens = tokens

    def signatures(self) -> dict[str, Any]:
        """Name → function, as tf.saved_model.save takes them."""
        return {"serving_default": self.tokens, "tokens": self.tokens}

    def _decided(self, logits: tf.Tensor) -> Outputs:
        return self._decision.graph_outputs(
            logits, self._constants, label_names=self._label_names
        )

    def _checks(
        self, token_ids: tf.Tensor, padding_mask: tf.Tensor, *segment_ids: tf.Tensor
    ) -> list[tf.Operation]:
        """Of what would be computed all the same, or is not refused in words.

        A mask of other rows than the ids, for one, is broadcast.
        """
        shape, *others = map(_shape, (token_ids, padding_mask, *segment_ids))
        longest = self._window_length
        *names, last = _token_inputs(self._forward)
        is_one = [tf.reduce_all(tf.equal(shape, other)) for other in others]
        shapes = [
            tf.debugging.Assert(
                # A matrix, which a feed of TensorFlow's C API need not be.
                tf.logical_and(shape[2] < 0, tf.reduce_all(is_one)),
                [
                    f"{', '.join(names)} and {last} must be of one shape, "
                    "[batch, length]. Received (-1: no dimension):",
                    *(shape, *others),
                ],
            ),
            tf.debugging.Assert(
                tf.logical_and(shape[1] >= 1, shape[1] <= longest),
                [f"token_ids must have 1 to {longest} columns. Received:", shape[1]],
            ),
        ]
        with tf.control_dependencies(shapes):
            return [
                _within("token_ids", token_ids, self._forward.vocabulary_size),
                _within("padding_mask", padding_mask, 2),
                *(
                    _within("segment_ids", segments, self._forward.num_segments)
                    for segments in segment_ids
                ),
            ]


class ServingModule(TokensModule):
    """What is saved of a model that reads text: the tokenizer, too.

    Texts are grouped by the bucket that they fall in, each group padded to that
    bucket's length: a short text costs what short texts cost, whatever is in the
    batch with it.

    Args:
      bucket_lengths: padded lengths in tokens, ascending; the last one is the longest
        that a text can have, all windows included.
      explains: whether there is the signature `explain`.

    Raises:
      ValueError: it explains, and the vocabulary has no [MASK].
    """

    def __init__(
        self,
        forward: ServedForward,
        encoder: TextEncoder,
        label_names: Sequence[str],
        *,
        bucket_lengths: Sequence[int],
        decision: Decision,
        explains: bool = False,
    ) -> None:
        super().__init__(
            forward,
            label_names,
            window_length=encoder.window_length,
            decision=decision,
        )
        self._encoder = encoder
        # As an attribute, to be saved with the graph.
        self._resources = list(encoder.resources)
        self._bucket_lengths = tf.constant(bucket_lengths, tf.int32)
        self._longest = bucket_lengths[-1]
        self._hidden_size = forward.hidden_size

        names = ("text", "text_pair") if encoder.reads_pairs else ("text",)
        texts = [_strings(name) for name in names]

        @tf.function(input_signature=texts, autograph=False)
        def classify_text(*text: tf.Tensor) -> Outputs:
            return self._classified(_joined(text))

        @tf.function(input_signature=[_strings("examples")], autograph=False)
        def tf_example(examples: tf.Tensor) -> Outputs:
            features = {name: tf.io.FixedLenFeature([], tf.string) for name in names}
            parsed = tf.io.parse_example(examples, features)
            return self._classified(_joined([parsed[name] for name in names]))

        @tf.function(input_signature=texts, autograph=False)
        def embed(*text: tf.Tensor) -> Outputs:
            vectors = self._by_bucket(_joined(text), forward.embed, self._hidden_size)
            return {"embedding": vectors}

        self.count_tokens = _token_counter(encoder, texts)
        self.classify_text, self.tf_example = classify_text, tf_example
        self._by_method = self._signature_of_method()
        self.embed = embed
        self._explains = explains
        if explains:
            self._add_explain()

    def signatures(self) -> dict[str, Any]:
        """Name → function, as tf.saved_model.save takes them."""
        return {
            **({EXPLAIN_SIGNATURE: self.explain} if self._explains else {}),
            "serving_default": self.classify_text,
            "classify_text": self.classify_text,
            "tf_example": self.tf_example,
            "tokens": self.tokens,
            "embed": self.embed,
            **self._by_method,
        }

    def _signature_of_method(self) -> dict[str, Any]:
        """The signature behind :classify or :regress, by name."""
        example = self.tf_example

        @tf.function(
            input_signature=[_strings(tf.saved_model.CLASSIFY_INPUTS)], autograph=False
        )
        def classify(inputs: tf.Tensor) -> Outputs:
            scores = example(inputs)["probabilities"]
            return {
                tf.saved_model.CLASSIFY_OUTPUT_CLASSES: tf.broadcast_to(
                    self._label_names, tf.shape(scores)
                ),
                tf.saved_model.CLASSIFY_OUTPUT_SCORES: scores,
            }

        @tf.function(
            input_signature=[_strings(tf.saved_model.REGRESS_INPUTS)], autograph=False
        )
        def regress(inputs: tf.Tensor) -> Outputs:
            return {tf.saved_model.REGRESS_OUTPUTS: example(inputs)["value"]}

        return (
            {REGRESS: regress} if self._decision.gives_numbers else {CLASSIFY: classify}
        )

    def _classified(self, text: tf.Tensor) -> Outputs:
        num_classes = self._label_names.shape[0]
        return self._decided(self._by_bucket(text, self._forward, num_classes))

    def _add_explain(self) -> None:
        self._explainer = attributions.explainer(
            self._forward, self._encoder, self._decision, constants=self._constants
        )
        self.explain = tf.function(
            self._explained, input_signature=[_strings("text")], autograph=False
        )

    def _explained(self, text: tf.Tensor) -> Outputs:
        """What `explain` gives."""

        def compute(token_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
            attributed = self._explainer(token_ids, num_tokens)
            lacking = self._longest - tf.shape(token_ids)[1]
            columns = [
                tf.expand_dims(tf.cast(attributed.chosen, tf.float32), 1),
                tf.expand_dims(attributed.difference, 1),
                tf.pad(attributed.attribution, [[0, 0], [0, lacking]]),
            ]
            return tf.concat(columns, axis=1)

        computed = self._by_bucket(text, compute, 2 + self._longest)
        located = self._encoder.locate(text)
        attribution = attributions.of_tokens(located, computed[:, 2:])
        tokens = tf.gather(self._encoder.vocabulary, located.token_ids.flat_values)
        return {
            "label": tf.gather(self._label_names, tf.cast(computed[:, 0], tf.int32)),
            "tokens": located.token_ids.with_flat_values(tokens).to_tensor(""),
            "begin": located.begin.to_tensor(-1),
            "end": located.end.to_tensor(-1),
            "attribution": attribution,
            "completeness_gap": computed[:, 1] - tf.reduce_sum(attribution, axis=1),
        }

    def _by_bucket(
        self,
        text: tf.Tensor,
        compute: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        width: int,
    ) -> tf.Tensor:
        """What is computed of token ids and their numbers: float32 [batch, width]."""
        token_ids = self._encoder(text).token_ids
        lengths = tf.cast(token_ids.row_lengths(), tf.int32)
        bucket_of_row = tf.searchsorted(self._bucket_lengths, lengths)
        # Only those that there are.
        buckets = tf.unique(bucket_of_row).y

        def add(index: tf.Tensor, result: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows = tf.where(bucket_of_row == buckets[index])
            length = self._bucket_lengths[buckets[index]]
            ids = tf.gather(token_ids, rows[:, 0]).to_tensor(
                self._encoder.pad_id, shape=tf.stack([-1, length])
            )
            rows_computed = compute(ids, tf.gather(lengths, rows[:, 0]))
            rows_computed = tf.cast(rows_computed, tf.float32)
            return index + 1, tf.tensor_scatter_nd_update(result, rows, rows_computed)

        nothing = tf.zeros(tf.stack([tf.size(text), width]), tf.float32)
        _, result = tf.while_loop(
            lambda index, _: index < tf.size(buckets),
            add,
            (0, nothing),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, width])),
            # One after the other, each on all cores.
            parallel_iterations=1,
        )
        return result


def save(module: TokensModule, folder: pathlib.Path) -> None:
    """Writes a module as a SavedModel into a folder that is there."""
    signatures = module.signatures()
    tf.saved_model.save(module, str(folder), signatures)
    name = next((name for name in _METHODS if name in signatures), None)
    if name is None:
        return
    # TensorFlow 2 saves every signature for Predict.
    names = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
    names.replace_method_name(name, _METHODS[name])
    names.save()
    # It has sums of the file that was just changed.
    fingerprinting_utils.write_fingerprint(str(folder))


def _token_inputs(forward: ServedForward) -> tuple[str, ...]:
    """What `tokens` takes."""
    names = ("token_ids", "padding_mask", "segment_ids")
    return names if forward.num_segments else names[:-1]


def _joined(texts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Texts as they are, or pairs as the encoder reads them: string [batch].

    Asserts that there is a second text for each first one.
    """
    if len(texts) == 1:
        return texts[0]
    sizes = [tf.size(text) for text in texts]
    same = tf.debugging.Assert(
        tf.equal(*sizes),
        ["text and text_pair must hold as many texts. Received:", *sizes],
    )
    with tf.control_dependencies([same]):
        # Bytes that are not UTF-8 are left out; the separator is the pair's alone.
        clean = [
            tf.strings.regex_replace(
                tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="ignore"),
                pairs.SEPARATOR,
                "",
            )
            for text in texts
        ]
    return tf.strings.join(clean, pairs.SEPARATOR)


def _token_counter(
    encoder: TextEncoder, texts: Sequence[tf.TensorSpec]
) -> Callable[..., Outputs]:
    """Of use to those who watch what a model is asked, not to a server."""

    @tf.function(input_signature=texts, autograph=False)
    def count_tokens(*text: tf.Tensor) -> Outputs:
        encoded = encoder(_joined(text))
        is_unknown = tf.equal(encoded.token_ids, encoder.unknown_id)
        return {
            "num_tokens": encoded.full_lengths,
            "num_read": tf.cast(encoded.token_ids.row_lengths(), tf.int32),
            "num_unknown": tf.reduce_sum(tf.cast(is_unknown, tf.int32), axis=1),
        }

    counter: Callable[..., Outputs] = count_tokens
    return counter


def _shape(values: tf.Tensor) -> tf.Tensor:
    """Three dimensions, -1 for those that a tensor lacks: int32 [3].

    By values alone: of the rank TensorFlow believes the signature.
    """
    return tf.concat([tf.shape(values), [-1, -1, -1]], axis=0)[:3]


def _within(name: str, values: tf.Tensor, end: int) -> tf.Operation:
    values = tf.identity(values)
    is_known = tf.reduce_all(tf.logical_and(values >= 0, values < end))
    return tf.debugging.Assert(
        is_known, [f"{name} must be in 0 to {end - 1}. Received:", values]
    )


def _strings(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.string, name=name)
