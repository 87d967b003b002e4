"""The workers that TF_CONFIG, Slurm and Kubernetes name."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from trainer.runtime import cluster

WORKERS = ["a:1", "b:2", "c:3"]
# Two nodes with two tasks each, as srun tells its third task.
SLURM = {
    "SLURM_PROCID": "2",
    "SLURM_NODEID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NODELIST": "gpu[01-02]",
    "SLURM_JOB_NODELIST": "gpu[01-02]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_TASKS_PER_NODE": "2(x2)",
}
# The same job's batch script.
BATCH_SCRIPT = {
    "SLURM_NTASKS": "4",
    "SLURM_JOB_NODELIST": "gpu[01-02]",
    "SLURM_TASKS_PER_NODE": "2(x2)",
}
POD = {
    "JOB_COMPLETION_INDEX": "2",
    "TRAINER_NUM_WORKERS": "4",
    "TRAINER_WORKER_HOSTNAME_PATTERN": "bert-{index}.bert-workers",
}


def tf_config(
    addresses: dict[str, list[str]], kind: str | None = None, index: Any = 0
) -> dict[str, str]:
    """An environment with TF_CONFIG; without `kind` it has no task."""
    content: dict[str, Any] = {"cluster": addresses}
    if kind is not None:
        content["task"] = {"type": kind, "index": index}
    return {"TF_CONFIG": json.dumps(content)}


def step(nodes: str, tasks_per_node: str, num_tasks: int) -> dict[str, str]:
    """The environment of an srun's first task."""
    return {
        "SLURM_PROCID": "0",
        "SLURM_STEP_NUM_TASKS": str(num_tasks),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks_per_node,
    }


def without(environment: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in names}


def found(environment: dict[str, str]) -> cluster.Cluster:
    result = cluster.find(environment)
    assert result is not None
    return result


ALONE = {
    "nothing set": {},
    "other variables": {"HOME": "/root", "NUM_WORKERS": "8"},
    "TF_CONFIG empty": {"TF_CONFIG": ""},
    "TF_CONFIG blank": {"TF_CONFIG": " \n"},
    "TF_CONFIG {}": {"TF_CONFIG": "{}"},
    "TF_CONFIG without cluster": {
        "TF_CONFIG": '{"environment": "cloud", "task": {"type": "worker", "index": 0}}'
    },
    "TF_CONFIG with empty lists": tf_config({"worker": [], "ps": []}),
    "one worker": tf_config({"worker": ["a:1"]}, "worker"),
    "one worker, no task": tf_config({"worker": ["a:1"]}),
    "one chief": tf_config({"chief": ["a:1"]}, "chief"),
    "batch script": BATCH_SCRIPT,
    # As slurmd really sets it there: the first of a step that does not exist.
    "batch script with ids": BATCH_SCRIPT
    | {"SLURM_PROCID": "0", "SLURM_NODEID": "0", "SLURM_LOCALID": "0"},
    "one task": step("gpu01", "1", 1),
    "one task, old name": {
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_STEP_NODELIST": "gpu01",
    },
    "one task, no rank": without(step("gpu01", "1", 1), "SLURM_PROCID"),
    "interactive shell of a larger job": step("gpu01", "1", 1) | {"SLURM_NTASKS": "4"},
    "one pod": {"JOB_COMPLETION_INDEX": "0", "TRAINER_NUM_WORKERS": "1"},
    "one worker, no Indexed Job": {"TRAINER_NUM_WORKERS": "1"},
    "all say one": tf_config({"worker": ["a:1"]}, "worker")
    | step("gpu01", "1", 1)
    | {"JOB_COMPLETION_INDEX": "0", "TRAINER_NUM_WORKERS": "1"},
}


@pytest.mark.parametrize("environment", ALONE.values(), ids=list(ALONE))
def test_alone(environment: dict[str, str]) -> None:
    assert cluster.find(environment) is None


