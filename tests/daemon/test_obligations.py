"""Alerts on their way to the disk: nobody waits for it, and what is not kept is told whole."""

import asyncio

import pytest
from fakes.live import FakeAlerts
from structlog.testing import capture_logs

from gateway.contract import messages
from gateway.contract.examples import EXAMPLES
from gateway.daemon.obligations import Obligations
from gateway.errors import StorageError

(ALERT, *_) = [each for each in EXAMPLES.values() if isinstance(each, messages.Alert)]


async def test_alert_is_logged_once_it_is_kept() -> None:
    """Not before: a line in the log is a promise."""
    alerts = FakeAlerts(hold=True)
    obligations = Obligations(alerts)
    with capture_logs() as logs:
        obligations.take(ALERT)
        await asyncio.sleep(0)
        assert (logs, obligations.accepted) == ([], 0)
        alerts.release()
        await obligations.settle()
    assert obligations.accepted == 1
    ((log),) = logs
    assert (log["event"], log["alert_id"], log["seq"]) == ("alert", ALERT.data.alert_id, ALERT.data.seq)
    assert (log["score"], log["p_value"]) == (round(ALERT.data.score, 3), ALERT.data.p_value)


@pytest.mark.parametrize(
    ("severity", "kind", "level"),
    [("critical", "new", "warning"), ("critical", "end", "info"), ("alert", "new", "info"), ("watch", "new", "info")],
)
async def test_critical_alert_stands_out_in_the_log(severity: str, kind: str, level: str) -> None:
    """Whoever filters the journal by level sees the gravest ones, once each."""
    data = ALERT.data.model_copy(update={"severity": severity, "type": kind})
    alerts = FakeAlerts()
    with capture_logs() as logs:
        obligations = Obligations(alerts)
        obligations.take(ALERT.model_copy(update={"data": data}))
        await obligations.settle()
    assert [log["log_level"] for log in logs] == [level]


@pytest.mark.parametrize("later", [False, True], ids=["refused at once", "failed later"])
async def test_alert_that_is_not_kept_is_told_with_its_facts(later: bool) -> None:
    """Camera, number and score are in the log, so that the alert is not lost without a trace."""
    alerts = FakeAlerts(hold=later, fail=None if later else StorageError("the disk is full"))
    obligations = Obligations(alerts)
    with capture_logs() as logs:
        obligations.take(ALERT)
        for stored in alerts.held:
            stored.set_exception(StorageError("the disk is full"))
        await obligations.settle()
        await asyncio.sleep(0)
    assert obligations.lost == 1
    assert [(log["event"], log["camera"], log["reason"]) for log in logs] == [
        ("alert_not_kept", ALERT.data.camera, "the disk is full")
    ]


async def test_alerts_are_handed_on_in_order() -> None:
    """A subscriber must never see an end before its beginning."""
    alerts = FakeAlerts(hold=True)
    obligations = Obligations(alerts)
    for _ in range(100):
        obligations.take(ALERT)
    assert len(alerts.kept) == 100
    alerts.release()
    await obligations.settle()
    assert obligations.accepted == 100
