"""What a configuration asks to run, and what differs between two of them."""

from pathlib import Path

import pytest

from gateway.config_file import load_config
from gateway.daemon.plan import Changes, Plan, changes, plan_of, reachable

BASE = """
mqtt: {host: broker.example}
environments: {hall: {}, yard: {}}
cameras:
  gate: {environment: hall, source: {type: rtsp, url: "rtsp://gate.example/1", username: u, password: secret}}
  dock: {environment: yard, source: {type: file, path: dock.mp4}}
"""
PLACES = {"gate": "hall", "dock": "yard"}


def plan(folder: Path, text: str) -> Plan:
    """Return the plan of a configuration."""
    path = folder / "gateway.yaml"
    path.touch(mode=0o600)
    path.write_text(text)
    return plan_of(load_config(path))


def test_same_configuration_asks_for_nothing(tmp_path: Path) -> None:
    """Reading a file again changes nothing, whatever its comments say."""
    assert changes(plan(tmp_path, BASE), plan(tmp_path, BASE + "# a comment\n")).are_none


@pytest.mark.parametrize(
    ("source", "teaches"),
    [
        ("path: dock.mp4", True),
        ("path: dock.mp4, loop: false", True),
        ("path: dock.mp4, loop: true", False),
        ("path: /dev/video0, loop: true", True),
    ],
)
def test_recording_in_a_loop_teaches_nothing(tmp_path: Path, source: str, teaches: bool) -> None:
    """Its passages are the same each time; what a camera of this machine shows is not."""
    cameras = plan(tmp_path, BASE.replace("path: dock.mp4", source)).cameras
    assert (cameras["gate"].teaches, cameras["dock"].teaches) == (True, teaches)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("password: secret", "password: other", {"cameras_ended": ("gate",), "cameras_begun": ("gate",)}),
        ("environment: yard", "environment: hall", {"cameras_ended": ("dock",), "cameras_begun": ("dock",)}),
        ("dock.mp4", "yard.mp4", {"cameras_ended": ("dock",), "cameras_begun": ("dock",)}),
        ("  dock:", "  ramp:", {"cameras_ended": ("dock",), "cameras_begun": ("ramp",), "cameras_gone": ("dock",)}),
        ("hall: {}", "hall: {bundle: ./b}", {"environments_ended": ("hall",), "environments_begun": ("hall",)}),
        ("broker.example", "other.example", {"mqtt": True}),
    ],
    ids=["password", "environment", "file", "name", "bundle", "broker"],
)
def test_only_what_differs_is_touched(tmp_path: Path, old: str, new: str, expected: dict[str, object]) -> None:
    """One change in the file, one thing ended and begun."""
    nothing = Changes((), (), (), (), (), mqtt=False, after_restart=())
    what = changes(plan(tmp_path, BASE), plan(tmp_path, BASE.replace(old, new, 1)))
    assert {key: getattr(what, key) for key in Changes.__slots__ if key != "after_restart"} == {
        **{key: getattr(nothing, key) for key in Changes.__slots__ if key != "after_restart"},
        **expected,
    }


@pytest.mark.parametrize(
    ("old", "new", "anew"),
    [
        ("password: secret", "password: other", {"gate"}),
        ("hall: {}", "hall: {bundle: ./b}", {"gate"}),
        ("dock.mp4", "yard.mp4", {"dock"}),
        ("{host: broker.example}", "{host: other.example}", set()),
    ],
    ids=["login", "bundle", "source", "broker"],
)
def test_cameras_are_watched_anew_by_themselves_or_by_another_detector(
    tmp_path: Path, old: str, new: str, anew: set[str]
) -> None:
    """A camera that stays is watched anew where its environment's bundle changes."""
    what = changes(plan(tmp_path, BASE), plan(tmp_path, BASE.replace(old, new, 1)))
    assert what.watched_anew(PLACES) == anew


def test_what_needs_a_restart_is_named(tmp_path: Path) -> None:
    """The device and the state folder are opened once."""
    what = changes(plan(tmp_path, BASE), plan(tmp_path, BASE + "screening: {threads: 2}\nstate_folder: elsewhere\n"))
    assert set(what.after_restart) == {"screening.threads", "state_folder"}


@pytest.mark.parametrize(
    ("old", "new", "needs"),
    [
        ("{host: broker.example}", "{host: broker.example, topic_prefix: hall}", "mqtt.topic_prefix"),
        ("{host: broker.example}", "{host: other.example, client_id: box-2}", "mqtt.client_id"),
        ("{host: broker.example}", "null", None),
        ("{host: broker.example}", "{host: other.example}", None),
    ],
    ids=["prefix", "id", "none", "host"],
)
def test_broker_changes_whole_or_after_a_restart(tmp_path: Path, old: str, new: str, needs: str | None) -> None:
    """Half of what the box says under its old name and half under the new would be worse than waiting."""
    running, asked = plan(tmp_path, BASE), plan(tmp_path, BASE.replace(old, new))
    assert changes(running, asked).after_restart == (() if needs is None else (needs,))
    reached = reachable(running, asked)
    assert reached.mqtt == (asked if needs is None else running).mqtt
    # Asked again it still waits, and the way back needs nothing.
    assert changes(reached, asked).after_restart == changes(running, asked).after_restart
    assert changes(reached, running).after_restart == ()


def test_plan_tells_no_password(tmp_path: Path) -> None:
    """A plan may stand in a traceback."""
    assert "secret" not in repr(plan(tmp_path, BASE))


def test_sites_that_may_publish_change_without_touching_a_camera(tmp_path: Path) -> None:
    """A reload is enough."""
    old, new = (plan(tmp_path, f"webrtc: {{allow_origins: [{sites}]}}") for sites in ("", "'https://a'"))
    assert changes(old, new).are_none
    assert (old.origins, new.origins) == (frozenset(), {"https://a"})
