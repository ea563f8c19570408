"""Texts that may be shown: no secret in any form, and everything else as it was."""

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction import LONGEST, Redactor

SECRET = 'p"ä s/§%@:\\x'
HIDING = Redactor().with_secrets([SECRET, "hunter2", ""])


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        repr(SECRET),
        json.dumps(SECRET),
        json.dumps(repr(SECRET)),
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        urllib.parse.quote(SECRET, safe="").lower(),
        urllib.parse.quote(urllib.parse.quote(SECRET, safe=""), safe=""),
        base64.b64encode(SECRET.encode()).decode(),
    ],
)
def test_secret_is_hidden_in_every_form(form: str) -> None:
    """As Python, JSON, addresses and headers write it; what stands around it stays."""
    shown = HIDING.text(f"before {form} after")
    assert shown in {"before *** after", "before '***' after", 'before "***" after', "before \"'***'\" after"} | {
        "before ***= after",
        "before ***== after",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://view:pw@cam1/stream?x=1: 401", "rtsp://***@cam1/stream?x=1: 401"),
        ("rtsp://view@cam1", "rtsp://***@cam1"),
        ("RTSPS://view:p%40w/@cam1:322/", "RTSPS://***@cam1:322/"),
        ("at 'http://a:b@h/x' and 'mqtt://c:d@i'", "at 'http://***@h/x' and 'mqtt://***@i'"),
        ("url=rtsp%3A%2F%2Fu:pw%40cam", "url=rtsp%3A%2F%2F***@cam"),
        ("Authorization: Basic dXNlcjpwdw==", "Authorization: Basic ***"),
        ("Authorization: Bearer abc.def-ghi_jkl", "Authorization: Bearer ***"),
        ("{'password': 'abc', 'user': 'u'}", "{'password': '***', 'user': 'u'}"),
        ("http://cam/?user=u&password=abc&x=1", "http://cam/?user=u&password=***&x=1"),
        ("connect to cam1:554 failed", "connect to cam1:554 failed"),
        ("mail me@example", "mail me@example"),
        ("12:30 token bucket is full", "12:30 token bucket is full"),
    ],
)
def test_addresses_and_named_secrets_are_hidden_unknown_ones_too(text: str, shown: str) -> None:
    """User name and password of any address, and what stands behind `password=`; the rest stays readable."""
    assert HIDING.text(text) == shown


def test_name_of_a_secret_is_shown() -> None:
    """Who forgot to give a password has to be told which one; behind the name everything is hidden as ever."""
    text = "gate.yaml:3: cameras.gate.source.password: ${GATE_PASSWORD}: no value under this name"
    assert HIDING.text(text) == text
    assert HIDING.text("password=${hunter2} hunter3") == "password=***} hunter3"
    assert HIDING.text("password=${no name") == "password=*** name"


def test_short_secret_hides_no_other_words() -> None:
    """A password of one letter is hidden where it stands alone; the log stays readable."""
    hiding = Redactor().with_secrets(["a"])
    assert hiding.text("a camera said: a") == "*** camera said: ***"


def test_longer_secret_goes_first() -> None:
    """No rest of a secret is left because another is its beginning."""
    assert Redactor().with_secrets(["hunter", "hunter22"]).text("hunter22") == "***"


def test_secrets_are_added_never_lost() -> None:
    """After a reload the old password is still none for the log."""
    assert Redactor().with_secrets(["old-one"]).with_secrets(["new-one"]).text("old-one new-one") == "*** ***"


def test_values_of_any_shape_are_hidden() -> None:
    """Facts of log lines are not only texts; numbers and truth stay what they are."""

    class Speaking:
        def __str__(self) -> str:
            return "with hunter2"

    value = {"hunter2": ["hunter2", ("x", {"y": b"hunter2"})], "n": 3, "ok": True, "none": None, "o": Speaking()}
    assert HIDING.value(value) == {
        "***": ["***", ["x", {"y": "b'***'"}]],
        "n": 3,
        "ok": True,
        "none": None,
        "o": "with ***",
    }


@given(st.text(min_size=4, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    """Whatever the secret and whatever stands around it."""
    shown = Redactor().with_secrets([secret]).text(f"{before}{secret}{after}")
    assert secret not in shown.replace("***", "\0\0\0") or secret in f"{before}{after}" or set(secret) <= {"\0", "*"}


@pytest.mark.parametrize("part", ["rtsp://", "a-", "password", "password=", "a:", "basic ", "@", "rtsp://a@"])
def test_long_texts_cost_little(part: str) -> None:
    """Whoever makes a camera repeat itself cannot make the log stand still; a text ends somewhere."""
    shown = HIDING.text(part * 100_000)
    assert len(shown) <= LONGEST + 1
