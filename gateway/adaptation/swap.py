"""How an environment comes to another bundle: events in, a new state and commands out; pure, without clock or I/O.

A bundle that is offered is staged (fetched, verified, put on the disk, loaded, self-tested), then scores the same faces
as the one in use without being believed, then is activated between two batches, committed to the disk, and watched. It
is confirmed when it has done well for long enough; otherwise the one before it comes back and it is denied for good.

One bundle is under way at a time. An event that comes too late, of a bundle that is not under way any more, changes
nothing. What an operator writes on the disk is followed: the disk names what is to run.
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
class _OfBundle:
    """What concerns the bundle whose manifest has this digest."""

    sha256: str


class Offered(_OfBundle):
    """The channel has another bundle."""


class Staged(_OfBundle):
    """It is on the disk, whole and verified; a session with it is open and passed its self-test."""


class Missed(_OfBundle):
    """It could not be had this time, which says nothing of the bundle: the channel or the disk failed, or time ran out.

    Or an operator did not want it any more when it was about to judge.
    """


@dataclass(frozen=True, slots=True)
class Failed(_OfBundle):
    """It is not what it should be, or behaves as it must not; `reason` is a sentence."""

    reason: str


class Passed(_OfBundle):
    """It did well for long enough: in the shadow, or on probation."""


class Activated(_OfBundle):
    """Every face from now on is judged by it."""


@dataclass(frozen=True, slots=True)
class Named(_OfBundle):
    """An operator wrote on the disk, which names this bundle now; `is_running` where it is the one in use already."""

    is_running: bool
    is_on_probation: bool
    is_pinned: bool


class Followed(_OfBundle):
    """The bundle that the disk names judges."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The bundle before it judges again."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """The operator wants the bundle before the one in use, and to stay with it."""


OfCandidate = Staged | Missed | Failed | Passed | Activated | Followed
Event = Offered | OfCandidate | Named | Restored | RollBack


class Stage(_OfBundle):
    """Fetch it, verify it, put it on the disk, load and self-test it."""


class Shadow(_OfBundle):
    """Let it score the same faces as the bundle in use, unbelieved."""


class Activate(_OfBundle):
    """Let it judge, from the next batch on."""


class Commit(_OfBundle):
    """Write down that it is in use, on probation."""


class Confirm(_OfBundle):
    """Write down that it is good."""


@dataclass(frozen=True, slots=True)
class Deny(_OfBundle):
    """Give its session back and write down that it is never to run here."""

    reason: str


class Discard(_OfBundle):
    """Give its session back; it may be offered again."""


class Follow(_OfBundle):
    """Let the bundle that the disk names judge, from the next batch on."""


@dataclass(frozen=True, slots=True)
class Restore:
    """Let the bundle before the one in use judge, write it down and deny that one; stay there where `is_pinned`."""

    reason: str
    is_pinned: bool = False


Command = Stage | Shadow | Activate | Commit | Confirm | Deny | Discard | Follow | Restore
Step = tuple[Swap, tuple[Command, ...]]

OPERATOR = "the operator rolled it back"


def advance(state: Swap, event: Event) -> Step:
    """Return what follows from an event and what is to be done."""
    match event:
        case RollBack():
            return _roll_back(state)
        case Named():
            return _named(state, event)
        case Restored():
            return (_steady(state), ()) if state.phase == "restoring" else (state, ())
        case Offered(sha256):
            if state.phase != "steady" or state.is_pinned:
                return state, ()
            return Swap("staging", sha256), (Stage(sha256),)
        case _:
            return _of_candidate(state, event) if event.sha256 == state.candidate else (state, ())


def _of_candidate(state: Swap, event: OfCandidate) -> Step:
    sha256 = event.sha256
    match state.phase, event:
        case "staging", Staged():
            return _in("shadow", state), (Shadow(sha256),)
        case (("staging" | "shadow" | "activating" | "restoring"), Missed()):
            return _steady(state), (Discard(sha256),)
        case "shadow", Passed():
            return _in("activating", state), (Activate(sha256),)
        case "activating", Activated():
            return _in("probation", state), (Commit(sha256),)
        case "activating", Followed():
            return _in("probation", state), ()
        case "restoring", Followed():
            return _steady(state), ()
        case "probation", Passed():
            return _steady(state), (Confirm(sha256),)
        case (("staging" | "shadow" | "activating" | "restoring"), Failed(_, reason)):
            return _steady(state), (Deny(sha256, reason),)
        case "probation", Failed(_, reason):
            return Swap("restoring", None, state.is_pinned), (Restore(reason),)
    return state, ()


def _roll_back(state: Swap) -> Step:
    """Undo the bundle in use; what is still under way is let go, except in the one instant of its activation."""
    if state.phase in {"activating", "restoring"}:
        return state, ()
    return Swap("restoring", None, is_pinned=True), (*_let_go(state), Restore(OPERATOR, is_pinned=True))


def _named(state: Swap, named: Named) -> Step:
    """Follow the disk; what is under way and not in use yet is let go, except where it may still be taken."""
    if state.phase in {"activating", "restoring"}:
        return state, ()
    if not named.is_running:
        phase: Phase = "activating" if named.is_on_probation else "restoring"
        return Swap(phase, named.sha256, named.is_pinned), (*_let_go(state), Follow(named.sha256))
    if named.is_pinned and state.phase != "probation":
        return Swap("steady", None, is_pinned=True), _let_go(state)
    return Swap(state.phase, state.candidate, named.is_pinned), ()


def _let_go(state: Swap) -> tuple[Command, ...]:
    """Return what gives back a bundle that does not judge yet."""
    return (Discard(str(state.candidate)),) if state.phase in {"staging", "shadow"} else ()


def _in(phase: Phase, state: Swap) -> Swap:
    return Swap(phase, state.candidate, state.is_pinned)


def _steady(state: Swap) -> Swap:
    return Swap("steady", None, state.is_pinned)
