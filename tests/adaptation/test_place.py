"""What an updater works with."""

import inspect
import re

from gateway.adaptation import updater
from gateway.adaptation.place import PACE, Place


def test_place_offers_what_an_updater_asks_of_it_and_nothing_else() -> None:
    """A method that nobody calls, or that no place has to have, would be a promise about nothing."""
    asked = set(re.findall(r"self\._place\.(\w+)", inspect.getsource(updater)))
    assert {name for name in vars(Place) if not name.startswith("_")} == asked


def test_patience_lets_a_bundle_show_itself() -> None:
    """Where nothing is configured a bundle is tried on thousands of faces, or for minutes."""
    assert PACE.shadow.faces >= 1000
    assert PACE.probation.longest_s >= PACE.poll_s
