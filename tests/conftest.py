"""Sets up the process for all tests, and the material they share."""

from __future__ import annotations

import pathlib
import shutil
from typing import Iterator

import pytest
from playwright import sync_api as playwright

from trainer import stack

# As the entry points do, without TensorFlow's lines: where tests run side by side, they
# would come out of the process that runs none, after pytest's last line.
stack.load()
import tensorflow as tf  # noqa: E402
from tests import tiny  # noqa: E402
from trainer.runtime import traces  # noqa: E402

# Four logical devices, so that tests can mirror; the first one serves the others.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 4,
)
tf.config.list_logical_devices()


# Whose tests take minutes: begun first, so that none of them runs alone at the end.
_LONGEST = ("test_multi_worker", "test_steps", "test_experiment", "test_docs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; the order within a file stays."""
    position = {name: index for index, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: position.get(item.path.stem, len(position)))


@pytest.fixture(scope="module", autouse=True)
def _let_go() -> Iterator[None]:
    """Frees the graphs of a module's tests."""
    with traces.released():
        yield


@pytest.fixture(scope="session")
def tiny_preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BERT as a KerasHub preset folder."""
    return tiny.write_preset(tmp_path_factory.mktemp("preset"))


@pytest.fixture(scope="session")
def one_layer_preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same of one layer, for what XLA takes half of the time to compile."""
    folder = tmp_path_factory.mktemp("one_layer_preset")
    return tiny.write_preset(folder, num_layers=1)


@pytest.fixture(scope="session")
def tiny_hugging_face(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BERT as a Hugging Face checkpoint folder."""
    return tiny.write_hugging_face(tmp_path_factory.mktemp("hugging_face"))


@pytest.fixture
def cache_dir(tmp_path: pathlib.Path) -> pathlib.Path:
    """An empty folder for tokenized texts."""
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    """Chromium, without a window."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    with playwright.sync_playwright() as started:
        # Without a sandbox, for in a container Chromium often may not make one.
        launched = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()
