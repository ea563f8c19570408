"""From the outbox to the broker: nothing accepted is lost, whatever the broker does."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fakes.brokers import Published, ScriptedBroker, puback
from fakes.links import running, settings, settled
from fakes.outboxes import accept, alert, open_outbox, telemetry
from structlog.testing import capture_logs

from gateway.delivery.link import Link
from gateway.delivery.outbox import Outbox
from gateway.delivery.sender import WINDOW, Sender

ALERTS = "spectragate/alerts"


@asynccontextmanager
async def sending(outbox: Outbox, port: int, **changes: Any) -> AsyncIterator[Sender]:
    """Send an outbox to a broker for the length of a block."""
    sender = Sender(outbox, **changes)

    async def watch() -> None:
        while True:
            await outbox.changed.wait()
            outbox.changed.clear()
            sender.stir()

    async with asyncio.TaskGroup() as tasks:
        own = [tasks.create_task(sender.settle(), name="settle"), tasks.create_task(watch(), name="watch")]
        async with running(Link(settings(port)), sender.drain):
            yield sender
        for task in own:
            task.cancel()


def seqs(published: list[Published]) -> list[int]:
    """Return the numbers of the alerts a broker was given."""
    return [json.loads(each.payload)["seq"] for each in published if each.topic == ALERTS]


async def test_sender_when_all_is_well(tmp_path: Path) -> None:
    """What waited and what comes later goes out in order; the outbox keeps it, but none waits."""
    async with ScriptedBroker().running() as broker, open_outbox(tmp_path) as outbox:
        await accept(outbox, 30)
        async with sending(outbox, broker.port) as sender:
            await settled(lambda: len(seqs(broker.published)) == 30)
            await accept(outbox, 10)
            await settled(lambda: outbox.status().depth == 0)
        assert seqs(broker.published) == list(range(1, 41))
        assert sender.published == 40
        assert len(await outbox.between(1, 40, 100)) == 40


async def test_sender_when_the_broker_confirms_nothing(tmp_path: Path) -> None:
    """No more than the window is out; a silent broker is left, and the same messages go to the next connection."""

    def mute_at_first(published: Published) -> bytes | None:
        quiet = published.connection == 1 and published.topic == ALERTS
        return None if quiet else puback(published.packet_id)

    async with ScriptedBroker(on_publish=mute_at_first).running() as broker, open_outbox(tmp_path) as outbox:
        await accept(outbox, 20)
        async with sending(outbox, broker.port, puback_timeout_s=3.0):
            await settled(lambda: outbox.status().depth == 0)
    first = [each for each in broker.published if each.connection == 1]
    assert seqs(first) == list(range(1, WINDOW + 1))
    assert seqs([each for each in broker.published if each.connection == 2]) == list(range(1, 21))


async def test_sender_when_the_broker_hangs_up_in_the_middle(tmp_path: Path) -> None:
    """Each message arrives, first arrivals in order, whatever was confirmed before."""
    count = itertools.count(1)

    def moody(published: Published) -> bytes | None:
        if published.topic != ALERTS:
            return puback(published.packet_id)
        number = next(count)
        return b"" if number % 40 == 0 else None if number % 9 == 0 else puback(published.packet_id)

    async with ScriptedBroker(on_publish=moody).running() as broker, open_outbox(tmp_path) as outbox:
        await accept(outbox, 200)
        async with sending(outbox, broker.port, puback_timeout_s=0.5):
            await settled(lambda: outbox.status().depth == 0, within_s=50.0)
    arrived = seqs(broker.published)
    assert sorted(set(arrived)) == list(range(1, 201))


async def test_sender_when_the_broker_garbles(tmp_path: Path) -> None:
    """Nonsense instead of PUBACKs, also for ids never used, confirms nothing and loses nothing."""
    garbage = [b"\x40\x02\xff\xff", b"\xf0\x00", b"\x40\x7f" + b"x" * 127, b"\x00\x00", b"\x40\x00", b"\xe0\x00"]
    turns = itertools.chain(garbage, itertools.repeat(None))

    def garble(published: Published) -> bytes | None:
        if published.topic != ALERTS:
            return puback(published.packet_id)
        return next(turns) or puback(published.packet_id)

    async with ScriptedBroker(on_publish=garble).running() as broker, open_outbox(tmp_path) as outbox:
        await accept(outbox, 50)
        async with sending(outbox, broker.port, puback_timeout_s=0.5):
            await settled(lambda: outbox.status().depth == 0, within_s=50.0)
    assert set(seqs(broker.published)) == set(range(1, 51))


async def test_sender_when_the_broker_refuses(tmp_path: Path) -> None:
    """The messages stay, the refusal is said once and tried again, and the order is kept when it is over."""
    allowed = False

    def deny(published: Published) -> bytes | None:
        reason = 0 if allowed or published.topic != ALERTS else 0x87
        return puback(published.packet_id, reason)

    async with ScriptedBroker(on_publish=deny).running() as broker, open_outbox(tmp_path) as outbox:
        await accept(outbox, 5)
        with capture_logs() as logs:
            async with sending(outbox, broker.port, refused_first_s=0.05) as sender:
                await settled(lambda: len(seqs(broker.published)) >= 15)
                assert outbox.status().depth == 5
                assert sender.refusal is not None
                before, allowed = len(seqs(broker.published)), True
                await settled(lambda: outbox.status().depth == 0)
                assert sender.refusal is None
    assert seqs(broker.published)[before:][-5:] == [1, 2, 3, 4, 5]
    (told,) = [entry for entry in logs if entry["event"] == "message_refused"]
    assert "Not authorized" in told["reason"]


async def test_sender_when_telemetry_is_refused(tmp_path: Path) -> None:
    """It is dropped and counted: it must not stand in the way of an alert."""

    def deny(published: Published) -> bytes | None:
        return puback(published.packet_id, 0x87 if published.topic.endswith("/verdicts") else 0)

    async with ScriptedBroker(on_publish=deny).running() as broker, open_outbox(tmp_path) as outbox:
        for number in range(3):
            await outbox.accept(telemetry(number))
        await accept(outbox, 2)
        async with sending(outbox, broker.port) as sender:
            await settled(lambda: outbox.status().depth == 0)
        assert (sender.telemetry_refused, sender.refusal) == (3, None)
    assert seqs(broker.published) == [1, 2]


async def test_sender_when_an_alert_comes_behind_an_hour_of_old_ones(tmp_path: Path) -> None:
    """It overtakes the backlog; everything arrives, once."""
    gate = asyncio.Event()

    def slow(published: Published) -> bytes | None:
        if not gate.is_set() and published.topic == ALERTS and len(seqs(broker.published)) > WINDOW // 2:
            return None  # keeps half of the window until the new alert is there
        return puback(published.packet_id)

    async with ScriptedBroker(on_publish=slow).running() as broker, open_outbox(tmp_path) as outbox:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(400):
                tasks.create_task(outbox.accept(alert(outbox.next_seq())))
        async with sending(outbox, broker.port):
            await settled(lambda: len(seqs(broker.published)) >= WINDOW)
            new = outbox.next_seq()
            fresh = b'{"seq": %d, "data": {"type": "new"}}' % new
            await outbox.accept(alert(new, payload=fresh))
            gate.set()
            for published in list(broker.published):
                broker.send(puback(published.packet_id))
            await settled(lambda: outbox.status().depth == 0)
    arrived = seqs(broker.published)
    assert arrived.index(new) < 4 * WINDOW
    assert sorted(arrived) == list(range(1, 402))


async def test_sender_when_what_follows_a_refused_message_is_confirmed_late(tmp_path: Path) -> None:
    """It goes out again behind the refused one, also when nothing new is accepted that would wake the sender."""
    held: list[int] = []

    def moody(published: Published) -> bytes | None:
        first = seqs(broker.published).count(seqs([published])[0]) == 1 if published.topic == ALERTS else False
        if first and b"2" in published.payload:
            held.append(published.packet_id)
            return None
        return puback(published.packet_id, 0x87 if first else 0)

    async with ScriptedBroker(on_publish=moody).running() as broker, open_outbox(tmp_path) as outbox:
        for _ in range(2):
            await outbox.accept(replace(alert(outbox.next_seq()), alert_id="a"))
        async with sending(outbox, broker.port, refused_first_s=0.05):
            await settled(lambda: seqs(broker.published) == [1, 2, 1])
            await asyncio.sleep(0.2)
            broker.send(puback(held[0]))
            await settled(lambda: outbox.status().depth == 0)
    assert seqs(broker.published) == [1, 2, 1, 2]


async def test_settle_when_it_begins_anew_with_confirmations_left(tmp_path: Path) -> None:
    """What a cancelled one left is noted by the next, whether or not anything is confirmed after it."""
    async with ScriptedBroker().running() as broker, open_outbox(tmp_path) as outbox:
        await accept(outbox, 3)
        sender = Sender(outbox)
        async with running(Link(settings(broker.port)), sender.drain):
            await settled(lambda: sender.published == 3)
            for _ in range(2):
                settling = asyncio.ensure_future(sender.settle())
                await asyncio.sleep(0)  # it has begun, and is cancelled before the disk has answered
                settling.cancel()
                await asyncio.wait({settling})
            async with asyncio.TaskGroup() as tasks:
                settling = tasks.create_task(sender.settle())
                await settled(lambda: outbox.status().depth == 0)
                settling.cancel()
