"""Scripts and style sheets that come with the page."""

import hashlib
from importlib.resources import files

from gateway.service.page.assets import load_assets

VENDORED = {
    "htmx-2.0.11.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    "htmx-LICENSE": "d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38",
    "uplot-1.6.32.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uplot-1.6.32.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot-LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
"""SHA-256 of what npm hands out as htmx.org 2.0.11 and uplot 1.6.32."""


def test_vendored_files_are_those_of_their_projects() -> None:
    """Each under its version and its licence, byte for byte."""
    folder = files("gateway.service.page") / "static" / "vendor"
    found = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()}
    assert found == VENDORED


def test_asset_has_an_address_that_changes_with_its_bytes() -> None:
    """Browsers may keep it for a year and yet see a new version at once."""
    assets = load_assets()
    for asset in assets.values():
        assert asset.url == f"{asset.path}?v={hashlib.sha256(asset.body).hexdigest()[:16]}"
    assert assets["page.css"].kind.startswith("text/css")


def test_own_scripts_load_nothing_from_elsewhere() -> None:
    """The page works on a box that sees no internet."""
    for name, asset in load_assets().items():
        if not name.startswith("vendor/") and not name.endswith(".svg"):
            assert b"http://" not in asset.body, name
            assert b"https://" not in asset.body, name
