"""The configuration: its keys and defaults, the samples that explain them, and what a camera overrides."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from fakes.configs import load, mistakes_in

from gateway.config import Config, config_schema, secrets_of
from gateway.config_file import load_config

CONFIGS = Path(__file__).parents[1] / "configs"


def test_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    """Commands work without a word of configuration."""
    config = load(tmp_path, "")
    assert config == Config()
    assert config.screening.device == "auto"
    assert config.environments["default"].bundle == "default"
    assert config.mqtt is None


def test_sample_explains_every_key(tmp_path: Path) -> None:
    """The annotated sample can be loaded and leaves no key out."""
    config = load_config(CONFIGS / "gateway.yaml", lookup={}.get)
    sections = {"faces": config.faces, "detect": config.detect, "screening": config.screening}
    sections |= {"outbox": config.outbox, "mqtt": config.mqtt, "http": config.http}
    document = yaml.safe_load((CONFIGS / "gateway.yaml").read_text(encoding="utf-8"))
    assert set(document) == set(Config.model_fields)
    for name, section in sections.items():
        assert section is not None
        assert set(document[name]) == set(type(section).model_fields), name


def test_sample_shows_the_defaults() -> None:
    """What the sample shows is what an operator gets without it, but for the broker, the cameras and HTTP."""
    sample = load_config(CONFIGS / "gateway.yaml", lookup={}.get)
    assert sample.model_copy(update={"mqtt": None, "cameras": {}, "http": None}) == Config()


def test_minimal_sample_loads() -> None:
    """The short sample is one section."""
    config = load_config(CONFIGS / "gateway.minimal.yaml", lookup={}.get)
    assert config.mqtt is not None
    assert config.mqtt.host == "localhost"


def test_checked_in_schema_is_the_generated_one() -> None:
    """Editors complete the keys of this version: run `spectragate schema --out configs` after a change."""
    assert (CONFIGS / "gateway.schema.json").read_text(encoding="utf-8") == config_schema()


@pytest.mark.parametrize("name", ["gateway.yaml", "gateway.minimal.yaml"])
def test_samples_name_and_satisfy_the_schema(name: str) -> None:
    """An editor finds the schema from the first line and has nothing to complain of."""
    text = (CONFIGS / name).read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=gateway.schema.json\n")
    jsonschema.validate(yaml.safe_load(text), json.loads(config_schema()))


def test_sample_explains_every_key_of_a_camera() -> None:
    """Each kind of source is shown with all its keys, and one camera overrides everything that can be overridden."""
    cameras = yaml.safe_load((CONFIGS / "gateway.yaml").read_text(encoding="utf-8"))["cameras"]
    shown: dict[str, set[str]] = {}
    for camera in cameras.values():
        shown.setdefault(camera["source"]["type"], set()).update(camera["source"])
    schema = json.loads(config_schema())["$defs"]
    kinds = {"rtsp": "RtspConfig", "file": "FileConfig", "whip": "WhipConfig", "whep": "WhepConfig"}
    assert shown == {kind: set(schema[section]["properties"]) for kind, section in kinds.items()}
    assert set(cameras["lobby"]) == set(schema["CameraConfig"]["properties"])
    assert set(cameras["lobby"]["screening"]) == set(schema["OperatingPoint"]["properties"])


CAMERAS = """\
detect: {fps: 8, min_face_px: 40}
screening: {alert_budget_per_day: 2, device: cpu}
cameras:
  lobby:
    source: {type: rtsp, url: "rtsp://cam1/stream"}
    detect: {min_face_px: 24}
    faces: {max_per_frame: 2}
    screening: {tracks_per_day: 50}
  yard:
    source: {type: file, path: yard.mp4}
