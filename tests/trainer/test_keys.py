"""Keys: made once, encrypted, replaced without a gateway noticing."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.repositories import PASSPHRASE, START, Site

from trainer.keys import ONLINE_ROLES, ROOT_KEYS, OnlineKeys, _save, init_keys, rotate_key
from trainer.repository import RepositoryError


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site with one published bundle."""
    site = Site.make(tmp_path / "site")
    site.publish(1)
    return site


def test_private_keys_are_encrypted_and_for_their_owner_alone(site: Site) -> None:
    """A stolen backup opens nothing without the passphrase."""
    paths = [*(site.folder / "offline").iterdir(), *(site.folder / "online").iterdir()]
    assert len(paths) == 7
    for path in paths:
        assert path.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(RepositoryError, match="cannot be read with this passphrase"):
        OnlineKeys.load(site.folder / "online", "another passphrase")


def test_init_overwrites_no_keys_and_asks_for_a_passphrase(site: Site, tmp_path: Path) -> None:
    """Keys that gateways trust are not lost by a command given twice."""
    with pytest.raises(RepositoryError, match="keys rotate"):
        init_keys(site.folder, passphrase=PASSPHRASE, environments=(), now=START)
    with pytest.raises(RepositoryError, match="at least 12"):
        init_keys(tmp_path / "new", passphrase="short", environments=(), now=START)
    with pytest.raises(RepositoryError, match="no name of an environment"):
        init_keys(tmp_path / "new", passphrase=PASSPHRASE, environments=("../x",), now=START)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("role", [*ROOT_KEYS, "targets", *ONLINE_ROLES, "environment-indoor"])
def test_gateway_follows_a_rotation(site: Site, tmp_path: Path, role: str) -> None:
    """Every key can be replaced, twice, and gateways with the first root go on, old ones and new ones."""
    old = site.exchange(tmp_path / "old")
    assert old.newest("indoor") is not None
    for version in (2, 3):
        rotate_key(site.folder, role, passphrase=PASSPHRASE, now=site.now)
        site.publish(version)
        for exchange in (old, site.exchange(tmp_path / f"new-{version}")):
            offer = exchange.newest("indoor")
            assert offer is not None
            assert offer.version == version


def test_environment_gets_its_first_key_by_rotation(site: Site, tmp_path: Path) -> None:
    """A new environment needs no new repository."""
    rotate_key(site.folder, "environment-hall", passphrase=PASSPHRASE, now=site.now)
    site.publish(1, environment="hall")
    assert site.exchange(tmp_path / "gateway").newest("hall") is not None


def test_rotation_needs_two_root_keys_and_a_role_that_exists(site: Site) -> None:
    """One root key alone replaces nothing."""
    with pytest.raises(RepositoryError, match="no role mirror"):
        rotate_key(site.folder, "mirror", passphrase=PASSPHRASE, now=site.now)
    for name in ROOT_KEYS[1:]:
        (site.folder / "offline" / f"{name}.pem").unlink()
    with pytest.raises(RepositoryError, match="needs targets and 2 of the keys"):
        rotate_key(site.folder, "timestamp", passphrase=PASSPHRASE, now=site.now)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_rotation_that_was_cut_off_is_done_by_the_next_one(site: Site, tmp_path: Path, role: str) -> None:
    """The power goes after the new key is on the disk and before a root names it: gateways still follow."""
    gateway = site.exchange(tmp_path / "gateway")
    assert gateway.newest("indoor") is not None
    place = site.folder / ("offline" if role == "targets" else "online") / f"{role}.pem"
    _save(place, Ed25519PrivateKey.generate(), PASSPHRASE)
    place.with_suffix(".new").write_bytes(b"the rest of another crash")
    rotate_key(site.folder, role, passphrase=PASSPHRASE, now=site.now)
    assert place.stat().st_mode & 0o777 == 0o600
    site.publish(2)
    offer = gateway.newest("indoor")
    assert offer is not None
    assert offer.version == 2
