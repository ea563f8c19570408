"""A box without a broker: its alerts wait in the outbox, as they would for one that is away."""

from pathlib import Path

from fakes.outboxes import open_outbox

from gateway.contract import messages
from gateway.contract.examples import EXAMPLES
from gateway.contract.topics import Topics
from gateway.daemon.keeping import KeptAlerts, Unheard
from gateway.delivery.outbox import Rank

(ALERT, *_) = [each for each in EXAMPLES.values() if isinstance(each, messages.Alert)]


async def test_alert_waits_in_the_outbox(tmp_path: Path) -> None:
    """Whole, under its number, and with the rank of its severity."""
    async with open_outbox(tmp_path) as outbox:
        kept = KeptAlerts(outbox, Topics("spectragate"))
        seq = kept.next_seq()
        data = ALERT.data.model_copy(update={"seq": seq, "severity": "critical"})
        alert = messages.Alert.of(data, event_id=f"box-{seq}", source=ALERT.source)
        await kept.submit(alert)
        (row,) = await outbox.pending(10)
        assert (row.seq, row.topic, row.camera) == (seq, "spectragate/alerts", data.camera)
        assert messages.parse(row.payload) == alert
        assert row.rank == Rank.CRITICAL


def test_nobody_hears_what_is_shown() -> None:
    """Without a broker the daemon says the same things, to nobody."""
    unheard = Unheard()
    unheard.show("a", b"1")
    unheard.say("a", b"1")
    unheard.clear("a")
