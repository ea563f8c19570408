"""Where a `${NAME}` finds its value; what the programs say of one that cannot be used is tested with them."""

from pathlib import Path

import pytest

from gateway.contract.credentials import MAX_SECRET_BYTES, find_value


def test_nearest_store_decides(tmp_path: Path) -> None:
    """A credential before /run/secrets before the environment; nothing where there is none."""
    for folder in ("credentials", "secrets"):
        (tmp_path / folder).mkdir(mode=0o700)
    (tmp_path / "credentials/BOTH").write_text("credential\n")
    (tmp_path / "secrets/BOTH").write_text("secret")
    (tmp_path / "secrets/ONE").write_text("secret")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"), "ONE": "variable", "LAST": "variable"}
    found = [
        find_value(name, environ=environ, run_secrets=tmp_path / "secrets") for name in ("BOTH", "ONE", "LAST", "X")
    ]
    assert found == ["credential", "secret", "variable", None]


def test_file_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    """In words that end it; the folder of containers is left as it is mounted."""
    (tmp_path / "NAME").write_text("value")
    (tmp_path / "NAME").chmod(0o644)
    tmp_path.chmod(0o755)
    with pytest.raises(PermissionError, match=f"chmod o= {tmp_path}"):
        find_value("NAME", environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}, run_secrets=tmp_path / "none")
    assert find_value("NAME", environ={}, run_secrets=tmp_path) == "value"


def test_endless_file_is_cut_off(tmp_path: Path) -> None:
    """Somebody's mistake does not fill the memory."""
    (tmp_path / "NAME").write_bytes(b"x" * (MAX_SECRET_BYTES + 10))
    assert len(find_value("NAME", environ={}, run_secrets=tmp_path) or "") == MAX_SECRET_BYTES
