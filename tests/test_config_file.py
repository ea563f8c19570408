"""Reading the configuration: every mistake at once with its place, secrets that stay secret, all of it or nothing."""

from functools import partial
from pathlib import Path

import pytest
from fakes.configs import load, mistakes_in

from gateway.config_file import find_value, load_config
from gateway.errors import ConfigError


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    """File, line, key, value and reason for each, in the order of the file, with the nearest known key."""
    text = """\
faces: {min_confidence: "0.5", max_per_frame: 012}
detect:
  fsp: 3
  min_face_px: yes
screening:
  device: gpu
  threads: 0
environments:
  Indoor: {bundel: paper}
mqtt:
  host: mqtt://broker
  pasword: x
cameras: []
screening: {}
"""
    assert mistakes_in(tmp_path, text) == [
        '1: faces.min_confidence: "0.5": must be a valid number',
        '1: faces.max_per_frame: "012": must be a valid integer',
        "3: detect.fsp: unknown key (did you mean fps?)",
        '4: detect.min_face_px: "yes": must be a valid integer',
        "6: screening.device: \"gpu\": must be 'auto', 'cpu' or 'cuda'",
        "7: screening.threads: 0: must be greater than or equal to 1",
        "9: environments.Indoor: a name is made of a-z, 0-9, _ and -, at most 64",
        "9: environments.Indoor.bundel: unknown key (did you mean bundle?)",
        '11: mqtt.host: "mqtt://broker": a host is a name or an address alone, without mqtt://, user, brackets or port',
        "12: mqtt.pasword: unknown key (did you mean password?)",
        "13: cameras: […]: must be a section with keys of its own",
        "14: screening: the key stands twice; first on line 5",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("faces: 3", "1: faces: 3: must be a section with keys of its own"),
        ("- a", "1: […]: must be a section with keys of its own"),
        ("detect: {fps: 1000}", "1: detect.fps: 1000: must be less than or equal to 240"),
        ("screening: {tracks_per_day: 0}", "1: screening.tracks_per_day: 0: must be greater than 0"),
        ("mqtt: {port: 1:30}", '1: mqtt.port: "1:30": must be a valid integer'),
        ("mqtt: {password: 5}", "1: mqtt.password: ***: must be a valid string"),
        ("mqtt: {password: secret}", "1: mqtt: {…}: a password needs a user"),
        ("faces: [", "2: not YAML: expected the node content, but found '<stream end>'"),
    ],
)
def test_mistake_says_what_to_do(tmp_path: Path, text: str, mistake: str) -> None:
    """One line a mistake; a secret is never repeated."""
    assert mistakes_in(tmp_path, text + "\n") == [mistake]


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A wrong path is the operator's to mend."""
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "absent.yaml")


def test_long_values_are_shortened(tmp_path: Path) -> None:
    """A line stays a line."""
    (mistake,) = mistakes_in(tmp_path, f"screening: {{device: {'x' * 500}}}")
    assert len(mistake) < 150


def test_variables_are_replaced(tmp_path: Path) -> None:
    """A quoted one is text, an unquoted one is what the key needs, and a default counts where nothing is found."""
    text = """\
mqtt:
  host: "${HOST}.plant"
  user: ${USER}
  password: ${PASSWORD}
  port: ${PORT:8883}
screening:
  tracks_per_day: ${PER_DAY}
  device: ${DEVICE:cpu}
"""
    config = load(tmp_path, text, HOST="broker", USER="gate", PASSWORD="0123", PER_DAY="5e2")
    assert config.mqtt is not None
    assert config.mqtt.password is not None
    assert (config.mqtt.host, config.mqtt.user, config.mqtt.port) == ("broker.plant", "gate", 8883)
    assert config.mqtt.password.get_secret_value() == "0123"
    assert (config.screening.tracks_per_day, config.screening.device) == (500.0, "cpu")


def test_password_of_digits_stays_text(tmp_path: Path) -> None:
    """Only a key that needs a number gets one."""
    config = load(tmp_path, "mqtt:\n  user: u\n  password: ${PASSWORD}\n", PASSWORD="12345")
    assert config.mqtt is not None
    assert config.mqtt.password is not None
    assert config.mqtt.password.get_secret_value() == "12345"


def test_quoted_variable_is_no_number(tmp_path: Path) -> None:
    """Quotes mean text, also around a variable."""
    assert mistakes_in(tmp_path, 'mqtt:\n  port: "${PORT}"\n', PORT="1883") == [
        "2: mqtt.port: ***: must be a valid integer"
    ]


def test_variable_without_value_is_named_once(tmp_path: Path) -> None:
    """The line, the key and where was looked; no second complaint about what it would have been."""
    (mistake,) = mistakes_in(tmp_path, "screening:\n  threads: ${THREADS}\n")
    assert mistake == (
        "2: screening.threads: ${THREADS}: no value under this name in $CREDENTIALS_DIRECTORY, /run/secrets"
        " and the environment"
    )


