"""Inference sessions: the right weights, never mixed, fixed batches, no telemetry."""

import ctypes
import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes.bundles import drawn_detector, write_drawn_bundle
from fakes.sessions import FakeDevices, FakeSession, drawn_faces, healthy, silent_fallback

from gateway.contract.bundle import Bundle, open_bundle
from gateway.screening.sessions import BUCKETS, CUDA, load_cuda_libraries, open_on_gpu, open_session, run_in_buckets
from trainer.network import score_pixels


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """Return two bundles with different weights."""
    folder = tmp_path_factory.mktemp("bundles")
    for seed in (1, 2):
        write_drawn_bundle(folder / str(seed), seed=seed)
    return open_bundle(folder / "1"), open_bundle(folder / "2")


def test_session_scores_as_torch_does(bundles: tuple[Bundle, Bundle]) -> None:
    """The graph with a bundle's weights is the trained network, the DCT included."""
    pixels_NYXC = drawn_faces(40)
    for seed, bundle in enumerate(bundles, start=1):
        scores_N = run_in_buckets(open_session(bundle, "CPUExecutionProvider", 1), pixels_NYXC)
        np.testing.assert_allclose(scores_N, score_pixels(drawn_detector(seed), pixels_NYXC), atol=1e-3)


def test_two_sessions_never_mix_their_weights(bundles: tuple[Bundle, Bundle]) -> None:
    """A session opened after another answers to the bit as one opened alone."""
    alone = [run_in_buckets(open_session(b, "CPUExecutionProvider", 1), drawn_faces(8)) for b in bundles]
    sessions = [open_session(b, "CPUExecutionProvider", 1) for b in bundles]
    for scores_N, session in zip(alone, sessions, strict=True):
        np.testing.assert_array_equal(run_in_buckets(session, drawn_faces(8)), scores_N)
    assert not np.allclose(alone[0], alone[1])


def test_session_owns_its_weights(tmp_path: Path) -> None:
    """A session outlives the bundle it was opened from: it never reads memory that was given back."""
    write_drawn_bundle(tmp_path, seed=4)
    session = open_session(open_bundle(tmp_path), "CPUExecutionProvider", 1)
    before = run_in_buckets(session, drawn_faces(8))
    gc.collect()
    garbage = [np.full(size, np.nan, np.float32) for size in (32, 64, 128, 864, 9216, 147_456) for _ in range(200)]
    np.testing.assert_array_equal(run_in_buckets(session, drawn_faces(8)), before)
    np.testing.assert_allclose(before, score_pixels(drawn_detector(4), drawn_faces(8)), atol=1e-3)
    assert len(garbage) == 1200


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 33, 128, 129, 300])
def test_batches_have_fixed_sizes_and_lose_nobody(bundles: tuple[Bundle, Bundle], count: int) -> None:
    """Any number of faces goes through the fixed sizes, and a face's score does not depend on who stood beside it."""
    session = FakeSession(open_session(bundles[0], "CPUExecutionProvider", 1), "CPUExecutionProvider")
    scores_N = run_in_buckets(session, drawn_faces(count))
    assert scores_N.shape == (count,)
    assert set(session.batches) <= set(BUCKETS)
    one_by_one = [run_in_buckets(session.real, picture[None])[0] for picture in drawn_faces(count)[:3]]
    np.testing.assert_allclose(scores_N[:3], np.array(one_by_one, np.float32), atol=1e-4)


def test_every_bucket_is_warm_before_the_first_face(bundles: tuple[Bundle, Bundle]) -> None:
    """The first batch of a size costs seconds on a GPU: it is paid at the start, the largest first for its memory."""
    devices = FakeDevices(healthy)
    session, reason = open_on_gpu(bundles[0], 1, devices.open)
    assert (session, reason) == (devices.opened[CUDA], "")
    assert devices.opened[CUDA].batches[: len(BUCKETS)] == sorted(BUCKETS, reverse=True)


def test_session_on_this_machine_says_why_it_has_no_gpu(bundles: tuple[Bundle, Bundle]) -> None:
    """The provider list names CUDA whether or not there is any: only the session knows."""
    session, reason = open_on_gpu(bundles[0], 1, open_session)
    assert (session is None) == bool(reason)
    silent, told = open_on_gpu(bundles[0], 1, FakeDevices(silent_fallback).open)
    assert silent is None
    assert told


def test_cuda_libraries_are_loaded_from_where_packages_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each after what it needs, in the layouts of CUDA 12 and 13; one that cannot be loaded stops none."""
    consolidated = [f"cu13/lib/{name}" for name in ("libcublas.so.13", "libcublasLt.so.13", "libnvvm.so.4")]
    for name in ("cudnn/lib/libcudnn.so.9", *consolidated, "cuda_runtime/lib/libcudart.so.12"):
        path = tmp_path / "nvidia" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    asked: list[str] = []

    def load(path: str) -> None:
        asked.append(Path(path).name)
        raise OSError("file too short")

    monkeypatch.setattr(ctypes, "CDLL", load)
    load_cuda_libraries(tmp_path)
    assert asked == ["libcudart.so.12", "libcublasLt.so.13", "libcublas.so.13", "libcudnn.so.9"]


def test_telemetry_of_onnxruntime_is_off_before_its_first_import(tmp_path: Path) -> None:
    """The library reports home by default; importing the runtime module switches that off first."""
    code = "import os, gateway.screening.sessions; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1", done.stderr
