"""A box without a broker: its alerts wait in the outbox, as they would for one that is away."""

import asyncio
from pathlib import Path

import pytest
from fakes.outboxes import open_outbox

from gateway.contract import messages
from gateway.contract.examples import EXAMPLES
from gateway.contract.topics import Topics
from gateway.daemon.keeping import Unheard
from gateway.delivery.outbox import Rank

(ALERT, *_) = [each for each in EXAMPLES.values() if isinstance(each, messages.Alert)]


async def test_alert_waits_in_the_outbox(tmp_path: Path) -> None:
    """Whole, under its number, and with the rank of its severity."""
    async with open_outbox(tmp_path) as outbox:
        kept = Unheard(outbox, Topics("spectragate"))
        seq = outbox.next_seq()
        data = ALERT.data.model_copy(update={"seq": seq, "severity": "critical"})
        alert = messages.Alert.of(data, event_id=f"box-{seq}", source=ALERT.source)
        await kept.submit(alert)
        (row,) = await outbox.pending(10)
        assert (row.seq, row.topic, row.camera) == (seq, "spectragate/alerts", data.camera)
        assert messages.parse(row.payload) == alert
        assert row.rank == Rank.CRITICAL


async def test_nobody_hears_what_is_shown(tmp_path: Path) -> None:
    """Without a broker the daemon says the same things, to nobody; that is off, and no fault."""
    async with open_outbox(tmp_path) as outbox:
        unheard = Unheard(outbox, Topics("spectragate"))
        await unheard.load()
        unheard.know(["gate"])
        unheard.show("a", b"1")
        unheard.say("a", b"1")
        unheard.clear("a")
        unheard.tell(part="config", reason="refused")
        stats = unheard.broker_stats()
        assert (stats.state, stats.reason, unheard.held_of("gate")) == ("off", None, 0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(unheard.run(), 0.01)
