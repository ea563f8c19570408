"""The commands about the keys of a repository: `keys init|rotate|renew|status|release`.

The passphrase is asked for, or comes from the environment, and never stands on a command line.
"""

import datetime as dt
import os
from pathlib import Path

import click

VARIABLE = "SPECTRAGATE_KEYS_PASSPHRASE"

folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


def _passphrase(*, confirm: bool = False) -> str:
    given = os.environ.get(VARIABLE)
    return given or str(click.prompt("Passphrase of the keys", hide_input=True, confirmation_prompt=confirm))


@click.group()
def keys() -> None:
    """Make and replace the keys that gateways trust; $SPECTRAGATE_KEYS_PASSPHRASE or a prompt opens them."""


@keys.command()
@folder_argument
@click.option("--environment", "environments", multiple=True, required=True, metavar="NAME", help="May be repeated.")
def init(folder: Path, environments: tuple[str, ...]) -> None:
    """Make all keys and an empty repository under FOLDER.

    Carry FOLDER/offline to a safe: it signs bases and names the other keys. Give the root's file to every gateway.
    """
    from trainer.keys import init_keys
    from trainer.repository import RepositoryError

    try:
        root = init_keys(folder, passphrase=_passphrase(confirm=True), environments=environments, now=_now())
    except RepositoryError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{root}: the root that gateways are to trust\n{folder / 'offline'}: carry this to a safe")


@keys.command()
@folder_argument
@click.argument("role")
def rotate(folder: Path, role: str) -> None:
    """Replace the key of ROLE: root-1 to root-3, targets, snapshot, timestamp or environment-NAME, also a new one.

    Needs FOLDER/offline. Gateways follow by themselves; a running trainer must be restarted.
    """
    from trainer.keys import rotate_key
    from trainer.repository import RepositoryError

    try:
        rotate_key(folder, role, passphrase=_passphrase(), now=_now())
    except RepositoryError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{role}: has a new key, and everything that it concerns is signed anew")


@keys.command()
@folder_argument
def renew(folder: Path) -> None:
    """Sign root and targets anew, for another year, with the keys that they have. Needs FOLDER/offline."""
    from trainer.keys import renew_signatures
    from trainer.repository import RepositoryError

    try:
        renew_signatures(folder, passphrase=_passphrase(), now=_now())
    except RepositoryError as error:
        raise click.ClickException(str(error)) from None
    click.echo("root, targets: are signed anew")


@keys.command()
@folder_argument
def status(folder: Path) -> None:
    """Print until when each role's signature holds, and what has to be renewed by hand. Needs no passphrase."""
    from trainer.keys import expiries
    from trainer.repository import RepositoryError

    try:
        found, repository = expiries(folder)
        ending = repository.ending(_now())
    except RepositoryError as error:
        raise click.ClickException(str(error)) from None
    for role, until in found.items():
        click.echo(f"{role}: signed until {until:%Y-%m-%d %H:%M} UTC")
    if ending is not None:
        click.echo(f"Warning: {ending}", err=True)


@keys.command()
@folder_argument
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
def release(folder: Path, bundle: Path) -> None:
    """Declare BUNDLE a base that adapted bundles may descend from. Needs FOLDER/offline."""
    from trainer.keys import release_base
    from trainer.repository import RepositoryError

    try:
        sha256 = release_base(folder, bundle, passphrase=_passphrase(), now=_now())
    except RepositoryError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{sha256}: may be the parent of adapted bundles now")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
