"""Opening a bundle: everything is checked, nothing is executed."""

import hashlib
import json
import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from fakes.bundles import draw_weights, write_drawn_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.contract.bundle import GATEWAY_VERSION, MAX_MANIFEST_BYTES, BundleError, open_bundle, read_safetensors

WHERE = Path("some.safetensors")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle that opens; tests copy it before they break it."""
    folder = tmp_path_factory.mktemp("bundles") / "drawn"
    write_drawn_bundle(folder)
    return folder


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    """Return a copy of the bundle to break."""
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def rewrite(bundle: Path, name: str, content: bytes) -> None:
    """Replace a file and make the manifest agree with it, as an attacker who owns both would."""
    (bundle / name).write_bytes(content)
    digest = {"sha256": hashlib.sha256(content).hexdigest(), "length_bytes": len(content)}
    change_manifest(bundle, files={**manifest_of(bundle)["files"], name: digest})


def manifest_of(bundle: Path) -> dict[str, Any]:
    """Return the manifest as plain data."""
    return dict(json.loads((bundle / "manifest.json").read_bytes()))


def change_manifest(bundle: Path, **changes: object) -> None:
    """Overwrite fields of the manifest."""
    (bundle / "manifest.json").write_text(json.dumps(manifest_of(bundle) | changes), encoding="utf-8")


def test_open_bundle_returns_what_was_written(tmp_path: Path) -> None:
    """Weights, calibration, self-test and identity survive the round trip to the bit."""
    sha256 = write_drawn_bundle(tmp_path / "b", seed=3, version=7)
    opened = open_bundle(tmp_path / "b", expected_sha256=sha256)
    assert opened.identity.model_dump() == {"version": 7, "sha256": sha256, "profile": "paper"}
    for name, values in draw_weights(3).items():
        np.testing.assert_array_equal(opened.weights[name], values)
    assert len(opened.calibration.clean_tracks) == 200
    assert opened.self_test.pixels_NYXC.shape[1:] == (32, 32, 3)


def test_open_bundle_refuses_another_digest(bundle: Path) -> None:
    """Trust is a digest: a bundle that is whole but not the expected one is refused."""
    with pytest.raises(BundleError, match="expected 000000000000"):
        open_bundle(bundle, expected_sha256="0" * 64)


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors", "calibration.json", "self_test.safetensors"])
def test_open_bundle_refuses_a_missing_truncated_or_altered_file(bundle: Path, name: str) -> None:
    """Every file is named, measured and digested before it is parsed."""
    content = (bundle / name).read_bytes()
    manifest_sha256 = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    for broken in (content[:-1], bytes([content[0] ^ 1]) + content[1:], content + b" ", b""):
        (bundle / name).write_bytes(broken)
        with pytest.raises(BundleError):
            open_bundle(bundle, expected_sha256=manifest_sha256)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match="cannot be opened"):
        open_bundle(bundle)


def test_open_bundle_refuses_links_pipes_and_endless_files(bundle: Path) -> None:
    """A name that leads elsewhere, or never ends, is not a file of a bundle."""
    manifest = bundle / "manifest.json"
    manifest.rename(bundle / "real.json")
    manifest.symlink_to("real.json")
    with pytest.raises(BundleError, match="cannot be opened"):
        open_bundle(bundle)
    manifest.unlink()
    os.mkfifo(manifest)
    with pytest.raises(BundleError, match="not a plain file"):
        open_bundle(bundle)
    manifest.unlink()
    manifest.write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(BundleError, match="longer than"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profile": "unheard"}, "unknown; this version has paper"),
        ({"resize_filter": "lanczos"}, "reduced by 'lanczos'"),
        ({"context": 2.0}, "cut at 2.0"),
        ({"format": 2}, "format"),
        ({"version": 0}, "version"),
        ({"surprise": 1}, "surprise"),
        ({"files": {}}, "names the files"),
    ],
)
def test_open_bundle_refuses_a_manifest_that_is_unfit(bundle: Path, changes: dict[str, object], message: str) -> None:
    """What this version cannot honour is refused in words, never guessed."""
    change_manifest(bundle, **changes)
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle)


def test_open_bundle_refuses_a_path_in_place_of_a_file_name(bundle: Path) -> None:
    """A manifest cannot make the gateway read a file outside the folder."""
    files = manifest_of(bundle)["files"]
    files["../weights.safetensors"] = files.pop("weights.safetensors")
    change_manifest(bundle, files=files)
    with pytest.raises(BundleError, match="names the files"):
        open_bundle(bundle)


@pytest.mark.parametrize("fault", ["missing", "extra", "shape", "nan", "variance", "dtype"])
def test_open_bundle_refuses_weights_that_are_not_the_profiles(bundle: Path, fault: str) -> None:
    """The exact names, types and shapes, and only finite values, reach the session."""
    weights: dict[str, np.ndarray[Any, Any]] = dict(draw_weights(1))
    if fault == "missing":
        del weights["dense.bias"]
    elif fault == "extra":
        weights["more"] = np.zeros(1, np.float32)
    elif fault == "shape":
        weights["dense.bias"] = np.zeros(3, np.float32)
    elif fault == "nan":
        weights["dense.bias"] = np.array([0, np.nan], np.float32)
    elif fault == "variance":
        weights["norm1.running_var"] = -weights["norm1.running_var"]
    else:
        weights["dense.bias"] = np.zeros(2, np.uint8)
    rewrite(bundle, "weights.safetensors", safetensors.numpy.save(weights))
    with pytest.raises(BundleError, match="weights"):
        open_bundle(bundle)


def test_open_bundle_refuses_a_calibration_out_of_order(bundle: Path) -> None:
    """p-values are found by bisection: unsorted scores would silently give wrong ones."""
    content = json.loads((bundle / "calibration.json").read_bytes())
    content["clean_tracks"] = [2.0, 1.0]
    rewrite(bundle, "calibration.json", json.dumps(content).encode())
    with pytest.raises(BundleError, match="ascending"):
        open_bundle(bundle)


def test_open_bundle_refuses_a_calibration_that_promises_nothing(bundle: Path) -> None:
    """With a handful of clean tracks, every few passers-by would raise an alert."""
    content = json.loads((bundle / "calibration.json").read_bytes())
    rewrite(bundle, "calibration.json", json.dumps(content | {"clean_tracks": [1.0] * 18}).encode())
    with pytest.raises(BundleError, match="fewer than 19"):
        open_bundle(bundle)


@pytest.mark.parametrize("scores", [[np.inf] * 4, [[0.0]] * 4, []])
def test_open_bundle_refuses_a_self_test_that_proves_nothing(bundle: Path, scores: list[Any]) -> None:
    """Self-test scores are one finite number per picture."""
    tensors = {"pixels": np.zeros((len(scores), 32, 32, 3), np.uint8), "scores": np.array(scores, np.float32)}
    rewrite(bundle, "self_test.safetensors", safetensors.numpy.save(tensors))
    with pytest.raises(BundleError, match="self-test"):
        open_bundle(bundle)


def test_read_safetensors_reads_what_the_library_writes() -> None:
    """The small reader and the format's own library agree."""
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], np.uint8)}
    result = read_safetensors(safetensors.numpy.save(tensors), WHERE)
    assert set(result) == {"a", "b"}
    for name, values in tensors.items():
        np.testing.assert_array_equal(result[name], values)


