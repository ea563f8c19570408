"""How an environment comes to another bundle: events in, a new state and commands out; pure, without clock or I/O.

A bundle that is offered is staged (fetched, verified, put on the disk, loaded, self-tested), then scores the same faces
as the one in use without being believed, then is activated between two batches, committed to the disk, and watched. It
is confirmed when it has done well for long enough; otherwise the one before it comes back and it is denied for good.

One bundle is under way at a time. An event that comes too late, of a bundle that is not under way any more, changes
nothing.
"""

from dataclasses import dataclass
from typing import Literal

Phase = Literal["steady", "staging", "shadow", "activating", "probation", "restoring"]


@dataclass(frozen=True, slots=True)
class Swap:
    """Where an environment stands; `candidate` is the digest under way, in probation the one in use.

    A pinned environment takes no offers.
    """

    phase: Phase = "steady"
    candidate: str | None = None
    is_pinned: bool = False


@dataclass(frozen=True, slots=True)
class Offered:
    """The channel has another bundle."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Staged:
    """It is on the disk, whole and verified; a session with it is open and passed its self-test."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Missed:
    """It could not be had this time: the channel or the disk failed, which says nothing of the bundle."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It is not what it should be, or behaves as it must not; `reason` is a sentence."""

    sha256: str
    reason: str


@dataclass(frozen=True, slots=True)
class Passed:
    """It did well for long enough: in the shadow, or on probation."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Activated:
    """Every face from now on is judged by it."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Restored:
    """The bundle before it judges again."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """The operator wants the bundle before the one in use, and to stay with it."""


@dataclass(frozen=True, slots=True)
class Pin:
    """The operator wants no other bundle, or takes that back."""

    is_on: bool


Event = Offered | Staged | Missed | Failed | Passed | Activated | Restored | RollBack | Pin


@dataclass(frozen=True, slots=True)
class Stage:
    """Fetch it, verify it, put it on the disk, load and self-test it."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Shadow:
    """Let it score the same faces as the bundle in use, unbelieved."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Activate:
    """Let it judge, from the next batch on."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Commit:
    """Write down that it is in use, on probation."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """Write down that it is good."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Deny:
    """Give its session back and write down that it is never to run here."""

    sha256: str
    reason: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Give its session back; it may be offered again."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Restore:
    """Deny the bundle in use, write it down, and let the one before judge; stay with that where `is_pinned`."""

    reason: str
    is_pinned: bool = False


@dataclass(frozen=True, slots=True)
class KeepPin:
    """Write down that offers are taken, or not."""

    is_on: bool


Command = Stage | Shadow | Activate | Commit | Confirm | Deny | Discard | Restore | KeepPin
Step = tuple[Swap, tuple[Command, ...]]

OPERATOR = "the operator rolled it back"


def advance(state: Swap, event: Event) -> Step:
    """Return what follows from an event and what is to be done."""
    match event:
        case RollBack():
            return _roll_back(state)
        case Pin(is_on):
            return _pin(state, is_on=is_on)
        case Restored():
            return (_steady(state), ()) if state.phase == "restoring" else (state, ())
        case Offered(sha256):
            if state.phase != "steady" or state.is_pinned:
                return state, ()
            return Swap("staging", sha256), (Stage(sha256),)
        case Staged() | Missed() | Failed() | Passed() | Activated():
            return _of_candidate(state, event) if event.sha256 == state.candidate else (state, ())


def _of_candidate(state: Swap, event: Staged | Missed | Failed | Passed | Activated) -> Step:
    sha256 = event.sha256
    match state.phase, event:
        case "staging", Staged():
            return _in("shadow", state), (Shadow(sha256),)
        case "staging", Missed():
            return _steady(state), (Discard(sha256),)
        case "shadow", Passed():
            return _in("activating", state), (Activate(sha256),)
        case "activating", Activated():
            return _in("probation", state), (Commit(sha256),)
        case "probation", Passed():
            return _steady(state), (Confirm(sha256),)
        case (("staging" | "shadow" | "activating"), Failed(_, reason)):
            return _steady(state), (Deny(sha256, reason),)
        case "probation", Failed(_, reason):
            return _in("restoring", state), (Restore(reason),)
    return state, ()


def _roll_back(state: Swap) -> Step:
    """Undo the bundle in use; what is still under way is let go, except in the one instant of its activation."""
    match state.phase:
        case "activating" | "restoring":
            return state, ()
        case "staging" | "shadow":
            let_go: tuple[Command, ...] = (Discard(str(state.candidate)),)
        case _:
            let_go = ()
    return Swap("restoring", None, is_pinned=True), (*let_go, Restore(OPERATOR, is_pinned=True))


def _pin(state: Swap, *, is_on: bool) -> Step:
    """Take no more offers, or take them again; what is under way and not in use yet is let go."""
    keep = KeepPin(is_on)
    if is_on and state.candidate is not None and state.phase in {"staging", "shadow"}:
        return Swap("steady", None, is_pinned=True), (Discard(state.candidate), keep)
    return Swap(state.phase, state.candidate, is_pinned=is_on), (keep,)


def _in(phase: Phase, state: Swap) -> Swap:
    return Swap(phase, state.candidate, state.is_pinned)


def _steady(state: Swap) -> Swap:
    return Swap("steady", None, state.is_pinned)
