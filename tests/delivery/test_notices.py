"""Notices: every loss is told once, by number, in the line of the alerts."""

import asyncio
from pathlib import Path

from fakes.links import settled
from fakes.outboxes import Clock, accept, open_outbox

from gateway.contract import messages
from gateway.contract.topics import Asked, Topics
from gateway.delivery.commands import Obeyed
from gateway.delivery.notices import Notices
from gateway.delivery.outbox import Outbox, OutboxEntry, Rank

TOPICS = Topics("spectragate")
CLOCK = Clock()


def notices_of(outbox: Outbox) -> Notices:
    """Return the notices of a box."""
    return Notices(outbox, TOPICS, source="spectragate/box", clock=CLOCK)


async def told(outbox: Outbox, count: int) -> list[messages.NoticeData]:
    """Return the notices in the outbox once there are so many."""
    found = []
    async with asyncio.timeout(20.0):
        while len(found) < count:
            await asyncio.sleep(0.01)
            found = [row for row in await outbox.between(0, 10_000, 10_000) if row.kind == "notice"]
    events = [messages.parse(row.payload) for row in found]
    assert all(isinstance(event, messages.Notice) for event in events)
    assert all(
        row.topic == TOPICS.alerts and row.seq == event.data.seq for row, event in zip(found, events, strict=True)
    )  # type: ignore[union-attr]
    return [event.data for event in events if isinstance(event, messages.Notice)]


async def test_gaps_when_numbers_were_lost(tmp_path: Path) -> None:
    """Neighbours are told as one, each loss once; a later one is told too."""
    async with open_outbox(tmp_path) as outbox, asyncio.TaskGroup() as tasks:
        await accept(outbox, 2)
        for _ in range(3):
            await outbox.give_up(outbox.next_seq())
        notices = notices_of(outbox)
        task = tasks.create_task(notices.tell_gaps())
        (first,) = await told(outbox, 1)
        await settled(lambda: outbox.status().gaps == 0)
        await outbox.give_up(outbox.next_seq())
        await settled(outbox.changed.is_set)
        notices.stir()
        second = (await told(outbox, 2))[1]
        task.cancel()
    assert isinstance(first, messages.Gap)
    assert isinstance(second, messages.Gap)
    assert (first.from_seq, first.to_seq, first.count, first.reason) == (3, 5, 3, "not_stored")
    assert (second.from_seq, second.to_seq, second.count) == (7, 7, 1)


async def test_flood_when_two_cameras_are_held(tmp_path: Path) -> None:
    """Each camera has its own summary with its own numbers; then nothing is held, and all of it can still be read."""
    async with open_outbox(tmp_path) as outbox:
        for number in range(1, 11):
            camera = "lobby" if number % 2 else "gate"
            rank = Rank.ALERT if number > 8 else Rank.WATCH
            entry = OutboxEntry(
                "alert", TOPICS.alerts, b"{}", seq=outbox.next_seq(), rank=rank, camera=camera, alert_id="a", held=True
            )
            await outbox.accept(entry)

        assert await notices_of(outbox).tell_flood()

        gate, lobby = await told(outbox, 2)
        assert await outbox.held(10) == []
        assert len(await outbox.between(1, 10, 100)) == 10
        assert [row.kind for row in await outbox.pending(100)] == ["notice", "notice"]
    assert isinstance(gate, messages.Flood)
    assert isinstance(lobby, messages.Flood)
    assert (gate.camera, gate.count, gate.held[0]) == ("gate", 5, (2, 2))
    assert (lobby.camera, lobby.from_seq, lobby.to_seq) == ("lobby", 1, 9)
    assert (lobby.severities.watch, lobby.severities.alert) == (4, 1)


async def test_trouble_and_commands_when_told(tmp_path: Path) -> None:
    """Each change once; a command with what was obeyed, and with the note that came with it."""
    async with open_outbox(tmp_path) as outbox:
        notices = notices_of(outbox)
        for reason in ("disk_full", "disk_full", "io_error", None, None):
            notices.tell(part="outbox", reason=reason)
        notices.tell_command(Obeyed(Asked("feedback", "3f0c"), "confirmed", "a sticker on the cheek"))
        notices.tell_command(Obeyed(Asked("model", "indoor"), "pin 3"))
        kinds = [data.kind for data in await told(outbox, 5)]
        last, chosen = (await told(outbox, 5))[-2:]
    assert kinds == ["degraded", "degraded", "recovered", "command", "command"]
    assert isinstance(chosen, messages.Command)
    assert (chosen.command, chosen.value, chosen.environment) == ("model", "pin 3", "indoor")
    assert isinstance(last, messages.Command)
    assert (last.command, last.value, last.camera, last.alert_id) == ("feedback", "confirmed", None, "3f0c")
    assert (last.note, chosen.note) == ("a sticker on the cheek", None)
