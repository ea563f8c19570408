"""The outbox: numbering, order, what waits and what stays."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.outboxes import SMALL, Clock, accept, alert, open_outbox, telemetry

from gateway.delivery.outbox import OutboxEntry, Rank


async def test_numbers_go_on_where_they_stopped_when_it_is_opened_again(tmp_path: Path) -> None:
    """A number is given once, whatever was delivered or pruned before a restart."""
    clock = Clock()
    settings = SMALL.model_copy(update={"retention_hours": 0.0})
    async with open_outbox(tmp_path, settings=settings, clock=clock) as outbox:
        assert await accept(outbox, 3) == [1, 2, 3]
        clock.now_s += 100
        await outbox.delivered(await outbox.pending(10))
        assert await outbox.between(1, 3, 10) == []
    async with open_outbox(tmp_path, settings=settings, clock=clock) as outbox:
        assert outbox.next_seq() == 4
        assert outbox.status().last_seq == 3


async def test_messages_wait_in_the_order_of_acceptance_until_they_are_delivered(tmp_path: Path) -> None:
    """The sender gets what waits once, in order, with everything it needs to send it."""
    async with open_outbox(tmp_path) as outbox:
        await outbox.accept(alert(outbox.next_seq()))
        await outbox.accept(telemetry(7))
        await outbox.accept(alert(outbox.next_seq(), payload=b"x" * 5000))
        rows = await outbox.pending(10)
        assert [(row.kind, row.seq) for row in rows] == [("alert", 1), ("telemetry", None), ("alert", 2)]
        assert rows[2].payload == b"x" * 5000
        assert (rows[0].topic, rows[0].camera, rows[0].alert_id) == ("spectragate/alerts", "lobby", "a-1")
        await outbox.delivered(rows[:2])
        assert await outbox.pending(10) == rows[2:]
        assert await outbox.pending(10, after_row=rows[2].row) == []
        assert outbox.status().depth == 1


async def test_delivered_alerts_can_be_asked_for_again_until_the_window_ends(tmp_path: Path) -> None:
    """A PUBACK is not durability: what the broker lost is found by number for as long as promised."""
    clock = Clock()
    async with open_outbox(tmp_path, clock=clock) as outbox:
        await accept(outbox, 5)
        await outbox.delivered(await outbox.pending(10))
        assert [row.seq for row in await outbox.between(2, 4, 10)] == [2, 3, 4]
        assert [row.seq for row in await outbox.between(2, 5, 2)] == [2, 3]
        clock.now_s += 8 * 24 * 3600
        await accept(outbox, 1)
        await outbox.delivered(await outbox.pending(10))
        assert [row.seq for row in await outbox.between(1, 6, 10)] == [6]


async def test_held_messages_are_sent_only_when_they_are_released(tmp_path: Path) -> None:
    """Flood control keeps messages back without losing them: released or told by a summary, both are possible."""
    async with open_outbox(tmp_path) as outbox:
        for _ in range(3):
            seq = outbox.next_seq()
            await outbox.accept(OutboxEntry("alert", "t", b"{}", seq=seq, rank=Rank.WATCH, held=True))
        assert await outbox.pending(10) == []
        held = await outbox.held(10)
        await outbox.release(held[:1])
        await outbox.delivered(held[1:])
        assert [row.seq for row in await outbox.pending(10)] == [1]
        assert await outbox.held(10) == []
        assert [row.seq for row in await outbox.between(1, 3, 10)] == [1, 2, 3]


async def test_many_accepted_at_once_keep_their_order(tmp_path: Path) -> None:
    """Group commit changes nothing about the order of what is accepted together."""
    async with open_outbox(tmp_path) as outbox:
        await asyncio.gather(*(outbox.accept(alert(outbox.next_seq())) for _ in range(500)))
        assert [row.seq for row in await outbox.pending(1000)] == list(range(1, 501))
        assert outbox.status().depth == 500


async def test_whoever_stops_waiting_leaves_no_hole(tmp_path: Path) -> None:
    """A cancelled caller's message is stored all the same: its number was given."""
    async with open_outbox(tmp_path) as outbox:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(outbox.accept(alert(outbox.next_seq())), name="accept")
            await asyncio.sleep(0)
            task.cancel()
        await accept(outbox, 1)
        assert [row.seq for row in await outbox.pending(10)] == [1, 2]


