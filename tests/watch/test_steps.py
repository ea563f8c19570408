"""What the core may tell its driver."""

from io import StringIO
from typing import Any, get_args

import pytest

from gateway.settings import BrokerSettings
from gateway.watch.console import Console
from gateway.watch.steps import (
    Ask,
    Deliver,
    GapFilled,
    GapLost,
    GapNoticed,
    Garbled,
    HeldBack,
    NoAnswer,
    Renumbered,
    Step,
)

EXAMPLES: dict[type, tuple[Any, ...]] = {
    GapNoticed: ("spectragate/box", 3, 6),
    GapFilled: ("spectragate/box", 3, 6, 0.75),
    GapLost: ("spectragate/box", 3, 3, "gone"),
    HeldBack: ("spectragate/box", 3, 6),
    Renumbered: ("spectragate/box", 1),
    NoAnswer: ("spectragate/box",),
    Garbled: ("plant/alerts", "not JSON"),
}


@pytest.mark.parametrize("kind", [kind for kind in get_args(Step) if kind not in {Deliver, Ask}])
def test_step_is_told_in_one_line(kind: type) -> None:
    """Whatever is missing or odd is one line on stderr that names the box or the topic."""
    err = StringIO()
    Console(BrokerSettings(), err=err).tell(kind(*EXAMPLES[kind]), now_s=0.0)
    assert err.getvalue().count("\n") == 1
    assert EXAMPLES[kind][0] in err.getvalue()
