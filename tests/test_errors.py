"""Errors that are split by who must act."""

import pytest

from gateway import errors

FAMILY = [errors.ConfigError, errors.SourceError, errors.DeliveryError, errors.StorageError, errors.RuntimeFault]
OUR_OWN = {errors.ScoreFault, errors.LateFault}
ALL = [*FAMILY, errors.ExchangeError, *OUR_OWN]


@pytest.mark.parametrize("kind", FAMILY)
def test_error_is_one_of_ours_and_says_its_text(kind: type[errors.SpectragateError]) -> None:
    """The CLI catches the base class and prints the text as it is."""
    with pytest.raises(errors.SpectragateError) as caught:
        raise kind("gate.mp4: cannot be read; check the path")
    assert str(caught.value) == "gate.mp4: cannot be read; check the path"


def test_kinds_of_errors_do_not_contain_one_another() -> None:
    """Who catches a camera's error never swallows the operator's or our own; two are kinds of our own."""
    pairs = [(one, other) for one in ALL for other in ALL if one is not other and one not in OUR_OWN]
    assert not any(issubclass(one, other) for one, other in pairs)


def test_every_error_of_the_module_belongs_to_the_family() -> None:
    """A new kind of error is added to the family on purpose."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert kinds == {errors.SpectragateError, *ALL}


def test_source_error_says_why_in_a_word() -> None:
    """Who is not told a reason hears the most general one, which is a plain word for rules."""
    assert errors.SourceError("gate.mp4: cannot be read").reason == "unreadable"
    assert errors.SourceError("gate: refused", errors.SourceReason.AUTH).reason == "auth"


def test_innermost_when_groups_are_nested() -> None:
    """The operator reads the error itself, not how many task groups stood around it."""
    fault = errors.RuntimeFault("the session hangs")
    assert errors.innermost(ExceptionGroup("outer", [ExceptionGroup("inner", [fault])])) is fault
