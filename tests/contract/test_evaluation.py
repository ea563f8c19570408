"""The brief of an evaluation, as it ships beside a bundle."""

import pytest
from pydantic import ValidationError

from gateway.contract.evaluation import Cell, Evaluation, Found, Source, Trigger

CELL = Cell(
    source="lfw",
    environment="dark",
    regime="jpeg",
    detector="shipped",
    fpr=(0.1, 0.05, 0.01),
    found={"sticker": Found(faces=10, auroc=0.9, bdr=(0.8, 0.7, 0.5))},
)


def evaluation(cell: Cell) -> Evaluation:
    """Return an evaluation of one cell."""
    return Evaluation(
        model_sha256="ab" * 32,
        results_sha256="cd" * 32,
        triggers={"sticker": Trigger(title="Sticker", is_seen=True)},
        environments={"dark": "dark"},
        regimes={"jpeg": "behind JPEG"},
        sources={"lfw": Source(faces=10, people=3)},
        cells=(cell,),
    )


def test_it_is_read_as_it_was_written() -> None:
    """JSON and back."""
    made = evaluation(CELL)
    assert Evaluation.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    "change",
    [{"source": "ytf"}, {"environment": "noon"}, {"regime": "raw"}, {"found": {"hat": CELL.found["sticker"]}}],
)
def test_cell_of_what_is_not_explained_is_refused(change: dict[str, object]) -> None:
    """Nobody has to guess what a column means."""
    with pytest.raises(ValidationError, match="not explained"):
        evaluation(CELL.model_copy(update=change))
