"""Each attack on an update channel, tried on the real client: what it offers is refused."""

import contextlib
import datetime as dt
import json
import shutil
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from itertools import product
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.channel import adapted, digest_of
from fakes.https import Answer, endless, reply, serving
from fakes.repositories import PASSPHRASE, Site, newest_of, signed_anew
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, TargetFile

from gateway.adaptation.exchange import Exchange, Offer
from gateway.contract.repository import bundle_target
from gateway.errors import ExchangeError, ExchangeReason
from trainer import repository
from trainer.keys import OnlineKeys, _load_all

ROLES = ("timestamp", "snapshot", "targets", "environment-indoor")
V1, V2 = (Offer("indoor", version, digest_of(adapted(version))) for version in (1, 2))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site with version 1 published."""
    site = Site.make(tmp_path / "site", "indoor", "hall")
    site.publish(1)
    return site


def refused(exchange: Exchange) -> ExchangeReason:
    """Return why the gateway believes nothing now."""
    with pytest.raises(ExchangeError) as caught:
        exchange.newest("indoor")
    return caught.value.reason


def all_keys(site: Site) -> dict[str, CryptoSigner]:
    """Return every key of a site: what each thief may have one of."""
    online = OnlineKeys.load(site.folder / "online", PASSPHRASE).signers
    return {**online, **_load_all(site.folder / "offline", PASSPHRASE)}


@pytest.mark.parametrize("role", ["root", "targets", "environment", "snapshot", "timestamp"])
def test_freeze_is_noticed_by_the_expiry_of_every_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """Whichever signature is the first to expire, nothing is offered from then on; the others are still good."""
    for each in repository.LIFETIME:
        monkeypatch.setitem(repository.LIFETIME, each, dt.timedelta(hours=1 if each == role else 1000))
    site = Site.make(tmp_path / "site")
    site.publish(1)
    gateway = site.exchange(tmp_path / "gateway")
    site.now += dt.timedelta(minutes=59)
    assert gateway.newest("indoor") == V1
    site.now += dt.timedelta(minutes=2)
    assert refused(gateway) is ExchangeReason.EXPIRED
    assert refused(site.exchange(tmp_path / "fresh")) is ExchangeReason.EXPIRED


def test_mixtures_of_old_and_new_metadata_are_refused(site: Site, tmp_path: Path) -> None:
    """Mix and match: of all mixtures of what was signed today and yesterday, only today's whole is believed."""
    old = site.snapshot(tmp_path / "old")
    site.publish(2)
    new = site.snapshot(tmp_path / "new")
    for number, choice in enumerate(product((old, new), repeat=3)):
        site.put_back(new)
        for role, source in zip(("timestamp", "snapshot", "environment-indoor"), choice, strict=True):
            shutil.copy(newest_of(source, role), newest_of(site.repository, role))
        gateway = site.exchange(tmp_path / f"{number}")
        if choice == (new, new, new):
            assert gateway.newest("indoor") == V2
        elif choice[0] == old:  # yesterday's timestamp names yesterday's files, which are still there
            assert gateway.newest("indoor") == V1
        else:
            assert refused(gateway) is ExchangeReason.INVALID


def test_files_of_two_bundles_never_make_one(site: Site, tmp_path: Path) -> None:
    """Mix and match of targets: a signed file in the place of another signed file."""
    site.publish(2)
    gateway = site.exchange(tmp_path / "gateway")
    offer = gateway.newest("indoor")
    assert offer is not None
    folder = site.repository / "targets" / "environments" / "indoor"
    new, old = (next((folder / version).glob("*.manifest.json")) for version in ("2", "1"))
    shutil.copy(old, new)
    with pytest.raises(ExchangeError, match="cannot be believed"):
        gateway.fetch(offer)


@pytest.mark.parametrize("stolen", ["timestamp", "snapshot", "environment-hall", "root-1"])
def test_stolen_key_of_another_role_signs_nothing_for_an_environment(site: Site, tmp_path: Path, stolen: str) -> None:
    """Key compromise below the threshold: whoever has one other key cannot name a bundle."""
    keys = all_keys(site)
    path = newest_of(site.repository, "environment-indoor")
    signed_anew(path, keys[stolen], {"version": 2})
    forged = path.with_name("2.environment-indoor.json")
    path.rename(forged)
    names(site, "snapshot", "environment-indoor", forged, keys["snapshot"])
    names(site, "timestamp", "snapshot", newest_of(site.repository, "snapshot"), keys["timestamp"])
    assert refused(site.exchange(tmp_path / "gateway")) is ExchangeReason.INVALID


def names(site: Site, by: str, role: str, path: Path, signer: CryptoSigner) -> None:
    """Let snapshot or timestamp name a file as the newest of a role, as the thief of their key could."""
    named = newest_of(site.repository, by)
    metadata = Metadata.from_bytes(named.read_bytes())  # type: ignore[var-annotated]
    content = path.read_bytes()
    version = json.loads(content)["signed"]["version"]
    found = MetaFile.from_data(version, content, ["sha256"])
    if by == "timestamp":
        metadata.signed.snapshot_meta = found
    else:
        metadata.signed.meta[f"{role}.json"] = found
    metadata.sign(signer)
    named.write_bytes(metadata.to_bytes())


