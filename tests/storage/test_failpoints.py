"""Fail-points: nothing in production, the end of the process where a test asks for it."""

import os
import signal
import subprocess
import sys

import pytest

from gateway.storage.failpoints import VARIABLE, fail_point, killer

HITS = """
from gateway.storage.failpoints import fail_point
for _ in range(3):
    fail_point('outbox.after_insert')
    print('x', flush=True)
"""


def test_a_fail_point_does_nothing_in_production() -> None:
    """Without the variable the program goes on."""
    assert VARIABLE not in os.environ
    fail_point("outbox.after_insert")


def test_the_process_ends_at_the_nth_hit_when_the_variable_names_it() -> None:
    """The variable is read once, at import; the signal leaves no time to tidy up."""
    environment = {**os.environ, VARIABLE: "outbox.after_insert:3"}
    done = subprocess.run([sys.executable, "-c", HITS], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "x\nx\n")


def test_a_name_that_is_no_fail_point_is_refused() -> None:
    """A misspelt test must not pass for one that survived."""
    with pytest.raises(ValueError, match="there is no fail-point"):
        killer("outbox.after_inset")
