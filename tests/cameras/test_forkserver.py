"""Workers from a fork server: real processes, every one of them gone afterwards."""

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.processes import children_of, is_running, private_bytes, wait_until
from fakes.recordings import background, make_clip, make_passage

from gateway.cameras.forkserver import ForkServer
from gateway.cameras.link import Deadlines, RecordingJob, open_source
from gateway.cameras.starting import StartedWorker, end_worker
from gateway.errors import SourceError, SourceReason
from gateway.values import SourceEnded, SourceOpened

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return eight frames of a person walking."""
    return make_passage(tmp_path_factory.mktemp("clip") / "walk.mp4", 8)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clip that takes a worker long."""
    wall = [background(320, 180)] * 500
    return make_clip(tmp_path_factory.mktemp("clip") / "long.mp4", wall, options={"preset": "ultrafast"})


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    """Return a fork server; check afterwards that neither it nor a worker is left."""
    async with ForkServer() as server:
        yield server
    assert children_of(os.getpid(), b"gateway.cameras.forking") == []


async def events_of(path: Path, server: ForkServer) -> list[Any]:
    """Return all events of a recording."""
    async with open_source(RecordingJob("lobby", path), start=server) as events:
        return [event async for event in events]


async def test_a_forked_worker_says_what_any_worker_says(clip: Path, server: ForkServer) -> None:
    """The two ways to start differ in nothing that a source tells."""
    forked = await events_of(clip, server)
    async with open_source(RecordingJob("lobby", clip)) as events:
        started = [event async for event in events]
    assert forked[0] == started[0]
    assert forked[-1] == started[-1] == SourceEnded("lobby", 8, 0, 0)
    assert [event.crops[0].box for event in forked[1:-1]] == [event.crops[0].box for event in started[1:-1]]


async def test_a_forked_worker_is_confined_and_alone(long_clip: Path, server: ForkServer) -> None:
    """It knows three streams and its channel, is offered first to the killer of processes, and lives in no session."""
    async with open_source(RecordingJob("lobby", long_clip), start=server) as events:
        await anext(events)
        await anext(events)
        assert server.pid is not None
        (worker,) = children_of(server.pid)
        place = Path(f"/proc/{worker}")
        status, limits, score = ((place / name).read_text() for name in ("status", "limits", "oom_score_adj"))
        handles = {int(entry.name) for entry in (place / "fd").iterdir()}
        session = os.getsid(worker)
    for line in ("Seccomp:\t2\n", "NoNewPrivs:\t1\n", "Threads:\t1\n"):
        assert line in status
    for name, value in (("Max core file size", 0), ("Max open files", 64), ("Max file size", 0)):
        assert f"{name:<26}{value:<21}{value}" in limits
    assert score == "500\n"
    assert {0, 1, 2, 3} <= handles <= {0, 1, 2, 3, 4}  # 4 is the recording
    assert session == worker
    assert server.sandbox is not None
    assert server.sandbox.missing == ()


async def cycle(path: Path, start: Callable[..., Any], *, events: int) -> float:
    """Open a source, take some events and leave it; return the seconds to its first event."""
    begun_s = time.monotonic()
    async with open_source(RecordingJob("lobby", path), start=start) as source:
        assert isinstance(await anext(source), SourceOpened)
        opened_s = time.monotonic() - begun_s
        for _ in range(events):
            await anext(source)
    return opened_s


@pytest.mark.long
@pytest.mark.end_to_end
async def test_nothing_is_left_when_workers_came_and_went_200_times(
    long_clip: Path, server: ForkServer, record_property: Callable[[str, str], None]
) -> None:
    """No process, zombie, thread or descriptor, in the parent and in the server."""
    forks_s: list[float] = []

    async def timed(channel: Any, stderr: int) -> StartedWorker:
        begun_s = time.monotonic()
        worker = await server(channel, stderr)
        forks_s.append(time.monotonic() - begun_s)
        return worker

    await cycle(long_clip, timed, events=1)
    await asyncio.sleep(0.1)
    before = _held(server)
    opened_s = [await cycle(long_clip, timed, events=index % 3) for index in range(200)]
    await wait_until(lambda: _held(server) == before)
    assert children_of(server.pid or 0) == []
    for name, times_s in (("forked", forks_s[1:]), ("first event", opened_s)):
        middle, late = 1000 * statistics.median(times_s), 1000 * sorted(times_s)[-3]
        record_property("report", f"worker of a warm fork server: {name} after {middle:.1f} ms, p99 {late:.0f} ms")