FOUND: dict[str, tuple[dict[str, str], list[str], int]] = {
    "workers": (tf_config({"worker": WORKERS}, "worker", 1), WORKERS, 1),
    "index as text": (tf_config({"worker": WORKERS}, "worker", "1"), WORKERS, 1),
    "the chief": (
        tf_config({"worker": ["b:2", "c:3"], "chief": ["a:1"]}, "chief"),
        WORKERS,
        0,
    ),
    "first worker after a chief": (
        tf_config({"worker": ["b:2", "c:3"], "chief": ["a:1"]}, "worker"),
        WORKERS,
        1,
    ),
    "last worker after a chief": (
        tf_config({"worker": ["b:2", "c:3"], "chief": ["a:1"]}, "worker", 1),
        WORKERS,
        2,
    ),
    "addresses of all kinds": (
        tf_config({"worker": ["10.0.0.1:80", "[fe80::1]:65535"]}, "worker"),
        ["10.0.0.1:80", "[fe80::1]:65535"],
        0,
    ),
    "a port for each task": (
        SLURM,
        ["gpu01:12355", "gpu01:12356", "gpu02:12355", "gpu02:12356"],
        2,
    ),
    "counts that differ": (
        step("gpu[1-4]", "2(x3),1", 7),
        ["gpu1:12355", "gpu1:12356", "gpu2:12355", "gpu2:12356"]
        + ["gpu3:12355", "gpu3:12356", "gpu4:12355"],
        0,
    ),
    "names of the job": (
        without(SLURM, "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"),
        ["gpu01:12355", "gpu01:12356", "gpu02:12355", "gpu02:12356"],
        2,
    ),
    "the step's names before the job's": (
        step("gpu[2-3]", "1(x2)", 2)
        | {
            "SLURM_NTASKS": "8",
            "SLURM_JOB_NODELIST": "gpu[1-4]",
            "SLURM_TASKS_PER_NODE": "2(x4)",
        },
        ["gpu2:12355", "gpu3:12355"],
        0,
    ),
    "no counts, a task a node": (
        without(step("a,b", "", 2), "SLURM_STEP_TASKS_PER_NODE"),
        ["a:12355", "b:12355"],
        0,
    ),
    # Slurm's own default where there are no more tasks than nodes.
    "cyclic, a task a node": (
        step("a,b", "1(x2)", 2) | {"SLURM_DISTRIBUTION": "cyclic"},
        ["a:12355", "b:12355"],
        0,
    ),
    "cyclic on one node": (
        step("a", "2", 2) | {"SLURM_DISTRIBUTION": "cyclic"},
        ["a:12355", "a:12356"],
        0,
    ),
    "block, then cyclic on the sockets": (
        SLURM | {"SLURM_DISTRIBUTION": "block:cyclic,pack"},
        ["gpu01:12355", "gpu01:12356", "gpu02:12355", "gpu02:12356"],
        2,
    ),
    "Indexed Job": (
        POD,
        [f"bert-{index}.bert-workers:12355" for index in range(4)],
        2,
    ),
    "JobSet": (
        POD | {"TRAINER_WORKER_HOSTNAME_PATTERN": "bert-worker-0-{index}.bert"},
        [f"bert-worker-0-{index}.bert:12355" for index in range(4)],
        2,
    ),
    "TF_CONFIG before what says the same": (
        tf_config({"worker": ["a:1", "b:2", "c:3", "d:4"]}, "worker", 2) | SLURM | POD,
        ["a:1", "b:2", "c:3", "d:4"],
        2,
    ),
    "TF_CONFIG and only an index": (
        tf_config({"worker": WORKERS}, "worker", 1) | {"JOB_COMPLETION_INDEX": "1"},
        WORKERS,
        1,
    ),
    "TF_CONFIG and one srun for each worker": (
        tf_config({"worker": WORKERS}, "worker", 1) | step("gpu01", "1", 1),
        WORKERS,
        1,
    ),
    "TF_CONFIG in a batch script": (
        tf_config({"worker": WORKERS}, "worker", 1) | BATCH_SCRIPT,
        WORKERS,
        1,
    ),
    "empty TF_CONFIG, then Slurm": (
        {"TF_CONFIG": "{}"} | step("a,b", "1(x2)", 2),
        ["a:12355", "b:12355"],
        0,
    ),
    "Slurm before Kubernetes": (
        SLURM | POD,
        ["gpu01:12355", "gpu01:12356", "gpu02:12355", "gpu02:12356"],
        2,
    ),
}


