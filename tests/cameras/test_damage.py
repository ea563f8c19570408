"""Which frames count as spoiled, as tables of frames in the order they are shown."""

from dataclasses import dataclass

import pytest

from gateway.cameras.damage import LONGEST_RUN, DamageFilter

TYPES = {"I": 1, "P": 2, "B": 3}


@dataclass(frozen=True)
class Shown:
    """A decoded frame as PyAV describes it."""

    pts: int | None
    is_corrupt: bool
    key_frame: int
    pict_type: int


def run(script: str, *, reorders: bool = True) -> str:
    """Feed a script of frames (I, P, B; ! marks a corrupt one, x a packet that failed) and return . or x per frame."""
    damage: DamageFilter[Shown] = DamageFilter()
    settled: list[tuple[Shown, bool]] = []
    for position, token in enumerate(script.split()):
        if token == "x":
            damage.lost(position)
        else:
            shown = Shown(position, token.endswith("!"), int(token[0] == "I"), TYPES[token[0]])
            settled += damage.take(shown, reorders=reorders)
    settled += damage.flush()
    assert [frame.pts for frame, _ in settled] == [i for i, token in enumerate(script.split()) if token != "x"]
    return "".join("x" if is_spoiled else "." for _, is_spoiled in settled)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("I P P I P", "....."),
        ("I P! P P I P", ".xxx.."),
        ("I P P I! P I", "...xx."),
        ("I P x P P I", "..xx."),
        ("I B B P B B P", "......."),
        ("I B B P! B B P I", ".xxxxxx."),
        ("I P B B! B P I", "..xxxx."),
        ("I P! B B I B B P", ".xxx...."),
        ("I B B x P I", ".xxx."),
        ("P! P P", "xxx"),
        ("x I P", ".."),
    ],
)
def test_frames_are_spoiled_from_damage_to_the_next_keyframe(script: str, expected: str) -> None:
    """The harm reaches forward to the keyframe and back over the B-frames that were held."""
    assert run(script) == expected


def test_a_keyframe_from_before_the_damage_does_not_mend_it() -> None:
    """A decoder may hand out a keyframe after a later packet has failed already."""
    damage: DamageFilter[Shown] = DamageFilter()
    damage.lost(10)
    early = damage.take(Shown(8, False, 1, TYPES["I"]), reorders=False)
    late = damage.take(Shown(12, False, 1, TYPES["I"]), reorders=False)
    assert [spoiled for _, spoiled in early + late] == [True, False]


def test_a_keyframe_without_a_time_stamp_mends_damage() -> None:
    """Where nothing is known of the order, the decoder's own is taken."""
    damage: DamageFilter[Shown] = DamageFilter()
    damage.lost(None)
    assert damage.take(Shown(None, False, 1, TYPES["I"]), reorders=False)[0][1] is False


def test_no_frame_is_held_when_the_stream_does_not_reorder() -> None:
    """A stream of B-frames that only point back costs no delay."""
    damage: DamageFilter[Shown] = DamageFilter()
    assert len(damage.take(Shown(0, False, 0, TYPES["B"]), reorders=False)) == 1


def test_frames_are_let_go_when_the_run_is_longer_than_any_codecs() -> None:
    """What is held is bounded."""
    damage: DamageFilter[Shown] = DamageFilter()
    sizes = [len(damage.take(Shown(i, False, 0, TYPES["B"]), reorders=True)) for i in range(LONGEST_RUN)]
    assert sizes == [0] * (LONGEST_RUN - 1) + [LONGEST_RUN]