def _held(server: ForkServer) -> tuple[int, ...]:
    pids = (os.getpid(), server.pid)
    handles = tuple(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
    threads = tuple(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids)
    return (*handles, *threads, threading.active_count(), len(children_of(server.pid or 0)))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGSYS])
async def test_a_crash_of_one_worker_leaves_the_others(
    long_clip: Path, clip: Path, server: ForkServer, number: signal.Signals
) -> None:
    """The crashed one is named with its signal; the next comes from the same server."""
    async with open_source(RecordingJob("lobby", long_clip), start=server) as events:
        await anext(events)
        assert server.pid is not None
        (worker,) = children_of(server.pid)
        async with open_source(RecordingJob("gate", long_clip), start=server) as others:
            await anext(others)
            os.kill(worker, number)
            with pytest.raises(SourceError, match=rf"long\.mp4: its worker was ended by {number.name}") as caught:
                async for _ in events:
                    pass
            assert caught.value.reason is SourceReason.CRASHED
            await anext(others)
    assert len(await events_of(clip, server)) == 10
    assert server.restarts == 0


async def test_a_hung_worker_is_killed(long_clip: Path, server: ForkServer) -> None:
    """A stopped process cannot be asked; it is gone when the source is left."""
    patience = Deadlines(silence_s=0.3)
    async with open_source(RecordingJob("lobby", long_clip), start=server, deadlines=patience) as events:
        await anext(events)
        assert server.pid is not None
        (worker,) = children_of(server.pid)
        os.kill(worker, signal.SIGSTOP)
        with pytest.raises(SourceError, match=r"did not answer for 0\.3 s") as caught:
            async for _ in events:
                pass
        assert caught.value.reason is SourceReason.HUNG
    assert not is_running(worker)


async def test_workers_end_with_their_server_and_the_next_has_a_new_one(
    long_clip: Path, clip: Path, server: ForkServer
) -> None:
    """A killed server takes its workers along; it is started again for the next, and counted."""
    async with open_source(RecordingJob("lobby", long_clip), start=server) as events:
        await anext(events)
        assert server.pid is not None
        first, (worker,) = server.pid, children_of(server.pid)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(SourceError, match="its worker went down with the fork server") as caught:
            async for _ in events:
                pass
        assert caught.value.reason is SourceReason.CRASHED
    await wait_until(lambda: not is_running(worker))
    assert len(await events_of(clip, server)) == 10
    assert server.restarts == 1
    assert server.pid not in {None, first}


async def test_a_server_that_hangs_is_killed_and_replaced(clip: Path) -> None:
    """A request without an answer is given up after its deadline, and so is the server."""
    async with ForkServer(starting_s=0.3) as server:
        assert len(await events_of(clip, server)) == 10
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(SourceError, match="the fork server hangs") as caught:
            await events_of(clip, server)
        assert caught.value.reason is SourceReason.HUNG
        assert len(await events_of(clip, server)) == 10
        assert server.restarts == 1
    assert not is_running(first)


async def test_the_server_is_kept_when_this_process_stood_still(clip: Path) -> None:
    """It would take all workers with it, and its answer is there."""
    async with ForkServer(starting_s=0.3) as server:
        await events_of(clip, server)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            asyncio.get_running_loop().call_soon(time.sleep, 1.2)
            worker = await server(theirs, 2)
            await end_worker(worker)
        assert server.restarts == 0


