"""YAML as operators mean it: only YAML 1.2's plain values, no duplicate keys, and a line for every key path."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

KeyPath = tuple[str | int, ...]
"""Where a value stands: keys of mappings and indices of lists, from the top."""

Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN_VALUES = (
    ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), [*"~nN", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]*)$"), list("-0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(r"^-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+)$"),
        list("-.0123456789"),
    ),
)


class _Loader(yaml.SafeLoader):
    """SafeLoader whose plain scalars follow YAML 1.2: `yes`, `012`, `1:30` and dates stay text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  the attribute PyYAML reads; filled below


for _tag, _pattern, _first in _PLAIN_VALUES:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at one place of a document; `line` counts from 1."""

    line: int
    path: KeyPath
    reason: str


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document: its value, the line of every key path, the paths of unquoted text, and what was wrong."""

    value: Value
    lines: dict[KeyPath, int]
    unquoted: frozenset[KeyPath]
    problems: tuple[Problem, ...]

    def line_of(self, path: KeyPath) -> int:
        """Return the line of a path, or of the nearest key above it; 1 for the document."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def plain_value(text: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar of this text means: a number, a boolean, null, or the text itself."""
    for tag, pattern, _ in _PLAIN_VALUES:
        if pattern.match(text):
            return _convert(tag.rsplit(":", 1)[1], text)
    return text


def _convert(kind: str, text: str) -> str | int | float | bool | None:
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text)
        case "float":
            return float(text)
        case _:
            return text


@dataclass(slots=True)
class _Reader:
    """Turns PyYAML's nodes into values, noting lines and collecting problems."""

    lines: dict[KeyPath, int] = field(default_factory=dict)
    unquoted: set[KeyPath] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def read(self, node: Node, path: KeyPath = ()) -> Value:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > MAX_DEPTH:
            self._refuse(node, path, f"nested deeper than {MAX_DEPTH} levels")
            return None
        match node:
            case MappingNode():
                return dict(self._entries(node, path))
            case SequenceNode():
                return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
            case ScalarNode():
                return self._scalar(node, path)
        raise TypeError(f"PyYAML knows no such node: {node!r}")

    def _entries(self, node: MappingNode, path: KeyPath) -> Iterator[tuple[str, Value]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = key_node.value if key_node.tag == "tag:yaml.org,2002:str" else None
            line = key_node.start_mark.line + 1
            if not isinstance(key, str) or _SURROGATE.search(key):
                self._refuse(key_node, path, "a key must be text; quote it if it looks like a number")
                continue
            if key in seen:
                self._refuse(key_node, (*path, key), f"the key stands twice; first on line {seen[key]}")
                continue
            seen[key] = line
            self.lines[(*path, key)] = line
            yield key, self.read(value_node, (*path, key))

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Value:
        kind = node.tag.rsplit(":", 1)[-1]
        if kind not in {"null", "bool", "int", "float", "str"}:
            self._refuse(node, path, "tags are not supported; quote a text that begins with !")  # it may be a secret
            return None
        if _SURROGATE.search(node.value):
            self._refuse(node, path, r"\ud800 to \udfff are half a character; write \U with eight digits")
            return None
        if node.style is None:
            self.unquoted.add(path)
        try:
            return _convert(kind, node.value)
        except ValueError:
            self._refuse(node, path, f"cannot be read as {kind}")
            return None

    def _refuse(self, node: Node, path: KeyPath, reason: str) -> None:
        self.problems.append(Problem(node.start_mark.line + 1, path, reason))


def _compose(text: str) -> Node | None:
    """Return the top node, with anchors refused before anything can multiply."""
    for token in yaml.scan(text, Loader=_Loader):
        if isinstance(token, yaml.AnchorToken | yaml.AliasToken):
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not supported", problem_mark=token.start_mark)
    return yaml.compose(text, Loader=_Loader)


def parse(content: bytes) -> Document:
    """Return the document of a YAML file; never raises for bad content, which comes back as problems."""
    if len(content) > MAX_BYTES:
        return _broken(1, f"the file is larger than {MAX_BYTES:,} bytes")
    try:
        node = _compose(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        return _broken(content[: error.start].count(b"\n") + 1, "the file is not UTF-8 text")
    except yaml.reader.ReaderError as error:
        return _broken(content[: error.position].count(b"\n") + 1, "the file holds a control character")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return _broken(line, f"not YAML: {error.problem or error.context}")
    except RecursionError:
        return _broken(1, "nested too deeply")
    if node is None:
        return Document({}, {(): 1}, frozenset(), ())
    reader = _Reader()
    value = reader.read(node)
    return Document(value, reader.lines, frozenset(reader.unquoted), tuple(reader.problems))


def _broken(line: int, reason: str) -> Document:
    return Document({}, {(): 1}, frozenset(), (Problem(line, (), reason),))
