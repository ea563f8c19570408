"""What the outbox's transactions must keep true, over many histories."""

import pytest
from fakes.outboxes import SMALL, Clock, open_outbox
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.delivery.outbox import OutboxEntry, Rank

RANKS = st.sampled_from([Rank.TELEMETRY, Rank.WATCH, Rank.ALERT, Rank.CRITICAL])
STEPS = st.lists(st.one_of(st.tuples(RANKS, st.integers(0, 9)), st.integers(1, 20)), min_size=30, max_size=150)


@given(steps=STEPS)
@settings(deadline=None, max_examples=30)
async def test_sent_and_lost_make_up_all_that_was_accepted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Rank, int] | int]
) -> None:
    """Whatever is accepted, delivered and evicted: each number is delivered, waits, or is in a gap; none is in two."""
    folder = tmp_path_factory.mktemp("outbox")
    small = SMALL.model_copy(update={"max_bytes": 65_536})
    sent: set[int] = set()
    async with open_outbox(folder, settings=small, clock=Clock()) as outbox:
        for step in steps:
            if isinstance(step, int):
                rows = await outbox.pending(step)
                await outbox.delivered(rows)
                sent |= {row.seq for row in rows if row.seq is not None}
                continue
            rank, kilobytes = step
            seq = None if rank is Rank.TELEMETRY else outbox.next_seq()
            payload = bytes(i * 131 % 251 for i in range(kilobytes * 1000))
            kind = "telemetry" if seq is None else "alert"
            await outbox.accept(OutboxEntry(kind, "t", payload, seq=seq, rank=rank))
        waiting = {row.seq for row in await outbox.pending(10_000) if row.seq is not None}
        status = outbox.status()
        lost = await outbox.gaps()
        assert sent.isdisjoint(waiting)
        assert len(sent) + len(waiting) + sum(gap.count for gap in lost) == status.last_seq
        assert all(seq not in sent | waiting for gap in lost for seq in range(gap.from_seq, gap.to_seq + 1))
        assert status.depth == len(await outbox.pending(10_000))
        assert status.bytes <= 65_536
