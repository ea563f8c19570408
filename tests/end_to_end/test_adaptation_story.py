"""One adaptation from drift to a confirmed bundle, told by MQTT alone; `-s` prints it, a line a step, for people.

A camera's place turns dark and blurred, or glaring and blurred. The real gateway, the real trainer's service over TLS
and a real mosquitto do what follows, by the admission rules as they ship; only the gateway's clock and the camera's
pace are the test's, so that five days take minutes. The people are synthetic passages of research faces; the detector
was trained on none of those who pass.
"""

import asyncio
import datetime as dt
import itertools
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fakes.brokers import MISSING, Mosquitto, Subscriber, make_authority, mosquitto_program
from fakes.clean_sets import PASSPHRASE, TOKEN
from fakes.street import Clock, Heard, Street, daemon_on
from fakes.trainer_service import service
from fakes.walkers import Light
from scipy.stats import fisher_exact
from structlog.testing import capture_logs

from gateway.adaptation.collect import HOLD_S, MOST_IN_WINDOW, WANTED
from gateway.contract import messages
from gateway.contract.topics import Topics
from gateway.models.shipped import resolve_bundle
from trainer.bundles import find_bundle, people_seen_by
from trainer.data import read_collections, read_pictures
from trainer.keys import init_keys
from trainer.optics import Picture
from trainer.protocol import Division, divide

BRIGHT = Light(crf=12)
LIGHTS = {"dark": Light(gain=0.3, motion_px=3, crf=12), "glaring": Light(gain=1.3, motion_px=3, crf=12)}
FACE_PX = (24, 126)  # the face and its surroundings in a picture of 150 px, as a camera cuts it
SIDE_BY_SIDE = 15
REFERENCE_GROUPS, OTHERS = 34, 75  # too few of the others for drift to be said: none of them is collected
APART_S = 1700.0
"""From group to group: five people each, so five hundred of them take two days and the cap lets all of them in."""

JOB_S = 1500.0
ASKED = 0.01
"""So many clean passages may be flagged."""

TELLING = 0.1
"""The rate at which fewer than a hundred passages can tell whether fewer are flagged than before."""

CHANCE = 0.05
"""Where nothing had changed, so rarely would so many fewer be flagged."""

TOPICS = Topics("spectragate")

Verdicts = list[messages.VerdictData]


@dataclass(frozen=True, slots=True)
class People:
    """Who passes in the first light, who passes in the second, other people in that one, and the site's own."""

    first: Sequence[Picture]
    second: Sequence[Picture]
    others: Sequence[Picture]
    reference: tuple[Sequence[Picture], Sequence[str]]


def people(data: Path) -> People:
    """Divide the faces by person: nobody is in two of these, and only the site's own were seen in training."""
    index = data / "faces/index.csv"
    base = find_bundle("paper")
    trained_on, watched = people_seen_by(base, read_pictures(index))
    largest = max(read_collections(index).values(), key=len)
    parts: Division = divide(largest, trained_on=trained_on, watched=watched, least_px=base.profile.side_px)
    others = sorted(set(parts.test.people))[:30]
    passing = [index for index, person in enumerate(parts.test.people) if person not in others]
    strangers = [index for index, person in enumerate(parts.test.people) if person in others]
    top, bottom = FACE_PX
    cut = [np.ascontiguousarray(still[top:bottom, top:bottom]) for still in parts.tune.stills]
    return People(
        parts.calibrate.stills,
        [parts.test.stills[place] for place in passing],
        [parts.test.stills[place] for place in strangers][:OTHERS],
        (cut, parts.tune.people),
    )


