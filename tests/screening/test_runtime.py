"""The inference thread: the right device, bundles side by side, away from a GPU that fails and back to it."""

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from fakes.bundles import write_drawn_bundle
from fakes.sessions import FakeDevices, FakeSession, drawn_faces, healthy, miscounting, refusing, silent_fallback
from structlog.testing import capture_logs

from gateway.contract.bundle import Bundle, BundleError, open_bundle
from gateway.errors import ConfigError, LateFault, RuntimeFault
from gateway.screening.hangs import HangFile
from gateway.screening.runtime import (
    LASTING_S,
    LIVE,
    PATIENT,
    BundleDetector,
    Deadlines,
    DeviceReport,
    InferenceThread,
    check_device,
    pause_s,
)
from gateway.screening.sessions import CPU, CUDA, Device, open_session, run_in_buckets

QUICK = Deadlines(gpu_s=0.2, cpu_s=0.2)


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
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])


async def started(bundle: Bundle, device: Device, devices: FakeDevices) -> tuple[InferenceThread, BundleDetector]:
    """Open a bundle on an inference thread with fake devices."""
    inference = InferenceThread(device=device, threads=1, opener=devices.open)
    return inference, await inference.open(bundle)


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
    inference, detector = await started(bundles[0], device, FakeDevices(gpu))  # type: ignore[arg-type]
    report = detector.report
    assert (report.asked, report.got) == (device, got)
    assert reason in report.reason
    assert report.degraded == (device == "cuda" and got == "cpu")
    assert (await detector.screen(drawn_faces(3))).shape == (3,)
    await inference.close()


