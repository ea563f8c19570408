"""Mistakes in a configuration: forty-nine broken files with the line each is answered by, and thousands mutated."""

import random
import re
from pathlib import Path

import pytest
from fakes.configs import mistakes_in

from gateway.config import Config
from gateway.config_file import load_config
from gateway.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"

CAMERA = "cameras:\n  a:\n    source: {type: rtsp, url: 'rtsp://c'}\n"

BROKEN: list[tuple[str, str, list[str]]] = [
    (
        "kind of source unknown",
        "cameras:\n  a:\n    source: {type: rtps, url: 'rtsp://c'}\n",
        ["3: cameras.a.source.type: \"rtps\": must be 'rtsp' or 'whip' or 'whep' or 'file' (did you mean rtsp?)"],
    ),
    (
        "kind of source missing",
        "cameras:\n  a:\n    source: {url: 'rtsp://c'}\n",
        ["3: cameras.a.source.type: this key is needed: 'rtsp' or 'whip' or 'whep' or 'file'"],
    ),
    (
        "kind of source a number",
        "cameras:\n  a:\n    source: {type: 5}\n",
        ["3: cameras.a.source.type: 5: must be 'rtsp' or 'whip' or 'whep' or 'file'"],
    ),
    (
        "source a bare address",
        "cameras:\n  a:\n    source: rtsp://view:hunter2@c\n",
        ['3: cameras.a.source: "***@c": must be a section with keys of its own'],
    ),
    ("source missing", "cameras:\n  a:\n    enabled: true\n", ["2: cameras.a.source: this key is needed"]),
    ("camera empty", "cameras:\n  a: null\n", ["2: cameras.a: null: must be a section with keys of its own"]),
    ("camera without a word", "cameras:\n  a:\n", ["2: cameras.a: null: must be a section with keys of its own"]),
    ("cameras empty", "cameras: null\n", ["1: cameras: null: must be a section with keys of its own"]),
    (
        "fixed word as a name",
        "cameras:\n  alerts: {source: {type: file, path: x}}\n",
        ["2: cameras.alerts: 'alerts' is a fixed word of the MQTT topics: give the camera another name"],
    ),
    (
        "upper case in a name",
        "cameras:\n  Lobby: {source: {type: file, path: x}}\n",
        ["2: cameras.Lobby: a name is made of a-z, 0-9, _ and -, at most 64"],
    ),
    (
        "name too long",
        f"cameras:\n  {'x' * 65}: {{source: {{type: file, path: x}}}}\n",
        [
            "2: cameras.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…: a name is made of a-z, 0-9,"
            " _ and -, at most 64"
        ],
    ),
    (
        "number as a name",
        "cameras:\n  1: {source: {type: file, path: x}}\n",
        ["2: cameras: a key must be text; quote it if it looks like a number"],
    ),
    (
        "too many cameras",
        "cameras:\n" + "".join(f"  c{i}: {{source: {{type: file, path: x}}}}\n" for i in range(65)),
        ["1: cameras: at most 64 are possible"],
    ),
    (
        "environment misspelt",
        CAMERA + "    environment: indor\nenvironments: {indoor: {}, outdoor: {}}\n",
        ['4: cameras.a.environment: "indor": there is no such environment (did you mean indoor?)'],
    ),
    (
        "environment needed",
        CAMERA + "environments: {hall: {}, yard: {}}\n",
        ["2: cameras.a.environment: this key is needed: one of hall, yard"],
    ),
    (
        "environment unknown",
        CAMERA + "    environment: xyz\nenvironments: {hall: {}, yard: {}}\n",
        ['4: cameras.a.environment: "xyz": there is no such environment, only hall, yard'],
    ),
    ("environment a number", CAMERA + "    environment: 3\n", ["4: cameras.a.environment: 3: must be a valid string"]),
    (
        "overrides out of range",
        CAMERA + "    detect: {fps: 0}\n    faces: {max_per_frame: 0}\n    screening: {alert_budget_per_day: -1}\n",
        [
            "4: cameras.a.detect.fps: 0: must be greater than 0",
            "5: cameras.a.faces.max_per_frame: 0: must be greater than or equal to 1",
            "6: cameras.a.screening.alert_budget_per_day: -1: must be greater than 0",
        ],
    ),
    (
        "override of what is for all",
        CAMERA + "    screening: {device: cpu}\n",
        ["4: cameras.a.screening.device: unknown key"],
    ),
    (
        "override misspelt",
        CAMERA + "    detcet: {fps: 1}\n",
        ["4: cameras.a.detcet: unknown key (did you mean detect?)"],
    ),
    ("yes for true", CAMERA + "    enabled: yes\n", ['4: cameras.a.enabled: "yes": must be true or false']),
    (
        "key twice",
        CAMERA + "    enabled: on\n    enabled: true\n",
        ["5: cameras.a.enabled: the key stands twice; first on line 4"],
    ),
    (
        "anchor and alias",
        "cameras:\n  a: &a\n    source: {type: file, path: x}\n  b: *a\n",
        ["2: not YAML: anchors and aliases are not supported"],
    ),
    ("tab", "cameras:\n\ta: x\n", ["2: not YAML: found character '\\t' that cannot start any token"]),
    ("no environments", "environments: {}\n", ["1: environments: {…}: at least one is needed"]),
    ("environments as a list", "environments: []\n", ["1: environments: […]: must be a section with keys of its own"]),
    (
        "bundle without a name",
        "environments: {in: {bundle: ''}}\n",
        ['1: environments.in.bundle: "": must not be empty'],
    ),
    (
        "bundle with a blank",
        "environments: {in: {bundle: 'a b'}}\n",
        ['1: environments.in.bundle: "a b": it is the name of a bundle that comes along, or a folder with a slash'],
    ),
    (
        "password in the host",
        "mqtt: {host: 'user:hunter2@broker'}\n",
        ['1: mqtt.host: "***@broker": a host is a name or an address alone, without mqtt://, user, brackets or port'],
    ),
    (
        "blank after a colon forgotten",
        "mqtt:\n  password:hunter2\n",
        ["1: mqtt: ***: must be a section with keys of its own"],
    ),
    (
        "blank in braces forgotten",
        "mqtt: {password:hunter2}\n",
        ["1: mqtt.password:***: unknown key (did you mean password?)"],
    ),
    ("tag", "mqtt: {user: u, password: !hunter2}\n", ["1: not YAML: expected ' ', but found '}'"]),
    (
        "broker out of range",
        "mqtt: {port: 99999, keepalive_s: 0, stats_interval: 0, client_id: 'a b', topic_prefix: 'a/#'}\n",
        [
            "1: mqtt.port: 99999: must be less than or equal to 65535",
            "1: mqtt.topic_prefix: \"a/#\": the topic prefix 'a/#' is not usable: no empty"
            " segment, leading $, +, # or white space",
            "1: mqtt.client_id: \"a b\": String should match pattern '^[A-Za-z0-9_.-]+$'",
            "1: mqtt.keepalive_s: 0: must be greater than or equal to 1",
            "1: mqtt.stats_interval: 0: must be greater than or equal to 1",
        ],
    ),
    ("protocol of the past", "mqtt: {protocol: 3}\n", ["1: mqtt.protocol: 3: must be 'auto', '5' or '3.1.1'"]),
    (
        "broker's files absent",
        "mqtt: {tls_certfile: c.pem, tls_keyfile: k.pem, tls_ca_certs: ca.pem}\n",
        [
            '1: mqtt.tls_ca_certs: "ca.pem": there is no file {folder}/ca.pem',
            '1: mqtt.tls_certfile: "c.pem": there is no file {folder}/c.pem',
            '1: mqtt.tls_keyfile: "k.pem": there is no file {folder}/k.pem',
        ],
    ),
    (
        "numbers of the wrong kind",
        "screening: {batch_size: 1.5, max_wait_ms: .inf, threads: '1'}\n",
        [
            "1: screening.batch_size: 1.5: must be a valid integer",
            '1: screening.max_wait_ms: ".inf": must be a valid number',
            '1: screening.threads: "1": must be a valid integer',
        ],
    ),
    (
        "numbers out of range",
        "detect: {max_pixels: 100, fps: 1e400}\n",
        [
            "1: detect.fps: Infinity: must be less than or equal to 240",
            "1: detect.max_pixels: 100: must be greater than or equal to 4096",
        ],
    ),
    ("list for a path", "state_folder: [a]\n", ["1: state_folder: […]: must be a valid string"]),
    (
        "home of nobody",
        "state_folder: ~nobody-here/x\n",
        ['1: state_folder: "~nobody-here/x": there is no home folder of this name'],
    ),
    (
        "path with a zero byte",
        'faces: {model: "a\\0b"}\n',
        ['1: faces.model: "a\\u0000b": a path holds no NUL character'],
    ),
    (
        "unknown sections",
        "a: 1\nb: 2\nsreening: {}\n",
        ["1: a: unknown key", "2: b: unknown key", "3: sreening: unknown key (did you mean screening?)"],
    ),
    ("two documents", "{}\n---\n{}\n", ["2: not YAML: but found another document"]),
    ("one brace too many", "screening: {device: cpu}}\n", ["1: not YAML: expected <block end>, but found '}'"]),
    (
        "indent by one",
        "faces:\n  min_confidence: 1\n detect: {}\n",
        ["3: not YAML: expected <block end>, but found '<block mapping start>'"],
    ),
    (
        "text over two lines",
        "'mqtt': {'host': \"x\ny\"}\n",
        ['1: mqtt.host: "x y": a host is a name or an address alone, without mqtt://, user, brackets or port'],
    ),
    (
        "broker without a name",
        "mqtt: {host: ''}\n",
        ['1: mqtt.host: "": a host is a name or an address alone, without mqtt://, user, brackets or port'],
    ),
    (
        "variable without a value",
        "mqtt:\n  user: u\n  password: ${P}\n",
        [
            "3: mqtt.password: ${P}: no value under this name in $CREDENTIALS_DIRECTORY, /run/secrets"
            " and the environment"
        ],
    ),
    ("list for all", "- a\n", ["1: […]: must be a section with keys of its own"]),
    ("text for all", "hello\n", ['1: "hello": must be a section with keys of its own']),
]