@pytest.mark.parametrize(
    ("environment", "addresses", "index"), FOUND.values(), ids=list(FOUND)
)
def test_found(environment: dict[str, str], addresses: list[str], index: int) -> None:
    result = found(environment)
    assert result.addresses == tuple(addresses)
    assert result.index == index


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ("gpu1", "gpu1"),
        ("gpu[01-03,7],login1", "gpu01 gpu02 gpu03 gpu7 login1"),
        ("n[8-11]", "n8 n9 n10 n11"),
        ("n[08-11]", "n08 n09 n10 n11"),
        ("n[098-101]", "n098 n099 n100 n101"),
        ("b,a", "b a"),
        ("gpu[1-2]-ib.site", "gpu1-ib.site gpu2-ib.site"),
        ("r[1-2]n[09-10]", "r1n09 r1n10 r2n09 r2n10"),
        ("r[1,3]n[1],s[5]", "r1n1 r3n1 s5"),
        ("[1-2]", "1 2"),
    ],
)
def test_node_list(nodes: str, names: str) -> None:
    hosts = names.split()
    padding = ["z1", "z2"]  # a list of one node would be alone
    num_tasks = len(hosts) + len(padding)
    result = found(step(f"{nodes},z[1-2]", f"1(x{num_tasks})", num_tasks))
    assert [address.split(":")[0] for address in result.addresses] == hosts + padding


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    # TF_CONFIG by itself.
    "no JSON": ({"TF_CONFIG": "{worker"}, "TF_CONFIG must be JSON: Expecting"),
    "a list": ({"TF_CONFIG": "[]"}, "must be JSON like"),
    "cluster no object": ({"TF_CONFIG": '{"cluster": 3}'}, "must be JSON like"),
    "workers no list": (
        {"TF_CONFIG": '{"cluster": {"worker": "a:1"}}'},
        "must be JSON like",
    ),
    "address no text": (
        {"TF_CONFIG": '{"cluster": {"worker": [1]}}'},
        "must be JSON like",
    ),
    "task no object": ({"TF_CONFIG": '{"task": [0]}'}, "must be JSON like"),
    "no task": (tf_config({"worker": WORKERS}), '"task" is missing "type" and "index"'),
    "task without index": (
        {
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": WORKERS}, "task": {"type": "worker"}}
            )
        },
        '"task" is missing "index"',
    ),
    "ps": (
        tf_config({"worker": WORKERS, "ps": ["p:1"]}, "worker"),
        "ParameterServerStrategy is not supported, nor are tasks of the type ps",
    ),
    "evaluator": (
        tf_config({"worker": WORKERS}, "evaluator"),
        "not supported, nor are tasks of the type evaluator",
    ),
    "evaluator of one chief": (
        tf_config({"chief": ["a:1"]}, "evaluator"),
        "nor are tasks of the type evaluator",
    ),
    "two chiefs": (tf_config({"chief": ["a:1", "b:2"]}, "chief"), "one chief at most"),
    "no chief there": (
        tf_config({"worker": WORKERS}, "chief"),
        "TF_CONFIG's chief: the index counts from 0, so it must be below 0",
    ),
    "index too high": (
        tf_config({"worker": WORKERS}, "worker", 3),
        "TF_CONFIG's worker: the index counts from 0, so it must be below 3, not 3",
    ),
    "index too high after a chief": (
        tf_config({"chief": ["a:1"], "worker": ["b:2", "c:3"]}, "worker", 2),
        "below 2, not 2",
    ),
    "index of one worker": (tf_config({"worker": ["a:1"]}, "worker", 1), "below 1"),
    "index without cluster": (tf_config({}, "worker", 1), "below 0"),
    "index negative": (
        tf_config({"worker": WORKERS}, "worker", -1),
        "task index must be a whole number from 0, not -1",
    ),
    "index true": (tf_config({"worker": WORKERS}, "worker", True), "not True"),
    "index half": (tf_config({"worker": WORKERS}, "worker", 1.5), "not 1.5"),
    "address twice": (
        tf_config({"worker": ["a:1", "b:2", "a:1"]}, "worker"),
        "an address of its own, doubled: a:1",
    ),
    "IPv6 address twice, written in two ways": (
        tf_config({"worker": ["[fd00::1]:1", "b:2", "[FD00:0::1]:1"]}, "worker"),
        r"doubled: \[FD00:0::1\]:1, \[fd00::1\]:1",
    ),
    "IPv6 without brackets": (
        tf_config({"worker": ["fd00::1:12355", "b:2"]}, "worker"),
        r"in brackets like \[fd00::7\]:12355, not 'fd00::1:12355'",
    ),
    "chief among the workers": (
        tf_config({"chief": ["a:1"], "worker": WORKERS}, "worker"),
        "doubled: a:1",
    ),
    "no port": (tf_config({"worker": ["a", "b:2"]}, "worker"), "host:port.* not 'a'"),
    "port 0": (tf_config({"worker": ["a:0", "b:2"]}, "worker"), "not 'a:0'"),
    "port too high": (tf_config({"worker": ["a:65536", "b:2"]}, "worker"), "a:65536"),
    # Slurm by itself.
    "no rank": (without(SLURM, "SLURM_PROCID"), "SLURM_PROCID is missing"),
    "no number of tasks": (
        without(SLURM, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        "SLURM_STEP_NUM_TASKS or SLURM_NTASKS is missing",
    ),
    "no node list": (
        without(SLURM, "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"),
        "SLURM_STEP_NODELIST or SLURM_JOB_NODELIST is missing",
    ),
    "no counts": (
        without(SLURM, "SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"),
        "SLURM_STEP_TASKS_PER_NODE or SLURM_TASKS_PER_NODE is missing",
    ),
    "rank no number": (SLURM | {"SLURM_PROCID": "two"}, "SLURM_PROCID must be a whole"),
    "tasks no number": (
        SLURM | {"SLURM_STEP_NUM_TASKS": "4x"},
        "number of tasks must be a whole number from 0, not '4x'",
    ),
    "rank too high": (SLURM | {"SLURM_PROCID": "4"}, "Slurm.* below 4, not 4"),
    "rank of one task": (step("a", "1", 1) | {"SLURM_PROCID": "1"}, "below 1, not 1"),
    "no tasks": (step("a", "1", 0), "below 0"),
    "fewer nodes": (
        SLURM | {"SLURM_STEP_NODELIST": "gpu01"},
        "1 nodes, the tasks per node are 4 tasks on 2 nodes, the number of tasks is 4",
    ),
    "more nodes than tasks": (step("n[1-3]", "1(x2)", 2), "3 nodes.* 2 tasks on 2"),
    "as many nodes as tasks, other counts": (
        step("a,b", "2(x2)", 2),
        "2 nodes, the tasks per node are 4 tasks on 2 nodes, the number of tasks is 2",
    ),
    "other number of tasks": (
        SLURM | {"SLURM_STEP_NUM_TASKS": "5"},
        "the number of tasks is 5",
    ),
    "node twice": (step("a,a", "1(x2)", 2), "doubled: a:12355"),
    "cyclic": (
        SLURM | {"SLURM_DISTRIBUTION": "cyclic"},
        "use srun --distribution=block. It is cyclic here",
    ),
    "plane": (SLURM | {"SLURM_DISTRIBUTION": "plane"}, "distribution=block"),
    "on another node": (
        SLURM | {"SLURM_NODEID": "0"},
        "in blocks this task would have SLURM_NODEID=1, SLURM_LOCALID=0",
    ),
    "another on its node": (SLURM | {"SLURM_LOCALID": "1"}, "distribution=block"),
    **{
        f"node list {nodes}": (SLURM | {"SLURM_STEP_NODELIST": nodes}, "node list must")
        for nodes in ("gpu[01-02", "gpu01]", "a,,b", "a,", "a b", "[[1]]", "a[]", "a/b")
        + ("a[1-]", "a[-1]", "a[1,]", "a[2-1]", "a[1-2-3]", "a[x]", "(null)")
    },
    **{
        f"counts {counts}": (
            SLURM | {"SLURM_STEP_TASKS_PER_NODE": counts},
            "tasks per node must be like",
        )
        for counts in ("2(x2", "2(2)", "2,", "two", "2x2", "-2", "2(x2),,1")
    },
    # Kubernetes by itself.
    "pod without number": (
        without(POD, "TRAINER_NUM_WORKERS"),
        "Missing in this pod of an Indexed Job: TRAINER_NUM_WORKERS. ",
    ),
    "pod without pattern": (
        without(POD, "TRAINER_WORKER_HOSTNAME_PATTERN"),
        "Missing in this pod of an Indexed Job: TRAINER_WORKER_HOSTNAME_PATTERN. ",
    ),
    "only an index": (
        {"JOB_COMPLETION_INDEX": "0"},
        "TRAINER_NUM_WORKERS and TRAINER_WORKER_HOSTNAME_PATTERN.*env -u",
    ),
    "empty number": (POD | {"TRAINER_NUM_WORKERS": ""}, "Missing.*TRAINER_NUM_WORKERS"),
    "only a number": (
        {"TRAINER_NUM_WORKERS": "2"},
        "JOB_COMPLETION_INDEX is missing.*completionMode: Indexed",
    ),
    "only a pattern": (
        {"TRAINER_WORKER_HOSTNAME_PATTERN": "b-{index}"},
        "JOB_COMPLETION_INDEX is missing",
    ),
    "pod no number": (
        POD | {"JOB_COMPLETION_INDEX": "a"},
        "JOB_COMPLETION_INDEX must be a whole number from 0, not 'a'",
    ),
    "pods no number": (
        POD | {"TRAINER_NUM_WORKERS": "4.0"},
        "TRAINER_NUM_WORKERS must be a whole number from 0, not '4.0'",
    ),
    "pod too high": (POD | {"JOB_COMPLETION_INDEX": "4"}, "Kubernetes.* below 4"),
    "second of one pod": (POD | {"TRAINER_NUM_WORKERS": "1"}, "below 1, not 2"),
    "pattern without index": (
        POD | {"TRAINER_WORKER_HOSTNAME_PATTERN": "bert-0.bert"},
        r"must have \{index\} in it",
    ),
    "pattern with a port": (
        POD | {"TRAINER_WORKER_HOSTNAME_PATTERN": "bert-{index}:80"},
        "must be host:port.* not 'bert-0:80:12355'",
    ),
    # Kubernetes leaves a reference to a variable that is not there as it is.
    "pattern not filled in": (
        POD | {"TRAINER_WORKER_HOSTNAME_PATTERN": "$(JOB_NAME)-{index}"},
        "must be host:port",
    ),
    # Two that contradict each other.
    "TF_CONFIG and another task": (
        tf_config({"worker": ["a:1", "b:2", "c:3", "d:4"]}, "worker", 1) | SLURM,
        "TF_CONFIG: index 1 of 4 workers, and Slurm: index 2 of 4 tasks",
    ),
    "TF_CONFIG and more tasks": (
        tf_config({"worker": WORKERS}, "worker", 2) | SLURM,
        "TF_CONFIG: index 2 of 3 workers, and Slurm: index 2 of 4 tasks",
    ),
    "TF_CONFIG of one and more tasks": (
        tf_config({"worker": ["a:1"]}, "worker") | step("a,b", "1(x2)", 2),
        "TF_CONFIG: index 0 of 1 workers, and Slurm: index 0 of 2 tasks",
    ),
    "TF_CONFIG and another pod": (
        tf_config({"worker": ["a:1", "b:2", "c:3", "d:4"]}, "worker", 1) | POD,
        "TF_CONFIG: index 1 of 4 workers, and Kubernetes: index 2 of 4 pods",
    ),
    "TF_CONFIG and another pod, number unknown": (
        tf_config({"worker": WORKERS}, "worker") | {"JOB_COMPLETION_INDEX": "1"},
        "TF_CONFIG: index 0 of 3 workers, and Kubernetes: index 1. Unset",
    ),
    "TF_CONFIG and one pod": (
        tf_config({"worker": WORKERS}, "worker")
        | {"JOB_COMPLETION_INDEX": "0", "TRAINER_NUM_WORKERS": "1"},
        "TF_CONFIG: index 0 of 3 workers, and Kubernetes: index 0 of 1 pods",
    ),
    "Slurm and fewer pods": (
        SLURM | POD | {"TRAINER_NUM_WORKERS": "3"},
        "Slurm: index 2 of 4 tasks, and Kubernetes: index 2 of 3 pods",
    ),
}


