"""Dagster's UI as this package starts it: it can be stopped however it was started."""

import signal

import pytest
from dagster._utils.interrupts import setup_interrupt_handlers

from chronos_assets.defs import ui_server


@pytest.mark.parametrize("arguments", [["dev"], [ui_server.WEB_SERVER], [ui_server.DAEMON], [ui_server.CODE_SERVER]])
def test_what_a_shell_starts_in_the_background_ends_when_it_is_asked_to(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    handlers = {}

    def started(_arguments: list[str]) -> None:
        setup_interrupt_handlers()  # as each of Dagster's programs begins
        handlers.update({number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)})

    for name in ("develop", "serve", "watch", "load"):
        monkeypatch.setattr(ui_server, name, started)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what a shell does for `chronos-assets ui &`
    try:
        ui_server.main(arguments)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert handlers == dict.fromkeys((signal.SIGINT, signal.SIGTERM), signal.default_int_handler)
