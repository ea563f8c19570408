"""What every test may ask for: the research data, where there is any."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Before numpy is first imported, as the commands do it: its threads wait busily.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def research_data() -> Path:
    """Return the folder of real faces, clips and triggers; skip the test where the machine has none."""
    folder = os.environ.get("SPECTRAGATE_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the research data: set SPECTRAGATE_TEST_DATA to its folder")
    return Path(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines that tests leave under `report`: what was measured, where nothing but plumbing is asserted."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.stats.get(name, [])]
    lines = [line for report in reports for key, line in report.user_properties if key == "report"]
    if lines:
        terminalreporter.section("reported, not judged")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def interrupts_arrive() -> Iterator[None]:
    """Undo what a shell does to programs in its background: they would ignore SIGINT, and so would their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
