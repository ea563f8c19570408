"""The command `spectragate-trainer`."""

import datetime as dt
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trainer.train import EpochReport

EXISTING = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spectragate")
def main() -> None:
    """Make and export the detectors that Spectragate's gateways use."""


@main.command()
@click.option("--faces", type=EXISTING, required=True, help="Clean faces: a folder, an index CSV or an .npz.")
@click.option("--clean", type=EXISTING, multiple=True, help="More clean pictures, of anything; may be given again.")
@click.option("--out", type=OUTPUT, required=True, help="Folder for the checkpoint, the metrics and the bundle.")
@click.option("--seed", default=1, show_default=True, help="Repeats a run exactly, on the same kind of machine.")
@click.option("--split-seed", default=1, show_default=True, help="Divides the people; keep it when you use --base.")
@click.option("--base", type=EXISTING, help="Bundle folder to go on from, in place of drawn weights.")
@click.option("--learning-rate", default=2e-3, show_default=True, type=click.FloatRange(1e-6, 1.0))
@click.option("--epochs", default=24, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--faces-per-epoch", default=9500, show_default=True, type=click.IntRange(64))
@click.option("--clean-per-epoch", default=4500, show_default=True, type=click.IntRange(64), help="Of each --clean.")
@click.option("--version", "version_number", default=1, show_default=True, help="Version number of the bundle.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1, 256))
def pretrain(
    *,
    faces: Path,
    clean: tuple[Path, ...],
    out: Path,
    seed: int,
    split_seed: int,
    base: Path | None,
    learning_rate: float,
    epochs: int,
    faces_per_epoch: int,
    clean_per_epoch: int,
    version_number: int,
    threads: int,
) -> None:
    """Train a base detector from clean pictures alone and write OUT/bundle.

    Perturbed copies stand in for triggers. Started again with the same options, it goes on where it was stopped.
    CIFAR-10 is read in its binary version, GTSRB as its folder of pictures.
    """
    from gateway.contract.bundle import BundleError, open_bundle
    from trainer.data import DataError, read_pictures
    from trainer.pretrain import BundleFacts, Ingredients, pretrain_bundle
    from trainer.train import PretrainSettings, Source

    try:
        sha256 = pretrain_bundle(
            Ingredients(
                faces=read_pictures(faces),
                faces_per_epoch=faces_per_epoch,
                others=[Source(read_pictures(path), clean_per_epoch) for path in clean],
                base=open_bundle(base) if base else None,
            ),
            PretrainSettings(
                seed=seed, split_seed=split_seed, epochs=epochs, learning_rate=learning_rate, threads=threads
            ),
            facts=BundleFacts(version_number, _command_line(), dt.datetime.now(dt.UTC).date()),
            folder=out,
            report=_print_epoch,
        )
    except (DataError, BundleError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out / 'bundle'}: manifest digest {sha256}")


@main.command()
@click.argument("profile", type=click.Choice(["paper"]))
@click.option("--out", type=OUTPUT, required=True, help="The ONNX file to write.")
def export(*, profile: str, out: Path) -> None:
    """Write the graph of a PROFILE, without weights: the file that ships with the gateway."""
    from gateway.contract.network import PROFILES
    from trainer.export import graph_template

    out.write_bytes(graph_template(PROFILES[profile]))
    click.echo(f"{out}: {out.stat().st_size:,} bytes")


def _command_line() -> str:
    """Return the command as it can be repeated elsewhere: paths are reduced to their last part."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return shlex.join(["spectragate-trainer", *words])


def _print_epoch(report: "EpochReport") -> None:
    validation = report.validation
    click.echo(
        f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.4f}  AUROC {validation['auroc']:.3f}  "
        f"BDR at FPR 10 % {100 * validation['bdr at fpr 10%']:.1f} %  {report.seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
