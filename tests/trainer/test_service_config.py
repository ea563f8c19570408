"""The trainer's configuration: secrets from the environment, and mistakes in words."""

from pathlib import Path

import pytest

from gateway.models.shipped import DEFAULT_BUNDLE
from trainer.service_config import ServiceConfigError, read_config

EXAMPLE = Path(__file__).parent.parent.parent / "configs/trainer.yaml"


def test_the_example_is_read_when_its_variables_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key in it is known, and secrets do not show."""
    monkeypatch.setenv("SPECTRAGATE_PASSPHRASE", "a secret passphrase")
    monkeypatch.setenv("SPECTRAGATE_TRAINER_TOKEN", "a secret token of 16")
    config = read_config(EXAMPLE)
    assert config.http.token.get_secret_value() == "a secret token of 16"
    assert "secret" not in repr(config).replace("SecretStr", "")
    assert config.base_of(config.environments[0]) == DEFAULT_BUNDLE, "what gateways run that name no bundle"
    assert config.model_copy(update={"bases": {"hall": "paper"}}).base_of("hall") == "paper"
    assert config.database_url == "sqlite+aiosqlite:////var/lib/spectragate-trainer/jobs.sqlite"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("host: 127.0.0.1", "host: 0.0.0.0", "faces travel encrypted"),
        ("executor: local", "executor: cloud", r"jobs\.executor"),
        ("port: 8443", "port: 8443\n  tls_keyfile: a", "belong together"),
        ("faces: 500", "face: 500", r"jobs\.face"),
        ("${SPECTRAGATE_TRAINER_TOKEN}", "${UNSET_TOKEN}", r"\$\{UNSET_TOKEN\} is not set"),
        ("folder:", "\t:", "not YAML"),
        ("bases: {}", "bases: {attic: paper}", "bases names attic; the environments are"),
    ],
)
def test_a_mistake_is_told_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    """What, where and what to do."""
    monkeypatch.setenv("SPECTRAGATE_PASSPHRASE", "a secret passphrase")
    monkeypatch.setenv("SPECTRAGATE_TRAINER_TOKEN", "a secret token of 16")
    (tmp_path / "trainer.yaml").write_text(EXAMPLE.read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(ServiceConfigError, match=message):
        read_config(tmp_path / "trainer.yaml")
    with pytest.raises(ServiceConfigError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")


def test_all_mistakes_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each, and no value, which may be a secret."""
    monkeypatch.setenv("SPECTRAGATE_PASSPHRASE", "a secret passphrase")
    monkeypatch.setenv("SPECTRAGATE_TRAINER_TOKEN", "too short")
    text = EXAMPLE.read_text("utf-8").replace("executor: local", "executor: cloud").replace("folder:", "foldr:")
    (tmp_path / "trainer.yaml").write_text(text, "utf-8")
    with pytest.raises(ServiceConfigError) as raised:
        read_config(tmp_path / "trainer.yaml")
    lines = str(raised.value).splitlines()
    assert {line.split(": ")[1] for line in lines} == {"folder", "foldr", "jobs.executor", "http.token"}
    assert all(line.startswith(f"{tmp_path / 'trainer.yaml'}: ") for line in lines)
    assert "too short" not in str(raised.value)


def test_a_variable_is_written_as_in_the_gateways_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small letters and a default count too; what was not replaced would become the secret itself."""
    monkeypatch.setenv("passphrase_of_keys", "a secret passphrase")
    text = EXAMPLE.read_text("utf-8").replace("${SPECTRAGATE_PASSPHRASE}", "${passphrase_of_keys}")
    text = text.replace("${SPECTRAGATE_TRAINER_TOKEN}", "${UNSET_TOKEN:a default of $16 or more}")
    (tmp_path / "trainer.yaml").write_text(text.replace("base: wide", "base: $${wide}"), "utf-8")
    config = read_config(tmp_path / "trainer.yaml")
    assert config.passphrase.get_secret_value() == "a secret passphrase"
    assert config.http.token.get_secret_value() == "a default of $16 or more"
    assert config.base == "${wide}"


def test_secrets_come_from_the_credentials_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systemd hands them over as files; one that everybody can read is refused in words."""
    monkeypatch.setenv("SPECTRAGATE_PASSPHRASE", "of the environment")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for name, value in (("SPECTRAGATE_PASSPHRASE", "of the credential"), ("SPECTRAGATE_TRAINER_TOKEN", "t" * 16)):
        (tmp_path / name).write_text(f"{value}\n")
        (tmp_path / name).chmod(0o400)
    config = read_config(EXAMPLE)
    assert config.passphrase.get_secret_value() == "of the credential"
    assert config.http.token.get_secret_value() == "t" * 16
    tmp_path.chmod(0o755)
    (tmp_path / "SPECTRAGATE_PASSPHRASE").chmod(0o444)
    with pytest.raises(ServiceConfigError, match="every user of this machine can read"):
        read_config(EXAMPLE)
