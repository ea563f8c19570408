"""Parts of the trainer's service that do no training: an executor that writes results, a publisher that notes."""

import datetime as dt
import os
import uuid
from pathlib import Path

from gateway.contract.exchange import Gate, Scorecard
from trainer.executor import JobFailed
from trainer.export import write_whole
from trainer.job_run import Result
from trainer.vault import KeyHandle
from trainer.worker import PublishLater

CARD = Scorecard(gates=(Gate(name="clean_false_alarms", passed=True, value=0.0, limit=0.1, words="none"),))
FAILED_CARD = Scorecard(gates=(Gate(name="distance_from_base", passed=False, value=2, limit=1, words="went too far"),))


class NotingExecutor:
    """Gives each run a bundle of its own digest, so that a job done twice would be seen if both were published."""

    def __init__(self, *, card: Scorecard | None = CARD, refusal: str | None = None, fails: int = 0) -> None:
        self.card, self.refusal, self.fails, self.runs = card, refusal, fails, 0

    async def run(self, folder: Path, handle: KeyHandle) -> None:
        """Write the result."""
        handle.open()
        self.runs += 1
        if self.runs <= self.fails:
            raise JobFailed("fell over")
        (folder / "bundle").mkdir()
        sha256 = uuid.uuid4().hex * 2
        write_whole(folder / "bundle/digest", f"{folder.name} {sha256}".encode())
        result = Result(scorecard=self.card, refusal=self.refusal, bundle_sha256=sha256)
        write_whole(folder / "result.json", result.model_dump_json().encode())


class NotingPublisher:
    """Keeps one file for every bundle that was published, as the repository does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_held = False
        folder.mkdir(exist_ok=True)

    def next_version(self, environment: str) -> int:
        """Count on."""
        return 1 + len(list(self.folder.iterdir()))

    def publish(self, bundle: Path, *, environment: str, now: dt.datetime) -> str:
        """Note the bundle."""
        if self.is_held:
            raise PublishLater("another process writes")
        job, sha256 = (bundle / "digest").read_text("utf-8").split()
        descriptor = os.open(self.folder / f"{job}.{sha256}", os.O_CREAT | os.O_WRONLY)
        os.close(descriptor)
        return sha256

    def refresh(self, now: dt.datetime) -> None:
        """Sign nothing."""
        if self.is_held:
            raise PublishLater("another process writes")

    def ending(self, now: dt.datetime) -> str | None:
        """Return that nothing ends."""
        return None
