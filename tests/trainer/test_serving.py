"""The trainer's service as an operator starts it: a clean set goes up, a signed bundle comes out."""

import asyncio
import datetime as dt
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx2
import pytest
from fakes.brokers import make_authority
from fakes.clean_sets import PASSPHRASE, TOKEN, drawn_set, kept_in, service_config
from fakes.clear_faces import Searcher
from fakes.manager import FakeManager
from fakes.processes import wait_until
from fakes.trainer_service import service, with_tls

from gateway.contract import doorway as doorway_module
from gateway.contract.doorway import Doorway, Limits
from gateway.contract.exchange import CLEAN_SET_PATH, COMPLETE_PATH, JOB_PATH, PART_PATH, JobState, JobView, UploadState
from trainer.keys import init_keys
from trainer.server import Desk, service_app
from trainer.serving import LIMITS, _listen, _Quiet, _server_of


def finished(client: httpx2.Client, job: str) -> JobView:
    """Return the job once it has ended."""
    for _ in range(2000):
        view = JobView.model_validate_json(client.get(JOB_PATH.format(job=job)).content)
        if view.state.is_final:
            return view
        time.sleep(0.2)
    raise AssertionError("the job did not end")


def test_searcher_finds_a_face_that_lies_in_clear(tmp_path: Path) -> None:
    """Or finding nothing would mean nothing."""
    _, contents = drawn_set()
    part = next(iter(contents.values()))
    (tmp_path / "raw").write_bytes(part[5000:])
    (tmp_path / "noise").write_bytes(os.urandom(20_000))
    (tmp_path / "picture").write_bytes(b"..\x89PNG\r\n\x1a\n..")
    (tmp_path / "photograph").write_bytes(b"..\xff\xd8\xff\xe0\x00\x10JFIF..")
    searcher = Searcher([tmp_path], contents.values())
    searcher.look()
    assert searcher.found == {"raw", "picture", "photograph"}


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_clean_set_becomes_a_signed_bundle_when_it_is_uploaded(tmp_path: Path) -> None:
    """Described, put, completed, adapted in a child, judged, published, served.

    No face lies on the disk in clear meanwhile, and nothing of the faces stays.
    """
    config = service_config(tmp_path)
    init_keys(config.keys, passphrase=PASSPHRASE, environments=["hall"], now=dt.datetime.now(dt.UTC))
    clean_set, contents = drawn_set()
    with Searcher([config.folder, config.keys], contents.values()) as searcher, service(tmp_path) as client:
        put = client.put(CLEAN_SET_PATH.format(sha256=clean_set.sha256), content=clean_set.to_bytes())
        state = UploadState.model_validate_json(put.content)
        assert set(state.missing) == set(contents)
        for part, content in contents.items():
            path = PART_PATH.format(sha256=clean_set.sha256, part=part)
            assert client.put(path, content=content).status_code == 204
        assert len(list((config.folder / "store").rglob("*"))) > len(contents)
        done = client.post(COMPLETE_PATH.format(sha256=clean_set.sha256))
        view = finished(client, JobView.model_validate_json(done.content).job)
        assert view.state is JobState.PUBLISHED, view
        assert client.get("/repository/metadata/timestamp.json").status_code == 200
        assert client.get("/repository/../online/snapshot.pem").status_code == 404
        assert client.get("/repository/metadata/timestamp.json", headers={"authorization": "no"}).status_code == 401
    bundles = list((config.keys / "repository/targets/environments/hall/1").iterdir())
    assert bundles
    assert searcher.found == set()
    assert searcher.looks > 3
    assert {"parts", view.job, "state"} <= searcher.files  # while the job was under way
    assert kept_in(config.folder) == []


@pytest.mark.end_to_end
def test_service_is_encrypted_by_nothing_older_than_tls_1_2(tmp_path: Path) -> None:
    """Faces travel through it: a client that can only speak an older version gets nothing."""
    make_authority(tmp_path)
    config = service_config(tmp_path)
    init_keys(config.keys, passphrase=PASSPHRASE, environments=["hall"], now=dt.datetime.now(dt.UTC))
    with_tls(tmp_path, certfile="srv.pem", keyfile="srv.key")
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    old = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with service(tmp_path, trust) as client:
        assert client.get("/healthz").status_code == 200
        with httpx2.Client(base_url=client.base_url, verify=old) as other, pytest.raises(httpx2.ConnectError):
            other.get("/healthz")


