"""Statistics: what parts count, in the words of the message."""

from pathlib import Path

from fakes.outboxes import accept, open_outbox

from gateway.daemon.statistics import outbox_stats, product_version


async def test_outbox_is_told(tmp_path: Path) -> None:
    """How much waits, and up to which number messages were given."""
    async with open_outbox(tmp_path) as outbox:
        await accept(outbox, 3)
        stats = outbox_stats(outbox.status())
    assert (stats.depth, stats.last_seq, stats.evicted, stats.degraded) == (3, 3, 0, None)


def test_version_is_a_token() -> None:
    """Also where the package runs from its sources."""
    assert product_version().isprintable()
    assert " " not in product_version()