@dataclass(frozen=True, slots=True)
class Story:
    """What the test acts on and what it hears."""

    street: Street
    heard: Heard
    passing: Iterator[Picture]
    light: Light

    def say(self, text: str) -> None:
        """Print a line for people, with the gateway's time."""
        at = dt.datetime.fromtimestamp(self.street.clock.now_s, dt.UTC)
        print(f"{at:%d %b %H:%M}  {text}", flush=True)

    def later(self, by_s: float) -> None:
        """Let time pass."""
        self.street.clock.advance_to(self.street.clock.now_s + by_s)

    async def group(self, count: int) -> None:
        """Let the next people pass in the second light."""
        seed = 10_000 + self.street.frames
        await self.street.pass_by(list(itertools.islice(self.passing, count)), self.light, seed=seed)
        self.later(APART_S)

    @property
    def drift(self) -> messages.DriftState | None:
        """The newest word on drift."""
        said = self.heard.on(TOPICS.drift_state("hall"))
        return said[-1] if said and isinstance(said[-1], messages.DriftState) else None

    @property
    def trainer(self) -> messages.TrainerState | None:
        """The newest word on the trainer."""
        said = self.heard.on(TOPICS.trainer_state)
        return said[-1] if said and isinstance(said[-1], messages.TrainerState) else None

    @property
    def job(self) -> str | None:
        """The newest word on the job."""
        return self.trainer.jobs[0].state if self.trainer is not None and self.trainer.jobs else None

    @property
    def model(self) -> messages.ModelState | None:
        """The newest word on the bundle."""
        said = self.heard.on(TOPICS.model_state("hall"))
        return said[-1] if said and isinstance(said[-1], messages.ModelState) else None

    @property
    def counted(self) -> messages.CameraStats | None:
        """The newest word on what the camera showed."""
        said = self.heard.on(TOPICS.stats)
        return said[-1].cameras[0] if said and isinstance(said[-1], messages.Stats) else None

    @property
    def is_whole(self) -> bool:
        """Whether every frame was looked at, and every face of it is part of a passage that was judged."""
        now = self.counted
        if now is None or now.frames_looked_at != self.street.frames:
            return False
        tracks = now.tracks_clean + now.tracks_triggered + now.tracks_unsure
        return (len(self.verdicts), sum(each.frames_seen for each in self.verdicts)) == (tracks, now.faces_found)

    @property
    def verdicts(self) -> list[messages.VerdictData]:
        """Every verdict."""
        return [each.data for each in self.heard.on(TOPICS.verdicts) if isinstance(each, messages.Verdict)]


@asynccontextmanager
async def beginning(folder: Path, found: People, light: Light) -> AsyncIterator[Story]:
    """Start broker, trainer and gateway; everything ends with the block."""
    make_authority(folder)
    init_keys(folder / "keys", passphrase=PASSPHRASE, environments=["hall"], now=dt.datetime.now(dt.UTC))
    write_trainer(folder, found)
    trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    clock = Clock(time.time() - 5 * 24 * 3600.0)
    street = Street(folder, clock)
    with Mosquitto(folder, "allow_anonymous true") as broker, service(folder, trust) as trainer:
        config = write_gateway(folder, broker.port, str(trainer.base_url).rstrip("/"))
        with Subscriber(broker.port, "spectragate/#") as subscriber:
            heard = Heard(subscriber)
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(heard.listen(), name="heard")
                async with daemon_on(street, config):
                    yield Story(street, heard, itertools.cycle(found.second), light)
                listening.cancel()


def write_trainer(folder: Path, found: People) -> None:
    """Write the trainer's configuration and the site's reference faces."""
    stills, names = found.reference
    np.savez(folder / "reference.npz", images=np.stack(stills), groups=np.array(names))
    value = {
        "folder": str(folder / "trainer"),
        "keys": str(folder / "keys"),
        "passphrase": PASSPHRASE,
        "base": "paper",
        "reference": str(folder / "reference.npz"),
        "environments": ["hall"],
        "http": {
            "port": 0,
            "token": TOKEN,
            "tls_certfile": str(folder / "srv.pem"),
            "tls_keyfile": str(folder / "srv.key"),
        },
        "jobs": {"threads": 1},
    }
    (folder / "trainer.yaml").write_text(json.dumps(value), "utf-8")


def write_gateway(folder: Path, broker_port: int, trainer: str) -> Path:
    """Write the gateway's configuration."""
    value = {
        "state_folder": str(folder / "state"),
        "mqtt": {"host": "127.0.0.1", "port": broker_port, "client_id": "box", "verdicts": True, "stats_interval": 1},
        "environments": {"hall": {"bundle": "paper"}},
        "cameras": {"gate": {"environment": "hall", "source": {"type": "rtsp", "url": "rtsp://127.0.0.1/gate"}}},
        "faces": {"max_per_frame": 64},  # nobody is left out, whoever stands behind somebody in a photograph either
        "screening": {"device": "cpu", "alert_budget_per_day": 1000 * ASKED, "tracks_per_day": 1000},
        "adaptation": {
            "upload": "crops",
            "legal_basis": "consent of the staff",
            "trainer": trainer,
            "repository": f"{trainer}/repository",
            "token": TOKEN,
            "ca_file": str(folder / "ca.pem"),
            "root": str(folder / "keys/repository/metadata/1.root.json"),
            "poll_s": 2,
        },
    }
    path = folder / "gateway.yaml"
    path.touch(mode=0o600)  # it holds the token
    path.write_text(json.dumps(value), "utf-8")
    return path


