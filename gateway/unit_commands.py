"""The command `install-service`: shows what systemd would be told, then installs it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

from gateway.errors import ConfigError

UNITS = Path(__file__).with_name("units")
"""Where the wheel brings the unit files; in a checkout they lie beside the package."""

PATH_IN_UNIT = "/usr/lib/spectragate/bin/"
SECRETS = "etc/spectragate/secrets"
_CREDENTIAL = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_HIDDEN = (("home",), ("root",), ("tmp",), ("var", "tmp"), ("run", "user"))


def unit_folder() -> Path:
    """Return the folder with the unit files."""
    return UNITS if UNITS.is_dir() else Path(__file__).parents[1] / "systemd"


def files_to_install(programs: Path, root: Path, *, trainer: bool, gpu: bool) -> dict[Path, str]:
    """Return the text of every file that belongs below `root`, for programs that lie in this folder."""
    source = unit_folder()
    name = "spectragate-trainer" if trainer else "spectragate"
    units = root / "etc/systemd/system"
    unit = (source / f"{name}.service").read_text(encoding="utf-8").replace(PATH_IN_UNIT, f"{programs}/")
    texts = {
        units / f"{name}.service": unit,
        root / "etc/sysusers.d/spectragate.conf": (source / "sysusers.conf").read_text(encoding="utf-8"),
        root / "etc/tmpfiles.d/spectragate.conf": (source / "tmpfiles.conf").read_text(encoding="utf-8"),
    }
    if gpu:
        texts[units / f"{name}.service.d/gpu.conf"] = (source / "gpu.conf").read_text(encoding="utf-8")
    if credentials := _credentials(root / SECRETS):
        texts[units / f"{name}.service.d/secrets.conf"] = credentials
    return texts


def _credentials(folder: Path) -> str:
    """Return a drop-in that hands over each secret under the name of its file; empty where there is none."""
    if not folder.is_dir():
        return ""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and _CREDENTIAL.match(path.name))
    lines = [f"LoadCredential={name}:/{SECRETS}/{name}" for name in names]
    return "\n".join(["# One for each file of the folder with the secrets.", "[Service]", *lines, ""]) if lines else ""


@click.command("install-service")
@click.option("--trainer", is_flag=True, help="The trainer's service instead of the gateway's.")
@click.option("--gpu", is_flag=True, help="Let it reach an NVIDIA GPU.")
@click.option("--show", is_flag=True, help="Only show what would be installed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--root",
    default="/",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Install below this folder (an image); systemd is not told.",
)
def install_service(*, trainer: bool, gpu: bool, show: bool, yes: bool, root: Path) -> None:
    """Show the unit files for systemd, then install them; nothing is started.

    Each file of /etc/spectragate/secrets is handed to the service as a credential of its name, which ${NAME} in the
    configuration finds. Repeat the command after a secret was added, and restart the service after one was changed.
    """
    programs = Path(sys.executable).parent
    if not show and root == Path("/"):
        _check_programs(programs, Path(sys.base_prefix))
    texts = files_to_install(programs, root, trainer=trainer, gpu=gpu)
    for path, text in texts.items():
        click.echo(f"# {path}\n{text}")
    if show:
        return
    if not yes:
        click.confirm(f"Install these {len(texts)} files?", abort=True)
    for path, text in texts.items():
        _write(path, text)
    if root == Path("/"):
        _tell_systemd()
    name = "spectragate-trainer" if trainer else "spectragate"
    file = "trainer.yaml" if trainer else "gateway.yaml"
    click.echo(f"installed. Write /etc/spectragate/{file}, then: systemctl enable --now {name}")


def _check_programs(*folders: Path) -> None:
    """Refuse programs that the service could not see: this one, and the Python that it runs on.

    Raises:
        ConfigError: They lie in somebody's home, or in a temporary folder.
    """
    for folder in folders:
        for place in (folder.absolute(), folder.resolve()):  # where it is a link, both
            if any(place.parts[1 : 1 + len(hidden)] == hidden for hidden in _HIDDEN):
                raise ConfigError(
                    f"the service does not see homes and temporary folders, but this program needs {place}: install it "
                    "with `/usr/bin/python3 -m venv /usr/lib/spectragate` and that folder's bin/pip, and call "
                    "bin/spectragate from there"
                )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; it takes root (sudo)") from None


def _tell_systemd() -> None:
    """Let systemd make the users and folders, and read the units."""
    for command in (["systemd-sysusers"], ["systemd-tmpfiles", "--create"], ["systemctl", "daemon-reload"]):
        program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin")
        if program is None:
            raise ConfigError(f"{command[0]} is not there: is this a system with systemd? The files are installed")
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            click.echo(f"{' '.join(command)}: {done.stderr.strip()}", err=True)
