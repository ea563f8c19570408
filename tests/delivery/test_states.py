"""Shown words: the newest wins, they are said again with each session, and none is left behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fakes.brokers import ScriptedBroker, puback
from fakes.links import running, settings, settled

from gateway.delivery.link import Link
from gateway.delivery.states import MAX_TOPICS, Shown, is_of
from gateway.errors import StorageError


class Memory:
    """A ledger that lasts as long as the test; `broken` takes nothing."""

    def __init__(self) -> None:
        """Start empty."""
        self.topics: dict[str, bytes] = {}
        self.broken = False

    async def set(self, topic: str, payload: bytes | None, *, kind: str) -> None:
        """Keep or forget."""
        if self.broken:
            raise StorageError("the disk takes nothing")
        if payload is None:
            self.topics.pop(topic, None)
        else:
            self.topics[topic] = payload

    async def all(self, kind: str) -> dict[str, bytes]:
        """Return what is kept."""
        if self.broken:
            raise StorageError("the disk takes nothing")
        return dict(self.topics)


@asynccontextmanager
async def shown(broker: ScriptedBroker, ledger: Memory) -> AsyncIterator[Shown]:
    """Show words at a broker for the length of a block."""
    words = Shown(ledger, kind="state")
    await words.load()
    async with running(Link(settings(broker.port)), words.publish):
        yield words


def said(broker: ScriptedBroker, connection: int = 1) -> list[tuple[str, bytes]]:
    """Return the retained words of one connection, without `available`."""
    return [
        (each.topic, each.payload)
        for each in broker.published
        if each.connection == connection and each.retain and not each.topic.endswith("/available")
    ]


async def test_words_when_they_change_and_the_broker_comes_back() -> None:
    """Only changes are said; after a reconnect every word is, the newest one."""
    async with ScriptedBroker().running() as broker, shown(broker, Memory()) as words:
        words.show("p/lobby/alert", b"OFF")
        await settled(lambda: said(broker) == [("p/lobby/alert", b"OFF")])
        words.show("p/lobby/alert", b"OFF")
        words.show("p/lobby/alert", b"ON")
        await settled(lambda: len(said(broker)) == 2)
        broker.hang_up()
        await settled(lambda: said(broker, 2) == [("p/lobby/alert", b"ON")])
    assert said(broker) == [("p/lobby/alert", b"OFF"), ("p/lobby/alert", b"ON")]


async def test_words_when_their_camera_has_gone() -> None:
    """Those of this run and of earlier ones are taken back, and the ledger forgets them once the broker has."""
    ledger = Memory()
    ledger.topics = {"p/old/alert": b"1", "p/lobby/alert": b"1"}
    async with ScriptedBroker().running() as broker, shown(broker, ledger) as words:
        words.show("p/lobby/alert", b"ON")
        words.show("p/gate/alert", b"ON")
        await settled(lambda: len(said(broker)) == 2)
        words.keep_only(lambda topic: is_of(topic, prefix="p", cameras={"lobby"}))
        await settled(lambda: set(ledger.topics) == {"p/lobby/alert"})
    assert said(broker)[2:] == [("p/gate/alert", b""), ("p/old/alert", b"")]


async def test_words_when_the_broker_refuses_one() -> None:
    """It is noted with its reason, the others go on, and a word that cannot be taken back stays in the ledger."""
    ledger = Memory()

    def deny(published: object) -> bytes:
        topic, number = getattr(published, "topic", ""), getattr(published, "packet_id", 0)
        return puback(number, 0x87 if topic == "p/gate/alert" else 0)

    async with ScriptedBroker(on_publish=deny).running() as broker, shown(broker, ledger) as words:
        words.show("p/gate/alert", b"ON")
        words.show("p/lobby/alert", b"ON")
        await settled(lambda: len(said(broker)) == 2)
        words.clear("p/gate/alert")
        await settled(lambda: len(said(broker)) == 3)
        await settled(lambda: "p/gate/alert" in words.refused)
        assert "p/gate/alert" in ledger.topics


async def test_words_when_the_ledger_is_broken() -> None:
    """They are said all the same."""
    ledger = Memory()
    ledger.broken = True
    async with ScriptedBroker().running() as broker, shown(broker, ledger) as words:
        words.show("p/lobby/alert", b"ON")
        await settled(lambda: said(broker) == [("p/lobby/alert", b"ON")])


async def test_words_when_there_are_too_many() -> None:
    """The memory stays bounded: what is beyond is not taken."""
    words = Shown(Memory(), kind="state")
    for number in range(MAX_TOPICS + 10):
        words.show(f"p/{number}/alert", b"ON")
    async with ScriptedBroker().running() as broker, running(Link(settings(broker.port)), words.publish):
        await settled(lambda: len(said(broker)) == MAX_TOPICS, within_s=50.0)
        await asyncio.sleep(0.05)
    assert len(said(broker)) == MAX_TOPICS


def test_topics_when_they_belong_to_a_camera_or_to_none() -> None:
    """What belongs to no camera stays; a topic under another prefix is an earlier run's."""
    assert is_of("p/q/lobby/alert", prefix="p/q", cameras=["lobby"])
    assert not is_of("p/q/gate/alert", prefix="p/q", cameras=["lobby"])
    assert is_of("p/q/environments/indoor/model/state", prefix="p/q", cameras=[])
    assert not is_of("old/lobby/alert", prefix="p/q", cameras=["lobby"])