def test_two_stolen_online_keys_offer_nothing_that_the_environment_did_not_sign(site: Site, tmp_path: Path) -> None:
    """With snapshot and timestamp a thief can withhold an environment, and no more: no bundle is offered."""
    keys = OnlineKeys.load(site.folder / "online", PASSPHRASE).signers
    snapshot = newest_of(site.repository, "snapshot")
    signed_anew(snapshot, keys["snapshot"], {"meta": {"targets.json": {"version": 1}}})
    names(site, "timestamp", "snapshot", snapshot, keys["timestamp"])
    gateway = site.exchange(tmp_path / "gateway")
    with contextlib.suppress(ExchangeError):
        assert gateway.newest("indoor") is None


@pytest.mark.parametrize("role", ROLES)
def test_signed_metadata_of_any_size_are_bounded(site: Site, tmp_path: Path, role: str) -> None:
    """Oversized: even a thief of the right key cannot make a gateway read more than a role may have."""
    keys = all_keys(site)
    path = newest_of(site.repository, role)
    signed_anew(path, keys[role], {"x-filler": "x" * 70_000})
    if role != "timestamp":
        if role != "snapshot":
            names(site, "snapshot", role, path, keys["snapshot"])
        names(site, "timestamp", "snapshot", newest_of(site.repository, "snapshot"), keys["timestamp"])
    assert refused(site.exchange(tmp_path / "gateway")) is ExchangeReason.TOO_LARGE


def test_signed_bundle_of_any_size_is_not_asked_for(site: Site, tmp_path: Path) -> None:
    """Oversized: a signed length beyond what a bundle may have is refused before a byte of it is read."""
    keys = OnlineKeys.load(site.folder / "online", PASSPHRASE)
    writer = site.writer()
    targets = writer.targets_of("environment-indoor")
    path = bundle_target("indoor", 1, "weights.safetensors")
    targets.targets[path] = TargetFile(1 << 40, {"sha256": "0" * 64}, path)
    writer._commit({"environment-indoor": targets}, site.now, keys.signers)
    with pytest.raises(ExchangeError) as caught:
        site.exchange(tmp_path / "gateway").fetch(V1)
    assert caught.value.reason is ExchangeReason.TOO_LARGE


def served(site: Site, folder: Path, wrong: str, answer: Answer) -> AbstractContextManager[tuple[str, Path]]:
    """Serve the repository over HTTPS, except for files whose path holds `wrong`."""

    def both(handler: BaseHTTPRequestHandler) -> None:
        file = site.repository / handler.path.lstrip("/")
        if wrong in handler.path:
            answer(handler)
        elif file.is_file():
            reply(handler, 200, file.read_bytes())
        else:
            reply(handler, 404)

    return serving(folder, both)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Send a byte now and then, for ever."""
    reply(handler, 200)
    while not threading.Event().wait(0.05):
        handler.wfile.write(b" ")


def take(gateway: Exchange) -> None:
    """Take what is offered."""
    offer = gateway.newest("indoor")
    assert offer is not None
    gateway.fetch(offer)


FILES = ("timestamp.json", "2.root.json", "snapshot.json", "targets.json", "environment-indoor.json", "current.json")


@pytest.mark.parametrize("wrong", [*FILES, "weights.safetensors", "manifest.json"])
@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        (endless, {ExchangeReason.TOO_LARGE}),
        (drip, {ExchangeReason.UNREACHABLE, ExchangeReason.TOO_LARGE}),  # a short file is full before it is late
    ],
)
def test_endless_data_end_at_their_bound_or_their_deadline(
    site: Site,
    tmp_path: Path,
    wrong: str,
    answer: Callable[[BaseHTTPRequestHandler], None],
    reasons: set[ExchangeReason],
) -> None:
    """Whatever file of the repository has no end, huge or slow: the look ends, and the next one finds the bundle."""
    tls = tmp_path / "tls"
    tls.mkdir()
    with served(site, tls, wrong, answer) as (url, ca):
        file_s = 30.0 if answer is endless else 0.3
        gateway = site.exchange(tmp_path / "gateway", url=url, ca_file=ca, file_s=file_s)
        with pytest.raises(ExchangeError) as caught:
            take(gateway)
        assert caught.value.reason in reasons
    with served(site, tls, "nothing is wrong", endless) as (url, ca):
        assert site.exchange(tmp_path / "gateway", url=url, ca_file=ca).newest("indoor") == V1


def test_foreign_site_is_refused_whole_and_in_part(site: Site, tmp_path: Path) -> None:
    """Another site's repository, its newest metadata and its bundles are worth nothing here."""
    other = Site.make(tmp_path / "other", "indoor", "hall")
    other.publish(1)
    other.publish(2)
    assert refused(site.exchange(tmp_path / "whole", url=str(other.repository))) is ExchangeReason.INVALID
    own = site.snapshot(tmp_path / "own")
    for role in ROLES:
        site.put_back(own)
        newest_of(site.repository, role).write_bytes(newest_of(other.repository, role).read_bytes())
        # What is longer than what was signed here is not even read.
        assert refused(site.exchange(tmp_path / role)) in {ExchangeReason.INVALID, ExchangeReason.TOO_LARGE}
    site.put_back(own)
    signed_anew(newest_of(site.repository, "environment-indoor"), CryptoSigner(Ed25519PrivateKey.generate()))
    assert refused(site.exchange(tmp_path / "key")) is ExchangeReason.INVALID


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", ROLES)
def test_every_truncation_of_metadata_is_refused(site: Site, tmp_path: Path, role: str) -> None:
    """Each length that a file may be cut to, the empty one included."""
    path = newest_of(site.repository, role)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        shutil.rmtree(tmp_path / "victim", ignore_errors=True)
        assert refused(site.exchange(tmp_path / "victim")) is ExchangeReason.INVALID
