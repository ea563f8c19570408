"""A camera's watch as text, so that it survives a restart: learning takes days, and drift must not be forgotten.

What can be computed from the tracks is computed again; features are kept as 32-bit floats, as `Sample` rounds them.
"""

import base64
import json
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gateway.adaptation.adwin import Adwin
from gateway.adaptation.drift import DELTA, MOST_REFERENCE, WINDOW, Change, Finding, Sample, Watch, make_reference
from gateway.adaptation.features import FEATURES

_FORMAT = 1


def to_text(watch: Watch) -> str:
    """Return a watch as JSON."""
    finding = watch.finding
    return json.dumps(
        {
            "format": _FORMAT,
            "tracks": watch.tracks,
            "wanted": watch.wanted,
            "over": watch.over,
            "far": watch.far,
            "under": watch.under,
            "is_frozen": watch.reference is not None,
            "kept": _packed(watch.kept),
            "newest": _packed(watch.newest),
            "adwins": [[each.seen, each.rows] for each in watch.adwins],
            "changed_at_s": watch.changed_at_s,
            "state": finding.state,
            "statistic": finding.statistic,
            "changes": [[each.scalar, each.word, each.before, each.now, each.since_s] for each in finding.changes],
        },
        separators=(",", ":"),
    )


def from_text(text: str) -> Watch:
    """Return the watch that `to_text` wrote.

    Raises:
        ValueError: It wrote something else.
    """
    try:
        return _watch(json.loads(text))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"what is kept of a camera's drift cannot be read: {error!r}") from None


def _watch(facts: dict[str, Any]) -> Watch:
    if facts["format"] != _FORMAT:
        raise ValueError(f"what is kept of a camera's drift has format {facts['format']}, not {_FORMAT}")
    kept = _unpacked(facts["kept"], MOST_REFERENCE)
    reference = make_reference(kept) if facts["is_frozen"] else None
    tracks, wanted = int(facts["tracks"]), int(facts["wanted"])
    return Watch(
        kept=kept,
        newest=deque(_unpacked(facts["newest"], WINDOW), maxlen=WINDOW),
        adwins=[_adwin(*each) for each in facts["adwins"]],
        changed_at_s=[None if each is None else float(each) for each in facts["changed_at_s"]],
        reference=reference,
        tracks=tracks,
        wanted=wanted,
        over=int(facts["over"]),
        far=int(facts.get("far", 0)),
        under=int(facts["under"]),
        finding=Finding(
            facts["state"],
            tracks,
            wanted,
            facts["statistic"],
            None if reference is None else reference.threshold,
            tuple(Change(*each) for each in facts["changes"]),
        ),
    )


def _adwin(seen: int, rows: Sequence[tuple[int, float, float]]) -> Adwin:
    return Adwin(DELTA, [(int(count), float(total), float(squares)) for count, total, squares in rows], int(seen))


def _packed(samples: Iterable[Sample]) -> dict[str, Any]:
    listed = list(samples)
    values = np.array([[*each.features_F, each.score] for each in listed], dtype="<f4")
    return {"times_s": [each.time_s for each in listed], "values": base64.b64encode(values.tobytes()).decode()}


def _unpacked(facts: dict[str, Any], most: int) -> list[Sample]:
    values = np.frombuffer(base64.b64decode(facts["values"], validate=True), dtype="<f4").reshape(-1, FEATURES + 1)
    times_s = [float(each) for each in facts["times_s"]]
    if len(times_s) != len(values) or len(values) > most or not np.isfinite(values).all():
        raise ValueError("what is kept of a camera's drift is cut short or damaged")
    return [
        Sample(time_s, row[:-1].astype(np.float64), float(row[-1])) for time_s, row in zip(times_s, values, strict=True)
    ]
