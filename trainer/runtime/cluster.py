"""Who this process is among the workers: TF_CONFIG, Slurm, Kubernetes.

    workers = cluster.find(os.environ)
    if workers is not None:
        os.environ["TF_CONFIG"] = workers.tf_config()
        logging.info("%s, the chief is %s", workers.source, workers.addresses[0])

The first of these that names workers is taken; where another one is there too, it has
to say the same.

TF_CONFIG, as TensorFlow defines it. A chief and workers become one list, the chief
first.

Slurm, in a process that srun started: SLURM_PROCID, SLURM_STEP_NUM_TASKS (or
SLURM_NTASKS), SLURM_STEP_NODELIST (or SLURM_JOB_NODELIST) and
SLURM_STEP_TASKS_PER_NODE (or SLURM_TASKS_PER_NODE). The tasks of one node count up from
the port, one each. Only srun sets SLURM_STEP_*: without any of these the process is the
batch script's own shell, which is alone, though Slurm gives it SLURM_PROCID=0 and the
SLURM_NTASKS of the whole job.

Kubernetes, in a pod of an Indexed Job or of a JobSet. Kubernetes sets
JOB_COMPLETION_INDEX; the manifest sets the other two:

    TRAINER_NUM_WORKERS              the Job's completions (and its parallelism)
    TRAINER_WORKER_HOSTNAME_PATTERN  a pod's host name, with {index} in it

A pod is `<job>-<index>.<subdomain>`, with a headless service as the subdomain, so a Job
`bert` with the service `bert-workers` has the pattern `bert-{index}.bert-workers`. In
a JobSet a pod is `<jobset>-<replicated job>-<job index>-<pod index>.<subdomain>`; with
the workers in one replicated job of one replica: `bert-worker-0-{index}.bert`.
https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication
https://github.com/kubernetes-sigs/jobset/blob/main/site/static/examples/simple/jobset-with-network.yaml

A variable that is set to nothing counts as not set. This module starts nothing and
knows nothing of devices: which GPUs a task may use, and the strategy, are others'.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from typing import Any, Callable, Mapping

import hostlist

from trainer import json_text
from trainer.messages import message
from trainer.runtime.addresses import host_and_port

_VARIABLES = (
    "TF_CONFIG",
    "SLURM_PROCID",
    "SLURM_NODEID",
    "SLURM_LOCALID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_NTASKS",
    "SLURM_STEP_NODELIST",
    "SLURM_JOB_NODELIST",
    "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_TASKS_PER_NODE",
    "SLURM_DISTRIBUTION",
    "JOB_COMPLETION_INDEX",
    "TRAINER_NUM_WORKERS",
    "TRAINER_WORKER_HOSTNAME_PATTERN",
)
# Set by srun for its tasks and by nothing else (env_array_for_step in Slurm's
# src/common/env.c); SLURM_PROCID and SLURM_NTASKS are set in a batch script as well.
_SLURM_STEP_VARIABLES = (
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_NODELIST",
    "SLURM_STEP_TASKS_PER_NODE",
)
# One name of a node list; single characters, so that matching takes linear time.
_NODES = r"(?:[A-Za-z0-9_.-]|\[[0-9,-]+\])+"


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run, and which of them this process is.

    Attributes:
      addresses: host:port of every worker, in order; the first is the chief.
      index: of this process in `addresses`, from 0.
      source: "TF_CONFIG", "Slurm" or "Kubernetes", a colon, and in words what was
        read there.

    Raises:
      ValueError: an address is not host:port or is there twice, or the index is out
        of range.
    """

    addresses: tuple[str, ...]
    index: int
    source: str

    def __post_init__(self) -> None:
        places = [host_and_port(address) for address in self.addresses]
        # One IPv6 address has many spellings.
        doubled = sorted(
            {a for a, place in zip(self.addresses, places) if places.count(place) > 1}
        )
        if doubled:
            raise ValueError(
                f"{self.source}: each worker needs an address of its own, doubled: "
                + ", ".join(doubled)
            )
        _check_index(self.source, self.index, self.num_workers)

    @property
    def num_workers(self) -> int:
        """How many processes train together."""
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0

    def tf_config(self) -> str:
        """The value of TF_CONFIG that TensorFlow's TFConfigClusterResolver reads.

        The chief is worker 0 in it, which MultiWorkerMirroredStrategy takes for one.
        """
        return json.dumps(
            {
                "cluster": {"worker": list(self.addresses)},
                "task": {"type": "worker", "index": self.index},
            }
        )


