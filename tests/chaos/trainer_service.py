"""The trainer's whole service, forked from a process that has imported it, for every line on the input: to be killed.

A line is a `Life` as JSON; the answer is the process id. What `spectragate-trainer serve` runs is run, but for two
parts: the clock stands as the life says, so that days pass between two of them, and jobs write a drawn bundle.
"""

import asyncio
import datetime as dt
import hashlib
import json
import os
import random
import sys
import traceback
import uuid
from dataclasses import dataclass
from pathlib import Path

from chaos.killer import die_with_parent
from fakes.trainer_parts import CARD, FAILED_CARD

from gateway.contract.bundle import MANIFEST_NAME
from gateway.contract.exchange import read_part
from gateway.contract.repository import BUNDLE_FILES
from gateway.models.shipped import SHIPPED_SHA256
from trainer.executor import JobFailed
from trainer.export import write_whole
from trainer.job_run import Order, Result
from trainer.keys import OnlineKeys
from trainer.publish import RepositoryPublisher
from trainer.repository import Repository
from trainer.service_config import read_config
from trainer.serving import log_as_json, serve
from trainer.vault import KeyHandle

DRAWN = "drawn"
"""Folder of the bundle whose manifest each job changes."""

LONGEST_STEP_S = 0.08
_FAIL_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Life:
    """One service: where it logs, how its dice fall, and by how much its clock is ahead."""

    folder: str
    log: str
    seed: int
    ahead_s: float


def is_refused(clean_set_sha256: str) -> bool:
    """Return whether the gates refuse this set, whoever asks and whenever."""
    return int(clean_set_sha256[0], 16) < 4


class DrawnExecutor:
    """Opens the faces as a job does, falls over at times, and gives each run a bundle of a digest of its own."""

    def __init__(self, drawn: Path, seed: int) -> None:
        self._drawn, self._dice = drawn, random.Random(seed)

    async def run(self, folder: Path, handle: KeyHandle) -> None:
        """Write bundle and result, with time to be killed in between."""
        order, key = Order.model_validate_json((folder / "order.json").read_bytes()), handle.open()
        for part in order.clean_set.parts:
            read_part(key.open((folder / "parts" / part.sha256).read_bytes(), part.sha256), part)
        await self._pause()
        if self._dice.random() < _FAIL_SHARE:
            raise JobFailed("fell over")
        (folder / "bundle").mkdir()
        for name in BUNDLE_FILES:
            content = (self._drawn / name).read_bytes()
            if name == MANIFEST_NAME:
                content = _adapted(content, order)
                sha256 = hashlib.sha256(content).hexdigest()
            (folder / "bundle" / name).write_bytes(content)
            await self._pause()
        card = FAILED_CARD if is_refused(order.clean_set.sha256) else CARD
        result = Result(scorecard=card, bundle_sha256=sha256)
        write_whole(folder / "result.json", result.model_dump_json().encode())
        await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(self._dice.uniform(0, LONGEST_STEP_S))


def _adapted(manifest: bytes, order: Order) -> bytes:
    facts = json.loads(manifest)
    facts["training"]["command"] = uuid.uuid4().hex
    child = {"version": order.version, "environment": order.clean_set.environment}
    return json.dumps(facts | child | {"parent_sha256": SHIPPED_SHA256["paper"]}).encode()


def _live(life: Life) -> None:
    log_as_json()
    folder, ahead = Path(life.folder), dt.timedelta(seconds=life.ahead_s)
    config = read_config(folder / "trainer.yaml")
    keys = OnlineKeys.load(config.keys / "online", config.passphrase.get_secret_value())
    repository = config.keys / "repository"
    served = serve(
        config,
        RepositoryPublisher(Repository(repository, keys)),
        repository=repository,
        executor=DrawnExecutor(folder / DRAWN, life.seed),
        now=lambda: dt.datetime.now(dt.UTC) + ahead,
    )
    asyncio.run(served)


def _fork(life: Life) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with_parent()
        log = os.open(life.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        _live(life)
        code = 0
    except BaseException:  # noqa: BLE001 (a forked child must not return into its parent's code)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _main() -> None:
    die_with_parent()
    print("ready", flush=True)
    for line in sys.stdin:
        pid = _fork(Life(**json.loads(line)))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _main()
