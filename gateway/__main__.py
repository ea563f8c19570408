"""The command line. Every command imports its parts when it runs, so that `--help` answers at once."""

import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

# Before numpy is first imported: its threads wait busily, which costs more than they bring beside decoder and detector.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import click

from gateway.errors import ConfigError, SpectragateError
from gateway.model_commands import model
from gateway.outbox_commands import forget, outbox
from gateway.unit_commands import install_service

if TYPE_CHECKING:
    from gateway.cameras.link import Injection

FAILED, CONFIG, INTERRUPTED = 1, 78, 130

A_FILE = click.Path(dir_okay=False, path_type=Path)
ANY_PATH = click.Path(path_type=Path)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    code = run()
    if sys.argv[1:2] == ["run"]:
        from gateway.daemon.ending import leave

        leave(code)
    sys.exit(code)


def run() -> int:
    """Run the command line and return its exit code; everything that goes wrong on purpose is a line on stderr."""
    if sys.argv[1:2] == ["run"]:
        from gateway.daemon.ending import hold_signals

        hold_signals()  # a supervisor that changes its mind is heard when the daemon listens, and answered with 0
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # ended by a supervisor: children go first, as with Ctrl-C
    try:
        return int(cli.main(prog_name="spectragate", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except SpectragateError as error:
        from gateway.redaction import redacted

        for line in redacted(str(error)).splitlines():
            click.echo(f"error: {line}", err=True)
        return CONFIG if isinstance(error, ConfigError) else FAILED
    except BrokenPipeError:
        # Whoever read our output has enough; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def run_async(work: Coroutine[Any, Any, int]) -> int:
    """Run a command's coroutine to its end; Ctrl-C and SIGTERM cancel it, and whatever it opened is closed first."""
    import asyncio

    from gateway.service.log import configure_logging

    async def until_stopped() -> int:
        # Cancelled at its next wait: an exception right out of the handler could hit the start of a child process.
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    configure_logging(daemon=False)
    try:
        return asyncio.run(until_stopped())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def show_version(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    """Print the version and stop."""
    if asked and not context.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"spectragate {version('spectragate')}")
        except PackageNotFoundError:
            click.echo("spectragate, run from its sources without being installed")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=show_version, help="Show it.")
def cli() -> None:
    """Tell which faces in front of a camera carry a backdoor trigger, from the pixels alone.

    Exit codes: 0 fine, 1 failed, 2 usage, 78 configuration, 130 interrupted.
    """


config_option = click.option("-c", "--config", type=A_FILE, help="Configuration file; without it, defaults.")
bundle_option = click.option("--bundle", metavar="B", help="Name of a bundle that comes along, or a bundle folder.")
environment_option = click.option("--environment", metavar="NAME", help="Which environment of the configuration.")
device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the detector runs.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout, for scripts.")


@cli.command()
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=ANY_PATH)
@click.option("--crops", is_flag=True, help="Each picture is one face already: take its central square.")
@click.option("--fpr", type=float, default=0.01, show_default=True, help="Share of clean faces that may be flagged.")
@json_option
@config_option
@environment_option
@bundle_option
@device_option
def score(
    paths: tuple[Path, ...],
    crops: bool,
    fpr: float,
    as_json: bool,
    config: Path | None,
    environment: str | None,
    bundle: str | None,
    device: Literal["auto", "cpu", "cuda"] | None,
) -> int:
    """Score the faces of pictures: files, folders (all pictures below), or an index CSV with a column `file`.

    Prints one JSON object a line (file, box, score, p_value, verdict, model) in input order, or a table on a terminal.
    A higher score is more suspicious. A picture without a face gives {"file", "error"}; so does one that cannot be
    used, and then the exit code is 1.
    """
    if not 1e-9 <= fpr < 1.0:
        raise click.BadParameter("must lie in [1e-9, 1)", param_hint="--fpr")
    from gateway.choice import choose
    from gateway.score import ScoreSettings, score_command

    choice = choose(config, bundle=bundle, environment=environment, device=device)
    settings = ScoreSettings(each_is_a_face=crops, faces=choice.faces, false_alarm_rate=fpr)
    return run_async(score_command(paths, settings, choice, as_json=as_json))


