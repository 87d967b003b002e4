"""Whom the local server listens to: how many, for how long, and under which name.

    app = ForNames(app, {"localhost"})
    protocol = limited(max_connections=100, timeout_secs=30.0)
    uvicorn.Config(app, http=protocol)

uvicorn itself waits for ever for the end of a request that was begun, and for a client
that does not read its answer.
"""

from __future__ import annotations

import asyncio
import http
import ipaddress
import json
import logging
import socket
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from trainer.messages import message, shown

_logger = logging.getLogger(__name__)


class ForNames:
    """An app that answers under the names of this machine alone.

    Else a page from elsewhere whose name is made to mean 127.0.0.1 (DNS rebinding)
    could read the answers in its visitor's browser.

    Args:
      names: in lower case; loopback addresses need not be among them.
    """

    def __init__(self, app: ASGIApp, names: set[str]) -> None:
        self._app = app
        self._names = {"localhost", *names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A browser always says a host; without one it is no browser.
        host = Headers(scope=scope).get("host")
        app = self._app
        if host is not None and not self._is_ours(host):
            text = message(
                "the header Host must be localhost or a loopback address while the "
                "server listens on this machine alone",
                received=shown(host),
                mend="ask it as localhost, or start it with --host=NAME",
            )
            app = Response(error_body(text), 403, media_type="application/json")
        await app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name = host.lower()
        head, colon, port = name.rpartition(":")
        # Not the last colon of an IPv6 address, which stands in brackets.
        if colon and "]" not in port:
            name = head
        return name.rstrip(".") in self._names or is_loopback(name.strip("[]"))


def is_loopback(address: str) -> bool:
    """Whether it is an address, not a name, and none but this machine can reach it."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class _Limited(H11Protocol):
    """uvicorn's protocol; `limited` says what the two limits are."""

    max_connections: int
    timeout_secs: float
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._end(
                503,
                f"the server must have at most {self.max_connections} connections "
                "(--max_connections)",
                "one more",
            )
        self._wait_for_client()

    def on_response_complete(self) -> None:
        self._wait_for_client()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_client(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(self.timeout_secs, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _give_up(self) -> None:
        is_answered = self.cycle is None or self.cycle.response_complete
        if not is_answered and not self.cycle.more_body:
            return  # It is the client that waits.
        has_begun = bool(self.conn.trailing_data[0]) or not is_answered
        if has_begun or self.transport.get_write_buffer_size():
            _logger.warning(
                "%s took more than %s s (--client_timeout_secs) to ask or to take "
                "an answer: its connection is closed.",
                shown_client(self.client),
                self.timeout_secs,
            )
        if has_begun and not self.transport.is_closing():
            self._end(
                408,
                f"a request must arrive within {self.timeout_secs} s "
                "(--client_timeout_secs)",
                "a part of one",
            )
        self.transport.abort()

    def _end(self, status: int, rule: str, received: str) -> None:
        """The last answer, to a request that nobody has read."""
        body = error_body(message(rule, received=received))
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def limited(*, max_connections: int, timeout_secs: float) -> type[H11Protocol]:
    """uvicorn's protocol for clients that are too many or too slow.

    Args:
      max_connections: that are open at a time. One more is answered 503, and closed.
      timeout_secs: from when a client is waited for, which is from the connection's
        start or the last answer, until its request has arrived whole. It has so long to
        take its last answer, too.
    """
    limits = {"max_connections": max_connections, "timeout_secs": timeout_secs}
    return type("Limited", (_Limited,), limits)


def shown_client(client: Any) -> str:
    """A client's address as a line of the log has it."""
    return f"{client[0]}:{client[1]}" if client else "a client"


def names_of(listener: socket.socket, host: str) -> set[str] | None:
    """The names under which a socket on loopback is asked; None: it is not on it."""
    address = listener.getsockname()[0]
    return {host.lower()} if is_loopback(address) else None


def error_body(text: str) -> bytes:
    """The JSON of an answer that says what is wrong."""
    # A request's lone surrogates, in a message, have no bytes of their own.
    content = json.dumps({"error": text}, indent=4, ensure_ascii=False)
    return content.encode("utf-8", "replace")
