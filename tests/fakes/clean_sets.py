"""Clean sets of drawn faces, as a gateway describes and puts them, and the configuration of a service for them."""

import hashlib
import json
from pathlib import Path

import safetensors.numpy
from fakes.clear_faces import files_below
from fakes.drawn_faces import drawn_faces, save_index

from gateway.contract.exchange import CleanSet, Part, face_name
from trainer.job_run import Order
from trainer.service_config import ServiceConfig
from trainer.vault import KeyHandle, ServiceKeys, make_keys

TOKEN = "a-token-of-the-tests"
PASSPHRASE = "a long passphrase"


def drawn_set(
    *, count: int = 80, seed: int = 3, gateway: str = "gate-1", side_px: int = 40
) -> tuple[CleanSet, dict[str, bytes]]:
    """Return a clean set of two parts, with two faces a track, and the parts' bytes by digest."""
    faces = drawn_faces(count, seed=seed, side_px=side_px)
    parts, contents = [], {}
    for chosen in (range(count // 2), range(count // 2, count)):
        content = safetensors.numpy.save({face_name(index // 2, index % 2): faces.pixels[index] for index in chosen})
        sha256 = hashlib.sha256(content).hexdigest()
        contents[sha256] = content
        parts.append(Part(sha256=sha256, length_bytes=len(content), faces=len(chosen)))
    times = {"collected_from": "2026-11-25T10:00:00Z", "collected_to": "2026-11-25T11:00:00Z"}
    return CleanSet(gateway=gateway, environment="hall", parts=tuple(parts), **times), contents


def service_config(folder: Path, *, side_px: int = 40, **jobs: object) -> ServiceConfig:
    """Return the configuration of a small service on a free port; its file lies at `folder/trainer.yaml`."""
    reference = save_index(folder / "reference", drawn_faces(80, seed=9, side_px=side_px))
    value = {
        "folder": str(folder / "state"),
        "keys": str(folder / "keys"),
        "passphrase": PASSPHRASE,
        "base": "paper",
        "reference": str(reference),
        "environments": ["hall"],
        "http": {"port": 0, "token": TOKEN},
        "jobs": {"epochs": 2, "threads": 1, "regime": "authors", **jobs},
    }
    (folder / "trainer.yaml").write_text(json.dumps(value), "utf-8")
    return ServiceConfig.model_validate(value)


def faces_keys(config: ServiceConfig) -> ServiceKeys:
    """Return the keys that this service seals faces with, made where there are none."""
    make_keys(config.faces_key_file)
    return ServiceKeys.load(config.faces_key_file)


def kept_in(folder: Path) -> list[Path]:
    """Return the files of a service beside its database."""
    return [path for path in files_below(folder) if "sqlite" not in path.name]


def prepared_job(folder: Path, *, count: int = 80, side_px: int = 40, **changes: object) -> tuple[Path, KeyHandle]:
    """Return a job's folder, and what opens its faces."""
    config = service_config(folder.parent, side_px=side_px)
    clean_set, contents = drawn_set(count=count, side_px=side_px)
    order = Order(
        clean_set=clean_set,
        base="paper",
        reference=str(config.reference),
        version=3,
        created="2026-11-25",
        faces=500,
        epochs=2,
        threads=1,
        regime="authors",
    ).model_copy(update=changes)
    (folder / "parts").mkdir(parents=True)
    keys = faces_keys(config)
    handle = KeyHandle(
        clean_set=clean_set.sha256, sealed_key=keys.new_key(clean_set.sha256), faces_key=config.faces_key_file
    )
    for sha256, content in contents.items():
        (folder / "parts" / sha256).write_bytes(handle.open().seal(content, sha256))
    (folder / "order.json").write_text(order.model_dump_json(), "utf-8")
    return folder, handle