"""


def test_camera_overrides_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    """Also by a value that is the default; what it leaves out is that of the sections of the same names."""
    config = load(tmp_path, CAMERAS)
    assert (config.detect_of("lobby").fps, config.detect_of("lobby").min_face_px) == (8, 24)
    assert (config.detect_of("yard").fps, config.detect_of("yard").min_face_px) == (8, 40)
    assert [config.faces_of(name).max_per_frame for name in ("lobby", "yard")] == [2, 16]
    point = config.operating_point_of("lobby")
    assert (point.alert_budget_per_day, point.tracks_per_day) == (2, 50)


def test_path_of_a_recording_starts_at_the_file(tmp_path: Path) -> None:
    """As every other path; the recording itself may come later."""
    source = load(tmp_path, CAMERAS).cameras["yard"].source
    assert source.type == "file"
    assert source.path == tmp_path / "yard.mp4"


@pytest.mark.parametrize(
    ("source", "mistake"),
    [
        ("url: 'http://cam/x'", 'url: "http://cam/x": an address begins with rtsp:// or, encrypted, rtsps://'),
        (
            "url: 'rtsp://view:hunter2@cam/x'",
            'url: "***@cam/x": leave user name and password out of it: they have keys of their own, username and'
            " password",
        ),
        ("url: 'rtsp:///x'", 'url: "rtsp:///x": the host is missing: it looks like rtsp://host:554/path'),
        ("url: 'rtsp://cam:0/x'", 'url: "rtsp://cam:0/x": there is no port 0'),
        ("url: 'rtsp://cam:x/x'", 'url: "rtsp://cam:x/x": not an address: it looks like rtsp://host:554/path'),
        ("url: 'rtsp://[::1/x'", 'url: "rtsp://[::1/x": not an address: it looks like rtsp://host:554/path'),
        ("url: 'rtsp://cam/a b'", 'url: "rtsp://cam/a b": an address holds no blanks and no backslashes'),
        (
            "url: 'rtsp://cam/x#y'",
            'url: "rtsp://cam/x#y": everything after # would never reach the camera; write %23 for a # of the path',
        ),
        (
            "url: 'rtsps://cam/x', transport: udp",
            'transport: "udp": rtsps is encrypted over tcp alone; use rtsp:// for udp',
        ),
        ("url: 'rtsp://cam/x', transport: http", "transport: \"http\": must be 'tcp' or 'udp'"),
        ("url: 'rtsp://cam/x', password: hunter2", "password: ***: a password needs a username"),
        (
            "url: 'rtsp://cam/x', ca_file: gateway.yaml",
            'ca_file: "gateway.yaml": only rtsps:// and https:// are encrypted; this file would never be used',
        ),
        ("url: 'rtsp://cam/x', loop: true", "loop: unknown key"),
        ("url: 'rtsp://cam/x', user: a", "user: unknown key (did you mean username?)"),
        ("username: a", "url: this key is needed"),
    ],
)
def test_network_camera_that_cannot_work_is_refused(tmp_path: Path, source: str, mistake: str) -> None:
    """Before anything starts, at its key, and without repeating a password."""
    text = f"cameras:\n  lobby:\n    source: {{type: rtsp, {source}}}\n"
    assert mistakes_in(tmp_path, text) == [f"3: cameras.lobby.source.{mistake}"]


def test_authority_of_a_server_that_is_pulled_from_is_taken_where_it_is_used(tmp_path: Path) -> None:
    """With https:// alone."""
    whep = "cameras: {a: {source: {type: whep, url: 'SCHEME://media/hall/whep', ca_file: gateway.yaml}}}"
    source = load(tmp_path, whep.replace("SCHEME", "https")).cameras["a"].source
    assert source.type == "whep"
    assert source.ca_file == tmp_path / "gateway.yaml"
    (mistake,) = mistakes_in(tmp_path, whep.replace("SCHEME", "http"))
    assert "only rtsps:// and https:// are encrypted" in mistake


@pytest.mark.parametrize("rest", ["media:99999/hall", "media:0/hall", "[::1/hall", r"media/\x7f"])
def test_server_that_nobody_could_call_is_refused(tmp_path: Path, rest: str) -> None:
    """Before anything starts, and not as a camera that cannot be reached for ever."""
    (mistake,) = mistakes_in(tmp_path, f'cameras:\n  a:\n    source: {{type: whep, url: "https://{rest}"}}\n')
    assert mistake.startswith("3: cameras.a.source.url: ")