async def test_no_worker_is_left_when_its_start_is_cancelled(clip: Path, server: ForkServer) -> None:
    """Also one that comes to life after nobody wants it any more is ended."""
    await events_of(clip, server)
    for deadline_s in (0.0, 0.0005, 0.001, 0.002, 0.005, 0.02):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await events_of(clip, server)
    await wait_until(lambda: children_of(server.pid or 0) == [])


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit(3)", "the fork server died"),
        (
            "import sys, threading, time; from gateway.cameras import forking;"
            "threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); forking.main(sys.argv[1:])",
            "the fork server has 2 threads",
        ),
        (
            "import socket, sys; control = socket.socket(fileno=int(sys.argv[1]));"
            'control.recv(99); control.send(b\'{"started": 0, "pid": 1}\'); control.recv(99)',
            "this process can hold no more descriptors",
        ),
    ],
)
async def test_a_start_is_refused_in_words_when_the_server_cannot(clip: Path, program: str, reason: str) -> None:
    """A server that dies at once, or into which a library brought a thread."""
    async with ForkServer(("-c", program)) as server:
        with pytest.raises(SourceError, match=f"no camera worker could be started: {reason}") as caught:
            await events_of(clip, server)
        assert caught.value.reason is SourceReason.CRASHED


async def test_a_server_that_still_warms_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is told to end right after its start ends in good order, however slow the machine is."""
    monkeypatch.setattr("gateway.cameras.forkserver.EXIT_S", 600.0)
    deaf = (sys.executable, "-c", "import time; time.sleep(600)")
    async with asyncio.timeout(60), ForkServer(deaf) as server:
        pid = server.pid
        assert pid is not None
    assert not is_running(pid)


async def test_nothing_is_started_when_the_server_is_closed(clip: Path) -> None:
    """Who is late gets an error, not a new server."""
    async with ForkServer() as server:
        pass
    with pytest.raises(SourceError, match="the gateway ends"):
        await events_of(clip, server)


async def test_workers_are_gone_when_the_server_is_left_before_them(long_clip: Path) -> None:
    """The end of the server is the end of everything, in whatever order."""
    async with ForkServer() as server:
        source = open_source(RecordingJob("lobby", long_clip), start=server)
        events = await source.__aenter__()
        await anext(events)
        (worker,) = children_of(server.pid or 0)
    assert not is_running(worker)
    await source.__aexit__(None, None, None)


PARENT = """
import asyncio, sys
from pathlib import Path
from gateway.cameras.forkserver import ForkServer
from gateway.cameras.link import RecordingJob, open_source

async def main():
    async with ForkServer() as server:
        async with open_source(RecordingJob("lobby", Path(sys.argv[1])), start=server) as events:
            await anext(events)
            print("open", server.pid, flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_server_and_workers_die_when_the_parent_is_killed(long_clip: Path) -> None:
    """No orphan goes on decoding."""
    command = [sys.executable, "-c", PARENT, str(long_clip)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as parent:  # noqa: ASYNC220
        assert parent.stdout is not None
        while not (line := parent.stdout.readline()).startswith("open"):
            assert line
        server = int(line.split()[1])
        (worker,) = children_of(server)
        parent.kill()
    await wait_until(lambda: not is_running(server) and not is_running(worker))


@pytest.mark.bench
async def test_private_memory_of_a_worker_is_reported(
    tmp_path: Path, server: ForkServer, record_property: Callable[[str, str], None]
) -> None:
    """What one more camera of 1080p costs beyond what workers share; the aim is 80 MB."""
    wall = [background(1920, 1080)] * 30
    path = make_clip(tmp_path / "wall.mp4", wall, options={"preset": "ultrafast"})
    async with open_source(RecordingJob("lobby", path), start=server) as events:
        for _ in range(20):
            await anext(events)
        (worker,) = children_of(server.pid or 0)
        private, proportional = private_bytes(worker)
    megabytes = f"{private / 1e6:.0f} MB private, {proportional / 1e6:.0f} MB proportional"
    record_property("report", f"memory of a forked worker at 1080p H.264: {megabytes} (aim: 80 MB private)")
    assert private < 800e6
