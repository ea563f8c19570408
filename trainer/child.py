"""Runs a module as a process that ends with its parent: `python -m trainer.child MODULE ARGUMENTS`.

The bond is made before the module is imported, which takes seconds where it imports torch.
"""

import ctypes
import os
import runpy
import signal
import sys

PARENT = "SPECTRAGATE_JOB_PARENT"
"""Names the process id of the parent, in the environment."""

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, however it does."""
    parent = int(os.environ[PARENT])
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)


if __name__ == "__main__":
    die_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
