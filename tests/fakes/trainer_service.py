"""The trainer's service as an operator starts it, and a client that shows it the token."""

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from fakes.clean_sets import TOKEN


def with_tls(folder: Path, **names: str) -> None:
    """Change the configuration so that the service shows this certificate."""
    path = folder / "trainer.yaml"
    value = json.loads(path.read_text("utf-8"))
    value["http"] |= {f"tls_{key}": str(folder / name) for key, name in names.items()}
    path.write_text(json.dumps(value), "utf-8")


@contextmanager
def service(folder: Path, trust: ssl.SSLContext | None = None) -> Iterator[httpx2.Client]:
    """Run the command, and return a client with its token; with `trust` it is encrypted."""
    command = [sys.executable, "-m", "trainer", "serve", "--config", str(folder / "trainer.yaml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=dict(os.environ), text=True) as process:
        try:
            line = next(each for each in process.stderr or () if "trainer_listening" in each)
            scheme = "http" if trust is None else "https"
            url = f"{scheme}://127.0.0.1:{json.loads(line)['port']}"
            headers = {"authorization": f"Bearer {TOKEN}"}
            with httpx2.Client(base_url=url, headers=headers, timeout=30, verify=trust or True) as client:
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
