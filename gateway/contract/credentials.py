"""Where the value of a `${NAME}` in a configuration comes from, the same for gateway and trainer."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

RUN_SECRETS = Path("/run/secrets")
MAX_SECRET_BYTES = 65_536


def is_readable_by_everybody(path: Path) -> bool:
    """Return whether every user of this machine can read a file."""
    return bool(path.stat().st_mode & stat.S_IROTH)


def is_open_to_everybody(folder: Path) -> bool:
    """Return whether every user of this machine can reach the files of a folder."""
    return bool(folder.stat().st_mode & stat.S_IXOTH)


def find_value(name: str, *, environ: Mapping[str, str] = os.environ, run_secrets: Path = RUN_SECRETS) -> str | None:
    """Return the value of a `${NAME}`: a file in `$CREDENTIALS_DIRECTORY`, then in /run/secrets, then the environment.

    A newline at the end of a file is not part of the value.

    Raises:
        PermissionError: Every user of this machine can read the file; the text says what to do. (Not asked of
            /run/secrets: containers mount it so.)
    """
    folders = [Path(environ["CREDENTIALS_DIRECTORY"])] if environ.get("CREDENTIALS_DIRECTORY") else []
    for folder in (*folders, run_secrets):
        try:
            with (folder / name).open("rb") as file:
                value = file.read(MAX_SECRET_BYTES).decode("utf-8").removesuffix("\n").removesuffix("\r")
            is_open = folder != run_secrets and is_readable_by_everybody(folder / name) and is_open_to_everybody(folder)
        except (OSError, UnicodeDecodeError):
            continue
        if is_open:
            raise PermissionError(f"every user of this machine can read {folder / name}: chmod o= {folder}")
        return value
    return environ.get(name)
