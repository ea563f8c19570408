"""Where the parts of clean sets lie, sealed, until their job has ended: a folder, or an object store, by obstore."""

import asyncio
from pathlib import Path

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

from gateway.contract.exchange import CleanSet, Part, read_part
from trainer.vault import SetKey

_FOLDER = "clean-sets/"


class Intake:
    """Parts by the digest of their set and their own; a part is there whole or not at all."""

    def __init__(self, place: str | Path) -> None:
        if isinstance(place, Path):
            self._store: ObjectStore = LocalStore(place, mkdir=True)
        else:
            self._store = from_url(place)

    async def missing(self, clean_set: CleanSet) -> tuple[str, ...]:
        """Return the digests of the parts that are still to be put."""
        prefix = f"{_FOLDER}{clean_set.sha256}/"
        listed = await obstore.list(self._store, prefix).collect_async()
        there = {str(entry["path"]).rpartition("/")[2] for entry in listed}
        return tuple(part.sha256 for part in clean_set.parts if part.sha256 not in there)

    async def put(self, clean_set: CleanSet, part: Part, content: bytes, key: SetKey) -> None:
        """Seal and keep a part, once it is known to be what was described.

        Raises:
            ExchangeFormatError: It is not.
        """
        sealed = await asyncio.to_thread(_sealed, content, part, key)
        await obstore.put_async(self._store, _path(clean_set, part), sealed)

    async def copy_to(self, clean_set: CleanSet, folder: Path) -> None:
        """Write all parts, sealed as they are, into a job's folder, which must be there."""
        for part in clean_set.parts:
            found = await obstore.get_async(self._store, _path(clean_set, part))
            content = bytes(await found.bytes_async())
            await asyncio.to_thread((folder / part.sha256).write_bytes, content)

    async def held(self) -> tuple[str, ...]:
        """Return the digests of the clean sets of which any part is here."""
        listed = await obstore.list(self._store, _FOLDER).collect_async()
        return tuple(sorted({str(entry["path"]).split("/")[1] for entry in listed}))

    async def drop(self, sha256: str) -> None:
        """Erase all parts of a clean set; where there are none that is no fault."""
        listed = await obstore.list(self._store, f"{_FOLDER}{sha256}/").collect_async()
        if listed:
            await obstore.delete_async(self._store, [str(entry["path"]) for entry in listed])


def _sealed(content: bytes, part: Part, key: SetKey) -> bytes:
    read_part(content, part)
    return key.seal(content, part.sha256)


def _path(clean_set: CleanSet, part: Part) -> str:
    return f"{_FOLDER}{clean_set.sha256}/{part.sha256}"
