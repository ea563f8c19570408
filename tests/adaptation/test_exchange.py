"""The signed channel under attack: old, withheld, foreign, oversized, mixed, forged; nothing of it is believed."""

import datetime as dt
import errno
import random
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.channel import adapted, digest_of, write_files
from fakes.repositories import PASSPHRASE, Site, newest_of, signed_anew
from securesystemslib.signer import CryptoSigner

from gateway.adaptation import exchange as exchange_module
from gateway.adaptation.exchange import Channel, Exchange, Offer, admit
from gateway.adaptation.slots import Slots
from gateway.contract.bundle import BundleError
from gateway.contract.repository import BUNDLE_FILES
from gateway.errors import ExchangeError, ExchangeReason, StorageError
from trainer.keys import OnlineKeys, _load_all, release_base, rotate_key

METADATA = ("timestamp", "snapshot", "targets", "environment-indoor")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site with version 1 published for `indoor` and nothing for `hall`."""
    site = Site.make(tmp_path / "site", "indoor", "hall")
    site.publish(1)
    return site


@pytest.fixture
def gateway(site: Site, tmp_path: Path) -> Exchange:
    """Return a gateway that has seen the repository once."""
    exchange = site.exchange(tmp_path / "gateway")
    assert version_of(exchange) == 1
    return exchange


def version_of(exchange: Exchange) -> int | None:
    """Return the version that is offered for `indoor`."""
    offer = exchange.newest("indoor")
    return None if offer is None else offer.version


def refused(exchange: Exchange) -> ExchangeReason:
    """Return why the gateway believes nothing now."""
    with pytest.raises(ExchangeError) as caught:
        exchange.newest("indoor")
    return caught.value.reason


def test_fetch_returns_the_published_files_byte_by_byte(site: Site, gateway: Exchange) -> None:
    """What is installed is what was published, and an environment without bundles is offered nothing."""
    files = adapted(1)
    offer = gateway.newest("indoor")
    assert offer == Offer("indoor", 1, digest_of(files))
    assert gateway.fetch(offer) == files
    assert gateway.newest("hall") is None
    site.publish(2)
    assert version_of(gateway) == 2


@pytest.mark.parametrize("role", METADATA)
def test_old_metadata_is_refused_when_a_newer_was_seen(
    site: Site, gateway: Exchange, tmp_path: Path, role: str
) -> None:
    """Rollback and mix-and-match: any one file from before, or all of them, put back by who serves them."""
    kept = site.snapshot(tmp_path / "kept")
    site.publish(2)
    assert version_of(gateway) == 2
    current = newest_of(site.repository, role)
    shutil.copy(newest_of(kept, role), current)
    shutil.rmtree(tmp_path / "gateway" / "metadata")  # a torn cache: only the floors are left
    if role == "targets":
        assert version_of(gateway) == 2  # the same file: nothing was changed in it
    else:
        assert refused(gateway) is ExchangeReason.INVALID
    site.put_back(kept)
    assert refused(gateway) is ExchangeReason.INVALID


def test_withheld_updates_are_noticed_by_their_expiry(site: Site, gateway: Exchange) -> None:
    """Freeze: a repository that stands still is stale after a day, and says so; a clock set back does not revive it."""
    site.now += dt.timedelta(hours=23)
    assert version_of(gateway) == 1
    site.now += dt.timedelta(hours=2)
    assert refused(gateway) is ExchangeReason.EXPIRED
    site.now += dt.timedelta(days=400)
    assert refused(gateway) is ExchangeReason.EXPIRED
    site.now -= dt.timedelta(days=400)
    site.writer().refresh(site.now)
    site.now += dt.timedelta(hours=20)
    assert version_of(gateway) == 1
    site.now -= dt.timedelta(days=300)
    assert version_of(gateway) == 1  # the floor of the time holds
    site.writer()._commit({}, site.now)
    assert refused(gateway) is ExchangeReason.EXPIRED  # signed until a moment that has passed


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "environment-indoor"])
def test_metadata_signed_with_a_foreign_key_is_refused(site: Site, gateway: Exchange, role: str) -> None:
    """A key that the root or the targets do not name signs nothing."""
    signed_anew(newest_of(site.repository, role), CryptoSigner(Ed25519PrivateKey.generate()))
    fresh = site.exchange(site.folder / "fresh")
    assert refused(fresh) is ExchangeReason.INVALID


def test_foreign_repository_and_foreign_root_are_refused(site: Site, tmp_path: Path) -> None:
    """A whole repository of somebody else is worth nothing to a gateway with this site's root."""
    other = Site.make(tmp_path / "other")
    other.publish(9)
    assert refused(site.exchange(tmp_path / "a", url=str(other.repository))) is ExchangeReason.INVALID
    assert refused(site.exchange(tmp_path / "b", root=other.root)) is ExchangeReason.INVALID
    assert refused(site.exchange(tmp_path / "c", root=b"{}")) is ExchangeReason.INVALID


