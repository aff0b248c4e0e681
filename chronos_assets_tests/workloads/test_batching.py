"""The queue before the model: who shares a pass, who waits, who is turned away."""

import asyncio
import threading

import pytest

from chronos_assets.serving.batching import MicroBatcher, Overloaded


class Passes:
    """A function for the worker thread that doubles numbers, remembers its passes, and waits while it is held."""

    def __init__(self):
        self.seen = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, key, items):
        self.seen.append((key, list(items)))
        self.free.wait(10)
        if -1 in items:
            raise ValueError("a bad item")
        return [2 * item for item in items]


def together(scenario, **options):
    """Run a scenario with a batcher; the passes that it made."""
    passes = Passes()

    async def main():
        batcher = MicroBatcher(passes, **options)
        batcher.start()
        try:
            return await scenario(batcher, passes)
        finally:
            passes.free.set()
            await batcher.stop()

    return asyncio.run(asyncio.wait_for(main(), 20)), passes.seen


async def until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that")


def test_what_arrives_together_is_answered_in_one_pass():
    async def scenario(batcher, _):
        return await asyncio.gather(*(batcher.submit("k", [number]) for number in range(5)))

    answers, seen = together(scenario, wait_seconds=0.05)
    assert answers == [[0], [2], [4], [6], [8]]
    assert seen == [("k", [0, 1, 2, 3, 4])]


def test_a_lone_item_waits_no_longer_than_the_bound():
    async def scenario(batcher, _):
        started = asyncio.get_running_loop().time()
        await batcher.submit("k", [1])
        return asyncio.get_running_loop().time() - started

    seconds, _ = together(scenario, wait_seconds=0.2)
    assert 0.2 <= seconds < 1.0


def test_a_lone_client_never_waits_twice():
    async def scenario(batcher, _):
        await batcher.submit("k", [1])
        started = asyncio.get_running_loop().time()
        for number in range(5):
            await batcher.submit("k", [number])
        lone = asyncio.get_running_loop().time() - started
        # Once two have met, the next one waits again.
        await asyncio.gather(batcher.submit("k", [1]), batcher.submit("k", [2]))
        started = asyncio.get_running_loop().time()
        await batcher.submit("k", [1])
        return lone, asyncio.get_running_loop().time() - started

    (lone, again), _ = together(scenario, wait_seconds=0.3)
    assert lone < 0.3 <= again


def test_what_arrives_during_a_pass_is_the_next_batch_without_another_wait():
    async def scenario(batcher, passes):
        passes.free.clear()
        first = asyncio.create_task(batcher.submit("k", [1]))
        await until(lambda: passes.seen)
        others = [asyncio.create_task(batcher.submit("k", [number])) for number in (2, 3)]
        await asyncio.sleep(0.05)
        passes.free.set()
        return await asyncio.gather(first, *others)

    answers, seen = together(scenario, wait_seconds=0.01)
    assert answers == [[2], [4], [6]]
    assert seen == [("k", [1]), ("k", [2, 3])]


def test_different_keys_never_share_a_pass():
    async def scenario(batcher, _):
        return await asyncio.gather(*(batcher.submit(number % 2, [number]) for number in range(4)))

    answers, seen = together(scenario, wait_seconds=0.05)
    assert answers == [[0], [2], [4], [6]]
    assert seen == [(0, [0, 2]), (1, [1, 3])]


def test_without_batching_each_item_has_a_pass_of_its_own():
    async def scenario(batcher, _):
        return await asyncio.gather(batcher.submit("k", [1, 2]), batcher.submit("k", [3]))

    answers, seen = together(scenario, batch_size=1, wait_seconds=5.0)
    assert answers == [[2, 4], [6]]
    assert sorted(item for _, items in seen for item in items) == [1, 2, 3]
    assert all(len(items) == 1 for _, items in seen)


def test_a_bad_item_fails_alone():
    async def scenario(batcher, _):
        return await asyncio.gather(*(batcher.submit("k", [n]) for n in (1, -1, 3)), return_exceptions=True)

    answers, seen = together(scenario, wait_seconds=0.05)
    assert (answers[0], answers[2]) == ([2], [6])
    assert isinstance(answers[1], ValueError)
    assert seen[0] == ("k", [1, -1, 3])


def test_a_full_queue_turns_away_at_once_and_says_when_to_come_back():
    async def scenario(batcher, passes):
        passes.free.clear()
        running = asyncio.create_task(batcher.submit("k", [0]))
        await until(lambda: passes.seen)
        waiting = asyncio.create_task(batcher.submit("k", [1, 2, 3]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            await batcher.submit("k", [4, 5])
        fits = asyncio.create_task(batcher.submit("k", [6]))
        await asyncio.sleep(0)
        assert batcher.waiting == 4
        passes.free.set()
        return caught.value.retry_after, await asyncio.gather(running, waiting, fits)

    (retry_after, answers), _ = together(scenario, queue_length=4)
    assert 1 <= retry_after <= 60
    assert answers == [[0], [2, 4, 6], [12]]


def test_a_request_larger_than_the_queue_is_taken_when_nobody_waits():
    async def scenario(batcher, _):
        return await batcher.submit("k", list(range(10)))

    answers, _ = together(scenario, queue_length=4)
    assert answers == [2 * number for number in range(10)]


def test_a_large_request_gives_way_to_those_that_came_later():
    async def scenario(batcher, passes):
        passes.free.clear()
        first = asyncio.create_task(batcher.submit("k", [100]))
        await until(lambda: passes.seen)
        large = asyncio.create_task(batcher.submit("k", list(range(10))))
        small = asyncio.create_task(batcher.submit("k", [50]))
        await asyncio.sleep(0.02)
        passes.free.set()
        return await asyncio.gather(first, large, small)

    answers, seen = together(scenario, batch_size=4, share=3, wait_seconds=0.0)
    assert answers[1:] == [[2 * number for number in range(10)], [100]]
    assert seen[1] == ("k", [0, 1, 2, 50])


def test_what_nobody_waits_for_any_more_is_dropped():
    async def scenario(batcher, passes):
        passes.free.clear()
        first = asyncio.create_task(batcher.submit("k", [1]))
        await until(lambda: passes.seen)
        gone, stays = (asyncio.create_task(batcher.submit("k", [number])) for number in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        assert batcher.waiting == 1
        passes.free.set()
        return await asyncio.gather(first, stays)

    answers, seen = together(scenario, wait_seconds=0.0)
    assert answers == [[2], [6]]
    assert seen == [("k", [1]), ("k", [3])]


def test_stopping_answers_what_waits():
    async def scenario(batcher, passes):
        passes.free.clear()
        tasks = [asyncio.create_task(batcher.submit("k", [number])) for number in range(3)]
        await until(lambda: passes.seen)
        threading.Timer(0.1, passes.free.set).start()
        await batcher.stop()
        return await asyncio.gather(*tasks)

    answers, _ = together(scenario, batch_size=1)
    assert answers == [[0], [2], [4]]
