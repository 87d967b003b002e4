"""SIGTERM: at once where there is nothing to save, else a request."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from trainer.runtime.interruptions import Preempted, TerminationSignal


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_leaves_at_once() -> None:
    with TerminationSignal() as termination:
        with pytest.raises(Preempted, match="SIGTERM"):
            terminate()
    assert termination.requested


def test_no_library_takes_it_for_a_failure() -> None:
    assert not issubclass(Preempted, Exception)


def test_deferred_it_is_a_request_until_the_end_of_the_block() -> None:
    with TerminationSignal() as termination:
        with pytest.raises(Preempted):
            with termination.deferred():
                assert not termination.requested
                terminate()
                went_on = termination.requested
    assert went_on


def test_at_once_within_deferred() -> None:
    with TerminationSignal() as termination:
        with pytest.raises(Preempted):
            with termination.deferred():
                with termination.at_once():
                    pass
                terminate()
                with termination.at_once():
                    raise AssertionError("began what it had been told not to")


def test_an_error_within_stays_the_error() -> None:
    with TerminationSignal() as termination:
        with pytest.raises(ZeroDivisionError):
            with termination.deferred():
                terminate()
                raise ZeroDivisionError


def test_the_handler_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with TerminationSignal():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_another_thread_it_leaves_signals_alone() -> None:
    handlers = []

    def use() -> None:
        with TerminationSignal():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
