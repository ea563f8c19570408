"""A pool of pairs for `wide`: drawn once, and what the constants of its graph make of them kept on disk.

Drawing a pair and computing its statistics costs more than learning from it, so every epoch, and every run that only
learns otherwise or leaves a kind out, goes through the same pool. No pixels are kept: statistics of the faces as
float32, those of their places as whole numbers of 1/127 of the cut. A pool depends on the faces, its size and its chain
alone, and is drawn in two halves, each a sequence of its own.

N faces, F feature, P/Q row/column of places.
"""

import fcntl
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from gateway.contract.wide import CLIP, FEATURES, PLACE_FEATURES, PLACES
from trainer.data import DataError
from trainer.library import Library
from trainer.optics import Picture
from trainer.upsampling import StandIn
from trainer.wide_chain import Pair, WideChainSettings, make_pairs
from trainer.wide_model import Statistics

POOL_FORMAT = 4
"""Raised when the chain, the library or the statistics make other pairs of the same draws."""

POOL_SEED = 77
HALVES = 2
CLASSES = ("clean", "changed")

TOGETHER = 16
"""Stills that pass the chain together: those that are coded as video share a frame."""

AT_A_TIME = {"cpu": 4, "cuda": 2 * TOGETHER}
"""Faces whose statistics are computed together: the maps of more of them leave the caches of a core."""

STEPS_OF_PLACES = 127
"""Standardised statistics of places are kept in so many steps on either side of zero."""

SCALED_BY = 1024
"""So many first pairs give the mean and scale of the statistics of places."""

OPENED_WITHIN_S = 10.0
"""Who opens a pool that is drawn is done with it sooner; who draws one takes minutes."""

