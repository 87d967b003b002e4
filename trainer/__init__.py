"""Fine-tunes a pretrained BERT on labelled text, from one flagfile to a SavedModel.

`python -m trainer.main --flagfile=configs/quickstart.flags` trains;
`python -m trainer.predict` uses what came out. `experiment.py` is the way of the
data from top to bottom.
"""

import os

__version__ = "0.1.0"

# Read when TensorFlow and Keras are imported, so set before anything imports them.
# oneDNN doubles the training speed of CPUs without AVX-512, where it is off.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# What goes wrong reaches Python as an exception; the rest is noise to a user.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The program is written for one backend, whatever ~/.keras/keras.json says.
os.environ["KERAS_BACKEND"] = "tensorflow"
# A user whom the system does not know has no home folder, which a library asks for when
# it is imported. In this one nobody can write.
if os.path.expanduser("~") == "~":
    os.environ["HOME"] = os.devnull
