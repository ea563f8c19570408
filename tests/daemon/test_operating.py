"""Operating points in the daemon: counted by camera and weights, said when broken, kept over a restart."""

from dataclasses import dataclass, field, replace

import numpy as np
from fakes.daemons import running_daemon

from gateway.contract import messages
from gateway.daemon.operating import MAX_OPEN_TRACKS, OperatingPoints
from gateway.screening import decide
from gateway.values import FaceBox, FaceCrop, Quality, Screening, TrackedFace

ONE = messages.ModelIdentity(version=1, sha256="1" * 64, profile="paper")
TWO = messages.ModelIdentity(version=2, sha256="2" * 64, profile="wide")
SEEN = Screening("gate", 1, 0, 0.0, FaceBox(0, 0, 9, 9, 0.9), 1.0, Quality.USABLE)
REFERENCE = decide.Reference("camera", tuple(float(index) for index in range(100)), 0.01, 0.01, 0, 99.5)
CLEAN = decide.Verdict("gate", 1, "clean", None, None, 0.0, 1.0, SEEN, 4, 4, 1.0, 0.5, 99.5, REFERENCE)


@dataclass
class Desk:
    """Keeps facts and hears words."""

    kept: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, bool]] = field(default_factory=list)
    model: messages.ModelIdentity = ONE

    async def set(self, name: str, value: str | None) -> None:
        """Keep or forget a fact."""
        if value is None:
            self.kept.pop(name, None)
        else:
            self.kept[name] = value

    async def all(self) -> dict[str, str]:
        """Return every fact."""
        return dict(self.kept)

    def on_passages(self, camera: str, reason: str, *, is_on: bool) -> None:
        """Remember the word."""
        assert reason == "operating_point"
        self.told.append((camera, is_on))


def points(desk: Desk) -> OperatingPoints:
    """Return operating points over a desk."""
    return OperatingPoints(desk, desk, model_of=lambda _environment: desk.model)


def pass_by(here: OperatingPoints, count: int, *, every: int = 0, name: str = "a") -> None:
    """Let people pass; every so many of them are flagged."""
    for index in range(count):
        flagged = every and index % every == 0
        triggered = replace(CLEAN, label="triggered", alert_id=f"{name}-{index}")
        here.on_finished("gate", "hall", triggered if flagged else CLEAN)


async def test_broken_promise_is_told_once_and_confirmation_takes_it_back() -> None:
    """One word for the change, whatever more comes; the operator's word leaves a trigger out of account."""
    desk = Desk()
    here = points(desk)
    pass_by(here, 400, every=10)
    assert desk.told == [("gate", False), ("gate", True)]
    realised = here.realised("gate")
    assert realised is not None
    assert (realised.tracks, realised.alerts, realised.exceeds) == (400, 40, True)
    for index in range(0, 400, 10):
        here.confirm(f"a-{index}")
    assert desk.told[-1] == ("gate", False)
    assert here.realised("hall") is None


async def test_only_judged_passages_count_and_confirmed_ones_under_way_do_not() -> None:
    """What is unsure was promised nothing."""
    here = points(Desk())
    here.on_finished("gate", "hall", replace(CLEAN, label="unsure", reason="quality"))
    assert here.realised("gate") is None
    here.confirm("early")
    here.on_finished("gate", "hall", replace(CLEAN, label="triggered", alert_id="early"))
    assert here.realised("gate") is None


async def test_passage_that_ends_when_other_weights_have_taken_over_is_not_theirs() -> None:
    """A place that drifted had many alerts under the old ones; the promise of the new ones begins clean."""
    desk = Desk()
    here = points(desk)
    crop = FaceCrop("gate", 0, 0.0, SEEN.box, np.zeros((4, 4, 3), np.uint8), 4)
    here.on_scored("hall", [TrackedFace(1, crop)], crop.pixels_YXC[None], [SEEN])
    desk.model = TWO
    here.on_finished("gate", "hall", replace(CLEAN, label="triggered", alert_id="late"))
    assert here.realised("gate") is None
    pass_by(here, 1)
    realised = here.realised("gate")
    assert realised is not None
    assert (realised.tracks, realised.alerts) == (1, 0)


async def test_weights_of_passages_that_never_end_are_forgotten() -> None:
    """Memory stays flat."""
    here = points(Desk())
    crop = FaceCrop("gate", 0, 0.0, SEEN.box, np.zeros((4, 4, 3), np.uint8), 4)
    for track in range(2 * MAX_OPEN_TRACKS):
        here.on_scored("hall", [TrackedFace(track, crop)], crop.pixels_YXC[None], [SEEN])
    assert len(here._judging) == MAX_OPEN_TRACKS


async def test_counts_outlive_a_restart_and_end_with_the_weights_or_the_camera() -> None:
    """Another bundle makes another promise; a camera that is gone leaves nothing behind."""
    desk = Desk()
    here = points(desk)
    pass_by(here, 130, every=40)
    await here.flush()
    again = points(desk)
    await again.load()
    assert again.realised("gate") == here.realised("gate")
    desk.model = TWO
    pass_by(again, 1)
    realised = again.realised("gate")
    assert realised is not None
    assert (realised.tracks, realised.alerts) == (1, 0)
    await again.know({"gate": "yard"})
    assert (again.realised("gate"), desk.kept) == (None, {})
    desk.kept["operating_point:gate"] = "{}"
    await again.load()
    assert again.realised("gate") is None


async def test_status_and_notices_say_that_the_promise_is_broken(tmp_path: object) -> None:
    """The camera is degraded with the word `operating_point`, and what was counted stands beside its promise."""
    text = "cameras:\n  gate: {source: {type: file, path: gate.mp4}}\n"
    async with running_daemon(tmp_path, text) as box:  # type: ignore[arg-type]
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate")
        await box.until(lambda: box.shown.status("gate") == ("online", None))
        for index in range(150):
            triggered = replace(CLEAN, label="triggered", alert_id=f"x-{index}")
            box.daemon.operating.on_finished("gate", "default", triggered)
        assert box.shown.status("gate") == ("degraded", "operating_point")
        status = messages.parse(box.shown.topics["spectragate/gate/status"])
        assert isinstance(status, messages.CameraStatus)
        assert status.realised is not None
        assert status.realised.exceeds
        assert ("operating_point", "operating_point") in box.shown.told


async def test_passages_of_the_last_day_are_counted_by_the_hour() -> None:
    """A budget a day is kept only by as many passages as were expected: how many there are is told, after a day."""
    now_s = 5.0
    desk = Desk()
    here = OperatingPoints(desk, desk, model_of=lambda _environment: desk.model, clock=lambda: now_s)

    def told() -> int | None:
        found = here.realised("gate")
        return None if found is None else found.last_day_tracks

    for hour in range(40):
        now_s = 5.0 + 3600 * hour
        pass_by(here, 10 if hour < 30 else 3)
        assert told() == (None if hour < 24 else sum(10 if each < 30 else 3 for each in range(hour - 24, hour)))
    now_s += 3600 * 30
    assert told() == 0
    desk.model = TWO  # new weights make a new promise; the traffic is the same
    pass_by(here, 4)
    now_s += 3600
    assert told() == 4
    await here.know({"yard": "hall"})
    assert told() is None