def with_header(header: object, data: bytes = b"") -> bytes:
    """Return safetensors bytes around any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        with_header(b"{"),
        with_header([]),
        with_header({"a": 1}),
        with_header({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)),
        with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
        with_header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
        with_header({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, bytes(4)),
        with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(8)),
        with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
        with_header({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, bytes(4)),
        with_header({n: {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]} for n in "ab"}, bytes(2)),
        with_header(b"[" * 60_000),
    ],
)
def test_read_safetensors_refuses_malformed_files(content: bytes) -> None:
    """Gaps, overlaps, lies about sizes and deep nesting are refused with one kind of error."""
    with pytest.raises(BundleError):
        read_safetensors(content, WHERE)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_read_safetensors_never_crashes_on_noise(content: bytes) -> None:
    """Whatever the bytes, the answer is arrays or a BundleError."""
    try:
        read_safetensors(content, WHERE)
    except BundleError:
        return


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_open_bundle_survives_flipped_bytes_of_the_manifest(
    pristine: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """A flipped byte either changes nothing that is checked, or is refused; nothing else is raised."""
    folder = tmp_path / "flipped"
    if not folder.exists():
        shutil.copytree(pristine, folder)
    content = bytearray((pristine / "manifest.json").read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    (folder / "manifest.json").write_bytes(content)
    try:
        open_bundle(folder)
    except BundleError:
        return


def test_open_bundle_compares_versions_as_numbers(bundle: Path) -> None:
    """A bundle for an older gateway runs, one for a newer is refused; 0.0.10 is older than 0.1.0."""
    change_manifest(bundle, minimum_gateway="0.0.10", gate_sha256="0" * 64)
    assert open_bundle(bundle).manifest.gate_sha256 == "0" * 64
    change_manifest(bundle, minimum_gateway="0.10.0")
    with pytest.raises(BundleError, match=r"needs gateway 0\.10\.0; this one is"):
        open_bundle(bundle)


def test_gateway_version_is_that_of_the_package() -> None:
    """What bundles are compared with is the version in pyproject.toml."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == GATEWAY_VERSION
