"""Two cameras of a hall under drift, what is kept of them, and how a trainer stands."""

from pathlib import Path

from fakes.adaptation import FakeMarkers, faces
from fakes.naming import live_frame
from pydantic import SecretStr

from gateway.adaptation.clean_sets import CleanSets
from gateway.adaptation.collect import CleanFace
from gateway.contract import messages
from gateway.daemon.collecting import Collecting, Place
from gateway.daemon.sending import Road, Sending
from gateway.screening import decide
from gateway.settings import AdaptationSettings
from gateway.values import FaceCrop, Quality, Screening, TrackedFace

SETTINGS = AdaptationSettings(
    upload="crops",
    legal_basis="consent of the staff",
    trainer="https://trainer.example",
    token=SecretStr("token-of-the-trainer"),
)
CAMERAS = {"gate": "hall", "lobby": "hall", "yard": "outside"}


class Hall:
    """Two cameras of a hall, and what is kept of them; another one of the same folder and markers is a restart."""

    def __init__(self, folder: Path, markers: FakeMarkers | None = None) -> None:
        self.drifted = {"hall"}
        self.bases = {"hall": -9.0, "outside": -9.0}
        """What the base of an environment says of every face."""
        self.now_s = 0.0
        self.tracks = 0
        self.sets = CleanSets(folder)
        self.markers = markers or FakeMarkers()
        self.told: list[messages.TrainerState] = []
        road = Road(lambda: CAMERAS, self.drifted.__contains__, self._tell, self.markers)
        self.sending = Sending(self.sets, SETTINGS, road, client_id="box", clock=lambda: self.now_s)
        self.collecting = Collecting(self.sets, Place(road, self._base_score), self.sending)

    async def _base_score(self, environment: str, _face: CleanFace) -> float | None:
        return self.bases.get(environment)

    def _tell(self, state: messages.TrainerState) -> None:
        said = messages.parse(messages.to_bytes(state))
        assert isinstance(said, messages.TrainerState)
        self.told.append(said)

    def track(
        self,
        camera: str = "gate",
        label: decide.Label = "clean",
        sides_px: tuple[int, ...] = (40,),
        alert_id: str | None = None,
    ) -> None:
        """Let a person pass."""
        self.tracks += 1
        for seq, side_px in enumerate(sides_px):
            pixels_YXC = faces(1, seed=self.tracks, side_px=side_px)[0]
            crop = FaceCrop(camera, seq, self.now_s, live_frame(0).crops[0].box, pixels_YXC, side_px)
            seen = Screening(camera, self.tracks, seq, self.now_s, crop.box, 0.5 - seq, Quality.USABLE)
            self.collecting.on_scored(CAMERAS[camera], [TrackedFace(self.tracks, crop)], pixels_YXC[None], [seen])
        verdict = decide.Verdict(
            camera, self.tracks, label, None, alert_id, self.now_s, self.now_s, seen, 1, 1, 0.5, None, None, None
        )
        self.collecting.on_finished(camera, CAMERAS[camera], verdict)

    async def tracks_of(self, count: int, *, every_s: float = 200.0) -> None:
        """Let people pass one after the other, by turns before both cameras."""
        for number in range(count):
            self.now_s += every_s
            self.track(("gate", "lobby")[number % 2])
            if number % 10 == 9:
                await self.collecting.settle()

    async def alert(self, alert_id: str, *words: bool, under_way: bool = False) -> None:
        """Let an alert happen and be judged, after it ended or before; `True` confirms it."""
        for is_confirmed in words if under_way else ():
            self.collecting.judge(alert_id, is_confirmed=is_confirmed)
        self.track(label="triggered", alert_id=alert_id)
        for is_confirmed in () if under_way else words:
            self.collecting.judge(alert_id, is_confirmed=is_confirmed)
        await self.collecting.settle()

    @property
    def origins(self) -> list[str | None]:
        """The alerts for which the kept faces are there, none for those that screening passed."""
        return [face.alert_id for face in self.sets.faces(self.sets.sightings(frozenset(CAMERAS)))]

    @property
    def kept(self) -> int:
        """How many faces are kept."""
        return len(self.sets.sightings(frozenset(CAMERAS)))

    @property
    def said(self) -> list[tuple[str, list[str], list[str]]]:
        """What was told: how the trainer was reached, the states of the sets, and those of the jobs."""
        return [
            (each.state, [one.state for one in each.clean_sets], [one.state for one in each.jobs]) for each in self.told
        ]
