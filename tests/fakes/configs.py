"""Configurations out of a text, as a file that only its owner can read."""

from pathlib import Path

import pytest

from gateway.config import Config
from gateway.config_file import load_config
from gateway.errors import ConfigError


def load(folder: Path, text: str, **values: str) -> Config:
    """Return the configuration of this text; `values` are what `${NAME}` finds."""
    path = folder / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return load_config(path, lookup=values.get)


def mistakes_in(folder: Path, text: str, **values: str) -> list[str]:
    """Return the lines that this text is refused with, without the path of the file."""
    with pytest.raises(ConfigError) as refused:
        load(folder, text, **values)
    return [line.removeprefix(f"{folder / 'gateway.yaml'}:") for line in str(refused.value).splitlines()]