def test_one_root_key_alone_makes_no_root(site: Site, gateway: Exchange) -> None:
    """Key compromise below the threshold: one stolen root key replaces nothing, however it signs."""
    thief = _load_all(site.folder / "offline", PASSPHRASE)["root-1"]
    forged = site.repository / "metadata" / "2.root.json"
    shutil.copy(site.repository / "metadata" / "1.root.json", forged)
    signed_anew(forged, thief, {"version": 2})
    assert refused(gateway) is ExchangeReason.INVALID
    forged.unlink()
    assert version_of(gateway) == 1


def test_environment_key_signs_for_its_own_environment_alone(site: Site, gateway: Exchange) -> None:
    """A thief of one online key cannot name bundles of another environment, nor a base."""
    site.publish(5, environment="hall")
    thief = OnlineKeys.load(site.folder / "online", PASSPHRASE)
    writer = site.writer()
    stolen = writer.targets_of("environment-hall")
    writer._add(stolen, {f"environments/indoor/9/{name}": b"{}" for name in BUNDLE_FILES})
    writer._add(stolen, {"environments/indoor/current.json": b"{}", f"bases/{'0' * 64}/manifest.json": b"{}"})
    writer._commit({"environment-hall": stolen}, site.now, thief.signers)
    assert version_of(gateway) == 1


def test_fast_forward_is_healed_by_new_keys(site: Site, gateway: Exchange) -> None:
    """Version numbers driven to the end by a thief do not lock a gateway out once the root names new keys."""
    path = newest_of(site.repository, "timestamp")
    before = path.read_bytes()
    signed_anew(path, OnlineKeys.load(site.folder / "online", PASSPHRASE).signers["timestamp"], {"version": 2**31})
    assert version_of(gateway) == 1
    path.write_bytes(before)
    assert refused(gateway) is ExchangeReason.INVALID
    rotate_key(site.folder, "timestamp", passphrase=PASSPHRASE, now=site.now)
    assert version_of(gateway) == 1


def test_missing_file_of_a_bundle_is_an_error_and_not_a_part(site: Site, gateway: Exchange) -> None:
    """Half a bundle is none."""
    offer = gateway.newest("indoor")
    assert offer is not None
    next(site.repository.rglob("*.calibration.json")).unlink()
    with pytest.raises(ExchangeError, match="404"):
        gateway.fetch(offer)


