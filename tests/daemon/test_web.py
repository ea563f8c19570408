"""The daemon's HTTP side, put together."""

import asyncio
from pathlib import Path

import httpx2
from fakes.daemons import running_daemon
from pydantic import SecretStr

from gateway.daemon.web import Web
from gateway.settings import HttpSettings

ONE = "cameras: {gate: {source: {type: file, path: gate.mp4, loop: true}}}\n"


async def test_daemon_is_seen_over_http(tmp_path: Path) -> None:
    """A real socket, the real daemon, the token and the password of its configuration."""
    async with running_daemon(tmp_path, ONE) as box, asyncio.TaskGroup() as group:
        settings = HttpSettings(port=0, token=SecretStr("t" * 32), password=SecretStr("open sesame"))
        web = Web(box.daemon, settings, box.daemon._fittings.outbox)
        serving = group.create_task(web.run(), name="web")
        async with httpx2.AsyncClient(base_url=web.url, timeout=10) as client:
            assert (await client.get("/healthz")).text == "alive\n"
            assert (await client.get("/api/v1/cameras")).status_code == 401
            cameras = await client.get("/api/v1/cameras", headers={"Authorization": "Bearer " + "t" * 32})
            assert [each["camera"] for each in cameras.json()] == ["gate"]
            assert (await client.post("/login", data={"password": "open sesame"})).headers["location"] == "/"
        serving.cancel()
