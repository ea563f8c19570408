"""`spectragate model`: what an operator does with bundles by hand."""

import datetime as dt
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes.channel import adapted, digest_of
from fakes.repositories import Site

from gateway.__main__ import cli
from gateway.choice import choose
from gateway.model_commands import _channel


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site with version 1 of `indoor`, signed today, and the configuration of a gateway beside it."""
    site = Site.make(tmp_path / "site")
    site.now = dt.datetime.now(dt.UTC)
    site.publish(1)
    (tmp_path / "gateway.yaml").write_text("state_folder: state\nenvironments: {indoor: {bundle: paper}}\n")
    return site


def call(site: Site, *arguments: str) -> tuple[int, str]:
    """Run `spectragate model …` and return its exit code and all that it says."""
    command, *rest = arguments
    config = str(site.folder.parent / "gateway.yaml")
    result = CliRunner().invoke(cli, ["model", command, "-c", config, *rest], standalone_mode=False)
    code = result.return_value or 0
    if result.exception is not None:
        return 1, str(result.exception)
    return int(code), result.output


def install(site: Site) -> tuple[int, str]:
    """Install the newest of the site's repository."""
    root = site.repository / "metadata" / "1.root.json"
    return call(site, "install", "--repository", str(site.repository), "--root", str(root))


def test_install_pin_and_rollback_tell_what_runs(site: Site) -> None:
    """From the bundle that came along to a signed one, a newer one, back, and pinned."""
    assert json.loads(call(site, "list", "--json")[1])["slot"] == "factory"
    assert install(site)[0] == 0
    assert "installed already" in install(site)[1]
    site.publish(2)
    assert install(site)[0] == 0
    listed = json.loads(call(site, "list", "--json")[1])
    assert (listed["version"], listed["slot"], listed["probation"]) == (2, "active", True)
    assert [bundle["version"] for bundle in listed["held"]] == [1, 2]
    assert "back to version 1 (active)" in call(site, "rollback")[1]
    code, words = install(site)
    assert (code, "was denied here" in words) == (1, True)
    site.publish(3)
    assert "pinned" in install(site)[1]
    call(site, "pin", "none")
    assert install(site)[0] == 0
    assert "pinned to version 1" in call(site, "pin", "1")[1]
    words = call(site, "list")[1]
    assert "indoor: paper version 1" in words
    assert f"never again: {digest_of(adapted(2))[:12]}, undone by the operator" in words


def test_commands_refuse_what_is_not_there(site: Site) -> None:
    """No traceback, a sentence and exit code 1."""
    assert call(site, "rollback")[0] == 1
    assert "no version 7" in call(site, "pin", "7")[1]


def test_install_refuses_a_repository_that_cannot_be_believed(site: Site) -> None:
    """A changed byte of the signed metadata: nothing is installed."""
    path = site.repository / "metadata" / "timestamp.json"
    path.write_bytes(path.read_bytes().replace(b'"version":', b'"version":1'))
    code, words = install(site)
    assert (code, "cannot be believed" in words) == (1, True)
    assert json.loads(call(site, "list", "--json")[1])["slot"] == "factory"


def test_verify_tells_damage_by_its_exit_code(site: Site) -> None:
    """A script notices that another bundle took the place of a damaged one."""
    assert call(site, "verify")[0] == 0
    install(site)
    assert call(site, "verify")[0] == 0
    weights = next((site.folder.parent / "state" / "bundles" / "objects").rglob("weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    code, words = call(site, "verify")
    assert code == 1
    assert "not used: active" in words


def test_install_takes_repository_and_root_from_the_configuration(site: Site) -> None:
    """No option is needed where `adaptation` names both; without either there is a sentence, and code 2."""
    config = site.folder.parent / "gateway.yaml"
    code, words = call(site, "install")
    assert (code, "name a repository and a root" in words) == (1, True)
    adaptation = f"adaptation: {{repository: {site.repository}, root: {site.repository}/metadata/1.root.json}}\n"
    config.write_text(config.read_text() + adaptation)
    assert "version 1" in call(site, "install")[1]
    assert json.loads(call(site, "list", "--json")[1])["slot"] == "active"


def test_token_of_the_configuration_is_shown_to_no_other_repository(site: Site) -> None:
    """Whoever is named on the command line does not get the trainer's token."""
    config = site.folder.parent / "gateway.yaml"
    root = site.repository / "metadata" / "1.root.json"
    own = f"adaptation: {{repository: 'https://trainer:8443/repository', root: {root}, token: a-token-of-sixteen}}\n"
    config.write_text(config.read_text() + own)
    config.chmod(0o600)
    choice = choose(config)
    channel = _channel(choice, None, None, None)
    assert channel.token is not None
    assert channel.token.get_secret_value() == "a-token-of-sixteen"
    assert _channel(choice, "https://elsewhere/", None, None).token is None


@pytest.mark.parametrize("version", ["three", "-1", "1.0"])
def test_pin_takes_versions_alone(site: Site, version: str) -> None:
    """A word that is no version is a mistake of usage."""
    assert "name a version" in call(site, "pin", "--", version)[1]