def test_value_of_a_variable_is_never_printed(tmp_path: Path) -> None:
    """Any variable may hold a secret."""
    (mistake,) = mistakes_in(tmp_path, "mqtt:\n  host: ${HOST}\n", HOST="user:hunter2@broker")
    assert "hunter2" not in mistake
    assert "mqtt.host: ***" in mistake


def test_doubled_dollar_is_a_plain_one(tmp_path: Path) -> None:
    """A password may look like a variable."""
    config = load(tmp_path, 'mqtt: {user: u, password: "a$${B}$c"}')
    assert config.mqtt is not None
    assert config.mqtt.password is not None
    assert config.mqtt.password.get_secret_value() == "a${B}$c"


def test_values_come_from_credentials_then_secrets_then_environment(tmp_path: Path) -> None:
    """The nearest store decides; the newline at a file's end is not part of a secret."""
    credentials, secrets = tmp_path / "credentials", tmp_path / "secrets"
    credentials.mkdir(mode=0o700)
    secrets.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(credentials), "A": "from-environment", "B": "from-environment"}
    (secrets / "A").write_text("from-secrets\n")
    (credentials / "C").write_text("from-credentials\r\n")
    (secrets / "C").write_text("hidden")
    (secrets / "D").write_bytes(b"\xff")
    found = {name: find_value(name, environ=environ, run_secrets=secrets) for name in "ABCD"}
    assert found == {"A": "from-secrets", "B": "from-environment", "C": "from-credentials", "D": None}


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    """The same file means the same wherever the program is started; a bundle's name is no path."""
    (tmp_path / "yunet.onnx").write_bytes(b"x")
    text = "faces: {model: yunet.onnx}\nenvironments: {a: {bundle: ./own/a}, b: {bundle: paper}, c: {bundle: /x/c}}\n"
    config = load(tmp_path, text)
    assert config.faces.model == tmp_path / "yunet.onnx"
    assert [each.bundle for each in config.environments.values()] == [str(tmp_path / "own" / "a"), "paper", "/x/c"]


def test_face_model_must_exist(tmp_path: Path) -> None:
    """A typing mistake is found before anything starts."""
    assert mistakes_in(tmp_path, "faces: {model: absent.onnx}") == [
        f'1: faces.model: "absent.onnx": there is no file {tmp_path / "absent.onnx"}'
    ]


def test_credential_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    """At the line that asks for it; a folder that nobody else can enter protects what lies in it."""
    (tmp_path / "PASSWORD").write_text("hunter2")
    (tmp_path / "PASSWORD").chmod(0o644)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    path = tmp_path / "gateway.yaml"
    path.write_text('mqtt:\n  user: u\n  password: "${PASSWORD:default}"\n')
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError) as refused:
        load_config(path, lookup=partial(find_value, environ=environ))
    reason = f"every user of this machine can read {tmp_path / 'PASSWORD'}: chmod o= {tmp_path}"
    assert str(refused.value) == f"{path}:3: mqtt.password: ${{PASSWORD}}: {reason}"
    tmp_path.chmod(0o700)
    config = load_config(path, lookup=partial(find_value, environ=environ))
    assert config.mqtt is not None
    assert config.mqtt.password is not None
    assert config.mqtt.password.get_secret_value() == "hunter2"


def test_secret_in_a_file_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    """A password, or an address with a token in it; a file without secrets may be read by all."""
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "mqtt: {user: u, password: hunter2}\ncameras:\n  a: {source: {type: rtsp, url: 'rtsp://c?token=hunter3'}}\n"
    )
    path.chmod(0o644)
    with pytest.raises(ConfigError) as refused:
        load_config(path)
    assert [line.split(": ")[:2] for line in str(refused.value).splitlines()] == [
        [f"{path}:1", "mqtt.password"],
        [f"{path}:3", "cameras.a.source.url"],
    ]
    assert "hunter" not in str(refused.value)
    path.chmod(0o640)
    load_config(path)
    path.write_text("screening: {device: cpu}\n")
    path.chmod(0o644)
    load_config(path)


def test_private_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    """The certificate may be read by all, its key by the gateway alone."""
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o644)
    text = "mqtt: {tls_ca_certs: ca.pem, tls_certfile: client.pem, tls_keyfile: client.key}"
    (mistake,) = mistakes_in(tmp_path, text)
    place = f"chmod o= {tmp_path / 'client.key'}"
    assert mistake == f'1: mqtt.tls_keyfile: "client.key": every user of this machine can read this key: {place}'
    (tmp_path / "client.key").chmod(0o600)
    load(tmp_path, text)
