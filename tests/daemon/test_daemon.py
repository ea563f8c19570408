"""The daemon's parts together: cameras come and go, configurations change, and nothing but what differs is touched."""

import asyncio
import time
from pathlib import Path

from fakes.daemons import running_daemon
from fakes.naming import live_frame
from structlog.testing import capture_logs

from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.errors import LateFault, SourceReason, StorageError
from gateway.screening.runtime import BundleDetector, InferenceThread

GATE = "  gate: {source: {type: file, path: gate.mp4}}\n"
LOBBY = "  lobby: {source: {type: file, path: lobby.mp4}}\n"
ONE, TWO = f"cameras:\n{GATE}", f"cameras:\n{GATE}{LOBBY}"


async def test_cameras_come_and_go(tmp_path: Path) -> None:
    """Online with the first frame, offline with its reason, online again; the other camera is not touched."""
    async with running_daemon(tmp_path, TWO) as box:
        shown, cameras = box.shown, box.cameras
        await box.until(lambda: len(cameras.opened) == 2)
        assert shown.status("gate") == ("offline", "starting")
        cameras.passage("gate")
        cameras.passage("lobby")
        await box.until(lambda: shown.status("gate") == shown.status("lobby") == ("online", None))
        cameras.fail("gate", SourceReason.STALLED)
        await box.until(lambda: cameras.opened["gate"] == 2)
        assert shown.status("gate") == ("offline", "stalled")
        cameras.passage("gate")
        await box.until(lambda: shown.status("gate") == ("online", None))
        assert cameras.opened["lobby"] == 1
    assert cameras.left == cameras.opened


async def test_triggered_person_is_told_and_lights_the_lamp(tmp_path: Path) -> None:
    """From a frame to an alert with its number and its latency; the camera's lamp is on until the track ends."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        assert box.shown.topics["spectragate/gate/alert"] == b"OFF"
        box.cameras.passage("gate", white=0.9)
        await box.until(lambda: len(box.alerts.kept) == 2)
        new, end = box.alerts.kept
        assert (new.data.type, end.data.type, new.id, end.id) == ("new", "end", "box-1", "box-2")
        assert new.data.latency_ms is not None
        assert new.data.replay is False
        await box.until(lambda: box.shown.lamp("gate") == [b"OFF", b"ON", b"OFF"])


async def test_tracks_end_when_the_camera_goes(tmp_path: Path) -> None:
    """A camera that breaks off while somebody triggered stands before it ends the alarm."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.show("gate", *(live_frame(seq, white=0.9) for seq in range(4)))
        await box.until(lambda: len(box.alerts.kept) == 1)
        box.cameras.fail("gate")
        await box.until(lambda: len(box.alerts.kept) == 2)
        assert box.alerts.kept[1].data.type == "end"


async def test_reload_touches_only_what_differs(tmp_path: Path) -> None:
    """A camera is added, one changed, one taken out: the one that is the same keeps its worker."""
    async with running_daemon(tmp_path, TWO) as box:
        await box.until(lambda: len(box.cameras.opened) == 2)
        dock = "  dock: {source: {type: file, path: dock.mp4}, detect: {fps: 2}}\n"
        box.configure(f"cameras:\n{GATE}{dock}")
        await box.daemon.reload()
        await box.until(lambda: "dock" in box.cameras.opened)
        assert (box.cameras.opened["gate"], box.cameras.left.get("gate", 0)) == (1, 0)
        assert box.cameras.left["lobby"] == 1
        assert not [topic for topic in box.shown.topics if "/lobby/" in topic]
        box.configure(f"cameras:\n{GATE}{dock.replace('fps: 2', 'fps: 3')}")
        await box.daemon.reload()
        await box.until(lambda: box.cameras.opened["dock"] == 2)
        assert box.cameras.jobs[-1].fps == 3.0
        assert box.cameras.opened["gate"] == 1


async def test_bad_configuration_changes_nothing(tmp_path: Path) -> None:
    """Every mistake is in the log with its line; everything runs on; the mended file is taken."""
    async with running_daemon(tmp_path, TWO) as box:
        await box.until(lambda: len(box.cameras.opened) == 2)
        for broken in (
            "",
            "# nothing\n",
            "cameras: [",
            "cameras:\n  gate: {sorce: 1}\n",
            "environments: {default: {bundle: nonsense}}",
        ):
            box.configure(broken)
            with capture_logs() as logs:
                await box.daemon.reload()
            assert [log["event"] for log in logs].count("config_refused") >= 1
        assert box.cameras.opened == {"gate": 1, "lobby": 1}
        assert box.cameras.left == {}
        assert box.shown.told == [("config", "refused")]
        box.configure(ONE)
        await box.daemon.reload()
        assert box.cameras.left == {"lobby": 1}
        assert box.shown.told == [("config", "refused"), ("config", None)]


