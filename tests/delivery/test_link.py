"""The link: it never gives up, says why it is away in a word, and lets a twin have its share."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.brokers import CONNACK_3, Published, ScriptedBroker, connack, free_port, puback
from fakes.links import idle, running, settings, settled
from structlog.testing import capture_logs

from gateway.delivery import link as link_module
from gateway.delivery.connection import Connection
from gateway.delivery.link import Link, Session
from gateway.delivery.packets import LinkReason

AVAILABLE = "spectragate/available"
TAKEN_OVER = b"\xe0\x01\x8e"


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Every connection's thread ends with its link."""
    yield
    for thread in threading.enumerate():
        if thread.name == "mqtt":
            thread.join(5.0)
            assert not thread.is_alive()


async def test_link_when_the_broker_is_away_at_first() -> None:
    """Nothing raises: the link says why it is away and connects as soon as somebody listens."""
    port = free_port()
    with capture_logs() as logs:
        async with running(Link(settings(port))) as link:
            await settled(lambda: link.state.reason is LinkReason.REFUSED)
            assert (link.state.state, link.state.version) == ("away", None)
            async with ScriptedBroker(port=port).running():
                await settled(lambda: link.state.state == "online")
                assert (link.state.reason, link.state.connects, link.state.version) == (None, 1, "5")
    assert [log["event"] for log in logs][:2] == ["broker_away", "broker_connected"]


async def test_link_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says online first, stopped last, both retained, and disconnects so that the will is dropped."""
    monkeypatch.setattr(link_module, "_FAREWELL_S", 10.0)
    async with ScriptedBroker().running() as broker:
        async with running(Link(settings(broker.port))):
            await settled(lambda: broker.published)
        await settled(lambda: broker.farewells)
    assert [(said.topic, said.payload, said.retain) for said in broker.published] == [
        (AVAILABLE, b"online", True),
        (AVAILABLE, b"stopped", True),
    ]


async def test_link_when_the_broker_stays_silent_at_the_end() -> None:
    """It leaves all the same, within a second; the broker publishes the will."""

    def hold(published: Published) -> bytes | None:
        return puback(published.packet_id) if published.payload == b"online" else None

    async with ScriptedBroker(on_publish=hold).running() as broker:
        async with asyncio.timeout(10.0):
            async with running(Link(settings(broker.port))):
                await settled(lambda: broker.published)
        assert broker.farewells == 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(0x87, LinkReason.AUTH), (0x85, LinkReason.CLIENT_ID), (0x89, LinkReason.REFUSED)],
    ids=["not authorized", "client id", "busy"],
)
async def test_link_when_the_broker_refuses(answer: int, reason: LinkReason) -> None:
    """The reason is a word, and the link goes on trying."""
    refusing = ScriptedBroker(on_connect=lambda _: bytes([0x20, 3, 0, answer, 0]))
    async with refusing.running() as broker, running(Link(settings(broker.port))) as link:
        await settled(lambda: link.state.reason is reason)
        await settled(lambda: len(broker.levels) >= 2)


async def test_link_when_version_5_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `auto` it comes back in 3.1.1, and stays there."""
    monkeypatch.setattr(link_module, "CONNACK_TIMEOUT_S", 0.2)
    only_3 = ScriptedBroker(on_connect=lambda level: CONNACK_3 if level == 4 else None)
    async with only_3.running() as broker, running(Link(settings(broker.port, protocol="auto"))) as link:
        await settled(lambda: link.state.state == "online")
        assert link.state.version == "3.1.1"
        broker.hang_up()
        await settled(lambda: link.state.connects == 2)
    assert broker.levels == [5, 4, 4]


