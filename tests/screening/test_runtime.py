"""The inference session: the right weights, the right device, fixed batches, one thread."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from fakes.bundles import drawn_detector, write_drawn_bundle
from fakes.sessions import FakeDevices, FakeSession, healthy, miscounting, refusing, silent_fallback
from structlog.testing import capture_logs

from gateway.contract.bundle import Bundle, BundleError, open_bundle
from gateway.errors import ConfigError, RuntimeFault
from gateway.screening import runtime
from gateway.screening.runtime import (
    BUCKETS,
    Device,
    DeviceReport,
    InferenceThread,
    check_device,
    open_session,
    run_in_buckets,
)
from trainer.model import score_pixels


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """Return two bundles with different weights."""
    folder = tmp_path_factory.mktemp("bundles")
    for seed in (1, 2):
        write_drawn_bundle(folder / str(seed), seed=seed)
    return open_bundle(folder / "1"), open_bundle(folder / "2")


@pytest.fixture(autouse=True)
def cuda_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let onnxruntime list CUDA, as its GPU build does on every machine."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )


def faces(count: int, seed: int = 5) -> np.ndarray:
    """Return drawn pictures of the paper's size."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_session_scores_as_torch_does(bundles: tuple[Bundle, Bundle]) -> None:
    """The graph with a bundle's weights is the trained network, the DCT included."""
    pixels_NYXC = faces(40)
    for seed, bundle in enumerate(bundles, start=1):
        scores_N = run_in_buckets(open_session(bundle, "CPUExecutionProvider", 1), pixels_NYXC)
        np.testing.assert_allclose(scores_N, score_pixels(drawn_detector(seed), pixels_NYXC), atol=1e-3)


def test_two_sessions_never_mix_their_weights(bundles: tuple[Bundle, Bundle]) -> None:
    """A session opened after another answers to the bit as one opened alone."""
    alone = [run_in_buckets(open_session(b, "CPUExecutionProvider", 1), faces(8)) for b in bundles]
    sessions = [open_session(b, "CPUExecutionProvider", 1) for b in bundles]
    for scores_N, session in zip(alone, sessions, strict=True):
        np.testing.assert_array_equal(run_in_buckets(session, faces(8)), scores_N)
    assert not np.allclose(alone[0], alone[1])


def test_session_owns_its_weights(tmp_path: Path) -> None:
    """A session outlives the bundle it was opened from: it never reads memory that was given back."""
    write_drawn_bundle(tmp_path, seed=4)
    session = open_session(open_bundle(tmp_path), "CPUExecutionProvider", 1)
    before = run_in_buckets(session, faces(8))
    gc.collect()
    garbage = [np.full(size, np.nan, np.float32) for size in (32, 64, 128, 864, 9216, 147_456) for _ in range(200)]
    np.testing.assert_array_equal(run_in_buckets(session, faces(8)), before)
    np.testing.assert_allclose(before, score_pixels(drawn_detector(4), faces(8)), atol=1e-3)
    assert len(garbage) == 1200


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 33, 128, 129, 300])
def test_batches_have_fixed_sizes_and_lose_nobody(bundles: tuple[Bundle, Bundle], count: int) -> None:
    """Any number of faces goes through the fixed sizes, and a face's score does not depend on who stood beside it."""
    session = FakeSession(open_session(bundles[0], "CPUExecutionProvider", 1), "CPUExecutionProvider")
    scores_N = run_in_buckets(session, faces(count))
    assert scores_N.shape == (count,)
    assert set(session.batches) <= set(BUCKETS)
    one_by_one = [run_in_buckets(session.real, picture[None])[0] for picture in faces(count)[:3]]
    np.testing.assert_allclose(scores_N[:3], np.array(one_by_one, np.float32), atol=1e-4)


async def started(bundle: Bundle, device: Device, devices: FakeDevices) -> tuple[InferenceThread, DeviceReport]:
    """Start an inference thread on fake devices."""
    inference = InferenceThread(bundle, device=device, threads=1, opener=devices.open)
    return inference, await inference.start()


@pytest.mark.parametrize(
    ("device", "gpu", "got", "reason"),
    [
        ("auto", healthy, "cuda", ""),
        ("cuda", healthy, "cuda", ""),
        ("cpu", healthy, "cpu", ""),
        ("auto", silent_fallback, "cpu", "no usable GPU"),
        ("cuda", silent_fallback, "cpu", "no usable GPU"),
        ("auto", refusing, "cpu", "insufficient"),
        ("auto", miscounting, "cpu", "self-test"),
    ],
)
async def test_device_is_the_one_asked_for_or_the_report_says_why(
    bundles: tuple[Bundle, Bundle], device: Device, gpu: object, got: str, reason: str
) -> None:
    """A silent fall to the CPU, a refusing and a miscounting GPU all end on the CPU, with the reason."""
    inference, report = await started(bundles[0], device, FakeDevices(gpu))  # type: ignore[arg-type]
    assert (report.asked, report.got) == (device, got)
    assert reason in report.reason
    assert report.degraded == (device == "cuda" and got == "cpu")
    assert (await inference.screen(faces(3))).shape == (3,)
    await inference.close()


