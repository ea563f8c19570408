"""Faces drawn by chance whose light and sharpness can be turned, and the tracks that they make."""

import httpx2
import numpy as np
from numpy.typing import NDArray

from gateway.adaptation.drift import Sample
from gateway.adaptation.features import frequency_features
from gateway.contract.exchange import UNKNOWN_JOB, CleanSet, JobState, JobView, Problem, UploadState


def faces(count: int, *, seed: int, light: float = 1.0, blurred: bool = False, side_px: int = 32) -> NDArray[np.uint8]:
    """Return uint8 (count, side, side, 3): broad shapes and fine grain, as faces have, each another."""
    draw = np.random.default_rng(seed)
    place_Y = np.linspace(0, np.pi, side_px)
    weights_NUV = draw.normal(size=(count, 4, 4)) * 18
    waves_UY = np.cos(np.arange(4)[:, None] * place_Y[None])
    values_NYX = 110 + draw.normal(0, 12, (count, 1, 1)) + waves_UY.T @ weights_NUV @ waves_UY
    grain_NYX = draw.normal(size=(count, side_px, side_px)) * draw.uniform(4, 8, (count, 1, 1))
    values_NYX = (values_NYX + grain_NYX) * light
    if blurred:
        values_NYX = sum(np.roll(values_NYX, shift, axis=2) for shift in range(5)) / 5
    return np.repeat(np.clip(np.rint(values_NYX), 0, 255).astype(np.uint8)[..., None], 3, axis=3)


def tracks(
    count: int, *, seed: int, light: float = 1.0, blurred: bool = False, first_s: float = 0.0, score: float = 0.0
) -> list[Sample]:
    """Return a sample a minute."""
    features_NF = frequency_features(faces(count, seed=seed, light=light, blurred=blurred))
    scores = score + np.random.default_rng(seed).normal(size=count)
    return [
        Sample.of(features_NF[index : index + 1], [scores[index]], time_s=first_s + 60.0 * index)
        for index in range(count)
    ]


class FakeMarkers:
    """Facts that a test may look at; another daemon that is given the same ones is one after a restart."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}

    async def set(self, name: str, value: str | None) -> None:
        """Keep a fact; None forgets it."""
        if value is None:
            self.facts.pop(name, None)
        else:
            self.facts[name] = value

    async def all(self) -> dict[str, str]:
        """Return every fact."""
        return dict(self.facts)


class FakeTrainer:
    """A trainer's service without a network: keeps parts, and breaks off once when it is given part `fails_at`."""

    def __init__(self, *, fails_at: int = 0, is_away: bool = False) -> None:
        self.parts: dict[str, bytes] = {}
        self.clean_set: CleanSet | None = None
        self.puts = self.asked = 0
        self.is_away = is_away
        self.job_state = JobState.QUEUED
        self.reason: str | None = None
        self.tokens: set[str] = set()
        self.completed: list[str] = []
        self.knows_jobs = True
        self._fails_at = fails_at

    def client(self) -> httpx2.AsyncClient:
        """Return a client that talks to it."""
        headers = {"authorization": "Bearer token-of-the-trainer"}
        transport = httpx2.MockTransport(self._answer)
        return httpx2.AsyncClient(transport=transport, base_url="https://trainer", headers=headers)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if self.is_away:
            raise httpx2.ConnectError("away")
        self.tokens.add(request.headers["authorization"])
        match request.method, request.url.path.split("/")[3:]:
            case "PUT", ["clean-sets", _]:
                self.clean_set = CleanSet.model_validate_json(request.content)
                missing = tuple(part.sha256 for part in self.clean_set.parts if part.sha256 not in self.parts)
                return httpx2.Response(200, content=UploadState(missing=missing).model_dump_json())
            case "PUT", ["clean-sets", _, "parts", part]:
                if self.puts + 1 == self._fails_at:
                    self._fails_at = 0
                    raise httpx2.ConnectError("gone")
                self.puts += 1
                self.parts[part] = request.content
                return httpx2.Response(204)
            case "GET", _ if not self.knows_jobs:
                problem = Problem(error=UNKNOWN_JOB, detail="there is no such job")
                return httpx2.Response(404, content=problem.model_dump_json())
            case method, path:
                self.asked += method == "GET"
                self.completed += [path[1]] if method == "POST" else []
                job = JobView(job="job-1", environment="hall", state=self.job_state, reason=self.reason)
                return httpx2.Response(202, content=job.model_dump_json())