SAVED_EVERY = 64
"""After so many groups drawn, what is on disk counts as done."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What a pool is drawn by: of which faces, pairs in all, and how they come to be."""

    faces_sha256: str
    pairs: int
    seed: int = POOL_SEED
    chain: WideChainSettings = field(default_factory=WideChainSettings)


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """What draws a pool: the faces, the generators, so many processes; `progress` hears of the pairs done.

    `device` computes the statistics: `cpu` or `cuda`.
    """

    stills: Sequence[Picture]
    upsamplers: Sequence[StandIn]
    workers: int
    progress: Callable[[int], None]
    device: str = "cpu"


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The statistics of clean and perturbed faces; pair `i` of half `h` is number `h · (pairs / 2) + i`.

    `features` and `places` are by class, then by half: float32 (pairs / 2, F), and int8 (pairs / 2, PLACE_FEATURES,
    P, Q) after standardising by `places_mean` and `places_scale`.
    """

    features: dict[str, list[NDArray[np.float32]]]
    places: dict[str, list[NDArray[np.int8]]]
    kinds: NDArray[np.str_]
    places_mean: NDArray[np.float32]
    places_scale: NDArray[np.float32]

    def places_of(self, name: str, pairs: Sequence[int] | NDArray[np.int64], *, device: str = "cpu") -> torch.Tensor:
        """Return standardised statistics of places of a class, float32 (N, PLACE_FEATURES, P, Q), on a device."""
        halves, size = self.places[name], len(self.places[name][0])
        steps_NFPQ = np.stack([halves[int(pair) // size][int(pair) % size] for pair in pairs])
        return torch.from_numpy(steps_NFPQ).to(device).float() * (CLIP / STEPS_OF_PLACES)


Scale = tuple[NDArray[np.float32], NDArray[np.float32]]
Drawn = tuple[int, list[Pair]]
"""A half of the pool, and pairs for it."""


def in_steps(places_NFPQ: torch.Tensor, scale: Scale) -> NDArray[np.int8]:
    """Return statistics of places standardised and rounded to whole steps."""
    mean, by = (torch.from_numpy(each).to(places_NFPQ.device)[:, None, None] for each in scale)
    steps = ((places_NFPQ - mean) * by * (STEPS_OF_PLACES / CLIP)).round()
    return np.asarray(steps.clamp(-STEPS_OF_PLACES, STEPS_OF_PLACES).to(torch.int8).cpu())


class _Groups(Dataset[Drawn]):
    """Group `n` of pairs: its half is `n % 2`, and it depends on the pool's seed, its half and its number alone."""

    def __init__(self, stills: Sequence[Picture], library: Library, settings: PoolSettings) -> None:
        self._stills, self._library, self._settings = stills, library, settings

    def __getitem__(self, number: int) -> Drawn:
        # No torch in here: a process forked from one whose torch has used threads would wait for them for ever.
        cv2.setNumThreads(1)
        draw = np.random.default_rng((self._settings.seed, number % HALVES, number // HALVES))
        chosen = draw.integers(len(self._stills), size=TOGETHER)
        stills = [self._stills[int(each)] for each in chosen]
        return number % HALVES, make_pairs(stills, self._library, draw, self._settings.chain)


class _Seen:
    """What the constants of the graph make of pairs, clean faces first."""

    def __init__(self, device: str) -> None:
        self._statistics, self._device = Statistics(), device

    @torch.no_grad()
    def __call__(self, pairs: Sequence[Pair]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        pictures = [pair.clean_YXC for pair in pairs] + [pair.changed_YXC for pair in pairs]
        planes_NCYX = torch.from_numpy(np.stack(pictures)).to(self._device).permute(0, 3, 1, 2).float()
        step = AT_A_TIME[self._device]
        parts = (planes_NCYX[first : first + step] for first in range(0, len(planes_NCYX), step))
        features, places = (torch.cat(each) for each in zip(*(self._statistics(part) for part in parts), strict=True))
        count = len(pairs)
        return [(features[:count], places[:count]), (features[count:], places[count:])]


def scale_of_places(groups: Dataset[Drawn], settings: PoolSettings, *, device: str) -> Scale:
    """Return mean and scale (1 / spread) of the statistics of places over the first pairs of a pool."""
    kept: list[torch.Tensor] = []
    seen, wanted, count = _Seen(device), min(SCALED_BY, settings.pairs // HALVES), 0
    for number in itertools.count(0, HALVES):
        pairs = groups[number][1][: wanted - count]
        count += len(pairs)
        kept += [places for _, places in seen(pairs)] if pairs else []
        if count >= wanted:
            break
    all_NFPQ = torch.cat(kept)
    deviation = all_NFPQ.std((0, 2, 3)) + 1e-3
    return np.asarray(all_NFPQ.mean((0, 2, 3)).cpu()), np.asarray((1 / deviation).cpu())


def open_pool(folder: Path, settings: PoolSettings, drawing: Drawing, *, scale: Scale | None = None) -> Pool:
    """Return the pool in `folder`, drawing what is missing of it; `scale` is a base's, if one is gone on from.

    Raises:
        DataError: The folder holds a pool of other faces, settings or base, or another run is drawing there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stills = drawing.stills
    library = Library(lambda draw: stills[int(draw.integers(len(stills)))], drawing.upsamplers)
    groups = _Groups(stills, library, settings)
    with _alone(folder):
        state = _State(folder, settings, scale)
        if state.scale is None:
            state.scale = scale if scale is not None else scale_of_places(groups, settings, device=drawing.device)
        if not state.complete:
            _draw(state, groups, drawing)
    return state.pool()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    deadline_s = time.monotonic() + OPENED_WITHIN_S
    with (folder / "pool.lock").open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline_s:
                    raise DataError(f"{folder}: another run is drawing this pool; start again when it has") from error
                time.sleep(0.1)
        yield


class _State:
    """The files of a pool, and how far it is drawn."""

    def __init__(self, folder: Path, settings: PoolSettings, scale: Scale | None) -> None:
        self._facts = {
            "format": POOL_FORMAT,
            "settings": json.loads(json.dumps(asdict(settings))),
            "based": None if scale is None else hashlib.sha256(np.concatenate(scale).tobytes()).hexdigest(),
        }
        self._path = folder / "pool.json"
        self.half = settings.pairs // HALVES
        self.groups, self.counts = 0, [0] * HALVES
        self.kinds: list[list[str]] = [[] for _ in range(HALVES)]
        self.scale: Scale | None = None
        fresh = not self._path.exists()
        if not fresh:
            saved = json.loads(self._path.read_text(encoding="utf-8"))
            if saved["facts"] != self._facts:
                raise DataError(
                    f"{self._path}: a pool of other settings, data or base; give another --pool or --out, or remove it"
                )
            self.groups, self.counts, self.kinds = saved["groups"], saved["counts"], saved["kinds"]
            mean, by = (np.array(each, np.float32) for each in saved["scale"])
            self.scale = mean, by
        shapes = {"features": (FEATURES,), "places": (PLACE_FEATURES, PLACES, PLACES)}
        self.arrays = {
            (what, name, half): np.lib.format.open_memmap(
                folder / f"{what}-{name}-{half}.npy",
                mode="w+" if fresh else "r+",
                dtype=np.float32 if what == "features" else np.int8,
                shape=(self.half, *shape) if fresh else None,
            )
            for what, shape in shapes.items()
            for name in CLASSES
            for half in range(HALVES)
        }

    @property
    def complete(self) -> bool:
        return all(count == self.half for count in self.counts)

    def add(self, half: int, pairs: Sequence[Pair], seen: _Seen) -> None:
        assert self.scale is not None  # noqa: S101 - set before anything is drawn
        first = self.counts[half]
        some = pairs[: self.half - first]
        if some:
            rows = slice(first, first + len(some))
            for name, (features, places) in zip(CLASSES, seen(some), strict=True):
                self.arrays["features", name, half][rows] = np.asarray(features.cpu())
                self.arrays["places", name, half][rows] = in_steps(places, self.scale)
        self.kinds[half] += [pair.kind for pair in some]
        self.counts[half] += len(some)
        self.groups += 1

    def save(self) -> None:
        assert self.scale is not None  # noqa: S101 - set before anything is drawn
        for array in self.arrays.values():
            array.flush()
        partial = self._path.with_suffix(".partial")
        scale = [each.tolist() for each in self.scale]
        done = {"groups": self.groups, "counts": self.counts, "kinds": self.kinds, "scale": scale}
        with partial.open("w", encoding="utf-8") as handle:
            json.dump({"facts": self._facts, **done}, handle)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(self._path)

    def pool(self) -> Pool:
        assert self.scale is not None  # noqa: S101 - set before anything is drawn
        by_class: list[dict[str, list[np.ndarray]]] = [
            {name: [self.arrays[what, name, half] for half in range(HALVES)] for name in CLASSES}
            for what in ("features", "places")
        ]
        return Pool(by_class[0], by_class[1], np.array([*itertools.chain(*self.kinds)]), *self.scale)


def _draw(state: _State, groups: _Groups, drawing: Drawing) -> None:
    numbers: Iterable[int] = itertools.count(state.groups)
    loader = DataLoader(
        groups, batch_size=None, sampler=numbers, num_workers=drawing.workers, collate_fn=lambda drawn: drawn
    )
    seen = _Seen(drawing.device)
    for half, pairs in loader:
        state.add(half, pairs, seen)
        if state.complete or state.groups % SAVED_EVERY == 0:
            state.save()
            drawing.progress(sum(state.counts))
        if state.complete:
            return
