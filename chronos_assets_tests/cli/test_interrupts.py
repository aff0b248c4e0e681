"""Ctrl-C and SIGTERM end a run whoever handles them: none is lost, and the second one ends at once."""

import os
import signal
import threading

import pytest

from chronos_assets.cli.interrupts import EXIT_STATUS, Interrupts


def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_interrupt(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupts(lambda _text: None) as interrupts:
        assert not interrupts.requested()
        with pytest.raises(KeyboardInterrupt):
            _send(number)
        assert interrupts.requested()
    assert signal.getsignal(number) is before


def test_a_signal_that_another_handler_swallowed_is_seen() -> None:
    with Interrupts(lambda _text: None) as interrupts:
        # As Dagster does between two steps: it notes the signal, then forgets it.
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        interrupts.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_a_second_signal_ends_a_process_that_does_not_listen() -> None:
    ended, told = threading.Event(), []
    statuses = []

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    with Interrupts(told.append, end) as interrupts:
        signal.signal(signal.SIGINT, lambda _number, _frame: None)
        os.kill(os.getpid(), signal.SIGINT)
        while not told:
            assert not ended.wait(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        assert ended.wait(30)
        assert interrupts.requested()
    assert statuses == [EXIT_STATUS]
    assert len(told) == 1


def test_other_signals_are_none_of_its_business() -> None:
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: seen.append(number))
    try:
        with Interrupts(lambda _text: None) as interrupts:
            os.kill(os.getpid(), signal.SIGUSR1)
            while not seen:
                pass
            assert not interrupts.requested()
    finally:
        signal.signal(signal.SIGUSR1, before)