async def learn(story: Story, found: People) -> None:
    """Let the camera learn what is usual: five hundred passages in good light."""
    stills = itertools.cycle(found.first)
    for number in range(REFERENCE_GROUPS):
        await story.street.pass_by(list(itertools.islice(stills, SIDE_BY_SIDE)), BRIGHT, seed=number)
        story.later(600.0)
    await story.heard.until(lambda: story.drift is not None and story.drift.state == "steady")
    assert story.drift is not None
    story.say(f"the camera knows what is usual here: {story.drift.cameras[0].reference_tracks} passages")


async def others_pass(story: Story, found: People, when: str) -> list[messages.VerdictData]:
    """Let other people pass in the second light and return what was said of them."""
    await story.heard.until(lambda: story.is_whole)
    known = len(story.verdicts)
    for start in range(0, len(found.others), SIDE_BY_SIDE):
        group = found.others[start : start + SIDE_BY_SIDE]
        await story.street.pass_by(group, story.light, seed=5_000 + start)
        story.later(600.0)
    await story.heard.until(lambda: story.is_whole)
    verdicts = story.verdicts[known:]
    rates = ", ".join(f"{rate_of(verdicts, asked):.1%} at an asked {asked:.0%}" for asked in (0.1, 0.05, 0.01))
    story.say(f"{when}, of {len(verdicts)} passages of other people are flagged: {rates}")
    return verdicts


def flagged(verdicts: Sequence[messages.VerdictData], asked: float) -> tuple[int, int]:
    """Return how many judged passages would be flagged at an asked rate, and how many not.

    A p-value beyond all that is known is null.
    """
    judged = [each for each in verdicts if each.score is not None]
    hits = sum(each.p_value is None or each.p_value <= asked for each in judged)
    return hits, len(judged) - hits


def rate_of(verdicts: Sequence[messages.VerdictData], asked: float) -> float:
    """Return the share of judged passages that would be flagged at an asked rate."""
    hits, others = flagged(verdicts, asked)
    return hits / (hits + others)


def check_fewer_are_flagged(before: Verdicts, after: Verdicts) -> None:
    """Check that fewer of the same people are flagged where their number can tell, and nowhere clearly more."""
    told = fisher_exact([flagged(before, TELLING), flagged(after, TELLING)], alternative="greater").pvalue
    assert told < CHANCE, f"{flagged(before, TELLING)} before, {flagged(after, TELLING)} after"
    for asked in (0.05, ASKED):
        more = fisher_exact([flagged(after, asked), flagged(before, asked)], alternative="greater").pvalue
        assert more > CHANCE, f"at an asked {asked:.0%}: {flagged(before, asked)} before, {flagged(after, asked)} after"


