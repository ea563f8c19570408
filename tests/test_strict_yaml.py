"""Plain values are YAML 1.2's, and whatever is wrong comes back with its line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.strict_yaml import MAX_BYTES, MAX_DEPTH, parse, plain_value


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "on", "off", "012", "0x10", "0o7", "1_000", "1:30", "+5", "2026-01-01", ".inf", "NaN", "y", "="],
)
def test_text_that_yaml_1_1_would_convert_stays_text(text: str) -> None:
    """A password 0123 keeps its zero, and the name `no` is not a boolean."""
    assert parse(f"key: {text}".encode()).value == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-3", -3),
        ("0", 0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-2e-3", -0.002),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ('"5"', "5"),
        ("'true'", "true"),
        ("[1, a]", [1, "a"]),
        ("{x: 1}", {"x": 1}),
    ],
)
def test_plain_values_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    """Numbers, booleans and null are read; what is quoted is text."""
    parsed = parse(f"key: {text}".encode()).value
    assert parsed == {"key": value}
    assert type(parsed["key"]) is type(value)


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"a: 1\nb: 2\na: 3\n", 3, "the key stands twice; first on line 1"),
        (b"a:\n  b: 1\n  b: 2\n", 3, "the key stands twice; first on line 2"),
        (b"a: 1\n2: x\n", 2, "a key must be text; quote it if it looks like a number"),
        (b"a: 1\n[x]: y\n", 2, "a key must be text; quote it if it looks like a number"),
        (b"a: 1\nb: !!python/name:os.system\n", 2, "tags are not supported; quote a text that begins with !"),
        (b'a: "\\ud83d"\n', 1, r"\ud800 to \udfff are half a character; write \U with eight digits"),
        (b'"\\ud83d": 1\n', 1, "a key must be text; quote it if it looks like a number"),
        (b"a: !!int x\n", 1, "cannot be read as int"),
        (b"a: &x 1\nb: *x\n", 1, "not YAML: anchors and aliases are not supported"),
        (b"a: 1\nb: [\n", 3, "not YAML: expected the node content, but found '<stream end>'"),
        (b"a: 1\n---\nb: 2\n", 2, "not YAML: but found another document"),
        (b"a: 1\nb: \xff\n", 2, "the file is not UTF-8 text"),
        (b"a: 1\nb: \x07\n", 2, "the file holds a control character"),
        (b"a: 1\n\tb: 2\n", 2, "not YAML: found character '\\t' that cannot start any token"),
        (b"[" * 5000, 1, "nested too deeply"),
        (b"a" * (MAX_BYTES + 1), 1, f"the file is larger than {MAX_BYTES:,} bytes"),
    ],
)
def test_mistakes_come_back_with_their_line(content: bytes, line: int, reason: str) -> None:
    """Nothing that a file can hold raises, and the operator finds the place."""
    problem = parse(content).problems[0]
    assert (problem.line, problem.reason) == (line, reason)


def test_all_mistakes_come_back_at_once() -> None:
    """Who repairs a file repairs it once."""
    assert [problem.line for problem in parse(b"a: 1\na: 2\n3: x\nb: !x y\n").problems] == [2, 3, 4]


def test_deep_nesting_is_refused_where_it_begins() -> None:
    """A document deeper than any configuration is no configuration."""
    problems = parse(("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2)).encode()).problems
    assert problems[0].reason == f"nested deeper than {MAX_DEPTH} levels"


def test_lines_are_known_for_every_path() -> None:
    """A key's line is that of the key; a path that does not exist has the line of what stands above it."""
    document = parse(b"a: 1\nb:\n  - x\n  - c: 2\n")
    assert document.line_of(("b",)) == 2
    assert document.line_of(("b", 1, "c")) == 4
    assert document.line_of(("b", 1, "missing")) == 4
    assert document.line_of(("nowhere",)) == 1


def test_unquoted_scalars_are_remembered() -> None:
    """Only what is not quoted may become a number once a variable in it is replaced."""
    assert parse(b'a: x\nb: "x"\nc: [y]\n').unquoted == {("a",), ("c", 0)}


def test_empty_file_is_an_empty_section() -> None:
    """A file with comments alone leaves every default."""
    document = parse(b"# nothing\n")
    assert (document.value, document.problems) == ({}, ())


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("05", "05"), ("true", True), ("", None), ("x", "x")])
def test_plain_value_reads_one_scalar(text: str, value: object) -> None:
    """The same reading for text that comes from elsewhere."""
    assert plain_value(text) == value


# Without characters that JSON escapes as a pair: YAML has one escape for them.
_CHARACTERS = st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])
_TEXT = st.text(_CHARACTERS)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
_KEYS = st.text(_CHARACTERS, max_size=100)  # YAML allows a key 1,024 characters, and JSON writes six for one
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner), max_leaves=12)


@given(st.dictionaries(_KEYS, _VALUES))
def test_what_json_writes_is_read_back(value: dict[str, object]) -> None:
    """JSON is YAML 1.2: quoted text stays as it was, whatever it looks like."""
    document = parse(json.dumps(value).encode())
    assert document.problems == ()
    assert document.value == value


@given(st.binary(max_size=200))
def test_no_content_raises(content: bytes) -> None:
    """Any bytes give a document or a problem."""
    assert all(problem.line >= 1 for problem in parse(content).problems)