@pytest.mark.parametrize(("text", "lines"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN])
def test_broken_file_is_answered_line_by_line(tmp_path: Path, text: str, lines: list[str]) -> None:
    """Each mistake by its line, its key, its value and what to do; nothing else, and never a password."""
    assert mistakes_in(tmp_path, text) == [line.replace("{folder}", str(tmp_path)) for line in lines]
    assert "hunter2" not in "".join(lines)


CANARY = "c4n4ry"
SAMPLE = re.sub(r"\$\{\w+_PASSWORD:\}", CANARY, (CONFIGS / "gateway.yaml").read_text(encoding="utf-8"))
ODD = ("null", "-1", "1e999", "''", "[]", "{}", "yes", '"\\0"', "~", "&a 1", "*a", "!x 1", "${X}", "\x00", "é")


def mutated(sample: str, dice: random.Random) -> bytes:
    """Return the sample with one to four things wrong: characters, values, lines, indents or bytes."""
    lines = [line for line in sample.splitlines(keepends=True) if not line.lstrip().startswith("#")]
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(lines))
        line = lines[at]
        place = dice.randrange(len(line))
        match dice.randrange(7):
            case 0:
                lines[at] = line[:place] + line[place + 1 :]
            case 1:
                lines[at] = line[:place] + chr(dice.randrange(32, 127)) + line[place:]
            case 2:
                lines[at] = re.sub(r": .*", lambda _: f": {dice.choice(ODD)}", line)
            case 3:
                lines.insert(dice.randrange(len(lines)), line)
            case 4:
                lines[at] = " " * dice.randrange(8) + line.lstrip(" ")
            case 5:
                del lines[at]
            case 6:
                lines[at] = line[:place] + dice.choice(ODD) + line[place:]
        lines = [each for each in lines if each] or ["\n"]
    content = bytearray("".join(lines).encode("utf-8", "surrogatepass"))
    if dice.random() < 0.1:
        content[dice.randrange(len(content))] = dice.randrange(256)
    return bytes(content)


def answer_to(path: Path) -> Config | str:
    """Return the configuration of a file, or the lines it is refused with."""
    try:
        return load_config(path, lookup={}.get)
    except ConfigError as refused:
        return str(refused)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_mutated_files_are_answered(tmp_path: Path, count: int) -> None:
    """Each is a whole configuration or a list of lines with their places, the same twice; none crashes or tells."""
    dice, path = random.Random(f"mutations {count}"), tmp_path / "gateway.yaml"
    path.touch(mode=0o600)
    refused = 0
    for _ in range(count):
        path.write_bytes(mutated(SAMPLE, dice))
        answer = answer_to(path)
        assert answer_to(path) == answer
        if isinstance(answer, str):
            refused += 1
            assert CANARY not in answer
            for line in answer.splitlines():
                assert re.match(rf"{re.escape(str(path))}:[1-9][0-9]*: .", line), line
        else:
            assert Config.model_validate(answer.model_dump()) == answer
    assert count // 2 < refused < count
