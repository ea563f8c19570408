"""Where parts lie: whole or not, and gone when their job has ended."""

from pathlib import Path

import pytest
from fakes.clean_sets import drawn_set

from gateway.contract.exchange import ExchangeFormatError
from trainer.intake import Intake
from trainer.vault import SetKey


async def test_parts_are_missing_until_they_are_put_and_gone_when_dropped(tmp_path: Path) -> None:
    """Putting or dropping again changes nothing."""
    clean_set, contents = drawn_set(count=4)
    intake, key = Intake(tmp_path / "store"), SetKey(bytes(32), clean_set.sha256)
    for part in (*clean_set.parts, *clean_set.parts):
        await intake.put(clean_set, part, contents[part.sha256], key)
    assert await intake.missing(clean_set) == ()
    (tmp_path / "parts").mkdir()
    await intake.copy_to(clean_set, tmp_path / "parts")
    copied = {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    assert {name: key.open(sealed, name) for name, sealed in copied.items()} == contents
    assert await intake.held() == (clean_set.sha256,)
    await intake.drop(clean_set.sha256)
    await intake.drop(clean_set.sha256)
    assert await intake.held() == ()
    assert set(await intake.missing(clean_set)) == set(contents)


async def test_a_part_is_not_kept_when_it_is_not_what_was_described(tmp_path: Path) -> None:
    """Nothing of it is stored."""
    clean_set, _ = drawn_set(count=4)
    intake = Intake("memory:///")
    with pytest.raises(ExchangeFormatError):
        await intake.put(clean_set, clean_set.parts[0], b"other", SetKey(bytes(32), clean_set.sha256))
    assert len(await intake.missing(clean_set)) == 2