async def test_a_gpu_that_fails_while_screening_is_replaced_by_the_warm_cpu(bundles: tuple[Bundle, Bundle]) -> None:
    """The batch under way is answered by the CPU session, and both log and report name the failure."""
    devices = FakeDevices(healthy)
    inference, _ = await started(bundles[0], "cuda", devices)
    before = await inference.screen(faces(5))
    devices.opened["CUDAExecutionProvider"].broken = True
    with capture_logs() as said:
        np.testing.assert_allclose(await inference.screen(faces(5)), before, atol=1e-3)
    assert [(line["event"], line["screening_on"]) for line in said] == [("gpu_failed", "cpu")]
    assert inference.report.degraded
    assert "CUDA failure 700" in inference.report.reason
    devices.opened["CPUExecutionProvider"].broken = True
    with pytest.raises(RuntimeFault, match="the inference session fails"):
        await inference.screen(faces(1))
    await inference.close()


async def test_every_bucket_is_warm_before_the_first_face(bundles: tuple[Bundle, Bundle]) -> None:
    """The first batch of a size costs seconds on a GPU: it is paid at the start."""
    devices = FakeDevices(healthy)
    inference, _ = await started(bundles[0], "cuda", devices)
    assert set(BUCKETS) <= set(devices.opened["CUDAExecutionProvider"].batches)
    await inference.close()


async def test_weights_that_fail_their_self_test_never_screen(bundles: tuple[Bundle, Bundle]) -> None:
    """Weights that do here not what they did in training are refused at the start."""

    class Shifted(FakeDevices):
        def open(self, bundle: Bundle, provider: str, threads: int) -> FakeSession:
            session = FakeSession(open_session(bundle, provider, threads), provider)
            session.offset = np.float32(0.1)
            return session

    inference = InferenceThread(bundles[0], device="cpu", threads=1, opener=Shifted(healthy).open)
    with pytest.raises(BundleError, match="self-test"):
        await inference.start()
    await inference.close()


async def test_a_session_that_hangs_is_told_and_not_waited_for(
    bundles: tuple[Bundle, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hang ends in an error within the deadline: the process must end and start anew."""
    release = threading.Event()

    class Hanging(FakeSession):
        def run(self, output_names: object, input_feed: object) -> list[object]:  # type: ignore[override]
            release.wait(20)
            return [np.zeros(1, np.float32)]

    inference = InferenceThread(bundles[0], device="cpu", threads=1)
    await inference.start()
    inference._active = Hanging(open_session(bundles[0], "CPUExecutionProvider", 1), "CPUExecutionProvider")
    monkeypatch.setattr(runtime, "ANSWER_DEADLINE_S", 0.2)
    try:
        with pytest.raises(RuntimeFault, match="no answer"):
            await inference.screen(faces(1))
    finally:
        release.set()
        await inference.close()


HANGING = """
import asyncio, threading
from gateway.screening import runtime

async def start():
    inference = runtime.InferenceThread(None, device="cpu", opener=lambda *_: threading.Event().wait())
    try:
        await inference.start()
    finally:
        await inference.close()

runtime.ANSWER_DEADLINE_S = 0.2
try:
    asyncio.run(start())
except runtime.RuntimeFault:
    raise SystemExit(7)
"""


def test_a_process_whose_session_hangs_can_end() -> None:
    """Nothing but the end of the process stops such a thread, so the process must not wait for it."""
    assert subprocess.run([sys.executable, "-c", HANGING], timeout=40).returncode == 7


async def test_scores_that_are_not_finite_are_a_fault(bundles: tuple[Bundle, Bundle]) -> None:
    """NaN compares false with every threshold: it must never look like a clean face."""
    inference = InferenceThread(bundles[0], device="cpu", threads=1)
    await inference.start()
    session = FakeSession(open_session(bundles[0], "CPUExecutionProvider", 1), "CPUExecutionProvider")
    session.offset = np.float32(np.nan)
    inference._active = session
    with pytest.raises(RuntimeFault, match="not finite"):
        await inference.screen(faces(1))
    await inference.close()


async def test_close_leaves_no_thread(bundles: tuple[Bundle, Bundle]) -> None:
    """The thread has an owner, who ends it."""
    inference = InferenceThread(bundles[0], device="cpu", threads=1)
    await inference.start()
    await inference.close()
    for thread in threading.enumerate():
        if thread.name.startswith("inference"):
            thread.join(10)
            assert not thread.is_alive()


async def test_screening_before_the_start_is_refused(bundles: tuple[Bundle, Bundle]) -> None:
    """There is no untested session."""
    inference = InferenceThread(bundles[0], device="cpu", threads=1)
    with pytest.raises(RuntimeFault, match="before"):
        await inference.screen(faces(1))
    await inference.close()


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (DeviceReport("auto", "cuda", ""), "screening on the GPU"),
        (DeviceReport("cpu", "cpu", ""), "screening on the CPU"),
        (DeviceReport("auto", "cpu", "no driver"), "screening on the CPU: no driver"),
    ],
)
def test_device_report_in_words(report: DeviceReport, words: str) -> None:
    """Commands tell the operator where they screened."""
    assert report.in_words() == words


def test_check_device_refuses_a_demanded_gpu_that_is_not_there() -> None:
    """`cuda` on the command line means cuda; `auto` takes what there is."""
    check_device("auto", DeviceReport("auto", "cpu", "no GPU"))
    with pytest.raises(ConfigError, match="no GPU"):
        check_device("cuda", DeviceReport("cuda", "cpu", "no GPU"))


def test_telemetry_of_onnxruntime_is_off_before_its_first_import(tmp_path: Path) -> None:
    """The library reports home by default; importing the runtime module switches that off first."""
    code = "import os, gateway.screening.runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1", done.stderr