async def collect(story: Story) -> None:
    """Let people pass in the second light until drift is said and enough clean faces are held."""
    while story.drift is None or story.drift.state != "drifted":
        await story.group(SIDE_BY_SIDE)
    story.say(f"drift: {story.drift.cameras[0].words}")
    for _ in range(3 * WANTED // MOST_IN_WINDOW):
        await story.group(MOST_IN_WINDOW)
        sets = [] if story.trainer is None else story.trainer.clean_sets
        if sets and sets[0].state == "held":
            break
    else:
        pytest.fail(f"not enough clean faces: {story.trainer}")
    story.say(f"held: {sets[0].lacks}")


async def adapt(story: Story) -> None:
    """Let a day pass, and people, until the set is with the trainer; then wait for its job."""
    story.later(HOLD_S)
    while story.job is None:
        await story.group(MOST_IN_WINDOW)
    story.say("the clean set is with the trainer; its job is queued")
    await story.heard.until(lambda: story.job in {"running", "published", "refused"}, within_s=JOB_S)
    story.say(f"the job is {story.job}")
    await story.heard.until(lambda: story.job in {"published", "refused"}, within_s=JOB_S)
    assert story.trainer is not None
    (job,) = story.trainer.jobs
    assert job.state == "published", job.reason
    story.say(f"every gate was passed; version {job.version} is signed and published")


async def take_up(story: Story) -> None:
    """Let people pass until the new bundle, tried beside the old one, is confirmed."""
    base = resolve_bundle("paper").identity
    await story.heard.until(lambda: story.model is not None and story.model.state == "shadow")
    assert story.model is not None
    story.say(f"the gateway verified it and tries it beside version {story.model.model.version}")
    while story.model.state != "steady":
        judged_by = story.model.model
        await story.group(SIDE_BY_SIDE)
        if story.model.model != judged_by:
            story.say(f"version {story.model.model.version} judges")
    assert story.model.model.sha256 != base.sha256, f"the trial ended it: {story.model.reason}"
    story.say(f"version {story.model.model.version} is confirmed")


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("light", LIGHTS)
async def test_a_place_whose_light_and_sharpness_change_is_adapted_to(
    light: str, tmp_path: Path, research_data: Path, record_property: Callable[[str, object], None]
) -> None:
    """Drift, collection, quarantine, upload, job, gates, publication, trial; fewer clean passages are flagged then."""
    if mosquitto_program() is None:
        pytest.fail(MISSING)
    found = await asyncio.to_thread(people, research_data)
    with capture_logs():  # what is printed is the story
        before, after, story = await live_through(tmp_path, found, LIGHTS[light])
    for asked in (0.1, 0.05, 0.01):
        rates = rate_of(before, asked), rate_of(after, asked)
        record_property("report", f"{light}, asked {asked:.0%}: {rates[0]:.1%} flagged before, {rates[1]:.1%} after")
    check_order(story.heard)
    check_digests(story)
    check_fewer_are_flagged(before, after)


async def live_through(folder: Path, found: People, light: Light) -> tuple[Verdicts, Verdicts, Story]:
    """Let all of it happen; return what was said of other people before and after, and what was heard."""
    async with beginning(folder, found, light) as story:
        story.say("the gateway begins to watch a well-lit place")
        await learn(story, found)
        story.say(f"the light changes to {light.gain:g} times what it was, and the lens smears")
        before = await others_pass(story, found, "before the adaptation")
        await collect(story)
        await adapt(story)
        await take_up(story)
        after = await others_pass(story, found, "after the adaptation")
        await nothing_was_lost(story)
        return before, after, story


async def nothing_was_lost(story: Story) -> None:
    """Check on MQTT that every frame was looked at, no face was given up, and every passage was judged."""
    frames = story.street.frames
    await story.heard.until(lambda: story.is_whole)
    now = story.counted
    assert now is not None
    assert (now.frames_received, now.frames_replaced, now.frames_damaged, now.frames_skipped) == (frames, 0, 0, 0)
    assert (now.faces_shed, now.faces_dropped) == (0, 0)
    story.say(f"{frames} frames, {now.faces_found} faces and {len(story.verdicts)} passages: none lost")


def check_order(heard: Heard) -> None:
    """Check that whoever only listens to MQTT can tell what happened, step by step and in this order."""
    base = resolve_bundle("paper").identity.sha256
    steps: list[str] = []
    for _, said in heard.all:
        step = step_of(said, base)
        if step is not None and step not in steps:
            steps.append(step)
    assert steps[:7] == ["learning", "steady", "drifted", "collecting", "held", "queued", "running"]
    # The job is followed and the channel is polled each at its own pace: either may tell first.
    assert set(steps[7:9]) == {"published", "shadow"}
    assert steps[9:] == ["judges", "confirmed"]


def step_of(said: messages.Message, base: str) -> str | None:
    """Return what a word adds to the story, by itself."""
    match said:
        case messages.DriftState() if said.model.sha256 == base:
            return said.state
        case messages.TrainerState():
            if said.jobs:
                return said.jobs[0].state
            return said.clean_sets[0].state if said.clean_sets else None
        case messages.ModelState() if said.model.sha256 != base:
            return {"probation": "judges", "steady": "confirmed"}.get(said.state)
        case messages.ModelState():
            return "shadow" if said.state == "shadow" else "undone" if said.reason is not None else None
    return None


def check_digests(story: Story) -> None:
    """Check that every verdict and alert names the bundle that gave it: the base's, then the adapted one's alone."""
    base = resolve_bundle("paper").identity.sha256
    told = [each for each in story.heard.on(TOPICS.model_state("hall")) if isinstance(each, messages.ModelState)]
    alerts = [each.data for each in story.heard.on(TOPICS.alerts) if isinstance(each, messages.Alert)]
    names = [each.model.sha256 for each in story.verdicts]
    assert [name == base for name, _ in itertools.groupby(names)] == [True, False]
    assert set(names) == {each.model.sha256 for each in told}
    assert {each.model.sha256 for each in alerts} <= set(names)
