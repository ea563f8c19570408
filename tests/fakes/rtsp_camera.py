"""Network cameras for tests: a real gst-rtsp-server as a child process, and ways to make it fail."""

import contextlib
import json
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from fakes.brokers import free_port
from fakes.camera_clips import Codec, access_units, write_units

PYTHON = "/usr/bin/python3"  # the one that has the bindings
START_S = 20.0
MISSING = (
    "this test needs gst-rtsp-server: apt-get install -y --no-install-recommends gir1.2-gst-rtsp-server-1.0 python3-gi "
    "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad glib-networking"
)


@dataclass(frozen=True, slots=True)
class Mount:
    """One camera of a server; `gop` is the distance of keyframes in frames, `transports` those that it offers."""

    path: str = "/cam"
    codec: Codec = "h264"
    fps: int = 25
    gop: int = 25
    frames: int = 50
    size: tuple[int, int] = (640, 360)
    transports: tuple[Literal["tcp", "udp"], ...] = ("tcp", "udp")


class RtspCamera:
    """A gst-rtsp-server child on one loopback port, with one or several mounts; ended by its owner.

    `users` are names and passwords for digest or basic; `tls` a folder with srv.pem and srv.key (see
    `fakes.brokers.make_authority`), which needs a user.
    """

    def __init__(
        self,
        folder: Path,
        *mounts: Mount,
        users: Mapping[str, str] | None = None,
        auth: Literal["digest", "basic"] = "digest",
        tls: Path | None = None,
    ) -> None:
        """Encode what the mounts show; nothing listens yet."""
        self._mounts = mounts or (Mount(),)
        self._is_tls = tls is not None
        self.port = free_port()
        self._child: subprocess.Popen[str] | None = None
        self._given: dict[str, Any] = {
            "mounts": [_described(folder, index, mount) for index, mount in enumerate(self._mounts)],
            "users": dict(users or {}),
            "auth": auth,
            "tls": [str(tls / "srv.pem"), str(tls / "srv.key")] if tls else None,
        }

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._child is not None
        return self._child.pid

    def url(self, path: str | None = None, *, host: str = "127.0.0.1") -> str:
        """Return the address of a mount, without credentials; of the first one when none is named."""
        return f"rtsp{'s' if self._is_tls else ''}://{host}:{self.port}{path or self._mounts[0].path}"

    def start(self) -> Self:
        """Start the child and wait until it listens; on the same port as before, if there was one."""
        self._child = subprocess.Popen(
            [PYTHON, "-W", "ignore", str(Path(__file__).with_name("rtsp_camera_child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        answer = self._ask(json.dumps({**self._given, "port": self.port}))
        assert answer.isdigit(), MISSING
        self.port = int(answer)
        return self

    def stall(self, path: str | None = None) -> None:
        """Send no more frames of a mount, but stay connected."""
        self._tell("stall", path)

    def resume(self, path: str | None = None) -> None:
        """Send frames again; their time stamps have gone on."""
        self._tell("resume", path)

    def lose(self, share: float, path: str | None = None) -> None:
        """Lose this share of a mount's RTP packets from now on."""
        self._tell("lose", path, str(share))

    def skip(self, units: int, path: str | None = None) -> None:
        """Leave out the next whole pictures of a mount."""
        self._tell("skip", path, str(units))

    def kick(self) -> None:
        """Close the connections of all clients."""
        self._tell("kick", "")

    def clients(self) -> int:
        """Return how many clients are connected."""
        return int(self._ask("clients"))

    def freeze(self) -> None:
        """Stop the child where it is: its sockets stay open, and nothing comes."""
        assert self._child is not None
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen child go on."""
        assert self._child is not None
        self._child.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the child by SIGKILL and reap it; `start` brings the camera back on its port."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(START_S)
            for pipe in (self._child.stdin, self._child.stdout):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()  # type: ignore[union-attr]
            self._child = None

    def restart(self) -> None:
        """Kill the child and start a new one on the same port."""
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """End."""
        self.kill()

    def _tell(self, command: str, path: str | None, *arguments: str) -> None:
        place = self._mounts[0].path if path is None else path
        assert self._ask(" ".join([command, place, *arguments])) == "ok"

    def _ask(self, line: str) -> str:
        assert self._child is not None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(line + "\n")
            self._child.stdin.flush()
        if not select.select([self._child.stdout], [], [], START_S)[0]:
            self.kill()
            raise AssertionError("the test camera does not answer")
        return self._child.stdout.readline().strip()


def _described(folder: Path, index: int, mount: Mount) -> dict[str, Any]:
    width, height = mount.size
    units = access_units(mount.codec, frames=mount.frames, fps=mount.fps, gop=mount.gop, width=width, height=height)
    return {
        "path": mount.path,
        "codec": mount.codec,
        "fps": mount.fps,
        "size": mount.size,
        "transports": mount.transports,
        "units": str(write_units(folder / f"units-{index}", units)),
    }


class MuteListener:
    """A port of 127.0.0.1 that accepts connections and says nothing, or answers each with the same bytes."""

    def __init__(self, answer: bytes = b"") -> None:
        """Listen, on a thread that ends with `close`."""
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._peers: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="mute-listener")

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything and wait for the thread."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(START_S)
        self._listener.close()
        for peer in self._peers:
            peer.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._peers.append(peer)
            if self._answer:
                with contextlib.suppress(OSError):
                    peer.recv(4096)
                    peer.sendall(self._answer)
