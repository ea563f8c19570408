"""Style sheets, scripts and the icon of the page: read once, served under addresses that change with their bytes."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
NAMES = (
    "page.css",
    "page.js",
    "pictures.js",
    "charts.js",
    "icon.svg",
    "vendor/htmx-2.0.11.min.js",
    "vendor/uplot-1.6.32.min.js",
    "vendor/uplot-1.6.32.min.css",
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: where it is served, and what is served there."""

    path: str
    url: str
    kind: str
    body: bytes


def load_assets() -> dict[str, Asset]:
    """Return every file by its name."""
    return {name: _load(name) for name in NAMES}


def _load(name: str) -> Asset:
    body = (files("gateway.service.page") / "static" / name).read_bytes()
    path = f"/static/{name}"
    digest = hashlib.sha256(body).hexdigest()[:16]
    return Asset(path, f"{path}?v={digest}", KINDS[name.rpartition(".")[2]], body)