class BusyInference(InferenceThread):
    """Opens so many sessions, and then none in time."""

    def __init__(self) -> None:
        super().__init__(device="cpu", threads=1)
        self.opens = 99

    async def open(self, bundle: Bundle) -> BundleDetector:
        """Open a bundle, or be late."""
        self.opens -= 1
        if self.opens < 0:
            raise LateFault("the inference session on the CPU gave no answer within 30 s")
        return await super().open(bundle)


async def test_machine_that_is_too_busy_for_a_reload_changes_nothing(tmp_path: Path) -> None:
    """Screening does not end for it: it is told as a refused configuration, and later that is taken."""
    inference = BusyInference()
    gate = "cameras:\n  gate: {environment: default, source: {type: file, path: gate.mp4}}\n"
    halls = gate + "environments: {default: {bundle: paper}, hall: {bundle: paper}, yard: {bundle: paper}}\n"
    async with running_daemon(tmp_path, ONE, inference=inference) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        served, inference.opens = len(inference._served), 1
        box.configure(halls)
        await box.daemon.reload()
        assert box.shown.told == [("config", "refused")]
        assert len(inference._served) == served
        box.cameras.passage("gate", white=0.9)
        await box.until(lambda: len(box.alerts.kept) == 2)
        inference.opens = 99
        await box.daemon.reload()
        assert box.shown.told == [("config", "refused"), ("config", None)]


async def test_new_detector_does_not_touch_the_cameras(tmp_path: Path) -> None:
    """An environment gets other settings: its screening is replaced, its cameras' workers go on, counts too."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate", white=0.9)
        await box.until(lambda: len(box.alerts.kept) == 2)
        box.configure(ONE + "screening: {batch_size: 8}\n")
        await box.daemon.reload()
        box.cameras.passage("gate", white=0.9, time_s=100.0)
        await box.until(lambda: len(box.alerts.kept) == 4)
        assert box.cameras.opened == {"gate": 1}
        assert box.daemon.cameras.all[0].summary.faces == 10


async def test_switch_survives_a_restart(tmp_path: Path) -> None:
    """A camera switched off by command stays off, says so, and comes back by command."""
    async with running_daemon(tmp_path, TWO) as box:
        await box.until(lambda: len(box.cameras.opened) == 2)
        assert box.daemon.switch("gate", False)
        assert not box.daemon.switch("nobody", False)
        await box.until(lambda: box.shown.status("gate") == ("disabled", "by_command"))
        await box.until(lambda: box.cameras.left.get("gate") == 1)
        assert box.shown.topics["spectragate/gate/enabled/state"] == b"OFF"
    async with running_daemon(tmp_path, TWO) as box:
        await box.until(lambda: "lobby" in box.cameras.opened)
        await box.until(lambda: box.shown.status("gate") == ("disabled", "by_command"))
        assert "gate" not in box.cameras.opened
        assert box.daemon.switch("gate", True)
        await box.until(lambda: "gate" in box.cameras.opened)


async def test_camera_that_is_not_enabled_is_not_opened(tmp_path: Path) -> None:
    """The configuration's word, where no command says otherwise."""
    async with running_daemon(tmp_path, TWO.replace("gate.mp4}}", "gate.mp4}, enabled: false}", 1)) as box:
        await box.until(lambda: "lobby" in box.cameras.opened)
        await box.until(lambda: box.shown.status("gate") == ("disabled", "by_config"))
        assert "gate" not in box.cameras.opened


async def test_calibration_survives_a_restart(tmp_path: Path) -> None:
    """What a camera learnt is there again, and only under the same weights."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate")
        await box.until(lambda: box.shown.status("gate") == ("online", None))
        before = box.daemon.environments.reference_of("gate", "default")
        assert before is not None
    async with running_daemon(tmp_path, ONE) as box:
        after = box.daemon.environments.reference_of("gate", "default")
        assert after is not None
        assert after.tracks_missing == before.tracks_missing - 1


async def test_broken_disk_does_not_stop_screening(tmp_path: Path) -> None:
    """An alert that cannot be kept is in the log with its facts, and the next one is tried again."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.alerts.fail = StorageError("the disk is full")
        with capture_logs() as logs:
            box.cameras.passage("gate", white=0.9)
            await box.until(lambda: box.shown.lamp("gate") == [b"OFF", b"ON", b"OFF"])
        assert [log["seq"] for log in logs if log["event"] == "alert_not_kept"] == [1, 2]
        box.alerts.fail = None
        box.cameras.passage("gate", white=0.9, time_s=50.0)
        await box.until(lambda: len(box.alerts.kept) == 2)


