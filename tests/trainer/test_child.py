"""A process that ends with its parent, before and while it imports what it runs."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.processes import is_running, wait_until

from trainer.child import PARENT

PARENT_CODE = f"""
import os, subprocess, sys
named = os.environ | {{"{PARENT}": str(os.getpid())}}
child = subprocess.Popen([sys.executable, "-m", "trainer.child", *sys.argv[1:]], env=named)
print(child.pid, flush=True)
child.wait()
"""


def environment(folder: Path) -> dict[str, str]:
    """Return where modules of the test's own are found."""
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parents[2]}"}


@pytest.mark.end_to_end
async def test_child_ends_with_its_parent_when_that_is_killed_while_it_still_imports(tmp_path: Path) -> None:
    """A job's process takes seconds to import torch: it must not go on alone afterwards."""
    (tmp_path / "slow.py").write_text("import sys, time\nopen(sys.argv[1], 'w').close()\ntime.sleep(1000)\n")
    begun = tmp_path / "begun"
    command = [sys.executable, "-c", PARENT_CODE, "slow", str(begun)]
    parent = await asyncio.create_subprocess_exec(*command, env=environment(tmp_path), stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    await wait_until(begun.exists, within_s=50)
    assert is_running(child)
    parent.kill()
    await parent.wait()
    await wait_until(lambda: not is_running(child))


def test_child_does_not_begin_when_its_parent_is_gone(tmp_path: Path) -> None:
    """It was killed between the fork and here: nobody would wait for what comes."""
    (tmp_path / "loud.py").write_text("print('begun')\n")
    command = [sys.executable, "-m", "trainer.child", "loud"]
    done = subprocess.run(
        command, env=environment(tmp_path) | {PARENT: "1"}, capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
