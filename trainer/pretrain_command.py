"""The command `pretrain`: from clean faces to a base bundle of either profile."""

import datetime as dt
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trainer.train import EpochReport
    from trainer.wide_train import WideReport

EXISTING = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(path_type=Path)

# Named here as well as where they are made, so that --help need not load what it takes to make them.
CHAIN_NAMES = ("plain", "drift")
PROFILE_NAMES = ("paper", "wide")
DEVICE_NAMES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the command was given."""

    faces: Path
    clean: tuple[Path, ...]
    out: Path
    profile: str
    pairs: int
    pool: Path | None
    leave_out: tuple[str, ...]
    seed: int
    split_seed: int
    base: Path | None
    chain: str
    learning_rate: float | None
    epochs: int | None
    faces_per_epoch: int
    clean_per_epoch: int
    version_number: int
    device: str
    threads: int


@click.command()
@click.option("--faces", type=EXISTING, required=True, help="Clean faces: a folder, an index CSV or an .npz.")
@click.option("--clean", type=EXISTING, multiple=True, help="More clean pictures, of anything; may be given again.")
@click.option("--out", type=OUTPUT, required=True, help="Folder for the checkpoint, the metrics and the bundle.")
@click.option("--profile", default="paper", show_default=True, type=click.Choice(PROFILE_NAMES))
@click.option("--pairs", default=102_400, show_default=True, type=click.IntRange(64), help="For `wide`: pairs drawn.")
@click.option("--pool", type=OUTPUT, help="For `wide`: folder of the pairs, shared by runs.  [default: OUT/pool]")
@click.option(
    "--leave-out",
    multiple=True,
    metavar="KIND",
    help="For `wide`: a kind of perturbation, or a group, to train without.",
)
@click.option(
    "--seed", default=1, show_default=True, help="Repeats a run exactly, on CPUs of one kind; on a GPU nearly."
)
@click.option("--split-seed", default=1, show_default=True, help="Divides the people; keep it when you use --base.")
@click.option("--base", type=EXISTING, help="Bundle folder to go on from, in place of drawn weights.")
@click.option("--chain", default="plain", show_default=True, type=click.Choice(CHAIN_NAMES), help="Light and blur.")
@click.option("--learning-rate", type=click.FloatRange(1e-6, 1.0), help="[default: 2e-3, for `wide` 3e-3]")
@click.option("--epochs", type=click.IntRange(1, 10_000), help="[default: 24, for `wide` 3]")
@click.option("--faces-per-epoch", default=9500, show_default=True, type=click.IntRange(64))
@click.option("--clean-per-epoch", default=4500, show_default=True, type=click.IntRange(64), help="Of each --clean.")
@click.option("--version", "version_number", default=1, show_default=True, help="Version number of the bundle.")
@click.option(
    "--device", default="cpu", show_default=True, type=click.Choice(DEVICE_NAMES), help="For `wide`: cuda is a GPU."
)
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1, 256))
def pretrain(**options: object) -> None:
    """Train a base detector from clean pictures alone and write OUT/bundle.

    Perturbed copies stand in for triggers. Started again with the same options, it goes on where it was stopped.
    CIFAR-10 is read in its binary version, GTSRB as its folder of pictures. The profile `wide` is trained on faces
    alone, by --epochs passes through --pairs of them, whose statistics (16 GB of 102,400) stay in --pool; as many
    processes draw them as there are --threads, and --device cuda computes with a GPU; --clean, --chain and what is
    counted per epoch are for `paper`. To see what is found of triggers of a kind that training never saw, train with
    --leave-out (stickers, pictures, waves, warps, quantisation, generators, or a single kind) and give `evaluate` the
    bundle: it tunes without them too, and marks what was seen.
    """
    from gateway.contract.bundle import BundleError
    from trainer.data import DataError

    asked = _Asked(**options)  # type: ignore[arg-type]
    if asked.leave_out and asked.profile != "wide":
        raise click.UsageError("--leave-out is for --profile wide")
    if asked.device != "cpu" and asked.profile != "wide":
        raise click.UsageError("--device cuda is for --profile wide: that of the paper is trained on the CPU")
    try:
        sha256 = _wide_bundle(asked) if asked.profile == "wide" else _paper_bundle(asked)
    except (DataError, BundleError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{asked.out / 'bundle'}: manifest digest {sha256}")


def _paper_bundle(asked: _Asked) -> str:
    from gateway.contract.bundle import open_bundle
    from trainer.chain import CHAINS
    from trainer.data import read_pictures
    from trainer.pretrain import BundleFacts, Ingredients, pretrain_bundle
    from trainer.train import PretrainSettings, Source

    return pretrain_bundle(
        Ingredients(
            faces=read_pictures(asked.faces),
            faces_per_epoch=asked.faces_per_epoch,
            others=[Source(read_pictures(path), asked.clean_per_epoch) for path in asked.clean],
            base=open_bundle(asked.base) if asked.base else None,
        ),
        PretrainSettings(
            seed=asked.seed,
            split_seed=asked.split_seed,
            epochs=asked.epochs or 24,
            learning_rate=asked.learning_rate or 2e-3,
            chain=CHAINS[asked.chain],
            threads=asked.threads,
        ),
        facts=BundleFacts(asked.version_number, command_line(), dt.datetime.now(dt.UTC).date()),
        folder=asked.out,
        report=_print_epoch,
    )


def _wide_bundle(asked: _Asked) -> str:
    from gateway.contract.bundle import open_bundle
    from trainer.data import read_pictures
    from trainer.left_out import check_base, kinds_of
    from trainer.pretrain import BundleFacts
    from trainer.wide_pretrain import pretrain_wide_bundle
    from trainer.wide_train import WideSettings

    left_out, base = kinds_of(asked.leave_out), open_bundle(asked.base) if asked.base else None
    if base is not None:
        check_base(base, left_out)
    return pretrain_wide_bundle(
        read_pictures(asked.faces),
        WideSettings(
            seed=asked.seed,
            split_seed=asked.split_seed,
            pairs=asked.pairs,
            pool=asked.pool,
            left_out=left_out,
            epochs=asked.epochs or 3,
            learning_rate=asked.learning_rate or 3e-3,
            device=asked.device,
            threads=asked.threads,
            workers=max(2, asked.threads),
        ),
        base=base,
        facts=BundleFacts(asked.version_number, command_line(), dt.datetime.now(dt.UTC).date()),
        folder=asked.out,
        report=_print_part,
    )


def command_line() -> str:
    """Return the command as it can be repeated elsewhere: paths are reduced to their last part."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return shlex.join(["spectragate-trainer", *words])


def _print_epoch(report: "EpochReport") -> None:
    validation = report.validation
    click.echo(
        f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.4f}  AUROC {validation['auroc']:.3f}  "
        f"BDR at FPR 10 % {100 * validation['bdr at fpr 10%']:.1f} %  {report.seconds:.0f} s"
    )


def _print_part(report: "WideReport") -> None:
    if not report.epoch:
        click.echo(f"{report.pairs:,} pairs drawn  {report.seconds:.0f} s")
        return
    found = report.validation
    words = "  ".join(
        f"{regime}: AUROC {found[f'{regime} auroc']:.3f}, BDR at FPR 1 % {100 * found[f'{regime} bdr']:.1f} %"
        for regime in ("D", "C")
        if f"{regime} auroc" in found
    )
    click.echo(f"epoch {report.epoch}/{report.of}  loss {report.loss:.4f}  {words}  {report.seconds:.0f} s")
