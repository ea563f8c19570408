"""How fast faces are screened, against the plain way of doing it, within one run."""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.fft import dctn

from gateway.contract.bundle import Bundle
from gateway.contract.geometry import reduce_to
from gateway.contract.network import PROFILES
from gateway.models.shipped import resolve_bundle
from gateway.screening.runtime import BundleDetector, InferenceThread
from gateway.screening.screen import prepare
from gateway.screening.sessions import Session, open_session, run_in_buckets
from gateway.values import FaceBox, FaceCrop
from trainer.model import Detector
from trainer.network import load_weights

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

FACES_NYXC = np.random.default_rng(1).integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8)
Tell = Callable[[str], None]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Return the shipped bundle."""
    return resolve_bundle("paper")


@pytest.fixture(scope="module")
def session(bundle: Bundle) -> Session:
    """Return the session as the gateway opens it, on two cores."""
    return open_session(bundle, "CPUExecutionProvider", 2)


@pytest.fixture(scope="module")
def two_threads() -> Iterator[None]:
    """Give torch as many threads as the session has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def median_s(work: Callable[[], object], *, repeats: int = 5) -> float:
    """Return the median wall time of a few runs after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


class TheLongWay:
    """DCT by SciPy, then the network in torch: what the graph replaces."""

    def __init__(self, bundle: Bundle) -> None:
        self._detector = Detector(PROFILES["paper"])
        load_weights(self._detector, bundle.weights)
        # The spectrum comes from outside: an identity in place of the transform keeps the rest of the network.
        self._detector.dct_UY = torch.eye(32)
        self._detector.eval()

    @torch.no_grad()
    def __call__(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores."""
        spectra = dctn(pixels_NYXC.astype(np.float32), type=2, axes=(1, 2), norm="ortho", workers=2)
        return np.asarray(self._detector.score(torch.from_numpy(spectra)).numpy())


def test_graph_against_dct_and_network_apart(bundle: Bundle, session: Session, two_threads: None, tell: Tell) -> None:
    """One graph, DCT inside, gives the same scores as SciPy's DCT and the network in torch, and its time is told."""
    long_way = TheLongWay(bundle)
    np.testing.assert_allclose(long_way(FACES_NYXC[:64]), run_in_buckets(session, FACES_NYXC[:64]), atol=2e-2)
    graph_s = median_s(lambda: run_in_buckets(session, FACES_NYXC))
    apart_s = median_s(lambda: [long_way(FACES_NYXC[at : at + 32]) for at in range(0, 1000, 32)])
    tell(f"1,000 faces, one graph: {graph_s:.3f} s (the paper: 0.6 s on a GPU); SciPy's DCT + torch: {apart_s:.3f} s")
    tell(f"  graph / apart = {graph_s / apart_s:.2f}")


@pytest.mark.parametrize("size", [1, 8, 32, 128])
def test_cost_of_a_face_by_batch_size(session: Session, tell: Tell, size: int) -> None:
    """A face costs about the same alone and in company: batching serves a GPU, not the CPU."""
    batch_NYXC = FACES_NYXC[:size]
    alone_s = median_s(lambda: session.run(["scores"], {"pixels": FACES_NYXC[:1]}), repeats=50)
    each_s = median_s(lambda: session.run(["scores"], {"pixels": batch_NYXC}), repeats=max(5, 200 // size)) / size
    tell(f"batch {size:3}: {1000 * each_s:.3f} ms a face, {each_s / alone_s:.2f} of a face alone")
    assert session.run(["scores"], {"pixels": batch_NYXC})[0].shape == (size,)


def test_share_of_the_resize(bundle: Bundle, session: Session, tell: Tell) -> None:
    """Crops as cameras cut them have to be reduced first: its share of the whole is told."""
    draw = np.random.default_rng(2)
    pixels = [draw.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in draw.integers(40, 257, 200)]
    crops = [FaceCrop("gate", 1, 0.0, FaceBox(0, 0, 1, 1, 1.0), crop_YXC, crop_YXC.shape[0]) for crop_YXC in pixels]
    reduce_s = median_s(lambda: [reduce_to(crop_YXC, 32) for crop_YXC in pixels])
    whole_s = median_s(lambda: run_in_buckets(session, prepare(crops, bundle.profile)[0]))
    tell(f"200 crops of 40 to 256 px: {5 * whole_s:.2f} s per 1,000, of which the resize is {reduce_s / whole_s:.0%}")
    assert reduce_s < whole_s


async def _median_of(detector: BundleDetector, pixels_NYXC: NDArray[np.uint8]) -> float:
    """Return the median seconds of a batch as the gateway screens it, of 50 after one to warm up."""
    times = []
    for _ in range(51):
        started = time.perf_counter()
        await detector.screen(pixels_NYXC)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


@pytest.mark.parametrize("profile", ["paper", "wide"])
async def test_gpu_scores_and_speed(profile: str, tell: Tell) -> None:
    """Where there is a GPU, its scores equal the CPU's within 1e-3 and its speed is told; elsewhere that is said."""
    bundle = resolve_bundle(profile)
    side_px = bundle.profile.side_px
    faces_NYXC = np.random.default_rng(1).integers(0, 256, (256, side_px, side_px, 3), dtype=np.uint8)
    inference = InferenceThread(device="auto", threads=2)
    try:
        detector = await inference.open(bundle)
        report = detector.report
        if report.got == "cpu":
            tell(f"GPU, {profile}: not measured on a GPU ({report.reason})")
        scores_N = await detector.screen(faces_NYXC)
        session = open_session(bundle, "CPUExecutionProvider", 1)
        np.testing.assert_allclose(scores_N, run_in_buckets(session, faces_NYXC), atol=1e-3)
        if report.got == "cuda":
            for size in (1, 8, 32, 128):
                part_NYXC = faces_NYXC[:size]
                gpu_s, cpu_s = (
                    await _median_of(detector, part_NYXC),
                    median_s(partial(run_in_buckets, session, part_NYXC)),
                )
                tell(
                    f"GPU, {profile}, batch {size:3}: {1000 * gpu_s:.2f} ms, {size / gpu_s:,.0f} faces per second, "
                    f"{cpu_s / gpu_s:.1f} times one core"
                )
    finally:
        await inference.close()
