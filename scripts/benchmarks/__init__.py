"""Measurements of this program, beside its rivals and by its parts.

python -m scripts.benchmarks.benchmark --output_dir=benchmark
"""

import os

# As it is before the package `trainer` sets options of TensorFlow in it: its rivals get
# what a user's shell has.
ENVIRONMENT = dict(os.environ)
