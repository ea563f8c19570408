"""The subscriber's connection against a real broker, a scripted one, and none."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from fakes.boxes import TOPICS, FakeBox, LiveBox
from fakes.brokers import Mosquitto, ScriptedBroker, free_port
from pydantic import SecretStr

from gateway.settings import BrokerSettings
from gateway.watch import subscriber as module
from gateway.watch.subscriber import MAX_WAITING, Arrived, Down, News, Subscriber, Up, new_client_id

pytestmark = pytest.mark.end_to_end
FILTERS = (TOPICS.alerts, TOPICS.available)
PATIENT_S = 20.0


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """The thread ends with its subscriber."""
    yield
    for thread in threading.enumerate():
        if thread.name == "watch":
            thread.join(10.0)
            assert not thread.is_alive()


def settings(port: int, **changes: object) -> BrokerSettings:
    """Return settings for a broker on this machine."""
    fields = {"host": "127.0.0.1", "port": port, "topic_prefix": "plant", "client_id": new_client_id(), **changes}
    return BrokerSettings(**fields)  # type: ignore[arg-type]


async def until(subscriber: Subscriber, kind: type[News]) -> News:
    """Return the next news of a kind."""
    async with asyncio.timeout(PATIENT_S):
        while not isinstance(news := await subscriber.news(within_s=None), kind):
            pass
    return news


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
async def test_messages_arrive_and_requests_go_out(mosquitto: Mosquitto, protocol: str) -> None:
    """Up, then what is published; a request reaches the box."""
    box = FakeBox()
    async with Subscriber(settings(mosquitto.port, protocol=protocol), (*FILTERS, TOPICS.replayed)) as subscriber:
        assert isinstance(await subscriber.news(within_s=PATIENT_S), Up)
        with LiveBox(mosquitto.port, box) as live:
            assert await until(subscriber, Arrived) == Arrived(TOPICS.available, b"online")
            payload = box.accept(1)
            await asyncio.to_thread(live.publish, payload)
            assert await until(subscriber, Arrived) == Arrived(TOPICS.alerts, payload)
            subscriber.publish(TOPICS.replay, b'{"from_seq":1,"to_seq":1,"requester":"w"}')
            assert await until(subscriber, Arrived) == Arrived(TOPICS.replayed, payload)


async def test_broker_that_is_killed_is_found_again(mosquitto: Mosquitto) -> None:
    """Down with a reason once, however many attempts fail, then up."""
    async with Subscriber(settings(mosquitto.port), FILTERS) as subscriber:
        assert isinstance(await subscriber.news(within_s=PATIENT_S), Up)
        mosquitto.end()
        assert isinstance(await until(subscriber, Down), Down)
        refused = await until(subscriber, Down)
        assert refused == Down("Connection refused")
        assert await subscriber.news(within_s=1.5) is None
        mosquitto.start()
        assert isinstance(await until(subscriber, Up), Up)


@pytest.mark.parametrize(
    "answer", [b"\xff" * 64, b"\x30\xff\xff\xff\x7f", b"\x20\x7f\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n", b""]
)
async def test_listener_that_speaks_nonsense_is_told(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A web server on the port, or garbage: a reason, and the next attempt."""
    monkeypatch.setattr(module, "CONNACK_S", 0.5)
    async with (
        ScriptedBroker(on_connect=lambda level: answer).running() as broker,
        Subscriber(settings(broker.port), FILTERS) as subscriber,
    ):
        assert isinstance(await subscriber.news(within_s=PATIENT_S), Down)
        async with asyncio.timeout(PATIENT_S):
            while len(broker.levels) < 3:  # noqa: ASYNC110 (the broker has no event)
                await asyncio.sleep(0.01)


async def test_silent_listener_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CONNACK in time: the other version is tried."""
    monkeypatch.setattr(module, "CONNACK_S", 0.2)
    async with ScriptedBroker(on_connect=lambda level: None).running() as broker:
        async with Subscriber(settings(broker.port), FILTERS) as subscriber:
            assert await subscriber.news(within_s=PATIENT_S) == Down("no answer in time")
            async with asyncio.timeout(PATIENT_S):
                while len(broker.levels) < 2:  # noqa: ASYNC110 (the broker has no event)
                    await asyncio.sleep(0.01)
        assert broker.levels[:2] == [5, 4]


async def test_nobody_listens() -> None:
    """The reason is told once; ending does not wait for a connection."""
    async with Subscriber(settings(free_port(), user="u", password=SecretStr("hunter2")), FILTERS) as subscriber:
        assert await subscriber.news(within_s=PATIENT_S) == Down("Connection refused")


async def test_reader_that_is_slow_holds_the_broker_back(mosquitto: Mosquitto) -> None:
    """Only so many messages wait in memory; none is lost while the reader catches up."""
    box, total = FakeBox(), MAX_WAITING + 500
    async with Subscriber(settings(mosquitto.port), (TOPICS.alerts,)) as subscriber:
        assert isinstance(await subscriber.news(within_s=PATIENT_S), Up)
        with LiveBox(mosquitto.port, box) as live:
            await asyncio.to_thread(live.publish, *(box.accept(seq) for seq in range(total)))
            assert subscriber._news.qsize() <= MAX_WAITING
            async with asyncio.timeout(PATIENT_S):
                arrived = [await subscriber.news(within_s=None) for _ in range(total)]
    assert [news.payload for news in arrived if isinstance(news, Arrived)] == list(box.kept.values())
