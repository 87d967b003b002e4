"""What the report says of memory."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from trainer import environment

STATUS = pathlib.Path("/proc/self/status")


@pytest.mark.skipif(not STATUS.is_file(), reason="Linux tells it there")
def test_peak_host_memory_is_what_linux_says() -> None:
    found = environment.peak_memory()["peak_host_memory_bytes"]
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    assert found == pytest.approx(1024 * int(kibibytes), rel=0.01)


@pytest.mark.parametrize(
    ("devices", "tells"),
    [([], False), (["/device:GPU:99"], False), (["/device:GPU:99", "CPU:0"], True)],
    ids=["no GPU", "one that does not say", "one that does, and one that does not"],
)
def test_peak_device_memory_is_the_largest_that_a_device_tells(
    devices: list[str], tells: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The CPU, asked like a GPU.
    found = [tf.config.LogicalDevice(name, "GPU") for name in devices]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: found)
    peak = tf.config.experimental.get_memory_info("CPU:0")["peak"] if tells else None
    assert environment.peak_memory()["peak_device_memory_bytes"] == peak


def test_secs_since_start_are_those_of_the_process() -> None:
    code = (
        "import time; time.sleep(0.5); from trainer import environment;"
        "print(environment.secs_since_start(), flush=True)"
    )
    start = time.monotonic()
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE
    ).stdout
    assert 0.5 < float(output) < time.monotonic() - start + 0.05
