"""The commands `passages` and `codecs`: a bundle judged on whole passages, and what codecs leave of triggers."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

EXISTING = click.Path(exists=True, path_type=Path)


@click.command()
@click.option("--clean", type=EXISTING, required=True, help="Clean faces: an index CSV, a folder or an .npz.")
@click.option("--triggers", type=EXISTING, required=True, help="Folder of triggers, or its index CSV.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The JSON file to write.")
@click.option("--bundle", "base", default="paper", show_default=True, help="Judged: a folder or shipped name.")
@click.option("--clips", type=EXISTING, help="Folder of real clips of clean people, judged without calibration.")
@click.option("--cameras", default=4, show_default=True, type=click.IntRange(1, 100), help="Cameras that are made up.")
@click.option("--calibrating", default=400, show_default=True, type=click.IntRange(20), help="Passages, a camera.")
@click.option("--judged", default=400, show_default=True, type=click.IntRange(20), help="Clean passages, a camera.")
@click.option("--each", default=8, show_default=True, type=click.IntRange(1), help="Of each trigger, a camera.")
@click.option("--asked-rate", default=0.01, show_default=True, type=click.FloatRange(1e-6, 0.5), help="False alarms.")
@click.option("--seed", default=1, show_default=True, help="Repeats a run exactly, on the same kind of machine.")
def passages(**options: Any) -> None:
    """Judge a bundle on whole passages: the gateway watches recordings of people who walk by, in both regimes.

    The passages are synthetic: stills moved, lit, blurred and coded, with triggers before the codec or after it, before
    cameras that are calibrated and judged alike. OUT gets false alarms at the asked rate, with the camera's calibration
    and without, and what share of passages with each trigger is found.
    """
    from gateway.contract.bundle import BundleError
    from trainer.data import DataError
    from trainer.export import write_whole
    from trainer.gateway_replay import ReplayError
    from trainer.passage_run import Request, run_passages
    from trainer.progress import Steps
    from trainer.record import to_json
    from trainer.video_codec import CodecError

    out: Path = options.pop("out")
    request = Request(**options, command=_command_line())
    try:
        with Steps() as steps:
            results = run_passages(request, progress=steps.show)
    except (DataError, BundleError, CodecError, ReplayError) as error:
        raise click.ClickException(str(error)) from error
    write_whole(out, to_json(results).encode())
    click.echo(json.dumps(_summary(results, out)))


@click.command()
@click.option("--clean", type=EXISTING, required=True, help="Clean faces: an index CSV, a folder or an .npz.")
@click.option("--triggers", type=EXISTING, required=True, help="Folder of triggers, or its index CSV.")
@click.option("--bundle", "base", default="paper", show_default=True, help="Judged: a folder or shipped name.")
@click.option("--faces", default=64, show_default=True, type=click.IntRange(20), help="Of people it never saw.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The JSON file to write.")
def codecs(*, clean: Path, triggers: Path, base: str, faces: int, out: Path) -> None:
    """Tell what a camera's codec leaves of triggers that were before the lens, and what is still found.

    OUT gets the amplitude left, AUROC, and the share found where 5 % of clean faces are flagged, for H.264 and JPEG.
    """
    from gateway.contract.bundle import BundleError
    from trainer.data import DataError
    from trainer.export import write_whole
    from trainer.passage_run import run_codecs
    from trainer.progress import Steps
    from trainer.record import to_json
    from trainer.video_codec import CodecError

    try:
        with Steps() as steps:
            results = run_codecs(clean, triggers, base, faces=faces, progress=steps.show)
    except (DataError, BundleError, CodecError) as error:
        raise click.ClickException(str(error)) from error
    write_whole(out, to_json({"command": _command_line(), **results}).encode())
    for name, row in results["triggers"].items():
        cells = [f"{setting}: {each['amplitude']:.2f}, {each['found']:.2f}" for setting, each in row.items()]
        click.echo(f"{name}  {'  '.join(cells)}")


def _summary(results: dict[str, Any], out: Path) -> dict[str, Any]:
    synthetic = results["synthetic"]
    return {
        "numbers": str(out),
        "clean passages flagged, calibrated": synthetic["calibrated"]["value"],
        "clean passages flagged, uncalibrated": synthetic["uncalibrated"]["value"],
        "found, trigger after decoding": synthetic["regimes"]["digital"]["mean"],
        "found, trigger before the codec": synthetic["regimes"]["camera"]["mean"],
    }


def _command_line() -> str:
    """Return the command as it can be repeated elsewhere: paths are reduced to their last part."""
    return shlex.join(["spectragate-trainer", *(Path(word).name if "/" in word else word for word in sys.argv[1:])])
