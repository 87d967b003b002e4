"""Addresses of workers, host:port, of IPv4 and IPv6 alike: to read, listen, and call.

    addresses.host_and_port("[fd00::7]:12355")      # ("fd00::7", 12355)
    with addresses.listener(12355):
        ...
    addresses.call("bert-1.workers:12355", timeout_secs=3) is Answer.REFUSED

Needs no TensorFlow: launchers use it, too.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import ipaddress
import re
import socket

_ADDRESS = re.compile(r"([A-Za-z0-9_.-]+|\[[^\[\]]+\]):([0-9]{1,5})")
_MAX_PORT = 65535
# This machine cannot reach such an address at all, so it says nothing of who is there:
# a name has addresses of both families also where the network has one of them.
_NO_WAY = (
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
    errno.ENETUNREACH,
)


class Answer(enum.Enum):
    """What came of calling an address.

    LISTENS: somebody took the call. REFUSED: the machine is there, and says that nobody
    listens. UNKNOWN: no name service, no route, no answer in time: no proof of anything.
    """

    LISTENS = "it listens"
    REFUSED = "it refused the connection"
    UNKNOWN = "it cannot be said"


def host_and_port(address: str) -> tuple[str, int]:
    """Host and port; an IPv6 host without its brackets, in its shortest form.

    Raises:
      ValueError: it is no host:port.
    """
    match = _ADDRESS.fullmatch(address)
    if match and 1 <= int(match[2]) <= _MAX_PORT:
        if not match[1].startswith("["):
            return match[1], int(match[2])
        with contextlib.suppress(ValueError):
            return str(ipaddress.IPv6Address(match[1][1:-1])), int(match[2])
    raise ValueError(
        f"A worker's address must be host:port, the port 1 to {_MAX_PORT}, an IPv6 "
        f"address in brackets like [fd00::7]:12355, not {address!r}"
    )


def listener(port: int, *, backlog: int = 1) -> socket.socket:
    """Listens at all of this machine's addresses, of IPv4 and, where there is, IPv6.

    Args:
      port: 0: one that is free.

    Raises:
      OSError: something listens there already.
    """
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog
        )
    return socket.create_server(("", port), backlog=backlog)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, as of now."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(listener(0)) for _ in range(count)]
        return [each.getsockname()[1] for each in listeners]


def call(address: str, *, timeout_secs: float) -> Answer:
    """Calls each of the addresses that a host:port stands for, until one answers.

    Args:
      timeout_secs: for each of them; looking the name up comes on top.
    """
    host, port = host_and_port(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # The latter: of a name that none can have.
        return Answer.UNKNOWN
    answers = set()
    for each in found:
        answer = _call_one(*each, timeout_secs=timeout_secs)
        if answer is Answer.LISTENS:
            return answer
        answers.add(answer)
    # One that says nothing may be where it listens.
    return Answer.REFUSED if answers - {None} == {Answer.REFUSED} else Answer.UNKNOWN


def _call_one(
    family: int,
    kind: int,
    protocol: int,
    _: str,
    address: tuple[str | int, ...],
    *,
    timeout_secs: float,
) -> Answer | None:
    """None: this machine has no such addresses."""
    try:
        with socket.socket(family, kind, protocol) as caller:
            caller.settimeout(timeout_secs)
            caller.connect(address)
    except ConnectionRefusedError:
        return Answer.REFUSED
    except OSError as error:
        return None if error.errno in _NO_WAY else Answer.UNKNOWN
    return Answer.LISTENS
