"""The model card: what a bundle is, how it was made and what it reached, in words for an operator."""

from dataclasses import dataclass

from gateway.contract.bundle import Bundle, Calibration, Training
from gateway.contract.network import Profile


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """One row of the test on held-out people.

    `auroc` and `bdr_own` (BDR where 5 % of the same clean test faces are flagged) are None for clean faces; `flagged`
    of `faces` lie above the threshold that flags 5 % of the calibration faces, with its 95 % interval.
    """

    family: str
    faces: int
    auroc: float | None
    bdr_own: float | None
    flagged: int
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class CardFacts:
    """All that the card tells."""

    profile: Profile
    sha256: str
    version: int
    parent: Bundle | None
    training: Training
    calibration: Calibration
    people_tested: int
    results: tuple[FamilyResult, ...]


def model_card(facts: CardFacts) -> str:
    """Return the card as Markdown."""
    return "\n".join([*_head(facts), *_data(facts), *_results(facts), *_limits()]) + "\n"


def _head(facts: CardFacts) -> list[str]:
    profile = facts.profile
    return [
        f"# Bundle `{profile.name}`, version {facts.version}",
        "",
        f"Manifest digest `{facts.sha256}`.",
        "",
        f"Looks at faces of {profile.side_px}×{profile.side_px} px through a DCT and a network of "
        f"{profile.trainable_parameters:,} trainable parameters. Gives a score; higher is more suspicious.",
        "",
        "## How it was made",
        "",
        "```",
        facts.training.command,
        "```",
        "",
        *_parent(facts),
        f"Seed {facts.training.seed}, {facts.training.epochs} epochs, perturbations: "
        f"{', '.join(facts.training.perturbations)}. No trigger of any evaluation took part.",
        "",
    ]


def _parent(facts: CardFacts) -> list[str]:
    if facts.parent is None:
        return []
    return [
        f"It went on from the bundle `{facts.parent.identity.sha256}`, which was made by",
        "",
        "```",
        facts.parent.manifest.training.command,
        "```",
        "",
    ]


def _data(facts: CardFacts) -> list[str]:
    rows = [f"| {data.use} | {data.name} | {data.pictures:,} | `{data.sha256[:16]}…` |" for data in facts.training.data]
    return [
        "| used for | pictures | number | digest of the pixels |",
        "|---|---|---|---|",
        *rows,
        "",
        f"Calibration: {facts.calibration.source}. {len(facts.calibration.clean_faces):,} faces and "
        f"{len(facts.calibration.clean_tracks):,} passages.",
        "",
    ]


def _results(facts: CardFacts) -> list[str]:
    rows = [
        f"| {row.family} | {row.faces} | {_number(row.auroc)} | {_percent(row.bdr_own)} | "
        f"{_percent(row.flagged / row.faces)} [{_percent(row.interval[0])}, {_percent(row.interval[1])}] |"
        for row in facts.results
    ]
    return [
        "## What it reached",
        "",
        f"Faces of {facts.people_tested} people that nothing else used, varied in light, focus and coding as in "
        "training. The perturbations are the kinds that training used: these rows show that training worked, not what "
        "an unknown trigger meets.",
        "",
        "| perturbation | faces | AUROC | found where 5 % of these clean faces are flagged | "
        "flagged at the calibration faces' 5 % threshold [95 % interval] |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def _limits() -> list[str]:
    return [
        "## What it cannot see",
        "",
        "Natural objects (glasses, masks, hats) as triggers; warps; patterns too fine to survive the reduction to the "
        "size above or the camera's codec. A threshold holds only where it was calibrated.",
        "",
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
