"""The demo's recordings: what was drawn comes back from the decoder to the pixel, and a stop leaves no thread."""

import asyncio
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from fakes.demo import SMALL

from gateway.demo.drawing import frames
from gateway.demo.passages import plan
from gateway.demo.recording import drawing, write_recording
from gateway.errors import RuntimeFault

PASSAGES = plan(SMALL, "gate")[:1]


def test_recording_gives_back_what_was_drawn(tmp_path: Path) -> None:
    """No codec stands between the drawing and the detector: every pixel and every second is as planned."""
    path, counts = tmp_path / "gate.mkv", []
    write_recording(path, SMALL, PASSAGES, stop=threading.Event(), drawn=counts.append)
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
        assert container.streams.video[0].codec_context.name == "ffv1"
    expected = list(frames(SMALL, PASSAGES))
    assert counts == list(range(1, len(expected) + 1))
    assert [round(frame.time, 3) for frame in decoded] == [
        round(index / SMALL.fps, 3) for index in range(len(expected))
    ]
    assert all(
        np.array_equal(frame.to_ndarray(format="rgb24"), picture)
        for frame, picture in zip(decoded, expected, strict=True)
    )


async def test_drawing_tells_how_far_it_is_and_completes(tmp_path: Path) -> None:
    """Progress is heard on the event loop, up to the last frame."""
    counts: list[int] = []
    threads: set[int] = set()

    def drawn(count: int) -> None:
        counts.append(count)
        threads.add(threading.get_ident())

    async with drawing(tmp_path / "gate.mkv", SMALL, PASSAGES, drawn=drawn) as complete:
        await complete()
        await asyncio.sleep(0)
    assert counts == list(range(1, len(list(frames(SMALL, PASSAGES))) + 1))
    assert threads == {threading.get_ident()}


async def test_drawing_ends_with_its_block(tmp_path: Path) -> None:
    """Who leaves early, after Ctrl-C for example, leaves no thread that writes into a folder that is being removed."""
    first = asyncio.Event()

    async def draw() -> None:
        async with drawing(tmp_path / "gate.mkv", SMALL, PASSAGES, drawn=lambda _: first.set()) as complete:
            await complete()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(draw())
        await asyncio.wait_for(first.wait(), 20)
        task.cancel()
    assert task.cancelled()
    size = (tmp_path / "gate.mkv").stat().st_size
    await asyncio.sleep(0.1)
    assert (tmp_path / "gate.mkv").stat().st_size == size


async def test_drawing_tells_where_it_cannot_write(tmp_path: Path) -> None:
    """A full or missing disk is named, with what to do."""
    with pytest.raises(RuntimeFault, match=r"missing/gate\.mkv: cannot be written .* set TMPDIR"):
        async with drawing(tmp_path / "missing" / "gate.mkv", SMALL, PASSAGES) as complete:
            await complete()


async def test_drawing_that_fails_unasked_leaves_no_warning(tmp_path: Path) -> None:
    """A failure that nobody waited for is not reported a second time by the event loop."""
    async with drawing(tmp_path / "missing" / "gate.mkv", SMALL, PASSAGES):
        await asyncio.sleep(0.05)


async def test_drawing_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs ends the demo, not the operator's patience."""
    monkeypatch.setattr("gateway.demo.recording.DRAWING_TIMEOUT_S", 0.01)
    with pytest.raises(RuntimeFault, match="not drawn in"):
        async with drawing(tmp_path / "gate.mkv", SMALL, PASSAGES) as complete:
            await complete()