async def test_link_when_a_broker_of_version_5_is_frozen_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that spoke version 5 is spoken to in it, however long it did not answer: in 3.1.1 denials stay unheard."""
    frozen = False
    broker = ScriptedBroker(on_connect=lambda level: None if frozen else connack(level))
    async with broker.running(), running(Link(settings(broker.port, protocol="auto"))) as link:
        await settled(lambda: link.state.state == "online")
        monkeypatch.setattr(link_module, "CONNECT_TIMEOUT_S", 0.2)  # not before: a slow first CONNACK is no refusal
        frozen = True
        broker.hang_up()
        await settled(lambda: len(broker.levels) >= 4)
        monkeypatch.setattr(link_module, "CONNECT_TIMEOUT_S", 10.0)
        frozen = False
        await settled(lambda: link.state.connects == 2)
    assert set(broker.levels) == {5}


async def test_link_when_the_broker_hangs_up_again_and_again() -> None:
    """Each session is served anew; `serve` is cancelled with its session."""
    served: list[Session] = []
    cancelled = 0

    async def serve(session: Session) -> None:
        nonlocal cancelled
        served.append(session)
        try:
            await idle(session)
        finally:
            cancelled += 1

    async with ScriptedBroker().running() as broker, running(Link(settings(broker.port)), serve) as link:
        for number in range(1, 4):
            await settled(lambda number=number: len(served) == number)  # type: ignore[misc]
            broker.hang_up()
        await settled(lambda: link.state.connects == 4)
        assert cancelled >= 3


async def test_link_when_a_twin_takes_the_session_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause is named once for each time, counted, and the link waits so long that the two do not fight."""
    pauses: list[float] = []
    monkeypatch.setattr(link_module, "TWIN_FIRST_S", 0.2)

    def chance() -> float:
        pauses.append(0.0)
        return 0.0

    async with ScriptedBroker().running() as broker:
        with capture_logs() as logs:
            async with running(Link(settings(broker.port), chance=chance)) as link:
                await settled(lambda: broker.published)
                broker.send(TAKEN_OVER)
                await settled(lambda: link.state.taken_over == 1)
                assert (link.state.state, link.state.reason) == ("away", LinkReason.TAKEN_OVER)
                await settled(lambda: link.state.state == "online")
    (told,) = [entry for entry in logs if entry["event"] == "session_taken_over"]
    assert "client_id" in told["check"]
    assert link_module.TWIN_LAST_S >= 30.0


async def test_link_when_each_session_is_ended_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that lets us in at once and hangs up again and again may have a twin of ours; that is said, and waited.

    It may as well restart all the time: the pauses do not grow as they do with a twin that the broker names.
    """
    monkeypatch.setattr(link_module, "SUSPECTED_LAST_S", 0.05)
    async with ScriptedBroker().running() as broker, running(Link(settings(broker.port))) as link:
        for number in range(1, 6):
            await settled(lambda number=number: link.state.connects == number)  # type: ignore[misc]
            broker.hang_up()
        await settled(lambda: link.state.reason is LinkReason.TAKEN_OVER)
        assert (link.state.taken_over, link.state.connects) == (1, 5)
        for number in range(6, 9):
            await settled(lambda number=number: link.state.connects == number, within_s=3.0)  # type: ignore[misc]
            broker.hang_up()


async def test_link_when_online_may_not_be_said() -> None:
    """A broker that forbids `available` still gets what it allows; the state says acl."""
    sessions: list[Session] = []

    async def serve(session: Session) -> None:
        sessions.append(session)
        await idle(session)

    deny = ScriptedBroker(on_publish=lambda published: puback(published.packet_id, 0x87))
    async with deny.running() as broker, running(Link(settings(broker.port)), serve) as link:
        await settled(lambda: sessions)
        assert (link.state.state, link.state.reason) == ("online", LinkReason.ACL)


async def test_publish_when_the_broker_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is given up as silent and the link makes the next one."""
    monkeypatch.setattr(link_module, "PUBACK_TIMEOUT_S", 0.3)
    mute = ScriptedBroker(on_publish=lambda _: None)
    async with mute.running() as broker, running(Link(settings(broker.port))) as link:
        await settled(lambda: link.state.reason is LinkReason.SILENT)
        await settled(lambda: len(broker.levels) >= 2)