def find(environment: Mapping[str, str], *, port: int = 12355) -> Cluster | None:
    """The workers that the environment names; None where the process is alone.

    Args:
      environment: variables by name, such as os.environ.
      port: TCP port of a worker, for Slurm and Kubernetes, which name hosts only; the
        n-th task on a Slurm node has port + n. TF_CONFIG brings its own.

    Raises:
      ValueError: variables contradict each other, cannot be read, or some of them are
        missing. All that are set are listed.
    """
    seen = {
        name: environment[name].strip()
        for name in _VARIABLES
        if environment.get(name, "").strip()
    }
    try:
        return _find(seen, port)
    except ValueError as error:
        received = ", ".join(f"{name}={value!r}" for name, value in seen.items())
        raise ValueError(message(str(error), received=received)) from None


@dataclasses.dataclass(frozen=True)
class _Place:
    """What one source says of this process.

    Attributes:
      source: as Cluster's.
      index: from 0.
      num_workers: None where the source does not say.
      addresses: makes Cluster's from the port. Called only where this source is the
        one that is taken, so what it needs may be missing otherwise.
    """

    source: str
    index: int
    num_workers: int | None
    addresses: Callable[[int], tuple[str, ...]]

    def __post_init__(self) -> None:
        if self.num_workers is not None:
            _check_index(self.source, self.index, self.num_workers)


def _find(seen: Mapping[str, str], port: int) -> Cluster | None:
    readers = (_read_tf_config, _read_slurm, _read_kubernetes)
    places = [place for reader in readers if (place := reader(seen)) is not None]
    if not places:
        return None
    first, *others = places
    for other in others:
        _check_agreement(first, other)
    if first.num_workers == 1:
        return None
    return Cluster(first.addresses(port), first.index, first.source)


def _check_agreement(first: _Place, other: _Place) -> None:
    numbers = {first.num_workers, other.num_workers} - {None}
    if first.index != other.index or len(numbers) > 1:
        raise ValueError(
            f"Two sources must say the same of this worker, but {first.source}, and "
            f"{other.source}. Unset the variables of one of them (env -u NAME)"
        )


def _check_index(source: str, index: int, num_workers: int) -> None:
    if not 0 <= index < num_workers:
        raise ValueError(
            f"{source}: the index counts from 0, so it must be below {num_workers}, "
            f"not {index}"
        )


def _integer(name: str, value: object) -> int:
    """A whole number, as a number or as text; True and 1.0 are none."""
    if not re.fullmatch("[0-9]+", str(value)):
        raise ValueError(f"{name} must be a whole number from 0, not {value!r}")
    return int(str(value))


def _first_set(seen: Mapping[str, str], *names: str) -> str:
    for name in names:
        if name in seen:
            return seen[name]
    raise ValueError(f"{' or '.join(names)} is missing")


def _read_tf_config(seen: Mapping[str, str]) -> _Place | None:
    """TF_CONFIG's place; None where it names no worker.

    The format:
    https://www.tensorflow.org/api_docs/python/tf/distribute/cluster_resolver/TFConfigClusterResolver
    """
    cluster, task = _parse_tf_config(seen.get("TF_CONFIG", "{}"))
    _refuse_parameter_servers(cluster, task)
    chiefs, workers = cluster.get("chief", []), cluster.get("worker", [])
    if len(chiefs) > 1:
        raise ValueError(f"TF_CONFIG must have one chief at most, not {len(chiefs)}")
    addresses = tuple(chiefs + workers)
    if not addresses and not _integer("The task's index", task.get("index", 0)):
        return None
    index = _tf_config_index(task, len(chiefs), len(workers))
    source = f"TF_CONFIG: index {index} of {len(addresses)} workers"
    return _Place(source, index, len(addresses), lambda port: addresses)