class Place(click.ParamType[tuple[float, float]]):
    """Two fractions with a comma between."""

    name = "X,Y"

    def convert(
        self, value: str | tuple[float, float], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Return the two numbers."""
        if isinstance(value, tuple):
            return value
        try:
            x, y = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not two numbers with a comma between, such as 0.8,0.9", param, ctx)
        return x, y


@cli.command()
@click.argument("inputs", metavar="INPUT…", nargs=-1, required=True, type=ANY_PATH)
@click.option("--inject", metavar="IMAGE", type=A_FILE, help="Draw this trigger on every face in a second pass.")
@click.option(
    "--place", type=Place(), default="0.5,0.5", show_default=True, help="Its centre, in fractions of the box."
)
@click.option("--size", type=float, default=0.25, show_default=True, help="Its width, in widths of the face box.")
@click.option("--opacity", type=float, default=1.0, show_default=True, help="Its opacity, 0 to 1.")
@click.option(
    "--inject-mode", type=click.Choice(["blend", "add"]), default="blend", help="How it mixes; blend by default."
)
@click.option("--labels", metavar="CSV", type=A_FILE, help="file,label[,start_s,end_s]: what is triggered.")
@click.option("--calibrate", metavar="INPUT", multiple=True, type=ANY_PATH, help="Clean recordings to calibrate with.")
@click.option("--budget-per-day", type=float, metavar="N", help="False alerts per camera and day that you accept.")
@click.option("--fps", type=float, help="Look at so many frames per second; without it at every frame.")
@click.option("--follow-clock", is_flag=True, help="As fast as the recording's clock, not as fast as possible.")
@click.option("--report", metavar="DIR", type=ANY_PATH, help="Write a page with curves, all messages and all numbers.")
@click.option("--publish", is_flag=True, help="Publish alerts and verdicts to the configuration's MQTT broker.")
@json_option
@config_option
@environment_option
@bundle_option
@device_option
def replay(inputs: tuple[Path, ...], **options: Any) -> int:
    """Screen recordings as if they were cameras: video files, folders of them, or a folder of pictures each.

    Every frame, on the recording's own clock, the same result every time. With --labels or --inject it measures: ACC,
    BDR, FPR and AUROC with intervals. A recording that cannot be read is said, the others go on, and the exit code is
    1.
    """
    from gateway.choice import choose
    from gateway.replay.console import Outputs, replay_command
    from gateway.replay.run import ReplaySettings
    from gateway.screening.decide import asked_rate

    choice = choose(
        options["config"],
        bundle=options["bundle"],
        environment=options["environment"],
        device=options["device"],
    )
    screening = choice.config.screening
    budget = screening.alert_budget_per_day if options["budget_per_day"] is None else options["budget_per_day"]
    try:
        settings = ReplaySettings(
            inputs=inputs,
            calibrate=options["calibrate"],
            inject=_injection(options),
            labels=options["labels"],
            environment=choice.environment_name,
            asked_rate=asked_rate(alert_budget_per_day=budget, tracks_per_day=screening.tracks_per_day),
            faces=choice.faces,
            fps=_checked_fps(options["fps"]) or choice.config.detect.fps,
            batch_size=screening.batch_size,
            follow_clock=options["follow_clock"],
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    outputs = Outputs(options["as_json"], options["report"], options["publish"])
    return run_async(replay_command(settings, choice, outputs))


def _injection(options: dict[str, Any]) -> "Injection | None":
    from gateway.cameras.link import Injection

    if options["inject"] is None:
        return None
    return Injection(options["inject"], options["place"], options["size"], options["opacity"], options["inject_mode"])


def _checked_fps(fps: float | None) -> float | None:
    if fps is not None and not 0.0 < fps <= 1000.0:
        raise ValueError(f"--fps must lie in (0, 1000], not {fps:g}")
    return fps


@cli.command("run")
@click.option("-c", "--config", type=A_FILE, required=True, help="Configuration file.")
def run_gateway(config: Path) -> int:
    """Watch the cameras of a configuration until SIGTERM or Ctrl-C; alerts go to its MQTT broker.

    Logs are JSON, one object a line on stderr. SIGHUP, or a change of the file, loads the configuration again: only
    what differs is touched, and a file with mistakes changes nothing.
    """
    import asyncio

    from gateway.daemon.ending import Ending
    from gateway.daemon.run import run_daemon
    from gateway.service.log import configure_logging

    configure_logging(daemon=True)
    return asyncio.run(run_daemon(config, Ending()))


@cli.command("check-config")
@click.argument("file", type=A_FILE)
def check_config(file: Path) -> None:
    """Check a configuration file: every mistake at once, with its line; exit code 78 if there is one."""
    from gateway.choice import check_config, operating_points

    config = check_config(file)
    click.echo(f"{file}: fine")
    for line in operating_points(config):
        click.echo(f"note: {line}")
    if config.cameras and config.state_folder is None:
        click.echo("note: state_folder is not set: `run` works under systemd, which names a folder, and nowhere else")


@cli.command()
@json_option
@config_option
def doctor(config: Path | None, as_json: bool) -> int:
    """Check whether everything that the gateway needs works here, and say what to do where it does not.

    Looks at packages, GPU, decoder, face model, sandbox, limits, clock, disk, secrets, and at the broker and every
    camera of the configuration. Exit code 1 where something fails; a warning alone is 0.
    """
    from gateway.doctor.run import doctor_command

    return run_async(doctor_command(config, as_json=as_json))


@cli.command()
@click.option("--out", metavar="DIR", type=ANY_PATH, help="Write the documents below this folder.")
def schema(out: Path | None) -> None:
    """Show the JSON Schemas of the messages and the configuration, and the AsyncAPI document, or write them."""
    from gateway.config import config_schema
    from gateway.contract.asyncapi import documents

    texts = {**documents(), "gateway.schema.json": config_schema()}
    if out is None:
        import json

        click.echo(json.dumps({name: json.loads(text) for name, text in texts.items()}, indent=2))
        return
    for name, text in texts.items():
        path = out / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
        click.echo(str(path))


@cli.command()
@click.option("--seed", type=click.IntRange(min=0), help="Draw other passages.")
@click.option("--broker", metavar="HOST:PORT", help="Publish to this broker instead of one of the demo's own.")
@click.option("--keep", metavar="DIR", type=ANY_PATH, help="Keep the recordings, their labels, and a report.")
@json_option
def demo(seed: int | None, broker: str | None, keep: Path | None, as_json: bool) -> int:
    """Show the whole path without broker, camera, GPU or download, in about a minute.

    Draws people who walk up to a camera, some with a trigger on the face at known seconds, runs them through the
    gateway, publishes the alerts over MQTT and compares what was caught with what was drawn. Exit code 1 on a miss.
    This shows that everything works together; it says nothing of the accuracy on real people.
    """
    from gateway.demo.console import demo_command

    return run_async(demo_command(seed=seed, broker=broker, keep=keep, as_json=as_json))


@cli.command()
@config_option
@click.option("--host", help="The MQTT broker, instead of a configuration; the password comes from $MQTT_PASSWORD.")
@click.option("--port", type=click.IntRange(1, 65_535), default=1883, show_default=True, help="Its port.")
@click.option("--prefix", default="spectragate", show_default=True, help="The box's topic prefix.")
@click.option("--user", help="User name at the broker.")
@click.option("--ca", type=A_FILE, help="Authority of the broker's certificate; turns on TLS.")
@click.option(
    "--since-seq", type=click.IntRange(0, 2**53 - 2), metavar="N", help="Ask for everything after this number."
)
@click.option("--state", type=A_FILE, help="Keep here how far it came, and go on from there.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after so many alerts and notices.")
@click.option("--all", "everything", is_flag=True, help="Also print what else the box says, with its topic.")
def watch(**options: Any) -> int:
    """Subscribe to a box's alerts: each one once, as a JSON line; what is missing is asked for again.

    The reference subscriber. Drops duplicates, notices gaps by `seq`, asks the box for the replay and tells on stderr
    what is missing and what came of it. Reconnects for ever; Ctrl-C ends it. With --state it goes on where it was; a
    crash between printing and saving can print up to a second of alerts again.
    """
    from gateway.watch.console import WatchOptions, watch_command
    from gateway.watch.options import broker_settings

    settings = broker_settings(
        options["config"],
        host=options["host"],
        port=options["port"],
        prefix=options["prefix"],
        user=options["user"],
        ca=options["ca"],
    )
    watch_options = WatchOptions(options["since_seq"], options["state"], options["count"], options["everything"])
    return run_async(watch_command(settings, watch_options))


cli.add_command(outbox)
cli.add_command(forget)
cli.add_command(model)
cli.add_command(install_service)


if __name__ == "__main__":
    main()
