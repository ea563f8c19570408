"""What the paper printed: Tables II, III and IV as ACC / BDR in %, and the false-positive rates of its text.

Only BDR and the stated FPR are compared with; ACC follows from both. A row's FPR need not be the one its ACC and BDR
imply (reference, section 1.6): the text's is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TRIGGERS = ("badnets", "trojan_wm", "trojan_sq", "nature", "blend", "gan")
"""Columns of the tables."""

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "badnets": "BadNets",
        "trojan_wm": "Troj_WM",
        "trojan_sq": "Troj_SQ",
        "nature": "Nature",
        "blend": "Blend",
        "gan": "GAN",
    }
)

ENVIRONMENTS = ("original", "brightness", "motion")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: ACC and BDR by trigger, in %."""

    acc: tuple[float, ...]
    bdr: tuple[float, ...]


TABLE_II: Mapping[str, Row] = MappingProxyType(
    {
        "none": Row((72.8, 62.0, 82.65, 52.4, 50.65, 50.3), (54.7, 33.1, 74.4, 13.9, 10.4, 9.7)),
        "fc": Row((82.5, 93.45, 93.45, 92.2, 92.95, 88.2), (78.1, 100, 100, 97.5, 99.0, 89.5)),
        "last1": Row((87.35, 96.8, 96.8, 95.25, 95.65, 89.0), (81.1, 100, 100, 96.9, 97.7, 84.4)),
        "last2": Row((85.55, 91.9, 91.9, 91.9, 91.45, 89.85), (93.3, 100, 100, 100, 99.1, 95.9)),
        "last3": Row((85.55, 96.8, 96.8, 95.45, 95.45, 86.55), (77.5, 100, 100, 97.3, 97.3, 79.5)),
        "all": Row((84.6, 95.6, 95.6, 94.5, 94.95, 88.3), (78.0, 100, 100, 97.8, 98.7, 85.4)),
        "scratch": Row((51.3, 66.2, 56.4, 54.5, 73.1, 56.7), (19.2, 19.2, 19.2, 19.2, 19.2, 32.6)),
    }
)
"""PubFig, by the layers that were fine-tuned."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table by environment: without and with fine-tuning, and the FPR in % that the text states for the latter."""

    name: str
    faces: str
    before: Mapping[str, Row]
    after: Mapping[str, Row]
    fpr: Mapping[str, float]


TABLE_III = Table(
    name="Table III",
    faces="PubFig",
    before={
        "original": TABLE_II["none"],
        "brightness": Row((68.0, 60.6, 79.3, 53.0, 50.3, 50.0), (42.6, 27.8, 65.2, 12.6, 7.2, 6.6)),
        "motion": Row((75.1, 63.3, 86.0, 53.9, 51.4, 50.6), (58.6, 35.0, 80.8, 15.4, 10.0, 8.4)),
    },
    after={
        "original": Row((85.5, 91.9, 91.9, 91.9, 91.45, 89.85), (93.3, 100, 100, 100, 99.1, 95.9)),
        "brightness": Row((83.33, 89.97, 89.97, 87.63, 89.84, 85.3), (87.31, 100, 100, 95.15, 100, 92.2)),
        "motion": Row((85.1, 89.8, 89.7, 88.8, 89.0, 86.2), (91.8, 100, 100, 99.8, 99.8, 94.2)),
    },
    fpr={"original": 16.2, "brightness": 21.6, "motion": 21.0},
)

TABLE_IV = Table(
    name="Table IV",
    faces="CelebA",
    before={
        "original": Row((78.4, 59.4, 87.1, 54.5, 49.9, 50.3), (65.8, 27.8, 83.2, 18.0, 8.8, 9.6)),
        "brightness": Row((72.5, 58.0, 83.9, 51.7, 50.0, 49.9), (53.2, 24.2, 76.0, 11.6, 8.2, 8.0)),
        "motion": Row((81.2, 61.2, 89.1, 51.9, 49.5, 48.9), (70.8, 32.0, 87.8, 12.0, 7.6, 7.4)),
    },
    after={
        "original": Row((86.4, 90.8, 90.6, 89.9, 84.5, 83.1), (91.2, 100, 99.6, 98.2, 87.4, 84.6)),
        "brightness": Row((84.8, 90.8, 90.6, 87.2, 85.7, 84.1), (88.0, 100, 99.6, 92.8, 89.8, 84.63)),
        "motion": Row((84.0, 91.6, 89.8, 87.2, 83.4, 82.3), (87.0, 100, 99.4, 92.6, 89.6, 93.4)),
    },
    fpr={"original": 18.4, "brightness": 18.4, "motion": 22.0},
)

TABLES = (TABLE_III, TABLE_IV)

AUTOENCODER_WORST_BDR: Mapping[str, float] = MappingProxyType({"PubFig": 10.0, "CelebA": 2.6})
OURS_WORST_BDR: Mapping[str, float] = MappingProxyType({"PubFig": 87.31, "CelebA": 84.6})
"""The worst cases of the text; the bars of Figures 5 and 6 have no numbers."""