async def test_publish_when_many_do_at_once() -> None:
    """All are confirmed; what is said at QoS 0 comes too, without being waited for."""
    answers: list[Any] = []

    async def serve(session: Session) -> None:
        async with asyncio.TaskGroup() as tasks:
            all_of_them = [tasks.create_task(session.publish("t", b"%d" % number)) for number in range(50)]
        answers.extend(task.result() for task in all_of_them)
        session.say("spectragate/stats", b"{}")
        await idle(session)

    async with ScriptedBroker(on_connect=connack).running() as broker, running(Link(settings(broker.port)), serve):
        await settled(lambda: len(answers) == 50)
        await settled(lambda: broker.published[-1].payload == b"{}")
        assert set(answers) == {None}
        assert sorted(int(p.payload) for p in broker.published if p.topic == "t") == list(range(50))


async def test_link_when_a_group_of_tasks_shares_a_session_that_ends() -> None:
    """What each of them hears of the end is the link's business: it connects again."""

    async def share(session: Session) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(session.publish(f"spectragate/{number}", b""), name=f"publish {number}")

    def hang_up(published: Published) -> bytes | None:
        return puback(published.packet_id) if published.topic == AVAILABLE else b""

    async with ScriptedBroker(on_publish=hang_up).running() as broker, running(Link(settings(broker.port)), share):
        await settled(lambda: len(broker.levels) >= 3)


async def test_link_when_what_uses_the_session_fails_in_a_group() -> None:
    """Any other error comes out."""

    async def fail(session: Session) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(idle(session), name="idle")
            raise ZeroDivisionError

    async with ScriptedBroker().running() as broker:
        with pytest.raises(BaseExceptionGroup) as failed:
            async with running(Link(settings(broker.port)), fail):
                await asyncio.sleep(20.0)
    assert failed.group_contains(ZeroDivisionError)


async def test_publish_when_the_broker_is_slow_but_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer buys the others time: sixteen at once over a thin line are no silence."""
    monkeypatch.setattr(link_module, "PUBACK_TIMEOUT_S", 5.0)
    held: list[Published] = []
    answers: list[str | None] = []

    async def serve(session: Session) -> None:
        async with asyncio.TaskGroup() as tasks:
            sent = [tasks.create_task(session.publish("t", b"%d" % number)) for number in range(8)]
        answers.extend(task.result() for task in sent)
        await idle(session)

    def hold(published: Published) -> bytes | None:
        if published.topic != "t":
            return puback(published.packet_id)
        held.append(published)
        return None

    async with ScriptedBroker(on_publish=hold).running() as broker, running(Link(settings(broker.port)), serve):
        await settled(lambda: len(held) == 8)
        for published in held:
            await asyncio.sleep(0.75)
            broker.send(puback(published.packet_id))
        await settled(lambda: len(answers) == 8)
    assert len(broker.levels) == 1


async def test_publish_when_the_broker_passes_one_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message that is never confirmed while others are was lost: the session ends, so that it is sent again."""
    monkeypatch.setattr(link_module, "PUBACK_TIMEOUT_S", 0.5)

    async def serve(session: Session) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(session.publish("lost", b""))
            while True:
                await asyncio.sleep(0.02)
                await session.publish("t", b"")

    def lose(published: Published) -> bytes | None:
        return None if published.topic == "lost" else puback(published.packet_id)

    losing = ScriptedBroker(on_publish=lose)
    async with losing.running() as broker, running(Link(settings(broker.port)), serve) as link:
        await settled(lambda: link.state.reason is LinkReason.SILENT)


async def test_session_when_an_earlier_connection_speaks_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PUBACK that a thread of an earlier connection still hands over confirms nothing of the session that stands."""
    connections: list[Connection] = []
    sent: list[link_module.Acknowledged] = []

    class Kept(Connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            connections.append(self)

    async def serve(session: Session) -> None:
        sent.append(session.send("t", b""))
        await idle(session)

    def hold(published: Published) -> bytes | None:
        return puback(published.packet_id) if published.topic == AVAILABLE else None

    monkeypatch.setattr(link_module, "Connection", Kept)
    async with ScriptedBroker(on_publish=hold).running() as broker, running(Link(settings(broker.port)), serve):
        await settled(lambda: len(sent) == 1)
        broker.hang_up()
        await settled(lambda: len(sent) == 2)
        for number in range(5):
            connections[0].on_acknowledged(number, None)
        await asyncio.sleep(0)
        assert [future.done() for future in sent] == [True, False]
