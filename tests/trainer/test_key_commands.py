"""`spectragate-trainer keys`: the passphrase comes from the environment or a prompt, and errors are sentences."""

import datetime as dt
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakes.channel import adapted, write_files
from fakes.repositories import PASSPHRASE

from trainer import key_commands
from trainer.__main__ import main
from trainer.key_commands import VARIABLE


def call(*arguments: str, passphrase: str = PASSPHRASE) -> Result:
    """Run `spectragate-trainer keys …`."""
    return CliRunner().invoke(main, ["keys", *arguments], env={VARIABLE: passphrase})


def test_keys_are_made_replaced_and_used(tmp_path: Path) -> None:
    """The life of a repository's keys: made, one replaced, an environment added, a base released."""
    folder = str(tmp_path / "keys")
    made = call("init", folder, "--environment", "indoor")
    assert made.exit_code == 0
    assert "1.root.json" in made.output
    assert call("rotate", folder, "root-2").exit_code == 0
    assert call("rotate", folder, "environment-hall").exit_code == 0
    base = write_files(tmp_path / "base", adapted(1, environment="factory", parent_sha256=None))
    assert "may be the parent" in call("release", folder, str(base)).output
    assert (tmp_path / "keys" / "repository" / "metadata" / "3.root.json").exists()


def test_status_tells_what_has_to_be_renewed_and_renew_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month before the offline signatures end; an unattended look needs no passphrase."""
    folder = str(tmp_path / "keys")
    call("init", folder, "--environment", "indoor")
    fresh = call("status", folder, passphrase="")
    assert [line.partition(":")[0] for line in fresh.output.splitlines()] == [
        *("root", "targets", "snapshot", "timestamp", "environment-indoor")
    ]
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=340)
    monkeypatch.setattr(key_commands, "_now", lambda: later)
    late = call("status", folder, passphrase="")
    assert (late.exit_code, "Warning: signatures hold no longer than: root until" in late.stderr) == (0, True)
    assert "signed anew" in call("renew", folder).output
    assert "Warning" not in call("status", folder, passphrase="").output
    assert "holds no repository" in call("status", str(tmp_path)).output


def test_errors_are_sentences(tmp_path: Path) -> None:
    """A wrong passphrase, a second init, a folder without keys."""
    folder = str(tmp_path / "keys")
    assert "at least 12" in call("init", folder, "--environment", "indoor", passphrase="short").output
    call("init", folder, "--environment", "indoor")
    assert "holds keys already" in call("init", folder, "--environment", "indoor").output
    assert "with this passphrase" in call("rotate", folder, "root-1", passphrase="another passphrase").output
    assert "holds no keys" in call("release", str(tmp_path), str(tmp_path)).output


def test_passphrase_is_asked_for_where_nothing_gives_it(tmp_path: Path) -> None:
    """It is typed twice when keys are made, and not shown."""
    result = CliRunner().invoke(
        main,
        ["keys", "init", str(tmp_path / "keys"), "--environment", "indoor"],
        input=f"{PASSPHRASE}\n{PASSPHRASE}\n",
        env={VARIABLE: None},
    )
    assert result.exit_code == 0
    assert PASSPHRASE not in result.output
