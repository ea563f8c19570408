"""Benches report rows; the table is printed at the end of the run."""

from collections.abc import Callable

import pytest

ROWS = pytest.StashKey[list[str]]()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that adds a row to the table of measurements."""
    rows = request.config.stash.setdefault(ROWS, [])
    return rows.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was measured."""
    rows = config.stash.get(ROWS, [])
    if rows:
        terminalreporter.section("measured speed (ratios within this run; absolute times are this machine's)")
        for row in rows:
            terminalreporter.write_line(row)
