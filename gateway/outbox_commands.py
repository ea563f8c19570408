"""The commands about what is stored: `outbox status`, `outbox export`, `forget`. Parts are imported when they run."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration of the gateway; without it, $STATE_DIRECTORY names the folder.",
)


def _folder(config: Path | None) -> Path:
    from gateway.choice import choose
    from gateway.daemon.run import state_folder

    return state_folder(choose(config).config)


def _cameras(config: Path | None) -> frozenset[str]:
    from gateway.choice import choose

    return frozenset(choose(config).config.cameras)


class Moment(click.ParamType[float]):
    """A moment in ISO 8601; without an offset it is UTC."""

    name = "TIME"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return epoch seconds."""
        if isinstance(value, float):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-03-01T08:00 or 2026-03-01T08:00+01:00", param, ctx)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@click.group()
def outbox() -> None:
    """Look at the alerts that are stored, waiting or delivered; also beside a running gateway."""


@outbox.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, for scripts.")
def status(config: Path | None, as_json: bool) -> None:
    """Tell how many messages wait, how many are kept, and what was lost."""
    from gateway.delivery.outbox_files import figures

    found = figures(_folder(config))
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"{found['waiting']} waiting ({found['held']} held back){_since(found['waiting_since'])}")
    click.echo(f"{found['stored']} stored in {found['bytes'] / 2**20:.1f} MiB{_since(found['stored_since'])}")
    first_seq, last_seq = found["first_seq"], found["last_seq"]
    click.echo(
        f"numbers {first_seq} to {last_seq}" if first_seq <= last_seq else f"{last_seq} numbers given, none stored"
    )
    for gap in found["gaps"]:
        told = "announced" if gap["announced"] else "to be announced"
        click.echo(f"gap: {gap['count']} from {gap['from_seq']} to {gap['to_seq']}, {gap['reason']}, {told}")
    for name in found["damaged_files"]:
        click.echo(f"damaged, set aside: {name}")


def _since(time_s: float | None) -> str:
    return "" if time_s is None else f", since {_words(time_s)}"


def _words(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")


@outbox.command()
@config_option
@click.option("--from-seq", type=click.IntRange(min=1), default=1, show_default=True, help="First number.")
@click.option("--to-seq", type=click.IntRange(min=1), default=2**63 - 1, help="Last number; without it, to the end.")
def export(config: Path | None, from_seq: int, to_seq: int) -> None:
    """Print the stored alerts and notices, one JSON object a line, in the order of their numbers."""
    from gateway.delivery.outbox_files import exported

    for line in exported(_folder(config), from_seq=from_seq, to_seq=to_seq):
        click.echo(line)


@click.command()
@config_option
@click.option("--camera", metavar="NAME", help="Erase what is stored of this camera.")
@click.option("--since", type=Moment(), help="Erase what is stored from this time on.")
@click.option("--until", type=Moment(), help="Erase what is stored before this time.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(config: Path | None, camera: str | None, since: float | None, until: float | None, yes: bool) -> None:
    """Erase what is stored of a camera or a time: messages, calibration, switches; also beside a running gateway.

    Messages that were not delivered yet are announced to subscribers as a gap. Nothing reaches what subscribers,
    brokers and backups hold.
    """
    if camera is None and since is None and until is None:
        raise click.UsageError("name a --camera, or a time with --since or --until")
    folder = _folder(config)
    parts = [
        "" if camera is None else f"of camera {camera}",
        "" if since is None else f"from {_words(since)}",
        "" if until is None else f"before {_words(until)}",
    ]
    what = " ".join(part for part in parts if part)
    if not yes:
        click.confirm(f"Erase everything stored {what} in {folder}, for good?", abort=True)
    from gateway.adaptation.clean_sets import CleanSets
    from gateway.delivery.outbox_files import forget as erase
    from gateway.storage.sealed import EVIDENCE_FOLDER, SealedFiles

    gone = erase(folder, camera=camera, since_s=since, until_s=until)
    hours = CleanSets(folder).forget(camera=camera, since_s=since, until_s=until)
    shown = SealedFiles(folder / EVIDENCE_FOLDER, max_bytes=0).forget(camera=camera, since_s=since, until_s=until)
    if (
        camera is not None
        and not any((gone.messages, gone.tracks, gone.others, hours, shown))
        and camera not in _cameras(config)
    ):
        raise click.ClickException(f"nothing is stored of a camera {camera!r}, and none of this name is configured")
    click.echo(f"erased {gone.messages} messages, {gone.tracks} calibration tracks and {gone.others} others")
    if hours:
        click.echo(f"erased the clean faces of {hours} hours; what the trainer was sent is not reached")
    if shown:
        click.echo(f"erased the faces or explanations of {shown} alerts")
    if gone.tracks:
        click.echo("a running gateway still calibrates with what it has in memory: restart it")
    if not gone.checkpointed:
        click.echo("the running gateway was reading: traces stay in its log until you repeat this or it stops")
