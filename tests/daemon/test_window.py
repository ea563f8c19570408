"""The daemon as its HTTP side sees it."""

import json
from pathlib import Path

from fakes.boxes import alert
from fakes.daemons import running_daemon
from fakes.outboxes import SMALL

from gateway.contract.requests import ModelOrder
from gateway.contract.topics import Topics
from gateway.daemon.keeping import Unheard
from gateway.daemon.models import Updates
from gateway.daemon.window import DaemonWindow
from gateway.delivery.outbox import Outbox, OutboxEntry
from gateway.storage.state import Storage

ONE = "cameras: {gate: {source: {type: file, path: gate.mp4}}}\n"


async def test_window_shows_cameras_environments_and_models(tmp_path: Path) -> None:
    """What the configuration names, as it is now; frames are counted by the second."""
    now_s = 0.0
    async with running_daemon(tmp_path, ONE) as box:
        window = DaemonWindow(box.daemon, monotonic=lambda: now_s)
        await box.until(lambda: "gate" in box.cameras.opened)
        assert window.readiness().reasons == ("no_camera_online",)
        window.measure_fps()
        now_s = 1.0
        window.measure_fps()
        box.cameras.progress("gate", looked_at=10)
        box.cameras.passage("gate")
        await box.until(lambda: box.shown.status("gate") == ("online", None))
        now_s = 3.0
        window.measure_fps()
        (camera,) = window.cameras()
        assert (camera.camera, camera.state, camera.enabled, camera.fps) == ("gate", "online", True, 5.0)
        assert camera.calibration == "factory"
        assert window.readiness().ready
        (environment,) = window.environments()
        assert (environment.cameras, environment.bundle, environment.drift) == (("gate",), "paper", None)
        (model,) = window.models()
        assert (model.model, model.environments) == (environment.model, ("default",))
        assert (model.parent_sha256 is None, model.gate_sha256, len(model.training.data)) == (False, None, 5)
        judged_on = window.evaluation(model.model.sha256)
        assert judged_on is not None
        assert judged_on.model_sha256 == model.model.sha256
        assert window.evaluation("0" * 64) is None
        assert window.trainer() is None


async def test_alert_is_told_remembered_and_judged(tmp_path: Path) -> None:
    """From the face to the listener, newest first; whoever confirms it takes its track out of the calibration."""
    async with running_daemon(tmp_path, ONE) as box:
        window = DaemonWindow(box.daemon)
        async with window.subscribe() as line:
            await box.until(lambda: "gate" in box.cameras.opened)
            box.cameras.passage("gate", white=0.9)
            await box.until(lambda: len(box.alerts.kept) == 2)
            (kept,) = window.alerts()
            assert kept.data.type == "end"
            told = [json.loads(event.data) for event in _waiting(line) if event.name == "alert"]
            assert [each["data"]["type"] for each in told] == ["new", "end"]
        assert window.measures().batch_faces.count > 0
        assert window.judge(kept.data.alert_id, "confirmed")
        assert window.judge(kept.data.alert_id, "false_positive")
        assert not window.judge("0" * 16, "false_positive")
        assert not window.judge("0" * 16, "confirmed")


def _waiting(line: object) -> list:  # type: ignore[type-arg]
    return list(line._waiting)  # type: ignore[attr-defined]


async def test_camera_is_switched_for_good(tmp_path: Path) -> None:
    """The word goes round: the daemon says it, and whoever listens hears that the camera changed."""
    async with running_daemon(tmp_path, ONE) as box:
        window = DaemonWindow(box.daemon)
        async with window.subscribe() as line:
            await box.until(lambda: "gate" in box.cameras.opened)
            assert window.switch("gate", is_on=False)
            assert not window.switch("moat", is_on=False)
            await box.until(lambda: box.shown.status("gate") == ("disabled", "by_command"))
            assert ("camera", '{"camera":"gate"}') in {(each.name, each.data) for each in _waiting(line)}
        assert window.cameras()[0].enabled is False
        assert [(done.asked.name, done.value) for done in box.shown.obeyed] == [("gate", "OFF")]
        assert window.readiness().ready


async def test_bundle_is_chosen_where_there_is_one_to_choose(tmp_path: Path) -> None:
    """An order that is taken is told among the alerts; one for an environment that is not there is none."""
    async with running_daemon(tmp_path, ONE, updates=Updates(tmp_path)) as box:
        window = DaemonWindow(box.daemon)
        await box.until(lambda: "gate" in box.cameras.opened)
        assert not window.choose("moat", ModelOrder("rollback"))
        assert window.choose("default", ModelOrder("pin", 3))
        assert [(done.asked.what, done.value) for done in box.shown.obeyed] == [("model", "pin 3")]


async def test_words_of_adaptation_are_shown_as_they_are_told(tmp_path: Path) -> None:
    """Whatever is retained below an environment's topic stands in its view."""
    async with running_daemon(tmp_path, ONE) as box:
        window = DaemonWindow(box.daemon)
        box.daemon.postman.show("spectragate/environments/default/drift/state", b'{"statistic":0.5}')
        box.daemon.postman.show("spectragate/trainer/state", b'{"state":"online"}')
        (environment,) = window.environments()
        assert environment.drift == {"statistic": 0.5}
        assert window.trainer() == {"state": "online"}


async def test_alerts_of_earlier_runs_are_known(tmp_path: Path) -> None:
    """They are read from the outbox; one that another version wrote is left out, and ends nothing."""
    async with running_daemon(tmp_path, ONE) as box:
        window = DaemonWindow(box.daemon)
        async with Storage.open(tmp_path / "other", settings=SMALL) as storage:
            outbox = await Outbox.open(storage, client_id="box", settings=SMALL)
            link = Unheard(outbox, Topics("spectragate"))
            for kind, end_time in (("new", None), ("end", 1_769_860_900.0)):
                seq = outbox.next_seq()
                await link.submit(alert(seq, alert_id="a1", type=kind, end_time=end_time))
            unknown, seq = b'{"type":"spectragate.alert.v9"}', outbox.next_seq()
            await outbox.submit(OutboxEntry("alert", "spectragate/alerts", unknown, seq=seq))
            await window.load(outbox)
        assert [(each.data.alert_id, each.data.type) for each in window.alerts()] == [("a1", "end")]
