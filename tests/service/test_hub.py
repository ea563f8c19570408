"""Events and their listeners."""

import asyncio

import pytest

from gateway.service.hub import Hub, TooManySubscribers


async def test_every_listener_hears_what_is_published_after_it_came() -> None:
    """In order, each in a line of its own, with the numbers that the hub gave."""
    hub = Hub()
    hub.publish("alert", "0")
    async with hub.subscribe() as first, hub.subscribe() as second:
        hub.publish("alert", "1")
        hub.publish("camera", "2")
        for line in (first, second):
            heard = [await line.next(5.0), await line.next(5.0)]
            assert [(each.name, each.data, each.number) for each in heard if each] == [
                ("alert", "1", 2),
                ("camera", "2", 3),
            ]
    assert hub.listeners == 0


async def test_slow_listener_loses_the_oldest() -> None:
    """Its line is bounded and what it lost is counted, also after it has gone."""
    hub = Hub(most_waiting=3)
    async with hub.subscribe() as line:
        for number in range(5):
            hub.publish("alert", str(number))
        assert [(await line.next(5.0)).data for _ in range(3)] == ["2", "3", "4"]  # type: ignore[union-attr]
        assert (line.dropped, hub.dropped) == (2, 2)
    assert hub.dropped == 2


async def test_nothing_comes_when_nothing_happens() -> None:
    """Whoever listens gets a word that it is still connected."""
    async with Hub().subscribe() as line:
        assert await line.next(0.01) is None


async def test_listeners_end_when_the_hub_closes() -> None:
    """What waits is still handed out; nobody new is taken."""
    hub = Hub()
    async with hub.subscribe() as line:
        hub.publish("alert", "1")
        hub.close()
        last = await line.next(5.0)
        assert last is not None
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(line.next(5.0), 5.0)
    with pytest.raises(TooManySubscribers):
        async with hub.subscribe():
            pass


async def test_line_that_is_cut_hands_out_nothing_more() -> None:
    """Not even what waited; others go on."""
    hub = Hub()
    async with hub.subscribe() as cut, hub.subscribe() as other:
        hub.publish("alert", "1")
        cut.cut()
        with pytest.raises(StopAsyncIteration):
            await cut.next(5.0)
        hub.publish("alert", "2")
        assert [(await other.next(5.0)).data for _ in range(2)] == ["1", "2"]  # type: ignore[union-attr]


async def test_listeners_when_they_are_too_many() -> None:
    """One more than may is refused, and taken when another has gone."""
    hub = Hub(most_listeners=1)
    async with hub.subscribe():
        with pytest.raises(TooManySubscribers):
            async with hub.subscribe():
                pass
    async with hub.subscribe():
        assert hub.listeners == 1