@pytest.mark.parametrize("place", ["whip", "whep", "http", "adaptation"])
@pytest.mark.parametrize("wrong", ["0123456789abcdef ghi", r"0123456789abcdef\n", "0123456789abcdéf"])
def test_token_that_no_header_can_hold_is_refused(tmp_path: Path, place: str, wrong: str) -> None:
    """Whoever shows it would be refused for ever, or not even sent on its way; the token is not repeated."""
    section = {
        "whip": 'cameras: {a: {source: {type: whip, token: "TOKEN"}}}',
        "whep": 'cameras: {a: {source: {type: whep, url: "https://a/b", token: "TOKEN"}}}',
        "http": 'http: {token: "TOKEN"}',
        "adaptation": 'adaptation: {token: "TOKEN"}',
    }[place]
    (mistake,) = mistakes_in(tmp_path, section.replace("TOKEN", wrong))
    assert "token: ***: a token is made of visible ASCII characters" in mistake
    assert "0123" not in mistake
    load(tmp_path, section.replace("TOKEN", "!123456789abcde~"))


@pytest.mark.parametrize(
    ("origin", "is_one"),
    [
        *[("https://studio.example", True), ("http://10.0.0.7:8080", True), ("https://[fc00::1]:8443", True)],
        *[("https://studio.example/", False), ("studio.example", False), ("*", False), ("null", False)],
        *[("https://studio.example:443", False), ("http://10.0.0.7:80", False), ("https://studio.example:0443", False)],
        *[("https://Studio.example", False), ("https://a@b", False), ("https://a b", False)],
    ],
)
def test_sites_that_may_publish_are_named_as_browsers_name_them(tmp_path: Path, origin: str, is_one: bool) -> None:
    """One that is written otherwise would never match, and is refused where it stands."""
    text = f"webrtc: {{allow_origins: ['{origin}']}}"
    if is_one:
        assert load(tmp_path, text).webrtc.allow_origins == (origin,)
    else:
        (mistake,) = mistakes_in(tmp_path, text)
        assert "as browsers say it" in mistake


@pytest.mark.parametrize("port", ["", ":1", ":65535"])
@pytest.mark.parametrize("host", ["cam", "10.0.0.7", "[::1]", "cam-1.plant.example"])
@pytest.mark.parametrize("path", ["", "/", "/h264/ch1?sub=1&x=%20y", "/a:b@c"])
def test_network_camera_of_any_usual_address_is_taken(tmp_path: Path, host: str, port: str, path: str) -> None:
    """Names, both kinds of addresses, with and without port, whatever path the maker thought of."""
    url = f"rtsp://{host}{port}{path}"
    source = load(tmp_path, f"cameras: {{a: {{source: {{type: rtsp, url: '{url}'}}}}}}").cameras["a"].source
    assert source.type == "rtsp"
    assert source.url == url


def test_passwords_of_all_characters_are_taken_as_they_are(tmp_path: Path) -> None:
    """Nothing has to be encoded: every printable character may stand in a password."""
    password = "".join(map(chr, range(33, 127)))
    text = "cameras: {a: {source: {type: rtsp, url: 'rtsp://c', username: u, password: \"${P}\"}}}"
    source = load(tmp_path, text, P=password).cameras["a"].source
    assert source.type == "rtsp"
    assert source.password is not None
    assert source.password.get_secret_value() == password


def test_secrets_of_a_configuration_are_all_found(tmp_path: Path) -> None:
    """What logs and errors must never show: passwords, and what an address says behind `password=`."""
    text = """\
mqtt: {user: gw, password: one}
cameras:
  a: {source: {type: rtsp, url: "rtsp://cam/x?user=u&password=t%77o&sub=1", username: v, password: three}}
  b: {source: {type: file, path: b.mp4}}
"""
    assert secrets_of(load(tmp_path, text)) == {"one", "two", "three"}
    assert secrets_of(Config()) == frozenset()


def test_configuration_cannot_be_changed() -> None:
    """A reload makes a new one."""
    with pytest.raises(ValueError, match="frozen"):
        Config().screening.threads = 3
