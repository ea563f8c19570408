"""The file in which an operator says what training adds to clean faces: families, ranges, and families of his own.

```yaml
families: [white_block, coloured_block, gaussian_noise, shadow, blend, upsampling, moire]
ranges: {blend_opacity: [0.1, 0.3]}
own: {moire: moire.py}
```

`moire.py`, relative to this file, holds one function `perturb(picture_YXC, draw)` (see `trainer.perturb.Perturbation`).
It is run as it stands: whoever may write it may do whatever the trainer may (decision 0015).
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from trainer.perturb import ALL_FAMILIES, DEFAULT_RANGES, Perturbation, PerturbationError, PerturbSettings, Ranges

KEYS = ("families", "ranges", "own")


def read_perturb_file(path: Path) -> PerturbSettings:
    """Read an operator's file of perturbations.

    Raises:
        PerturbationError: It cannot be read, says something unknown, or names a file without a fitting function.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PerturbationError(f"{path}: cannot be read as YAML: {error}") from error
    content = {} if content is None else content
    if not isinstance(content, dict) or set(content) - set(KEYS):
        raise PerturbationError(f"{path}: must hold the keys {', '.join(KEYS)} and no others")
    own = {
        name: load_perturbation(path.parent / file, name)
        for name, file in _entries(content.get("own"), f"{path}: own").items()
    }
    families = content.get("families") or [*ALL_FAMILIES, *own]
    known = {*ALL_FAMILIES, *own}
    if not isinstance(families, list) or any(family not in known for family in families):
        raise PerturbationError(f"{path}: families: {families}; a list of these is needed: {', '.join(sorted(known))}")
    return PerturbSettings(families=tuple(families), ranges=_ranges(content.get("ranges"), path), own=own)


def load_perturbation(path: Path, name: str) -> Perturbation:
    """Return the function `perturb` of a Python file.

    Raises:
        PerturbationError: There is no such file, it cannot be run, or it holds no such function.
    """
    if name in ALL_FAMILIES:
        raise PerturbationError(f"{name}: is the name of a built-in family; give your own another")
    spec = importlib.util.spec_from_file_location(f"own_perturbation_{name}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PerturbationError(f"{path}: no such Python file; `own` maps a name to a .py beside the YAML file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as error:
        raise PerturbationError(f"{path}: cannot be run: {type(error).__name__}: {error}") from error
    perturb = getattr(module, "perturb", None)
    if not callable(perturb):
        raise PerturbationError(f"{path}: holds no function `perturb(picture_YXC, draw)`")
    found: Perturbation = perturb
    return found


def _entries(value: Any, where: str) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or any(not isinstance(part, str) for pair in value.items() for part in pair):
        raise PerturbationError(f"{where}: must map a name to a Python file")
    return value


def _ranges(value: Any, path: Path) -> Ranges:
    given = {} if value is None else value
    known = {each.name: getattr(DEFAULT_RANGES, each.name) for each in fields(Ranges)}
    if not isinstance(given, dict) or set(given) - set(known):
        raise PerturbationError(f"{path}: ranges: known are {', '.join(known)}")
    ranges: dict[str, Any] = {name: _range(known[name], new, f"{path}: {name}") for name, new in given.items()}
    return replace(DEFAULT_RANGES, **ranges)


def _range(default: object, value: Any, where: str) -> object:
    """Return a share as a number and a range as an ascending pair, as the default is."""
    if isinstance(default, float) and isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    numbers = isinstance(value, list) and len(value) == 2 and all(isinstance(each, int | float) for each in value)
    if isinstance(default, tuple) and numbers and 0 <= value[0] <= value[1]:
        return float(value[0]), float(value[1])
    needed = "a share of 0 to 1" if isinstance(default, float) else "a pair [least, most]"
    raise PerturbationError(f"{where}: {value!r}; needed is {needed}")
