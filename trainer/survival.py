"""What a codec leaves of triggers that were there before it, and what a detector then finds: for an operator's choice.

Amplitude is the part of what was added that is still there: the changed pixels after the codec, projected on the change
before it. Faces share frames as in `trainer.video_codec`, clean and triggered ones in the same place.

Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from trainer.measures import Scores, auroc, detection_rate
from trainer.optics import Picture, coded
from trainer.triggers import Trigger
from trainer.video_codec import frame_coded

FALSE_POSITIVE_RATE = 0.05
"""Where detection is told: few faces cannot tell of rarer false alarms."""

Coder = Callable[[Sequence[Picture]], Sequence[Picture]]


def _h264(crf: int) -> Coder:
    return lambda pictures: frame_coded(pictures, np.random.default_rng(0), crf=(crf, crf))


def _jpeg(quality: int) -> Coder:
    return lambda pictures: [coded(picture_YXC, quality) for picture_YXC in pictures]


SETTINGS: Mapping[str, Coder] = MappingProxyType(
    {"none": lambda pictures: pictures}
    | {f"H.264 CRF {crf}": _h264(crf) for crf in (18, 23, 28, 35)}
    | {f"JPEG {quality}": _jpeg(quality) for quality in (95, 80, 60)}
)
"""From nearly transparent to poor, as cameras are set; chroma 4:2:0 in all but `none`."""


def survival(
    faces: Sequence[Picture],
    triggers: Sequence[Trigger],
    scorer: Callable[[Sequence[Picture]], Scores],
    *,
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Return for each trigger and codec setting the amplitude left and what is found, ready for JSON.

    `scorer` scores square faces of any side.

    Raises:
        CodecError: This machine's FFmpeg cannot code H.264.
        ValueError: Too few faces for a threshold.
    """
    rows: dict[str, dict[str, Any]] = {trigger.name: {} for trigger in triggers}
    for number, (setting, code) in enumerate(SETTINGS.items()):
        progress(f"codecs, {setting}", number, len(SETTINGS))
        clean = code(faces)
        clean_N = scorer(clean)
        for trigger in triggers:
            worn = [trigger.apply(face_YXC) for face_YXC in faces]
            seen = code(worn)
            scores_N = scorer(seen)
            rows[trigger.name][setting] = {
                "amplitude": round(amplitude_left(list(zip(faces, worn, clean, seen, strict=True))), 3),
                "auroc": round(auroc(clean_N, scores_N), 3),
                "found": round(detection_rate(clean_N, scores_N, false_positive_rate=FALSE_POSITIVE_RATE), 3),
            }
    return {"faces": len(faces), "false_positive_rate": FALSE_POSITIVE_RATE, "triggers": rows}


def amplitude_left(faces: Sequence[tuple[Picture, Picture, Picture, Picture]]) -> float:
    """Return the share of the change that is left, of (clean, changed, clean coded, changed coded) faces.

    0 where nothing was changed.
    """
    left = whole = 0.0
    for clean, changed, clean_coded, changed_coded in faces:
        before = changed.astype(np.float64) - clean
        after = changed_coded.astype(np.float64) - clean_coded
        left += float((before * after).sum())
        whole += float((before * before).sum())
    return left / whole if whole else 0.0
