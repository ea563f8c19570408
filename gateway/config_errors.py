"""Mistakes in a configuration as lines an operator can act on: where, what, why, the nearest key, never a secret."""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gateway.redaction import HIDDEN, SECRET_WORD
from gateway.strict_yaml import Document, KeyPath, Problem, Value

LONGEST_SHOWN = 60
_USER_INFO = re.compile(r".*@")


_MESSAGES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a section with keys of its own",
    "model_attributes_type": "must be a section with keys of its own",
    "model_type": "must be a section with keys of its own",
    "string_too_short": "must not be empty",
    "too_short": "at least one is needed",
}


@dataclass(frozen=True, slots=True)
class Written:
    """What stands in the file, for messages: `touched` are the paths whose value came out of a `${NAME}`."""

    document: Document
    touched: frozenset[KeyPath]

    def shown(self, path: KeyPath) -> str:
        """Return the value at a path as it may be printed: short, and never a secret."""
        value = value_at(self.document.value, path)
        if path in self.touched or any(SECRET_WORD.search(str(part)) for part in path):
            return HIDDEN
        if isinstance(value, dict | list):
            return "{…}" if isinstance(value, dict) else "[…]"
        text = json.dumps(value, ensure_ascii=False)
        if re.search(r"passw|token|secret", text, re.IGNORECASE):
            return HIDDEN  # a key whose colon lacks its blank
        text = _USER_INFO.sub(f'"{HIDDEN}@', text)
        return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def key_in_words(path: KeyPath) -> str:
    """Return a key path as operators write it; what looks like a secret that became a key is left out."""
    parts = (re.sub(r"(?i)((?:passw|token|secret|key)\w*\s*[:=]).*", rf"\1{HIDDEN}", str(part)) for part in path)
    shown = (re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "?", part) for part in parts)
    return ".".join(part if len(part) <= LONGEST_SHOWN else part[: LONGEST_SHOWN - 1] + "…" for part in shown)


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """Return the nearest known word as a hint in brackets, or nothing."""
    nearest = difflib.get_close_matches(given[:100], known, n=1, cutoff=0.6)
    return f" (did you mean {nearest[0]}?)" if nearest else ""


def problems_of(
    error: ValidationError, model: type[BaseModel], written: Written, *, reported: set[KeyPath]
) -> Iterator[Problem]:
    """Turn pydantic's errors into problems of the file; those of keys already reported are left out."""
    for item in error.errors(include_url=False):
        path, sections = _place(model, item["loc"])
        if item["type"].startswith("union_tag_"):
            path = (*path, "type")
        if path not in reported:
            yield Problem(written.document.line_of(path), path, _reason(item, path, sections, written))


def _reason(item: Any, path: KeyPath, sections: Sequence[type[BaseModel]], written: Written) -> str:
    of_key = "[key]" in item["loc"]
    match item["type"]:
        case "extra_forbidden":
            return "unknown key" + did_you_mean(str(path[-1]), [key for each in sections for key in each.model_fields])
        case "missing":
            return "this key is needed"
        case "union_tag_not_found":
            return f"this key is needed: {_tags_in_words(sections)}"
        case "union_tag_invalid":
            given = value_at(written.document.value, path)
            hint = did_you_mean(given, _tags(sections)) if isinstance(given, str) else ""
            return f"{written.shown(path)}: must be {_tags_in_words(sections)}{hint}"
        case "string_pattern_mismatch" | "string_too_long" if of_key:
            return "a name is made of a-z, 0-9, _ and -, at most 64"
        case "too_long":
            return f"at most {item['ctx']['max_length']} are possible"
    message = _MESSAGES.get(item["type"]) or item["msg"].removeprefix("Value error, ").replace(
        "Input should", "must", 1
    )
    return message if of_key else f"{written.shown(path)}: {message}"


def _place(model: type[BaseModel], loc: Sequence[str | int]) -> tuple[KeyPath, list[type[BaseModel]]]:
    """Return the key path of pydantic's location, and the models of the section in which its last part stands.

    Pydantic names the chosen kind of a source among the keys (`source`, `rtsp`, `url`): that is no key of the file.
    """
    path: list[str | int] = []
    kinds: list[Any] = [model]
    sections = [model]
    for part in loc:
        if part == "[key]":
            continue
        chosen = [kind for kind in _models(kinds) if part in _tags([kind])]
        if len(_models(kinds)) > 1 and chosen:
            kinds = sections = chosen
            continue
        sections = _models(kinds)
        path.append(part)
        kinds = [below for kind in kinds for below in _below(kind, part)]
    return tuple(path), _models(kinds) if len(_models(kinds)) > 1 else sections


def _models(kinds: Sequence[Any]) -> list[type[BaseModel]]:
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _tags(sections: Sequence[type[BaseModel]]) -> list[str]:
    """Return the words that a `type` key may hold."""
    fields = [each.model_fields["type"] for each in sections if "type" in each.model_fields]
    return [word for field in fields for word in get_args(field.annotation)]


def _tags_in_words(sections: Sequence[type[BaseModel]]) -> str:
    return " or ".join(repr(word) for word in _tags(sections))


def _below(kind: Any, part: str | int) -> tuple[Any, ...]:
    """Return the types that may stand at one step below a type: a field's, or those of a mapping's values."""
    if get_origin(kind) is dict:
        return (get_args(kind)[1],)
    field = kind.model_fields.get(str(part)) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    annotation = field.annotation if field else None
    return (annotation,) if get_origin(annotation) is dict else get_args(annotation) or (annotation,)


def value_at(value: Value, path: KeyPath) -> Value:
    """Return what stands at a path of a document."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
    return value