async def test_space_goes_to_the_more_important_when_it_runs_out(tmp_path: Path) -> None:
    """Telemetry goes first, then delivered alerts, then the oldest of the lowest severity; each loss is told."""
    settings = SMALL.model_copy(update={"max_bytes": 65_536})
    async with open_outbox(tmp_path, settings=settings) as outbox:
        await outbox.accept(telemetry())
        await outbox.accept(alert(outbox.next_seq(), rank=Rank.CRITICAL))
        await outbox.delivered([row for row in await outbox.pending(10) if row.seq == 1])
        await outbox.accept(alert(outbox.next_seq(), rank=Rank.CRITICAL))
        await outbox.accept(alert(outbox.next_seq(), rank=Rank.WATCH))
        while outbox.status().alerts_evicted == 0:
            await outbox.accept(alert(outbox.next_seq(), rank=Rank.ALERT))
        status = outbox.status()
        assert status.telemetry_dropped == 1
        assert status.bytes <= 65_536
        assert await outbox.between(1, 1, 1) == []
        (gap,) = await outbox.gaps()
        assert (gap.from_seq, gap.to_seq, gap.count, gap.reason) == (3, 3, 1, "evicted")
        assert [row.seq for row in await outbox.between(1, 4, 10)] == [2, 4]


async def test_a_gap_is_told_once_when_its_notice_is_accepted(tmp_path: Path) -> None:
    """The notice and the end of its gap are one transaction: neither is told twice nor forgotten."""
    async with open_outbox(tmp_path) as outbox:
        await outbox.give_up(outbox.next_seq())
        (gap,) = await outbox.gaps()
        notice = OutboxEntry("notice", "t", b"{}", seq=outbox.next_seq(), rank=Rank.NOTICE, announces=(gap.number,))
        await outbox.accept(notice)
        assert await outbox.gaps() == []
        assert outbox.status().gaps == 0


async def test_a_number_whose_message_the_file_refuses_becomes_a_gap(tmp_path: Path) -> None:
    """The next message that is accepted tells it: subscribers do not ask for it for ever."""
    async with open_outbox(tmp_path) as outbox:
        with pytest.raises(sqlite3.IntegrityError):
            await outbox.accept(replace(alert(outbox.next_seq()), time_s=float("nan")))
        await accept(outbox, 1)
        (gap,) = await outbox.gaps()
        assert (gap.from_seq, gap.to_seq, gap.count, gap.reason) == (1, 1, 1, "not_stored")


async def test_notices_go_last_and_cannot_fill_the_disk(tmp_path: Path) -> None:
    """A state that comes and goes for weeks without a broker stays within the limit, and its losses are told."""
    settings = SMALL.model_copy(update={"max_bytes": 65_536})
    async with open_outbox(tmp_path, settings=settings) as outbox:
        await outbox.accept(alert(outbox.next_seq(), rank=Rank.CRITICAL))
        while outbox.status().alerts_evicted < 2:
            await outbox.accept(OutboxEntry("notice", "t", b"{}", seq=outbox.next_seq(), rank=Rank.NOTICE))
            assert outbox.status().bytes <= 65_536
        waiting = [row.seq for row in await outbox.pending(10_000)]
        (gap,) = await outbox.gaps()
        assert gap.from_seq == 1
        assert waiting == list(range(gap.to_seq + 1, outbox.status().last_seq + 1))


async def test_an_announced_gap_goes_with_the_numbers_around_it(tmp_path: Path) -> None:
    """What was told is kept for as long as a damaged file may ask for it, not for ever."""
    clock = Clock()
    async with open_outbox(tmp_path, clock=clock) as outbox:
        await outbox.give_up(outbox.next_seq())
        (gap,) = await outbox.gaps()
        await outbox.accept(
            OutboxEntry("notice", "t", b"{}", seq=outbox.next_seq(), rank=Rank.NOTICE, announces=(gap.number,))
        )
        clock.now_s += 8 * 24 * 3600
        await outbox.delivered(await outbox.pending(10))
    with sqlite3.connect(tmp_path / "state.db") as connection:
        assert connection.execute("SELECT count(*) FROM gaps").fetchone() == (0,)
    connection.close()


async def test_an_altered_row_becomes_a_gap_and_never_a_message(tmp_path: Path) -> None:
    """A flipped bit in a stored payload is found by the row's checksum, and its number is told as lost."""
    async with open_outbox(tmp_path) as outbox:
        await accept(outbox, 3)
        other = sqlite3.connect(tmp_path / "state.db")
        other.execute("UPDATE outbox SET payload = x'2d7b7d' WHERE seq = 2")
        other.commit()
        other.close()
        assert [row.seq for row in await outbox.pending(10)] == [1, 3]
        (gap,) = await outbox.gaps()
        assert (gap.from_seq, gap.to_seq, gap.count, gap.reason) == (2, 2, 1, "corrupted")


@pytest.mark.parametrize(
    "wrong", [{"kind": "alert"}, {"kind": "telemetry", "seq": 3}, {"kind": "telemetry", "payload": bytes(2**20 + 1)}]
)
def test_entries_that_could_not_be_delivered_are_refused(wrong: dict[str, object]) -> None:
    """An alert without a number, telemetry with one, or a huge message are errors of the caller."""
    with pytest.raises(ValueError, match=r"number|bytes"):
        OutboxEntry(**{"topic": "t", "payload": b"", **wrong})  # type: ignore[arg-type]
