"""What a TPU of two hosts is given, with two TensorFlow servers as its hosts.

    python -m tests.training.two_hosts PRESET FOLDER

A program of its own, since a process can be connected to one cluster only. Checks by
itself, and ends with "done".
"""

from __future__ import annotations

import pathlib
import sys

import trainer  # noqa: F401  (sets what TensorFlow reads when it is imported)
import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip

from tests import absent_tpu, tiny
from tests.training.test_steps import make_classifier
from trainer.data import batches, plans
from trainer.runtime import addresses

CORES = absent_tpu.Cores("worker", num_hosts=2, cores_per_host=2)
BUCKETS = (32, 64)


def start_hosts() -> list[tf.distribute.Server]:
    """The servers, which this process is then connected to."""
    ports = addresses.free_ports(CORES.num_hosts)
    cluster = tf.train.ClusterSpec({CORES.job: [f"localhost:{port}" for port in ports]})
    devices = {"CPU": CORES.cores_per_host}
    servers = [
        tf.distribute.Server(
            cluster,
            job_name=CORES.job,
            task_index=index,
            config=tf.compat.v1.ConfigProto(device_count=devices),
        )
        for index in range(CORES.num_hosts)
    ]
    tf.config.experimental_connect_to_cluster(cluster)
    return servers


def main(preset: str, folder: pathlib.Path) -> None:
    servers = start_hosts()
    strategy = absent_tpu.stand_in(CORES)
    devices = [core for host in CORES.devices("CPU") for core in host]
    texts, labels = tiny.labelled_sentences(27)
    tokens = tiny.tokenize(texts, folder / "cache")
    plan = plans.TrainingPlan(
        tokens.lengths, BUCKETS, seed=0, batch_size=8, num_epochs=2
    ).from_step(0)

    # Each host makes the batches of its own cores: together those of one device.
    one_device = tf.distribute.get_strategy()
    fed = batches.BatchFeeder(tokens, labels, BUCKETS, strategy)(plan)
    expected = batches.BatchFeeder(tokens, labels, BUCKETS, one_device)(plan)
    for (rows, batch), (expected_rows, whole) in zip(fed, expected, strict=True):
        np.testing.assert_array_equal(rows, expected_rows)
        flat = (tf.nest.flatten(batch), tf.nest.flatten(whole))
        for parts, tensor in zip(*flat, strict=True):
            assert [part.device for part in parts.values] == devices
            assert [part.shape[0] for part in parts.values] == [2] * len(devices)
            gathered = strategy.gather(parts, axis=0)
            np.testing.assert_array_equal(gathered, tensor)

    # Each core has the weights, and a step that TensorFlow can hand to a TPU.
    classifier = make_classifier(strategy, preset, dropout=0.1)
    step = tiny.make_train_step(classifier, strategy, clip_norm=1.0, seed=0)
    graph = step._one.get_concrete_function(batch, tf.constant(0)).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("CrossReplicaSum") == len(classifier.trainable_variables)

    # A checkpoint is written and read on this machine, whichever the hosts are.
    variables = [variable.value for variable in classifier.trainable_variables]
    weights = [variable.numpy() for variable in variables]
    options = tf.train.CheckpointOptions(experimental_io_device="/job:localhost")
    checkpoint = tf.train.Checkpoint(weights=variables)
    path = checkpoint.write(str(folder / "checkpoint"), options=options)
    for variable in variables:
        variable.assign(tf.zeros_like(variable))
    checkpoint.read(path, options=options).assert_existing_objects_matched()
    for variable, value in zip(variables, weights, strict=True):
        assert [each.device for each in variable.values] == devices
        for each in variable.values:
            np.testing.assert_array_equal(each, value)
    assert len(servers) == CORES.num_hosts
    print("done")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