async def test_slow_disk_does_not_stop_screening(tmp_path: Path) -> None:
    """While the disk takes its time other passages are screened; leaving waits for what is under way."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.alerts.hold = True
        for passage in range(3):
            box.cameras.passage("gate", white=0.9, time_s=100.0 * passage)
        await box.until(lambda: len(box.alerts.kept) == 6)
        assert box.daemon.obligations.accepted == 0
        box.alerts.release()
        await asyncio.sleep(0)
        assert box.daemon.obligations.accepted == 6


async def test_overload_is_said(tmp_path: Path) -> None:
    """A camera that loses frames for want of time is degraded, and only that one."""
    async with running_daemon(tmp_path, TWO) as box:
        await box.until(lambda: len(box.cameras.opened) == 2)
        box.cameras.passage("gate")
        box.cameras.passage("lobby")
        await box.until(lambda: box.shown.status("gate") == box.shown.status("lobby") == ("online", None))
        box.daemon.board.on_overload("gate", is_on=True)
        assert box.shown.status("gate") == ("degraded", "overloaded")
        assert box.shown.status("lobby") == ("online", None)


async def test_statistics_tell_what_was_counted(tmp_path: Path) -> None:
    """One message with every camera's frames, faces and tracks, which can be read back."""
    async with running_daemon(tmp_path, TWO) as box:
        await box.until(lambda: len(box.cameras.opened) == 2)
        box.cameras.passage("gate", white=0.9)
        box.cameras.progress("gate", looked_at=15, replaced=1)
        await box.until(lambda: len(box.alerts.kept) == 2)
        box.daemon.tick()
        ((topic, payload),) = box.shown.said
        stats = messages.parse(payload)
        assert topic == "spectragate/stats"
        assert isinstance(stats, messages.Stats)
        gate, lobby = stats.cameras
        assert (gate.frames_looked_at, gate.frames_replaced, gate.faces_found, gate.tracks_triggered) == (15, 1, 5, 1)
        assert gate.frame_age_ms is not None
        assert (lobby.camera, lobby.faces_found, lobby.frame_age_ms) == ("lobby", 0, None)
        assert [each.environment for each in stats.environments] == ["default"]


async def test_confirmed_trigger_leaves_the_calibration(tmp_path: Path) -> None:
    """And stays out of it after a restart; a false alert stays in; of what nobody knows nothing is done."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate", white=0.9)
        await box.until(lambda: box.shown.lamp("gate") == [b"OFF", b"ON", b"OFF"])
        environments, alert_id = box.daemon.environments, box.alerts.kept[0].data.alert_id
        await box.until(lambda: box.daemon.cameras.all[0].summary.verdicts["triggered"] == 1)
        missing = environments.reference_of("gate", "default").tracks_missing
        assert box.daemon.judge(alert_id, False)
        assert environments.reference_of("gate", "default").tracks_missing == missing
        assert box.daemon.judge(alert_id, True)
        assert environments.reference_of("gate", "default").tracks_missing == missing + 1
        assert not box.daemon.judge("unknown", True)
    async with running_daemon(tmp_path, ONE) as box:
        assert box.daemon.environments.reference_of("gate", "default").tracks_missing == missing + 1


async def test_confirmed_trigger_leaves_what_was_learnt_for_other_weights_too(tmp_path: Path) -> None:
    """A bundle that judged before may come back: what it learnt then must not say that triggers are normal."""
    async with running_daemon(tmp_path, ONE) as box:
        table = box.daemon._fittings.calibration
        await table.add(9.0, camera="gate", environment="default@of-other-weights", alert_id="an-old-alert")
        assert not box.daemon.judge("an-old-alert", True)
        await box.daemon.memory.flush()
        assert await table.load() == []


async def test_trigger_confirmed_while_it_is_before_the_camera_teaches_nothing(tmp_path: Path) -> None:
    """The operator's word comes before the track has ended, which is when it would be learnt."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        reference = box.daemon.environments.reference_of("gate", "default")
        assert reference is not None
        box.cameras.show("gate", *(live_frame(seq, white=0.9) for seq in range(4)))
        await box.until(lambda: len(box.alerts.kept) == 1)
        assert box.daemon.judge(box.alerts.kept[0].data.alert_id, True)
        box.cameras.fail("gate")
        await box.until(lambda: box.cameras.opened["gate"] == 2)
        assert box.daemon.cameras.all[0].summary.verdicts["triggered"] == 1
        assert box.daemon.environments.reference_of("gate", "default") == reference


