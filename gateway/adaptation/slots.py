"""Which bundle an environment runs, which one it ran before, and which it never runs again. Pure: `store` keeps it.

Digests are those of manifests; None is the factory's bundle, which is always there.
"""

from dataclasses import dataclass, field, replace
from typing import Self

from gateway.contract.bundle import BundleError

MOST_DENIED = 256
MOST_STARTS = 16

NOTHING_BEFORE = "the bundle that came along runs; there is nothing to go back to"


@dataclass(frozen=True, slots=True)
class Slots:
    """What the store knows of one environment.

    `floor_version` is the highest version that was ever active: the channel never offers less. `probation` holds from
    an activation until it is confirmed or undone. `pinned` keeps the channel's offers out until it is taken away:
    the digest that the operator wants, or "factory".
    """

    active: str | None = None
    previous: str | None = None
    floor_version: int = 0
    denied: dict[str, str] = field(default_factory=dict)
    pinned: str | None = None
    probation: bool = False
    starts_s: tuple[float, ...] = ()

    def wants(self, sha256: str, version: int) -> bool:
        """Return whether the channel's bundle may run: not denied, not kept out by a pin, newer than all before it."""
        is_kept_out = self.pinned not in {None, sha256}
        return sha256 not in self.denied and not is_kept_out and (version > self.floor_version or sha256 == self.active)

    def activated(self, sha256: str, version: int) -> Self:
        """Run this bundle from now on, on probation.

        Raises:
            BundleError: It was denied.
        """
        if sha256 in self.denied:
            raise BundleError(f"bundle {sha256[:12]}… was denied here: {self.denied[sha256]}")
        if sha256 == self.active:
            return self
        return replace(
            self,
            active=sha256,
            previous=self.active,
            floor_version=max(self.floor_version, version),
            probation=True,
            starts_s=(),
        )

    def confirmed(self) -> Self:
        """End the probation well."""
        return replace(self, probation=False, starts_s=())

    def restored(self, reason: str) -> Self:
        """Undo the active bundle and deny it for good; without one there is nothing to undo."""
        if self.active is None:
            return replace(self, probation=False, starts_s=())
        return self.with_denied(self.active, reason)

    def rolled_back(self, reason: str) -> Self:
        """Undo the active bundle because the operator says so, and stay with what is returned to.

        Raises:
            BundleError: Nothing was ever installed, or all of it was undone.
        """
        if self.active is None:
            raise BundleError(NOTHING_BEFORE)
        return self.restored(reason).staying()

    def staying(self) -> Self:
        """Stay with the active bundle whatever the channel offers."""
        return self.with_pin(self.active or "factory")

    def with_denied(self, sha256: str, reason: str) -> Self:
        """Never run this bundle again: where it is active the one before is, and where it was pinned that one is.

        Of too many denied ones the oldest are forgotten, whose versions are passed.
        """
        denied = {known: why for known, why in self.denied.items() if known != sha256} | {sha256: reason[:200]}
        kept = dict(list(denied.items())[-MOST_DENIED:])
        after = replace(self, denied=kept, previous=None if self.previous == sha256 else self.previous)
        if self.active == sha256:
            after = replace(after, active=after.previous, previous=None, probation=False, starts_s=())
        return after.staying() if self.pinned == sha256 else after

    def with_pin(self, sha256: str | None) -> Self:
        """Stay with a bundle whatever the channel offers, or take new ones again."""
        return replace(self, pinned=sha256)

    def with_start(self, now_s: float) -> Self:
        """Note that a process began with the active bundle."""
        return replace(self, starts_s=(*self.starts_s, now_s)[-MOST_STARTS:])

    def starts_within(self, now_s: float, window_s: float) -> int:
        """Return how many processes began in the last `window_s` seconds without one that stayed well."""
        return sum(1 for start_s in self.starts_s if 0 <= now_s - start_s <= window_s)

    def healthy(self) -> Self:
        """Forget the starts: this one stayed well."""
        return replace(self, starts_s=())
