"""Reading ahead: the next chunk is made while the caller works, one at most, in order, and errors come at their turn."""

import threading
from collections.abc import Iterator

import pytest

from chronos_assets.predictors.forecast_pieces import read_ahead

PATIENCE = 30.0  # seconds; only a test that fails waits as long


def test_items_come_in_order_and_one_is_held_beside_the_callers() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    seen = []
    for item in read_ahead(items()):
        seen.append(item)
        assert len(made) <= item + 2
    assert seen == list(range(20))
    assert list(read_ahead(iter(()))) == []


def test_the_next_item_is_made_while_the_caller_works() -> None:
    second = threading.Event()

    def items() -> Iterator[str]:
        yield "first"
        second.set()
        yield "second"

    ahead = read_ahead(items())
    assert next(ahead) == "first"
    assert second.wait(PATIENCE)  # nobody has asked for it
    assert list(ahead) == ["second"]


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("shard-00001.parquet is cut off")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="cut off"):
        next(ahead)


def test_a_caller_that_stops_leaves_no_thread() -> None:
    ahead = read_ahead(iter(range(5)))
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