@pytest.mark.end_to_end
def test_certificate_that_cannot_be_used_is_said_and_nothing_is_left_open(tmp_path: Path) -> None:
    """Exit code 78, the key of the configuration, and no trace of a program's inside."""
    config = service_config(tmp_path)
    init_keys(config.keys, passphrase=PASSPHRASE, environments=["hall"], now=dt.datetime.now(dt.UTC))
    for name in ("srv.pem", "srv.key"):
        (tmp_path / name).write_text("no certificate")
    with_tls(tmp_path, certfile="srv.pem", keyfile="srv.key")
    command = [sys.executable, "-m", "trainer", "serve", "--config", str(tmp_path / "trainer.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 78
    assert "http.tls_certfile: the certificate and its key cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


WEDGED_REFRESH = """
import sys, time
from trainer.__main__ import main
from trainer.publish import RepositoryPublisher
RepositoryPublisher.refresh = lambda self, now: time.sleep(1000)
sys.argv[1:] = ["serve", "--config", sys.argv[1]]
main()
"""


@contextmanager
def watched_service(folder: Path, *how: str) -> Iterator[tuple[subprocess.Popen[bytes], FakeManager]]:
    """Run the command as systemd would, with a watchdog of ten seconds; it is killed in the end."""
    config = service_config(folder)
    init_keys(config.keys, passphrase=PASSPHRASE, environments=["hall"], now=dt.datetime.now(dt.UTC))
    with FakeManager(folder, watchdog_s=10.0) as manager:
        command = [sys.executable, *how, str(folder / "trainer.yaml")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | manager.environment)
        try:
            yield process, manager
        finally:
            process.kill()
            process.wait(30)


@pytest.mark.end_to_end
@pytest.mark.timeout(180)
def test_systemd_is_told_that_the_trainer_serves_lives_and_stops(tmp_path: Path) -> None:
    """Ready once HTTP answers, alive while it moves, silent while it hangs as a whole, and a word when it ends."""
    with watched_service(tmp_path, "-m", "trainer", "serve", "--config") as (process, manager):
        ready = manager.until("READY=1")
        assert "takes clean sets at 127.0.0.1:" in ready[1]
        url = ready[1].rpartition(" ")[2]
        assert httpx2.get(f"http://{url}/healthz").status_code == 200
        for _ in range(10):
            assert manager.until("WATCHDOG=1") == ["WATCHDOG=1"]
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        manager.waiting()
        time.sleep(2.5)
        assert manager.waiting() == []
        process.send_signal(signal.SIGCONT)
        manager.until("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert process.wait(60) == 0


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(240)
def test_step_of_the_worker_that_hangs_is_a_wedge(tmp_path: Path) -> None:
    """HTTP answers still, and yet the end is asked for: within ten seconds where nothing else holds it up."""
    with watched_service(tmp_path, "-c", WEDGED_REFRESH) as (_, manager):
        manager.until("READY=1")
        began_s = time.monotonic()
        said = manager.until("WATCHDOG=trigger")
        assert said[0] == "STATUS=wedged: worker:refresh"
        assert time.monotonic() - began_s < 100


@asynccontextmanager
async def answering(folder: Path, doorway: Doorway) -> AsyncIterator[tuple[_Quiet, str, int]]:
    """Serve the repository below `folder`, without a worker; return the server and where it listens."""
    config = service_config(folder)
    desk = Desk(None, None, config, folder / "repository", lambda: 0.0, lambda: None, None, doorway)
    server = _server_of(service_app(desk), config.http)
    with _listen(config.http, doorway) as listening:
        async with asyncio.timeout(50), asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listening]), name="http")
            await server.is_serving.wait()
            yield server, *listening.getsockname()[:2]
            server.should_exit = True


HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [b"GET /healthz HTTP/1.1\r\nHost: a\r\n"],
        [HEALTHZ, b"GET /he"],
        [b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"x"],
    ],
    ids=["silent", "half a head", "half a second head", "a body that nobody reads"],
)
async def test_connection_that_asks_for_nothing_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: list[bytes]
) -> None:
    """Trickling earns no time: sixty of them would keep every gateway from its bundles."""
    monkeypatch.setattr(doorway_module, "OPENING_S", 0.5)
    async with answering(tmp_path, Doorway(LIMITS)) as (server, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        for part in sent:
            writer.write(part)
            await asyncio.sleep(0.1)
        try:
            while await asyncio.wait_for(reader.read(1000), 30):
                writer.write(b"x")
        except ConnectionError:
            pass
        await wait_until(lambda: not server.server_state.connections)
        writer.close()


async def test_connection_whose_answer_is_not_taken_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for weights and reads nothing does not keep its place; who reads gets all of them."""
    monkeypatch.setattr(doorway_module, "TAKING_S", 0.5)
    (tmp_path / "repository/targets").mkdir(parents=True)
    (tmp_path / "repository/targets/weights").write_bytes(bytes(30_000_000))
    token = {"authorization": f"Bearer {TOKEN}"}
    async with answering(tmp_path, Doorway(LIMITS)) as (server, host, port):
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, (host, port))
            asked = f"GET /repository/targets/weights HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
            await loop.sock_sendall(slow, asked.encode())
            await wait_until(lambda: bool(server.server_state.connections))
            await wait_until(lambda: not server.server_state.connections)
        async with httpx2.AsyncClient(base_url=f"http://{host}:{port}", headers=token, timeout=30) as client:
            assert len((await client.get("/repository/targets/weights")).content) == 30_000_000


async def test_connections_beyond_the_bound_are_hung_up_on(tmp_path: Path) -> None:
    """Each would take a descriptor of the service; the others are served."""
    doorway = Doorway(Limits(connections=4, of_address=3))
    async with answering(tmp_path, doorway) as (server, host, port):
        held = [await asyncio.open_connection(host, port) for _ in range(6)]
        await wait_until(lambda: doorway.refused["connections"] == 3)
        assert len(server.server_state.connections) == 3
        _, writer = held[0]
        reader = held[0][0]
        writer.write(HEALTHZ)
        assert b"200" in await asyncio.wait_for(reader.readline(), 30)
        for _, each in held:
            each.close()
