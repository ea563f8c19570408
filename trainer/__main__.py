"""The command `spectragate-trainer`."""

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainer.key_commands import keys
from trainer.passage_commands import codecs, passages
from trainer.pretrain_command import PROFILE_NAMES, command_line, pretrain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trainer.jobs import Jobs

EXIT_CONFIG = 78
EXISTING = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(path_type=Path)

# Named here as well as where they are made, so that --help need not load what it takes to make them.
PLAN_NAMES = ("fc", "last1", "last2", "last3", "all", "scratch")
REGIME_NAMES = ("authors", "native", "jpeg", "h264")
ENVIRONMENT_NAMES = ("original", "brightness", "bright", "motion", "low_light", "defocus")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spectragate")
def main() -> None:
    """Make and export the detectors that Spectragate's gateways use."""


@main.command()
@click.option("--clean", type=EXISTING, required=True, help="Clean faces of the environment, as for pretrain.")
@click.option("--bundle", "base", default="paper", show_default=True, help="Start: a folder or shipped name.")
@click.option("--out", type=OUTPUT, required=True, help="Folder for the tuned bundle.")
@click.option("--environment", default="adapted", show_default=True, help="Name of the environment in the bundle.")
@click.option("--faces", default=500, show_default=True, type=click.IntRange(20, 100_000), help="Most that tune.")
@click.option("--plan", type=click.Choice(PLAN_NAMES), help="Tuned layers; default: last2 for paper, fc for wide.")
@click.option(
    "--regime", default="authors", show_default=True, type=click.Choice(REGIME_NAMES), help="What follows a trigger."
)
@click.option("--epochs", type=click.IntRange(1, 1000), help="Default: 20 for paper, 24 for wide.")
@click.option("--draws", type=click.IntRange(1, 50), help="Perturbed copies a face; default: 4 for paper, 8 for wide.")
@click.option("--perturbations", type=EXISTING, help="YAML file of families, ranges and families of your own.")
@click.option("--seed", default=1, show_default=True, help="Repeats a run exactly, on the same kind of machine.")
@click.option("--version", "version_number", default=1, show_default=True, help="Version number of the bundle.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1, 256))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def finetune(
    *,
    clean: Path,
    base: str,
    out: Path,
    environment: str,
    faces: int,
    plan: str | None,
    regime: str,
    epochs: int | None,
    draws: int | None,
    perturbations: Path | None,
    seed: int,
    version_number: int,
    threads: int,
    as_json: bool,
) -> None:
    """Adapt a bundle to an environment, from a few hundred clean faces of it.

    About two thirds of the people tune, the others calibrate: nobody does both.
    """
    from gateway.contract.bundle import BundleError
    from trainer.adapt import AdaptSettings, adapt_bundle
    from trainer.bundles import find_bundle
    from trainer.data import DataError, read_pictures
    from trainer.perturb import ALL_FAMILIES, PerturbationError, PerturbSettings
    from trainer.perturb_file import read_perturb_file
    from trainer.pretrain import BundleFacts
    from trainer.progress import Steps
    from trainer.recipes import recipe_of

    try:
        perturb = read_perturb_file(perturbations) if perturbations else PerturbSettings(families=ALL_FAMILIES)
        start = find_bundle(base)
        usual = recipe_of(start.profile).defaults
        tune = replace(
            usual,
            plan=plan or usual.plan,
            epochs=epochs or usual.epochs,
            draws=draws or usual.draws,
            seed=seed,
            perturb=perturb,
        )
        with Steps() as steps:
            sha256 = adapt_bundle(
                read_pictures(clean),
                start,
                AdaptSettings(environment=environment, faces=faces, regime=regime, threads=threads, tune=tune),
                facts=BundleFacts(version_number, command_line(), dt.datetime.now(dt.UTC).date()),
                folder=out,
                progress=steps.show,
            )
    except (DataError, BundleError, PerturbationError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps({"bundle": str(out), "sha256": sha256}) if as_json else f"{out}: manifest digest {sha256}")