async def test_tracks_of_a_new_detector_are_judged_by_the_same_past(tmp_path: Path) -> None:
    """Under the same weights nothing that was learnt is lost, also what is not on the disk yet."""
    async with running_daemon(tmp_path, ONE) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        before = box.daemon.environments.reference_of("gate", "default")
        assert before is not None
        box.cameras.show("gate", *(live_frame(seq) for seq in range(5)))
        await box.until(lambda: box.daemon.cameras.all[0].summary.frames == 5)
        box.configure(ONE + "screening: {batch_size: 8}\n")
        await box.daemon.reload()  # which ends the track
        after = box.daemon.environments.reference_of("gate", "default")
        assert after is not None
        assert after.tracks_missing == before.tracks_missing - 1


async def test_statistics_are_told_as_often_as_the_configuration_says(tmp_path: Path) -> None:
    """A new interval counts at once, not after the old one."""
    async with running_daemon(tmp_path, ONE + "mqtt: {stats_interval: 86400}\n") as box, asyncio.TaskGroup() as group:
        telling = group.create_task(box.daemon.tell_statistics(), name="stats")
        await asyncio.sleep(0)
        box.configure(ONE + "mqtt: {stats_interval: 1}\n")
        await box.daemon.reload()
        await box.until(lambda: len(box.shown.said) >= 2)
        telling.cancel()


async def test_box_keeps_its_name_until_it_is_restarted(tmp_path: Path) -> None:
    """What is known under the old name goes on under it, and each reload says what waits."""
    broker = "mqtt: {host: broker.example, client_id: box"
    async with running_daemon(tmp_path, f"{ONE}{broker}}}\n") as box:
        for _ in range(2):
            box.configure(f"{ONE}{broker}-2, topic_prefix: hall}}\n")
            with capture_logs() as logs:
                await box.daemon.reload()
            (said,) = (log for log in logs if log["event"] == "config_needs_restart")
            assert said["keys"] == ("mqtt.client_id", "mqtt.topic_prefix")
        assert box.made == ["box"]


LEAP_S, HOUR_S, DAY_S = 1.0, 3600.0, 86_400.0


async def test_clock_that_is_set_loses_no_alert_and_no_camera(tmp_path: Path) -> None:
    """Hours and days back and forth, to 1970 and over a leap second: told, and everything goes on in order."""
    began_s = time.monotonic()
    set_by_s = 1_800_000_000.0

    def clock() -> float:
        return set_by_s + time.monotonic() - began_s

    async with running_daemon(tmp_path, ONE, clock=clock) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.daemon.tick()
        steps = (LEAP_S, -LEAP_S, HOUR_S, -HOUR_S, DAY_S, -2 * DAY_S, -1_800_000_000.0 + 2 * DAY_S, 1_800_000_000.0)
        with capture_logs() as logs:
            for number, step_s in enumerate(steps, start=1):
                # Somebody stands there while the clock is set: one passage before it, one after.
                box.cameras.show("gate", *(live_frame(seq, white=0.9, time_s=clock() + seq / 5) for seq in range(4)))
                await box.until(lambda: len(box.alerts.kept) % 4 == 1)
                set_by_s += step_s
                pause_s = 10.0 if abs(step_s) == LEAP_S else 0.0  # a second more does not end a passage by itself
                box.cameras.passage("gate", white=0.9, time_s=clock() + pause_s)
                await box.until(lambda number=number: len(box.alerts.kept) == 4 * number)
                box.daemon.tick()
        kept = [alert.data for alert in box.alerts.kept]
        assert [alert.seq for alert in kept] == list(range(1, 4 * len(steps) + 1))
        assert [alert.type for alert in kept] == ["new", "end"] * (2 * len(steps))
        assert len({alert.alert_id for alert in kept}) == 2 * len(steps)
        assert box.shown.status("gate") == ("online", None)
        assert box.cameras.opened == {"gate": 1}
        assert len([log for log in logs if log["event"] == "clock_step"]) == len(steps) - 2
        assert all(isinstance(messages.parse(payload), messages.Stats) for _, payload in box.shown.said)
