"""Where the parts of clean sets lie until their job has ended: a folder, or an object store, through obstore."""

import asyncio
from pathlib import Path

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

from gateway.contract.exchange import CleanSet, Part, read_part


class Intake:
    """Parts by the digest of their set and their own; a part is there whole or not at all."""

    def __init__(self, place: str | Path) -> None:
        if isinstance(place, Path):
            self._store: ObjectStore = LocalStore(place, mkdir=True)
        else:
            self._store = from_url(place)

    async def missing(self, clean_set: CleanSet) -> tuple[str, ...]:
        """Return the digests of the parts that are still to be put."""
        prefix = f"clean-sets/{clean_set.sha256}/"
        listed = await obstore.list(self._store, prefix).collect_async()
        there = {str(entry["path"]).rpartition("/")[2] for entry in listed}
        return tuple(part.sha256 for part in clean_set.parts if part.sha256 not in there)

    async def put(self, clean_set: CleanSet, part: Part, content: bytes) -> None:
        """Keep a part, once it is known to be what was described.

        Raises:
            ExchangeFormatError: It is not.
        """
        read_part(content, part)
        await obstore.put_async(self._store, _path(clean_set, part), content)

    async def copy_to(self, clean_set: CleanSet, folder: Path) -> None:
        """Write all parts into a job's folder, which must be there."""
        for part in clean_set.parts:
            found = await obstore.get_async(self._store, _path(clean_set, part))
            content = bytes(await found.bytes_async())
            await asyncio.to_thread((folder / part.sha256).write_bytes, content)

    async def drop(self, clean_set: CleanSet) -> None:
        """Erase all parts; those that are gone already are no fault."""
        gone = set(await self.missing(clean_set))
        paths = [_path(clean_set, part) for part in clean_set.parts if part.sha256 not in gone]
        if paths:
            await obstore.delete_async(self._store, paths)


def _path(clean_set: CleanSet, part: Part) -> str:
    return f"clean-sets/{clean_set.sha256}/{part.sha256}"
