"""A PostgreSQL cluster of its own for one test, reached over a socket in its folder alone."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAMS = Path("/usr/lib/postgresql/15/bin")


@contextmanager
def postgresql_url(_: Path) -> Iterator[str]:
    """Start a cluster as user `postgres`, and return its SQLAlchemy URL; skips where that is impossible."""
    if not PROGRAMS.is_dir() or os.geteuid() != 0:
        pytest.skip("needs PostgreSQL 15, and root to become its user")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    shutil.chown(folder, "postgres")
    as_user = ["runuser", "-u", "postgres", "--"]
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    try:
        subprocess.run([*as_user, PROGRAMS / "initdb", "-D", folder / "db", "-A", "trust", "--no-sync"], **quiet)
        control = [*as_user, PROGRAMS / "pg_ctl", "-D", folder / "db", "-w"]
        subprocess.run([*control, "-o", f"-c listen_addresses='' -k {folder}", "-l", folder / "log", "start"], **quiet)
        try:
            yield f"postgresql+asyncpg://postgres@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    finally:
        shutil.rmtree(folder)
