"""How long to wait before the next try; pure, the caller brings failures and chance."""

FIRST_S = 0.1
LAST_S = 1.0
JITTER = 0.3
"""Largest share of a pause that chance takes off, so that many parts do not try in step."""


def pause_s(failures: int, *, chance: float, first_s: float = FIRST_S, last_s: float = LAST_S) -> float:
    """Return the pause after so many failures in a row (1, 2, …): doubled each time, never above `last_s`.

    `chance` lies in [0, 1).
    """
    doublings = min(max(0, failures - 1), 32)
    return float(min(last_s, first_s * 2**doublings) * (1.0 - JITTER * chance))