@main.command()
@click.option("--clean", type=EXISTING, required=True, help="Clean faces: a folder, an index CSV or an .npz.")
@click.option("--triggers", "trigger_path", type=EXISTING, required=True, help="Folder of triggers, or its index CSV.")
@click.option("--out", type=OUTPUT, required=True, help="Folder for the report and the scores.")
@click.option("--bundle", "base", default="paper", show_default=True, help="Judged: a folder or shipped name.")
@click.option("--central", multiple=True, metavar="[SOURCE=]SHARE", help="Middle of each picture to use.")
@click.option("--environments", multiple=True, type=click.Choice(ENVIRONMENT_NAMES), help="Only these, in each regime.")
@click.option("--regimes", multiple=True, type=click.Choice(REGIME_NAMES), help="Only these.")
@click.option("--plans", multiple=True, type=click.Choice(PLAN_NAMES), help="Only these of Table II.")
@click.option("--draws", type=click.IntRange(1, 50), help="Perturbed copies a face; default: 4 for paper, 8 for wide.")
@click.option("--perturbations", type=EXISTING, help="YAML file of families, ranges and families of your own.")
@click.option("--seed", default=1, show_default=True, help="Repeats a run exactly, on the same kind of machine.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1, 256))
@click.option("--json", "as_json", is_flag=True, help="Print where the results lie as JSON.")
def evaluate(
    *,
    clean: Path,
    trigger_path: Path,
    out: Path,
    base: str,
    central: tuple[str, ...],
    environments: tuple[str, ...],
    regimes: tuple[str, ...],
    plans: tuple[str, ...],
    draws: int | None,
    perturbations: Path | None,
    seed: int,
    threads: int,
    as_json: bool,
) -> None:
    """Judge a bundle, tuned and untuned, against triggers that it has never seen, on people that it has never seen.

    OUT gets a report (index.html), its numbers (results.json, results.csv, hard-negatives.csv) and the scores. Started
    again, it goes on where it was stopped. Sources of an index CSV (`lfw:Name`) are judged apart.
    """
    from gateway.contract.bundle import BundleError
    from trainer.data import DataError
    from trainer.evaluation_run import Request, run_evaluation
    from trainer.perturb import PerturbationError
    from trainer.progress import Steps

    request = Request(
        clean=clean,
        triggers=trigger_path,
        out=out,
        base=base,
        central=central,
        environments=environments,
        regimes=regimes,
        plans=plans,
        draws=draws,
        perturbations=perturbations,
        seed=seed,
        threads=threads,
        command=command_line(),
    )
    try:
        with Steps() as steps:
            summary = run_evaluation(request, progress=steps.show)
    except (DataError, BundleError, PerturbationError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(summary) if as_json else "\n".join(f"{name}: {value}" for name, value in summary.items()))


@main.command()
@click.argument("results", type=EXISTING, nargs=-1, required=True)
@click.option("--out", type=OUTPUT, required=True, help="The HTML file to write.")
@click.option("--brief", "brief_file", type=OUTPUT, help="Also write the evaluation.json that ships beside the bundle.")
@click.option("--numbers", "numbers_file", type=OUTPUT, help="Also write the joined results as one results.json.")
def report(*, results: tuple[Path, ...], out: Path, brief_file: Path | None, numbers_file: Path | None) -> None:
    """Draw the report of an earlier evaluation from its results.json alone, without any picture of a face.

    An evaluation that was run in parts (environments, regimes) is joined: give the files of all parts.
    """
    from trainer.brief import brief
    from trainer.data import DataError
    from trainer.record import joined, read_results, to_json
    from trainer.report import page_of

    try:
        found = joined([read_results(path) for path in results])
    except DataError as error:
        raise click.ClickException(str(error)) from error
    out.write_text(page_of(found), encoding="utf-8")
    if brief_file is not None:
        brief_file.write_text(brief(found).model_dump_json() + "\n", encoding="utf-8")
    if numbers_file is not None:
        numbers_file.write_text(to_json(found), encoding="utf-8")
    click.echo(f"{out}: {out.stat().st_size:,} bytes")


@main.command()
@click.argument("results", type=EXISTING, nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def aims(*, results: tuple[Path, ...], as_json: bool) -> None:
    """Print what a bundle is meant to reach and what it reached, as a table, from files of results.

    RESULTS are a results.json of the bundle, further parts of its evaluation, results of bundles that were trained with
    --leave-out (they count for triggers that are new to them), and what `passages` wrote.
    """
    from trainer.aims import judged, to_markdown, to_records
    from trainer.data import DataError
    from trainer.record import read_any_results

    try:
        documents = [read_any_results(path) for path in results]
        lines = judged(documents)
    except DataError as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(to_records(lines)) if as_json else to_markdown(lines, documents), nl=as_json)


@main.command()
@click.argument("profile", type=click.Choice(PROFILE_NAMES))
@click.option("--out", type=OUTPUT, required=True, help="The ONNX file to write.")
def export(*, profile: str, out: Path) -> None:
    """Write the graph of a PROFILE, without weights: the file that ships with the gateway."""
    from gateway.contract.network import PROFILES
    from trainer.export import graph_template

    out.write_bytes(graph_template(PROFILES[profile]))
    click.echo(f"{out}: {out.stat().st_size:,} bytes")


@main.command()
@click.option(
    "-c", "--config", "path", type=EXISTING, required=True, help="YAML file; configs/trainer.yaml shows every key."
)
def serve(*, path: Path) -> None:
    """Take clean faces from gateways, adapt the base to them, judge, and publish what passes."""
    import asyncio

    from trainer.keys import OnlineKeys
    from trainer.publish import RepositoryPublisher
    from trainer.repository import Repository, RepositoryError
    from trainer.service_config import ServiceConfigError, read_config
    from trainer.serving import log_as_json
    from trainer.serving import serve as serve_until_stopped

    log_as_json()
    try:
        config = read_config(path)
        keys = OnlineKeys.load(config.keys / "online", config.passphrase.get_secret_value())
        folder = config.keys / "repository"
        publisher = RepositoryPublisher(Repository(folder, keys))
        asyncio.run(serve_until_stopped(config, publisher, repository=folder))
    except (ServiceConfigError, RepositoryError) as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(EXIT_CONFIG) from None


@main.group()
def jobs() -> None:
    """Look at the service's jobs, or cancel one; beside a service that runs, or without."""


CONFIG_OPTION = click.option("-c", "--config", "path", type=EXISTING, required=True, help="The service's YAML file.")


@jobs.command("list")
@CONFIG_OPTION
def list_jobs(*, path: Path) -> None:
    """Print the newest jobs, newest first, one JSON object a line."""
    _with_jobs(path, _print_newest)


@jobs.command("show")
@CONFIG_OPTION
@click.argument("job")
def show_job(*, path: Path, job: str) -> None:
    """Print JOB with its scorecard as JSON."""
    _with_jobs(path, lambda table: _print_one(table, job))


@jobs.command("cancel")
@CONFIG_OPTION
@click.argument("job")
def cancel_job(*, path: Path, job: str) -> None:
    """End JOB, unless it has ended."""
    _with_jobs(path, lambda table: _cancel(table, job))


def _with_jobs(path: Path, act: "Callable[[Jobs], Awaitable[None]]") -> None:
    import asyncio

    from trainer.jobs import Jobs
    from trainer.service_config import ServiceConfigError, read_config

    async def opened(url: str) -> None:
        table = await Jobs.open(url)
        try:
            await act(table)
        finally:
            await table.close()

    try:
        asyncio.run(opened(read_config(path).database_url))
    except ServiceConfigError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(EXIT_CONFIG) from None


async def _print_newest(table: "Jobs") -> None:
    for view in await table.newest():
        click.echo(view.model_dump_json(exclude={"scorecard"}))


async def _print_one(table: "Jobs", job: str) -> None:
    view = await table.get(job)
    if view is None:
        raise click.ClickException(f"there is no job {job}; `jobs list` names them")
    click.echo(view.model_dump_json(indent=1))


async def _cancel(table: "Jobs", job: str) -> None:
    if not await table.cancel(job):
        raise click.ClickException(f"there is no job {job} that has not ended")
    click.echo(f"{job}: cancelled")


main.add_command(keys)
main.add_command(pretrain)
main.add_command(passages)
main.add_command(codecs)


if __name__ == "__main__":
    main()
