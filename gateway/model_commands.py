"""The commands about bundles: `model list|verify|install|rollback|pin`. Parts are imported when they run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.outbox_commands import config_option

if TYPE_CHECKING:
    from gateway.adaptation.exchange import Channel
    from gateway.adaptation.store import BundleStore
    from gateway.choice import Choice
    from gateway.contract.bundle import Bundle

BY_HAND = "undone by the operator"
SOON = "a gateway that runs takes it up at once"

environment_option = click.option("--environment", metavar="NAME", help="Which environment of the configuration.")


@click.group()
def model() -> None:
    """Look at the bundles of this gateway, install what the repository offers, and go back."""


@model.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout, for scripts.")
def list_bundles(config: Path | None, as_json: bool) -> None:
    """Tell of every environment which bundle runs, which ran before, and which lie here."""
    from gateway.choice import choose

    choice = choose(config)
    store = _store(choice)
    for environment in choice.config.environments:
        loaded, slots = store.load(environment), store.slots(environment)
        held = [
            {"version": bundle.manifest.version, "sha256": bundle.identity.sha256}
            for bundle in store.held(environment)
            if bundle.identity.sha256 not in slots.denied
        ]
        facts: dict[str, Any] = {
            "environment": environment,
            "slot": loaded.slot,
            "profile": loaded.bundle.identity.profile,
            "version": loaded.bundle.manifest.version,
            "sha256": loaded.bundle.identity.sha256,
            "probation": slots.probation,
            "previous": slots.previous,
            "pinned": slots.pinned,
            "held": held,
            "denied": slots.denied,
            "faults": loaded.faults,
        }
        click.echo(json.dumps(facts) if as_json else "\n".join(_words(facts)))


def _words(facts: dict[str, Any]) -> list[str]:
    pinned = "" if facts["pinned"] is None else f", pinned to {facts['pinned'][:12]}"
    probation = ", on probation" if facts["probation"] else ""
    runs = f"{facts['profile']} version {facts['version']} {facts['sha256'][:12]} ({facts['slot']}{probation}{pinned})"
    return [
        f"{facts['environment']}: {runs}",
        *(f"  here: version {bundle['version']} {bundle['sha256'][:12]}" for bundle in facts["held"]),
        *(f"  never again: {sha256[:12]}, {reason}" for sha256, reason in facts["denied"].items()),
        *(f"  not used: {fault}" for fault in facts["faults"]),
    ]


@model.command()
@config_option
@environment_option
def verify(config: Path | None, environment: str | None) -> int:
    """Check every byte of the bundle that an environment runs, and its self-test on this machine.

    Exit code 1 where the bundle is not the one that was installed, or another takes its place.
    """
    from gateway.choice import choose
    from gateway.contract.bundle import BundleError

    choice = choose(config, environment=environment)
    loaded = _store(choice).load(choice.environment_name)
    try:
        _check(loaded.bundle)
    except BundleError as error:
        raise click.ClickException(str(error)) from None
    for fault in loaded.faults:
        click.echo(f"not used: {fault}", err=True)
    click.echo(f"version {loaded.bundle.manifest.version} {loaded.bundle.identity.sha256} is whole ({loaded.slot})")
    return 1 if loaded.faults else 0


@model.command()
@config_option
@environment_option
@click.option("--repository", metavar="URL", help="https:// address, or a folder that was brought here.")
@click.option(
    "--root",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Root metadata that this site trusts (1.root.json).",
)
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Authority that signed the repository's certificate.",
)
def install(
    config: Path | None, environment: str | None, repository: str | None, root: Path | None, ca_file: Path | None
) -> None:
    """Install the newest bundle that a signed repository offers, after everything about it was checked.

    Repository, root, authority and token are those of `adaptation` in the configuration; an option goes before its
    key. The token of another repository comes from $SPECTRAGATE_REPOSITORY_TOKEN.
    """
    import datetime as dt

    from gateway.adaptation.exchange import Exchange, admit
    from gateway.choice import choose
    from gateway.contract.bundle import BundleError

    choice = choose(config, environment=environment)
    name, store = choice.environment_name, _store(choice)
    channel = _channel(choice, repository, root, ca_file)
    # Not the running gateway's folder: python-tuf lets only one at a time use its cache.
    exchange = Exchange(channel, _folder(choice) / "channel-by-hand", now=lambda: dt.datetime.now(dt.UTC))
    try:
        offer = exchange.newest(name)
        if offer is None:
            raise click.ClickException(f"the repository has no bundle for {name}")
        if offer.sha256 == store.slots(name).active:
            click.echo(f"{name}: version {offer.version} is installed already")
            return
        files = exchange.fetch(offer)
        admit(files, offer, store.slots(name))
        bundle = store.stage(name, files)
        _check(bundle)
        store.change(name, lambda slots: slots.activated(offer.sha256, offer.version))
    except BundleError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{name}: version {offer.version} {offer.sha256[:12]} installed; {SOON}")


def _channel(choice: "Choice", repository: str | None, root: Path | None, ca_file: Path | None) -> "Channel":
    """Return the configured channel, with what the command line says otherwise."""
    import os

    from pydantic import SecretStr

    from gateway.adaptation.exchange import Channel

    asked = choice.config.adaptation
    url, vouches = repository or asked.repository, root or asked.root
    if url is None or vouches is None:
        raise click.UsageError("name a repository and a root: `adaptation` in the configuration, or both options")
    try:
        content = vouches.read_bytes()
    except OSError as error:
        raise click.ClickException(f"adaptation.root: {vouches}: {error.strerror}") from None
    given = os.environ.get("SPECTRAGATE_REPOSITORY_TOKEN")
    # The token of the configuration is for the address beside it and no other.
    own = asked.token if url == asked.repository else None
    return Channel(url, content, ca_file or asked.ca_file, SecretStr(given) if given else own)


@model.command()
@config_option
@environment_option
def rollback(config: Path | None, environment: str | None) -> None:
    """Go back to the bundle before, never to take the present one again, and stay there until `pin none`."""
    from gateway.choice import choose
    from gateway.contract.bundle import BundleError

    choice = choose(config, environment=environment)
    store, name = _store(choice), choice.environment_name
    try:
        store.change(name, lambda slots: slots.rolled_back(BY_HAND))
    except BundleError as error:
        raise click.ClickException(f"{name}: {error}") from None
    loaded = store.load(name)
    click.echo(f"{name}: back to version {loaded.bundle.manifest.version} ({loaded.slot}); {SOON}")


@model.command()
@config_option
@environment_option
@click.argument("version", metavar="VERSION|none")
def pin(config: Path | None, environment: str | None, version: str) -> None:
    """Run a version that lies here and take no other, or with `none` take new ones again."""
    from gateway.choice import choose
    from gateway.contract.bundle import BundleError

    if version != "none" and not version.isdecimal():
        raise click.UsageError(f"{version}: name a version as `model list` shows it, or none")
    choice = choose(config, environment=environment)
    store, name = _store(choice), choice.environment_name
    try:
        bundle = store.choose(name, None if version == "none" else int(version), check=_check)
    except BundleError as error:
        raise click.ClickException(str(error)) from None
    if bundle is None:
        click.echo(f"{name}: takes new bundles again")
        return
    click.echo(f"{name}: pinned to version {version} {bundle.identity.sha256[:12]}; {SOON}")


def _folder(choice: "Choice") -> Path:
    from gateway.daemon.run import state_folder

    return state_folder(choice.config)


def _store(choice: "Choice") -> "BundleStore":
    from gateway.adaptation.store import BundleStore
    from gateway.models.shipped import resolve_bundle

    environments = choice.config.environments
    return BundleStore(
        _folder(choice) / "bundles", factory=lambda environment: resolve_bundle(environments[environment].bundle)
    )


def _check(bundle: "Bundle") -> None:
    """Run the self-test on the CPU of this machine; raises BundleError where it fails."""
    from gateway.screening.sessions import check_self_test, open_session

    check_self_test(open_session(bundle, "CPUExecutionProvider", 1), bundle)