def _parse_tf_config(text: str) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """The addresses of each kind of task, and this process's task; {} where absent."""
    try:
        content = json_text.parse(text)
    except ValueError as error:
        raise ValueError(f"TF_CONFIG must be JSON: {error}") from None
    cluster = content.get("cluster", {}) if isinstance(content, dict) else None
    task = content.get("task", {}) if isinstance(content, dict) else None
    if (
        not isinstance(cluster, dict)
        or not isinstance(task, dict)
        or not all(_is_list_of_text(addresses) for addresses in cluster.values())
    ):
        raise ValueError(
            'TF_CONFIG must be JSON like {"cluster": {"worker": ["host:port", ...]}, '
            '"task": {"type": "worker", "index": 0}}'
        )
    return cluster, task


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _refuse_parameter_servers(
    cluster: Mapping[str, list[str]], task: Mapping[str, Any]
) -> None:
    kinds = {kind for kind, addresses in cluster.items() if addresses}
    kinds.update([str(task["type"])] if "type" in task else [])
    others = sorted(kinds - {"chief", "worker"})
    if others:
        raise ValueError(
            "TF_CONFIG may have a chief and workers only: ParameterServerStrategy is "
            f"not supported, nor are tasks of the type {', '.join(others)}"
        )


def _tf_config_index(task: Mapping[str, Any], num_chiefs: int, num_workers: int) -> int:
    """This task's index with the chief counted as the first worker."""
    if not task and num_chiefs + num_workers == 1:
        return 0
    missing = [f'"{key}"' for key in ("type", "index") if key not in task]
    if missing:
        raise ValueError(f'TF_CONFIG\'s "task" is missing {" and ".join(missing)}')
    index = _integer("TF_CONFIG's task index", task["index"])
    is_chief = task["type"] == "chief"
    _check_index(
        f"TF_CONFIG's {task['type']}", index, num_chiefs if is_chief else num_workers
    )
    return index if is_chief else num_chiefs + index


