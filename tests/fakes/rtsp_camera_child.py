"""The program of the test camera: gst-rtsp-server, run by the system's Python (its bindings are in no venv).

The first line of stdin is what to serve, as JSON; the port goes to stdout, then one `ok` for each command line. It ends
with its stdin.
"""

import json
import random
import struct
import sys
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

CAPS = {
    "h264": "video/x-h264,stream-format=byte-stream,alignment=au",
    "h265": "video/x-h265,stream-format=byte-stream,alignment=au",
    "mjpeg": "image/jpeg",
}
# The payloader is `pay0` behind which a probe may lose packets.
CHAINS = {
    "h264": f"h264parse ! {CAPS['h264']} ! rtph264pay name=pay0 pt=96 config-interval=-1",
    "h265": f"h265parse ! {CAPS['h265']} ! rtph265pay name=pay0 pt=96 config-interval=-1",
    "mjpeg": "jpegparse ! rtpjpegpay name=pay0 pt=26",
}


class Mount:
    """One camera of the server: its pictures, and what is wrong with it."""

    def __init__(self, given: dict) -> None:
        """Read the pictures and describe the pipeline."""
        self.path, self.fps = given["path"], given["fps"]
        self.units = read_units(Path(given["units"]))
        self.flows = threading.Event()
        self.flows.set()
        self.loss = 0.0
        self.lost_units = 0  # still to be left out
        self.factory = GstRtspServer.RTSPMediaFactory()
        size = "" if given["codec"] != "mjpeg" else f",width={given['size'][0]},height={given['size'][1]}"
        caps = f"{CAPS[given['codec']]},framerate={self.fps}/1{size}"
        self.factory.set_launch(
            f"( appsrc name=src is-live=true format=time block=true max-bytes=4000000 caps={caps} "
            f"! {CHAINS[given['codec']]} )"
        )
        self.factory.set_shared(True)
        protocols = GstRtsp.RTSPLowerTrans(0)
        for name in given["transports"]:
            protocols |= GstRtsp.RTSPLowerTrans.TCP if name == "tcp" else GstRtsp.RTSPLowerTrans.UDP
        self.factory.set_protocols(protocols)
        self.factory.connect("media-configure", self._configure)

    def _configure(self, _factory: object, media: object) -> None:
        element = media.get_element()
        element.get_by_name("pay0").get_static_pad("src").add_probe(
            Gst.PadProbeType.BUFFER | Gst.PadProbeType.BUFFER_LIST, self._lose
        )
        threading.Thread(target=self._feed, args=(element.get_by_name("src"),), daemon=True).start()

    def _lose(self, pad: object, info: object) -> object:
        if not self.loss:
            return Gst.PadProbeReturn.OK
        if not info.type & Gst.PadProbeType.BUFFER_LIST:
            return Gst.PadProbeReturn.DROP if random.random() < self.loss else Gst.PadProbeReturn.OK
        packets = info.get_buffer_list()
        kept = [index for index in range(packets.length()) if random.random() >= self.loss]
        if len(kept) == packets.length():
            return Gst.PadProbeReturn.OK
        # A list that is being pushed cannot be changed here: what is kept of it goes on packet by packet.
        for index in kept:
            pad.get_peer().chain(packets.get(index))
        return Gst.PadProbeReturn.DROP

    def _feed(self, source: object) -> None:
        begun_s, slot, index = time.monotonic(), 0, 0
        while True:
            if not self.flows.is_set():
                self.flows.wait()
                slot = max(slot, int((time.monotonic() - begun_s) * self.fps) + 1)
            time.sleep(max(0.0, begun_s + slot / self.fps - time.monotonic()))
            if self.lost_units:
                self.lost_units -= 1
            else:
                buffer = Gst.Buffer.new_wrapped(self.units[index % len(self.units)])
                buffer.pts = buffer.dts = slot * Gst.SECOND // self.fps
                buffer.duration = Gst.SECOND // self.fps
                if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                    return
            slot, index = slot + 1, index + 1


def read_units(path: Path) -> list:
    """Return the access units of a file, each behind its length."""
    data, units, start = path.read_bytes(), [], 0
    while start < len(data):
        (length,) = struct.unpack_from("!I", data, start)
        units.append(data[start + 4 : start + 4 + length])
        start += 4 + length
    return units


def make_server(given: dict, mounts: dict) -> GstRtspServer.RTSPServer:
    """Return the server, not yet listening."""
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(given["port"]))
    points = server.get_mount_points()
    for mount in mounts.values():
        points.add_factory(mount.path, mount.factory)
    if given["users"] or given["tls"]:
        server.set_auth(make_auth(given, mounts))
    return server


def make_auth(given: dict, mounts: dict) -> GstRtspServer.RTSPAuth:
    """Return who may come in; all users may see all mounts."""
    auth = GstRtspServer.RTSPAuth()
    is_digest = given["auth"] == "digest"
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST if is_digest else GstRtsp.RTSPAuthMethod.BASIC)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    for name, password in given["users"].items():
        if is_digest:
            auth.add_digest(name, password, token)
        else:
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(name, password), token)
    for mount in mounts.values():
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
        mount.factory.set_permissions(permissions)
    if given["tls"]:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(*given["tls"]))
    return auth


def main() -> None:
    """Serve until stdin ends."""
    given = json.loads(sys.stdin.readline())
    Gst.init(None)
    mounts = {one["path"]: Mount(one) for one in given["mounts"]}
    server = make_server(given, mounts)
    if not server.attach(None):
        raise SystemExit("the port is taken")
    print(server.get_bound_port(), flush=True)
    loop = GLib.MainLoop()
    threading.Thread(target=loop.run, daemon=True).start()
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "kick":
            server.client_filter(lambda *_: GstRtspServer.RTSPFilterResult.REMOVE)
        elif command == "clients":
            print(len(server.client_filter(lambda *_: GstRtspServer.RTSPFilterResult.REF)), flush=True)
            continue
        elif command == "stall":
            mounts[arguments[0]].flows.clear()
        elif command == "resume":
            mounts[arguments[0]].flows.set()
        elif command == "lose":
            mounts[arguments[0]].loss = float(arguments[1])
        elif command == "skip":
            mounts[arguments[0]].lost_units = int(arguments[1])
        print("ok", flush=True)


if __name__ == "__main__":
    main()