@pytest.mark.parametrize(
    ("environment", "problem"), REFUSED.values(), ids=list(REFUSED)
)
def test_refused(environment: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as raised:
        cluster.find(environment | {"HOME": "/root"})
    message = str(raised.value)
    for name, value in environment.items():
        if value:
            assert f"{name}={value!r}" in message.partition("Received: ")[2]
    assert "HOME" not in message


@pytest.mark.parametrize(
    ("environment", "source"),
    [
        (
            tf_config({"worker": WORKERS}, "worker", 1),
            "TF_CONFIG: index 1 of 3 workers",
        ),
        (SLURM, "Slurm: index 2 of 4 tasks"),
        (POD, "Kubernetes: index 2 of 4 pods"),
    ],
)
def test_source(environment: dict[str, str], source: str) -> None:
    assert found(environment).source == source


@pytest.mark.parametrize("environment", [SLURM, POD])
def test_port(environment: dict[str, str]) -> None:
    result = cluster.find(environment, port=2222)
    assert result is not None
    assert result.addresses[0].endswith(":2222")
    with pytest.raises(ValueError, match="the port 1 to 65535"):
        cluster.find(environment, port=65536)


def test_last_port_of_a_node() -> None:
    with pytest.raises(ValueError, match="not 'gpu01:65536'"):
        cluster.find(SLURM, port=65535)


@pytest.mark.parametrize("index", [0, 2])
def test_cluster(index: int) -> None:
    result = cluster.Cluster(tuple(WORKERS), index=index, source="TF_CONFIG: all")
    assert result.num_workers == 3
    assert result.is_chief == (index == 0)
    assert json.loads(result.tf_config()) == {
        "cluster": {"worker": WORKERS},
        "task": {"type": "worker", "index": index},
    }


@pytest.mark.parametrize(("environment", "addresses", "index"), FOUND.values())
def test_tf_config_is_found_again(
    environment: dict[str, str], addresses: list[str], index: int
) -> None:
    result = found(environment)
    again = found({"TF_CONFIG": result.tf_config()})
    assert dataclasses.replace(again, source=result.source) == result


@pytest.mark.parametrize(
    ("addresses", "index", "problem"),
    [
        ((), 0, "below 0"),
        (("a:1",), 1, "below 1, not 1"),
        (("a:1",), -1, "not -1"),
        (("a:1", "a:1"), 0, "doubled: a:1"),
        (("a",), 0, "must be host:port"),
    ],
)
def test_cluster_refused(addresses: tuple[str, ...], index: int, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        cluster.Cluster(addresses, index=index, source="TF_CONFIG: none")
