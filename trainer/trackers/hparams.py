"""TensorBoard's HParams: settings and results of each run, side by side.

    hparams.record(run)     # then: tensorboard --logdir STUDY_DIR

A run's are in LOGS/hparams. TensorBoard finds those of all runs below its --logdir, and
tells which settings differ.
"""

from __future__ import annotations

import tensorflow as tf
from tensorboard.plugins.hparams import summary_v2

from trainer.trackers.tracked import TrackedRun


def record(run: TrackedRun) -> None:
    """Writes them."""
    writer = tf.summary.create_file_writer(str(run.logs / "hparams"))
    with writer.as_default():
        summary = summary_v2.hparams_pb(dict(run.settings), trial_id=run.name)
        tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=0)
        for name, value in run.metrics.items():
            tf.summary.scalar(name, value, step=0)
    writer.close()
