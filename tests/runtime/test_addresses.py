"""Addresses of both families: read, listened at, called."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from trainer.runtime import addresses
from trainer.runtime.addresses import Answer

LOOPBACKS = ("127.0.0.1", "[::1]", "localhost")


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("bert-0.workers:12355", "bert-0.workers", 12355),
        ("10.0.0.1:1", "10.0.0.1", 1),
        ("[::1]:65535", "::1", 65535),
        ("[FD00:0:0::7]:12355", "fd00::7", 12355),
        ("[::ffff:10.0.0.1]:2", "::ffff:a00:1", 2),
        ("[fe80::1%eth0]:2", "fe80::1%eth0", 2),
    ],
)
def test_host_and_port(address: str, host: str, port: int) -> None:
    read, number = addresses.host_and_port(address)
    assert number == port
    # Versions of Python write an embedded IPv4 address in one of two ways.
    assert read in (host, "::ffff:10.0.0.1")


@pytest.mark.parametrize(
    "address",
    [
        "::1:12355",
        "fd00::7",
        "[::1]",
        "[:::]:1",
        "[1.2.3.4]:1",
        "[host]:1",
        "[]:1",
        "[::1:1",
        "::1]:1",
        "a",
        "a:0",
        "a:65536",
        "a:1:2",
        " a:1",
        "a b:1",
        "http://a:1",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"in brackets like \[fd00::7\]:12355, not '"):
        addresses.host_and_port(address)


@pytest.mark.parametrize("host", LOOPBACKS)
def test_a_listener_hears_both_families(host: str) -> None:
    with addresses.listener(0) as listener:
        name = f"{host}:{listener.getsockname()[1]}"
        assert addresses.call(name, timeout_secs=5) is Answer.LISTENS
    assert addresses.call(name, timeout_secs=5) is Answer.REFUSED


def test_a_machine_without_ipv6_listens_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with addresses.listener(0) as listener:
        assert listener.family == socket.AF_INET
        name = f"127.0.0.1:{listener.getsockname()[1]}"
        assert addresses.call(name, timeout_secs=5) is Answer.LISTENS


def test_free_ports_are_different_and_free_for_both_families() -> None:
    ports = addresses.free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        addresses.listener(port).close()


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")


@pytest.mark.parametrize(
    ("errors", "answer"),
    [
        ([REFUSED], Answer.REFUSED),
        ([REFUSED, REFUSED], Answer.REFUSED),
        ([TimeoutError("timed out")], Answer.UNKNOWN),
        ([OSError(errno.EHOSTUNREACH, "no route to host")], Answer.UNKNOWN),
        ([OSError(errno.ENETUNREACH, "network is unreachable")], Answer.UNKNOWN),
        ([ConnectionResetError(errno.ECONNRESET, "reset")], Answer.UNKNOWN),
        ([OSError(errno.EMFILE, "too many open files")], Answer.UNKNOWN),
        # One of a machine's addresses says nothing, so it may be there after all.
        ([REFUSED, TimeoutError("timed out")], Answer.UNKNOWN),
        # But this machine has no IPv6, or the network none.
        ([OSError(errno.EADDRNOTAVAIL, "no address"), REFUSED], Answer.REFUSED),
        ([OSError(errno.ENETUNREACH, "unreachable"), REFUSED], Answer.REFUSED),
        ([OSError(errno.ENETUNREACH, "unreachable"), None], Answer.LISTENS),
        ([TimeoutError("timed out"), None], Answer.LISTENS),
        ([REFUSED, None], Answer.LISTENS),
    ],
)
def test_only_a_refused_connection_says_that_nothing_listens(
    errors: list[OSError | None], answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`errors` of the addresses of a name, one after the other; None: it listens."""
    outcomes = iter(errors)

    class Caller(socket.socket):
        def connect(self, address: Any) -> None:
            error = next(outcomes)
            if error is not None:
                raise error

    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.1", 1))] * len(errors)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "socket", Caller)
    assert addresses.call("worker:1", timeout_secs=1) is answer


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        UnicodeError("label too long"),
    ],
)
def test_a_name_that_cannot_be_looked_up_says_nothing(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    assert addresses.call("worker:1", timeout_secs=1) is Answer.UNKNOWN