def test_parent_must_be_a_signed_base(site: Site, gateway: Exchange, tmp_path: Path) -> None:
    """Weights that descend from nothing signed are refused, whoever signed them; a released base makes them welcome."""
    base = adapted(1, environment="factory", parent_sha256=None)
    site.publish(2, parent_sha256=digest_of(base))
    offer = gateway.newest("indoor")
    assert offer is not None
    with pytest.raises(BundleError, match="no signed base"):
        gateway.fetch(offer)
    release_base(site.folder, write_files(tmp_path / "base", base), passphrase=PASSPHRASE, now=site.now)
    assert gateway.fetch(offer)["manifest.json"]


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        (Slots(denied={digest_of(adapted(3)): "blind"}), "denied here: blind"),
        (Slots(pinned="factory"), "pinned, factory"),
        (Slots(floor_version=3), "3 was active here already"),
    ],
)
def test_admit_refuses_what_this_gateway_does_not_want(slots: Slots, words: str) -> None:
    """Denied, pinned away or old: refused before the weights are looked at."""
    files = adapted(3)
    offer = Offer("indoor", 3, digest_of(files))
    assert admit(files, offer, Slots(floor_version=2)).version == 3
    with pytest.raises(BundleError, match=words):
        admit(files, offer, slots)
    with pytest.raises(BundleError, match="not the one offered"):
        admit(files, Offer("hall", 3, digest_of(files)), Slots())


def flips(site: Site, folder: Path, *, step: int, offset: int) -> int:
    """Flip bits of all signed metadata, one at a time, before a gateway that has seen nothing; return how many."""
    files = adapted(1)
    count = 0
    for role in METADATA:
        path = newest_of(site.repository, role)
        whole = path.read_bytes()
        for bit in range(offset, len(whole) * 8, step):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            shutil.rmtree(folder, ignore_errors=True)
            exchange = site.exchange(folder)
            try:
                offer = exchange.newest("indoor")
                # A flip between the signed values, in white space, changes nothing that was signed.
                assert offer == Offer("indoor", 1, digest_of(files))
            except ExchangeError:
                pass
            count += 1
        path.write_bytes(whole)
    return count


def test_flipped_bits_of_metadata_are_never_believed(site: Site, tmp_path: Path) -> None:
    """One bit in a hundred of all signed metadata: refused, or without any effect."""
    assert flips(site, tmp_path / "victim", step=101, offset=3) > 200


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_flipped_bit_of_metadata_is_never_believed(site: Site, tmp_path: Path) -> None:
    """Every single bit of all signed metadata."""
    assert flips(site, tmp_path / "victim", step=1, offset=0) > 20_000


@pytest.mark.parametrize("role", METADATA)
def test_truncated_metadata_is_refused(site: Site, role: str) -> None:
    """A file that ends early is no file."""
    path = newest_of(site.repository, role)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        assert refused(site.exchange(site.folder / f"victim-{length}")) is ExchangeReason.INVALID


def test_changed_and_cut_weights_are_refused(site: Site, gateway: Exchange) -> None:
    """Flipped bits and truncations of the weights fail their signed digest before any parser sees them."""
    offer = gateway.newest("indoor")
    assert offer is not None
    path = next(site.repository.rglob("*.weights.safetensors"))
    whole = path.read_bytes()
    draw = random.Random(3)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        for content in (bytes(damaged), whole[: draw.randrange(len(whole))], whole + b"\0"):
            path.write_bytes(content)
            with pytest.raises(ExchangeError):
                gateway.fetch(offer)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_read_is_told_by_its_key(site: Site, tmp_path: Path, content: str | None) -> None:
    """It was moved, or replaced by something else, while the gateway ran: no new bundles, and nothing worse."""
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)
    channel = Channel("https://trainer.plant:8443/repository", site.root, ca_file)
    exchange = Exchange(channel, tmp_path / "gateway", now=lambda: site.now)
    with pytest.raises(ExchangeError, match=r"adaptation\.ca_file: .*ca\.pem cannot be used"):
        exchange.newest("indoor")


def test_a_disk_on_which_nothing_can_be_fetched_is_told(gateway: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes lies there for a moment: where it cannot, that is the fault of the disk and not the gateway's end."""

    def full(**_: object) -> TemporaryDirectory[str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exchange_module, "TemporaryDirectory", full)
    with pytest.raises(StorageError, match="No space left on device"):
        gateway.newest("indoor")