def _read_slurm(seen: Mapping[str, str]) -> _Place | None:
    """Slurm's place; None outside srun and for a single task.

    A single task says nothing of others: one srun for each worker, with a TF_CONFIG
    made by hand, is a usual way.
    """
    if not any(name in seen for name in _SLURM_STEP_VARIABLES):
        return None
    # srun --preserve-env leaves the job's number in SLURM_NTASKS.
    count = _first_set(seen, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    num_tasks = _integer("Slurm's number of tasks", count)
    if num_tasks == 1 and "SLURM_PROCID" not in seen:
        return None
    index = _integer("SLURM_PROCID", _first_set(seen, "SLURM_PROCID"))
    place = _Place(
        f"Slurm: index {index} of {num_tasks} tasks",
        index,
        num_tasks,
        functools.partial(_slurm_addresses, seen, index, num_tasks),
    )
    return None if num_tasks == 1 else place


def _slurm_addresses(
    seen: Mapping[str, str], index: int, num_tasks: int, port: int
) -> tuple[str, ...]:
    nodes = _first_set(seen, "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST")
    hosts = _expand_nodes(nodes)
    counts = _slurm_tasks_per_node(seen, len(hosts), num_tasks)
    # Where each task is: its node, and its number on this node.
    slots = [
        (node, local_index)
        for node, count in enumerate(counts)
        for local_index in range(count)
    ]
    if len(hosts) > 1 and max(counts) > 1:
        _check_block_distribution(seen, slots[index])
    return tuple(f"{hosts[node]}:{port + local_index}" for node, local_index in slots)


def _slurm_tasks_per_node(
    seen: Mapping[str, str], num_nodes: int, num_tasks: int
) -> list[int]:
    names = ("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE")
    if num_nodes == num_tasks and not any(name in seen for name in names):
        return [1] * num_tasks
    counts = _expand_counts(_first_set(seen, *names))
    if len(counts) != num_nodes or sum(counts) != num_tasks:
        raise ValueError(
            f"Slurm's nodes and tasks must fit: the node list has {num_nodes} nodes, "
            f"the tasks per node are {sum(counts)} tasks on {len(counts)} nodes, the "
            f"number of tasks is {num_tasks}"
        )
    return counts


def _check_block_distribution(seen: Mapping[str, str], slot: tuple[int, int]) -> None:
    """Raises ValueError where tasks are not dealt out node by node.

    SLURM_DISTRIBUTION tells every task, where it is set; the node and the number on it
    tell at least those tasks that are elsewhere.
    """
    distribution = seen.get("SLURM_DISTRIBUTION", "block")
    names = ("SLURM_NODEID", "SLURM_LOCALID")
    elsewhere = any(
        name in seen and _integer(name, seen[name]) != expected
        for name, expected in zip(names, slot)
    )
    if re.match("cyclic|plane|arbitrary", distribution) or elsewhere:
        raise ValueError(
            "Slurm must fill one node after the other: use srun --distribution=block. "
            f"It is {distribution} here, and in blocks this task would have "
            f"SLURM_NODEID={slot[0]}, SLURM_LOCALID={slot[1]}"
        )


def _expand_nodes(text: str) -> list[str]:
    """Host names of a Slurm node list: "gpu[01-02],login" is gpu01, gpu02, login.

    Of several brackets in a name the last one counts fastest.
    """
    rule = "Slurm's node list must be like gpu[01-03,7]"
    # The library takes blanks and empty names for what they look like.
    if not re.fullmatch(f"{_NODES}(?:,{_NODES})*", text):
        raise ValueError(f"{rule}, not {text!r}")
    try:
        # With doubles, which are refused later and by name.
        hosts: list[str] = hostlist.expand_hostlist(text, allow_duplicates=True)
    except hostlist.BadHostlist as error:
        raise ValueError(f"{rule}, not {text!r} ({error})") from error
    return hosts


def _expand_counts(text: str) -> list[int]:
    """Slurm's tasks per node: "2(x3),1" is 2, 2, 2, 1."""
    try:
        counts: list[int] = hostlist.parse_slurm_tasks_per_node(text)
    except hostlist.BadHostlist as error:
        raise ValueError(
            f"Slurm's tasks per node must be like 2(x3),1, not {text!r} ({error})"
        ) from error
    return counts


def _read_kubernetes(seen: Mapping[str, str]) -> _Place | None:
    """The place of an Indexed Job's pod; None outside one."""
    names = (
        "JOB_COMPLETION_INDEX",
        "TRAINER_NUM_WORKERS",
        "TRAINER_WORKER_HOSTNAME_PATTERN",
    )
    if not any(name in seen for name in names):
        return None
    num_workers = None
    if "TRAINER_NUM_WORKERS" in seen:
        num_workers = _integer("TRAINER_NUM_WORKERS", seen["TRAINER_NUM_WORKERS"])
    if "JOB_COMPLETION_INDEX" not in seen:
        if num_workers == 1:
            return None
        raise ValueError(
            "JOB_COMPLETION_INDEX is missing: use a Job with completionMode: Indexed"
        )
    index = _integer("JOB_COMPLETION_INDEX", seen["JOB_COMPLETION_INDEX"])
    of_all = "" if num_workers is None else f" of {num_workers} pods"
    return _Place(
        f"Kubernetes: index {index}{of_all}",
        index,
        num_workers,
        functools.partial(_kubernetes_addresses, seen, num_workers),
    )


def _kubernetes_addresses(
    seen: Mapping[str, str], num_workers: int | None, port: int
) -> tuple[str, ...]:
    pattern = seen.get("TRAINER_WORKER_HOSTNAME_PATTERN", "")
    if num_workers is None or not pattern:
        names = ("TRAINER_NUM_WORKERS", "TRAINER_WORKER_HOSTNAME_PATTERN")
        missing = " and ".join(name for name in names if name not in seen)
        raise ValueError(
            f"Missing in this pod of an Indexed Job: {missing}. Set both in the "
            "manifest, or, where each pod trains alone, start the program with "
            "env -u JOB_COMPLETION_INDEX"
        )
    if "{index}" not in pattern:
        raise ValueError(
            "TRAINER_WORKER_HOSTNAME_PATTERN must have {index} in it, such as "
            "bert-{index}.bert-workers"
        )
    hosts = (pattern.replace("{index}", str(index)) for index in range(num_workers))
    return tuple(f"{host}:{port}" for host in hosts)
