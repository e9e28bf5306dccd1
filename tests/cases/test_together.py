"""Group commit: one go for all who wait, each with her own answer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from unlearn.cases.together import Together


class Doer:
    """Doubles numbers, refuses odd ones; keeps each go. The first waits until it may."""

    def __init__(self) -> None:
        self.goes: list[list[int]] = []
        self.began, self.may = threading.Event(), threading.Event()

    def __call__(self, numbers):
        self.goes.append(list(numbers))
        self.began.set()
        assert self.may.wait(30)
        return [ValueError(f"{n} is odd") if n % 2 else 2 * n for n in numbers]


def asked_at_once(together, numbers):
    async def ask():
        return await asyncio.gather(*(together.ask_soon(n) for n in numbers), return_exceptions=True)

    return asyncio.run(ask())


def test_who_asks_in_one_round_of_the_loop_shares_a_go_up_to_the_most():
    doer = Doer()
    doer.may.set()
    assert asked_at_once(Together(doer, 3), [2, 4, 6, 8]) == [4, 8, 12, 16]
    assert doer.goes == [[2, 4, 6], [8]]


def test_one_who_is_refused_is_alone_with_it():
    doer = Doer()
    doer.may.set()
    first, second, third = asked_at_once(Together(doer, 8), [2, 3, 4])
    assert (first, third) == (4, 8)
    assert str(second) == "3 is odd"
    with pytest.raises(ValueError, match="5 is odd"):
        Together(doer, 8).ask(5)


def test_what_comes_during_a_go_is_done_in_the_next():
    doer, found = Doer(), []
    together = Together(doer, 8)
    threads = [threading.Thread(target=lambda n=n: found.append(together.ask(n))) for n in (2, 4, 6, 8)]
    threads[0].start()
    assert doer.began.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(together._line) < 3:
        pass
    doer.may.set()
    for thread in threads:
        thread.join()
    assert sorted(found) == [4, 8, 12, 16]
    assert [sorted(go) for go in doer.goes] == [[2], [4, 6, 8]]


def test_what_all_share_fails_for_all_and_the_next_go_is_a_new_one():
    broken = True

    def do(numbers):
        if broken:
            raise ConnectionError("gone")
        return numbers

    together = Together(do, 8)
    assert [str(error) for error in asked_at_once(together, [1, 2])] == ["gone", "gone"]
    broken = False
    assert asked_at_once(together, [1, 2]) == [1, 2]


def test_one_who_goes_away_while_waiting_is_left_out():
    doer = Doer()
    doer.may.set()
    together = Together(doer, 8)

    async def ask():
        gone, stays = asyncio.create_task(together.ask_soon(2)), asyncio.create_task(together.ask_soon(4))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(ask()) == 8
    assert doer.goes == [[4]]


@pytest.mark.parametrize("goes", [1, 2])
def test_who_asks_again_and_again_is_always_answered(goes):
    together = Together(lambda numbers: [2 * n for n in numbers], 2, goes)

    async def one(number):
        return [await together.ask_soon(number + turn) for turn in range(50)]

    async def all_of_them():
        return await asyncio.wait_for(asyncio.gather(*(one(100 * n) for n in range(5))), 30)

    threads = [threading.Thread(target=together.ask, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    assert asyncio.run(all_of_them()) == [[2 * (100 * n + turn) for turn in range(50)] for n in range(5)]
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_as_many_goes_run_at_once_as_may_and_no_more():
    most, under_way, seen, lock = 2, 0, [], threading.Lock()
    met = threading.Event()  # for good, as whoever answers another's question may be the last to ask

    def do(numbers):
        nonlocal under_way
        with lock:
            under_way += 1
            seen.append(under_way)
            if under_way == most:
                met.set()
        met.wait(30)
        with lock:
            under_way -= 1
        return numbers

    together = Together(do, 1, most)
    threads = [threading.Thread(target=together.ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert max(seen) == most
    assert len(seen) == 6