async def test_no_cuda_build_means_cpu(bundles: tuple[Bundle, Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain onnxruntime package has no CUDA at all."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    inference, detector = await started(bundles[0], "cuda", FakeDevices(healthy))
    assert detector.report.reason == "this onnxruntime has no CUDA support"
    await inference.close()


async def test_bundles_share_one_thread_and_keep_their_weights(bundles: tuple[Bundle, Bundle]) -> None:
    """Twenty batches of two bundles at once: each is answered by its own weights, all in the one thread."""
    inference = InferenceThread(device="cpu", threads=1)
    detectors = [await inference.open(bundle) for bundle in bundles]
    alone = [run_in_buckets(open_session(bundle, CPU, 1), drawn_faces(4)) for bundle in bundles]
    answers = await asyncio.gather(*(detectors[index % 2].screen(drawn_faces(4)) for index in range(20)))
    for index, scores_N in enumerate(answers):
        np.testing.assert_array_equal(scores_N, alone[index % 2])
    assert [thread.name for thread in threading.enumerate()].count("inference") == 1
    detectors[0].release()
    assert (await detectors[1].screen(drawn_faces(1))).shape == (1,)
    await inference.close()


async def test_a_gpu_that_fails_while_screening_is_replaced_by_the_warm_cpu(bundles: tuple[Bundle, Bundle]) -> None:
    """The batch under way is answered by the CPU, every bundle goes there, and both log and report say why, once."""
    devices = FakeDevices(healthy)
    inference, detector = await started(bundles[0], "auto", devices)
    other = await inference.open(bundles[1])
    before = await detector.screen(drawn_faces(5))
    devices.break_gpu()
    with capture_logs() as said:
        np.testing.assert_allclose(await detector.screen(drawn_faces(5)), before, atol=1e-3)
        await other.screen(drawn_faces(5))
    assert [(line["event"], line["screening_on"]) for line in said] == [("gpu_failed", "cpu")]
    assert inference.report.degraded
    assert "CUDA failure 700" in inference.report.reason
    for session in devices.sessions:
        session.broken = True
    with pytest.raises(RuntimeFault, match="the inference session fails"):
        await detector.screen(drawn_faces(1))
    await inference.close()


class Pauses:
    """A sleep that returns when the test says so, and what was slept."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []
        self.begun = asyncio.Semaphore(0)
        self.over = asyncio.Semaphore(0)

    async def sleep(self, pause: float) -> None:
        """Wait for `pass_one`."""
        self.asked_s.append(pause)
        self.begun.release()
        await self.over.acquire()

    async def pass_one(self) -> None:
        """Wait until somebody sleeps, and wake him."""
        await asyncio.wait_for(self.begun.acquire(), 20)
        self.over.release()


async def back_on_gpu(inference: InferenceThread) -> None:
    """Wait until nothing is degraded any more."""
    async with asyncio.timeout(20):
        while inference.report.degraded:  # noqa: ASYNC110  (the thread announces it in its log alone)
            await asyncio.sleep(0.01)


async def test_screening_returns_to_a_gpu_that_works_again(bundles: tuple[Bundle, Bundle]) -> None:
    """Tried after 60 s, later each time in vain; screening goes on meanwhile; said once; then every bundle is there."""
    devices, pauses = FakeDevices(healthy), Pauses()
    inference, detector = await started(bundles[0], "auto", devices)
    other = await inference.open(bundles[1])
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(inference.keep_on_gpu(pauses.sleep), name="gpu")
        devices.break_gpu()
        devices.gpu = refusing
        with capture_logs() as said:
            await detector.screen(drawn_faces(2))
            for _ in range(2):
                await pauses.pass_one()
                assert (await detector.screen(drawn_faces(2))).shape == (2,)
            await pauses.begun.acquire()
            assert "insufficient" in inference.report.reason
            devices.gpu = healthy
            pauses.over.release()
            await back_on_gpu(inference)
            await detector.screen(drawn_faces(2))
            await other.screen(drawn_faces(2))
        keeper.cancel()
    assert pauses.asked_s == [60.0, 120.0, 240.0]
    assert [line["event"] for line in said] == ["gpu_failed", "gpu_back"]
    assert inference.report == DeviceReport("auto", "cuda", "")
    assert [session.batches[-1] for session in devices.sessions if session.provider == CUDA][-2:] == [8, 8]
    await inference.close()


async def test_gpu_that_fails_soon_again_waits_longer_than_one_that_lasted(bundles: tuple[Bundle, Bundle]) -> None:
    """A GPU that comes and goes is left alone longer and longer; one that worked for ten minutes starts anew."""
    now_s, devices, pauses = 0.0, FakeDevices(healthy), Pauses()
    inference = InferenceThread(device="auto", threads=1, opener=devices.open, clock=lambda: now_s)
    detector = await inference.open(bundles[0])
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(inference.keep_on_gpu(pauses.sleep), name="gpu")
        for lasted_s in (0.0, 5.0, 5.0, LASTING_S):
            now_s += lasted_s
            devices.break_gpu()
            await detector.screen(drawn_faces(1))
            await pauses.pass_one()
            await back_on_gpu(inference)
        keeper.cancel()
    assert pauses.asked_s == [60.0, 120.0, 240.0, 60.0]
    await inference.close()


async def test_gpu_asked_for_by_name_is_tried_though_it_never_worked(bundles: tuple[Bundle, Bundle]) -> None:
    """A driver may come up after us; with `auto` a machine without a GPU is not asked for one again and again."""
    pauses = Pauses()
    named, _ = await started(bundles[0], "cuda", FakeDevices(refusing))
    automatic, _ = await started(bundles[0], "auto", FakeDevices(refusing))
    async with asyncio.TaskGroup() as group:
        keepers = [group.create_task(each.keep_on_gpu(pauses.sleep), name="gpu") for each in (named, automatic)]
        await pauses.pass_one()
        await asyncio.wait_for(pauses.begun.acquire(), 20)
        assert pauses.asked_s == [60.0, 120.0]
        for keeper in keepers:
            keeper.cancel()
    await named.close()
    await automatic.close()


def test_pauses_grow_to_ten_minutes() -> None:
    """However long a GPU is away, it is looked for."""
    assert [pause_s(tries) for tries in (0, 1, 2, 3, 4, 1000)] == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]


async def test_weights_that_fail_their_self_test_never_screen(bundles: tuple[Bundle, Bundle]) -> None:
    """Weights that do here not what they did in training are refused at the start."""

    def shifted(bundle: Bundle, provider: str, threads: int) -> FakeSession:
        session = FakeSession(open_session(bundle, provider, threads), provider)
        session.offset = np.float32(0.1)
        return session

    inference = InferenceThread(device="cpu", threads=1, opener=shifted)
    with pytest.raises(BundleError, match="self-test"):
        await inference.open(bundles[0])
    await inference.close()


def test_live_batches_are_waited_for_a_second_on_the_gpu() -> None:
    """Cameras cannot wait for a hang; recordings lose nothing by it."""
    assert (LIVE.gpu_s, PATIENT.gpu_s, PATIENT.cpu_s) == (1.0, 30.0, 30.0)


async def test_gpu_that_hangs_ends_the_run_and_the_next_starts_on_the_cpu(
    bundles: tuple[Bundle, Bundle], tmp_path: Path
) -> None:
    """A hang is a fault within the deadline; the next run says so, screens on the CPU, and tries the GPU later."""
    hangs, devices, release = HangFile(tmp_path / "hangs"), FakeDevices(healthy), threading.Event()
    inference = InferenceThread(threads=1, deadlines=QUICK, hangs=hangs, opener=devices.open)
    detector = await inference.open(bundles[0])
    devices.opened[CUDA].hangs_until = release
    with pytest.raises(RuntimeFault, match=r"on the GPU gave no answer within 0\.2 s"):
        await detector.screen(drawn_faces(1))
    release.set()
    await inference.close()

    again, pauses = InferenceThread(threads=1, hangs=hangs, opener=FakeDevices(healthy).open), Pauses()
    detector = await again.open(bundles[0])
    assert again.report == DeviceReport("auto", "cpu", "the last run ended because the GPU hung", lost=True)
    assert again.report.degraded
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(again.keep_on_gpu(pauses.sleep), name="gpu")
        await pauses.pass_one()
        await back_on_gpu(again)
        keeper.cancel()
    assert pauses.asked_s == [120.0]
    await again.close()
    assert hangs.count() == 0


@pytest.mark.parametrize("held_up_s", [3.4, 6.6])
async def test_process_that_was_held_up_takes_nothing_for_a_hang(
    bundles: tuple[Bundle, Bundle], held_up_s: float
) -> None:
    """A machine that slept for a while wakes thread and clock at once: the thread gets its time anew."""
    devices, release = FakeDevices(healthy), threading.Event()
    inference = InferenceThread(threads=1, deadlines=Deadlines(gpu_s=3, cpu_s=3), opener=devices.open)
    detector = await inference.open(bundles[0])
    devices.opened[CUDA].hangs_until = release
    asyncio.get_running_loop().call_soon(time.sleep, held_up_s)
    waking = threading.Timer(held_up_s + 0.1, release.set)
    waking.start()
    assert (await detector.screen(drawn_faces(1))).shape == (1,)
    waking.join(20)
    await inference.close()


@pytest.mark.parametrize("answers_after", [False, True])
async def test_gpu_that_was_late_and_answers_again_is_no_hang(
    bundles: tuple[Bundle, Bundle], tmp_path: Path, answers_after: bool
) -> None:
    """A bundle that is only tried may be late, and the run goes on: the next one begins on the GPU, if that answers."""
    hangs, devices, release = HangFile(tmp_path / "hangs"), FakeDevices(healthy), threading.Event()
    deadlines = Deadlines(gpu_s=10, cpu_s=10, open_s=6.0)
    inference = InferenceThread(threads=1, deadlines=deadlines, hangs=hangs, opener=devices.open)
    detector = await inference.open(bundles[0])
    devices.gpu = lambda _: release.wait(20)
    with pytest.raises(LateFault, match="on the GPU gave no answer within 6 s"):
        await inference.open(bundles[1])
    release.set()
    assert hangs.count() == 1
    if answers_after:
        await detector.screen(drawn_faces(1))
    await inference.close()
    assert hangs.count() == (0 if answers_after else 1)


async def test_gpu_that_was_late_and_fails_then_stays_noted(bundles: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    """A batch that the CPU answered in its place says nothing good of it."""
    hangs, devices, release = HangFile(tmp_path / "hangs"), FakeDevices(healthy), threading.Event()
    deadlines = Deadlines(gpu_s=10, cpu_s=10, open_s=6.0)
    inference = InferenceThread(threads=1, deadlines=deadlines, hangs=hangs, opener=devices.open)
    detector = await inference.open(bundles[0])
    devices.gpu = lambda _: release.wait(20)
    with pytest.raises(LateFault):
        await inference.open(bundles[1])
    release.set()
    devices.break_gpu()
    await detector.screen(drawn_faces(1))
    await inference.close()
    assert hangs.count() == 1


async def test_gpu_that_hangs_at_the_start_is_told_to_the_next_run(
    bundles: tuple[Bundle, Bundle], tmp_path: Path
) -> None:
    """Opening a session may hang as well."""
    hangs, release = HangFile(tmp_path / "hangs"), threading.Event()

    def hanging(_: FakeSession) -> None:
        release.wait(20)

    deadlines = Deadlines(gpu_s=1, cpu_s=1, open_s=6.0)
    inference = InferenceThread(threads=1, deadlines=deadlines, hangs=hangs, opener=FakeDevices(hanging).open)
    with pytest.raises(LateFault, match="on the GPU gave no answer within 6 s"):
        await inference.open(bundles[0])
    assert hangs.count() == 1
    release.set()
    await inference.close()


async def test_gpu_that_hangs_while_it_is_tried_stops_nothing(bundles: tuple[Bundle, Bundle]) -> None:
    """Screening goes on where it is; no second thread is left behind, and other bundles can still be opened."""
    devices, pauses, release = FakeDevices(healthy), Pauses(), threading.Event()
    deadlines = Deadlines(gpu_s=5, cpu_s=5, open_s=6.0)
    inference = InferenceThread(threads=1, deadlines=deadlines, opener=devices.open)
    detector = await inference.open(bundles[0])
    devices.break_gpu()
    devices.gpu = lambda _: release.wait(20)
    await detector.screen(drawn_faces(1))
    async with asyncio.TaskGroup() as group:
        group.create_task(inference.keep_on_gpu(pauses.sleep), name="gpu")
        await pauses.pass_one()
    assert "does not answer" in inference.report.reason
    assert (await detector.screen(drawn_faces(1))).shape == (1,)
    assert (await (await inference.open(bundles[1])).screen(drawn_faces(1))).shape == (1,)
    release.set()
    await inference.close()


async def test_a_session_that_hangs_on_the_cpu_is_told_and_not_waited_for(bundles: tuple[Bundle, Bundle]) -> None:
    """A hang ends in an error within the deadline: the process must end and start anew."""
    devices, release = FakeDevices(healthy), threading.Event()
    inference = InferenceThread(device="cpu", threads=1, deadlines=QUICK, opener=devices.open)
    detector = await inference.open(bundles[0])
    devices.opened[CPU].hangs_until = release
    try:
        with pytest.raises(LateFault, match="on the CPU gave no answer"):
            await detector.screen(drawn_faces(1))
    finally:
        release.set()
        await inference.close()


HANGING = """
import asyncio, threading
from gateway.screening import runtime

async def start():
    deadlines = runtime.Deadlines(0.2, 0.2, 0.2)
    inference = runtime.InferenceThread(device="cpu", deadlines=deadlines, opener=lambda *_: threading.Event().wait())
    try:
        await inference.open(None)
    finally:
        await inference.close()

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
    devices = FakeDevices(healthy)
    inference, detector = await started(bundles[0], "cpu", devices)
    devices.opened[CPU].offset = np.float32(np.nan)
    with pytest.raises(RuntimeFault, match="not finite"):
        await detector.screen(drawn_faces(1))
    await inference.close()


async def test_close_leaves_no_thread(bundles: tuple[Bundle, Bundle]) -> None:
    """Each thread has an owner, who ends it; nothing is screened or opened afterwards."""
    inference, detector = await started(bundles[0], "cpu", FakeDevices(healthy))
    await detector.screen(drawn_faces(1))
    await inference.close()
    for thread in threading.enumerate():
        if thread.name.startswith("inference"):
            thread.join(10)
            assert not thread.is_alive()
    with pytest.raises(RuntimeFault, match="closed"):
        await detector.screen(drawn_faces(1))
    with pytest.raises(RuntimeFault, match="closed"):
        await inference.open(bundles[0])


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


async def test_real_gpu_scores_as_the_cpu_does(bundles: tuple[Bundle, Bundle]) -> None:
    """Where there is a GPU: warm in every batch size, the same scores within 1e-3, and a second bundle beside it."""
    inference = InferenceThread(threads=1)
    detectors = [await inference.open(bundle) for bundle in bundles]
    try:
        if inference.report.got != "cuda":
            pytest.skip(f"no GPU to test on: {inference.report.reason}")
        for detector in detectors:
            expected_N = run_in_buckets(open_session(detector.bundle, CPU, 1), drawn_faces(300))
            np.testing.assert_allclose(await detector.screen(drawn_faces(300)), expected_N, atol=1e-3)
    finally:
        await inference.close()
