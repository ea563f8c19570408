"""The project looks at itself: what may lie where, how long things may be, and that text and code agree."""

import ast
import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("gateway", "trainer")
TOP_LEVEL = {"pyproject.toml", "gateway", "trainer", "systemd", "configs", "tests", "README.md", "LICENSE"}

MAX_FILE_LINES = 400
MAX_TEST_FILE_LINES = 800
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6

# Where any error must be taken, and why.
BLIND_HANDLERS_ALLOWED = {
    "gateway/doctor/findings.py": "a check in a thread hands every error to whoever waits for its finding",
    "gateway/screening/runtime.py": "the inference thread hands every error to whoever waits for its answer",
}

MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:home|root|tmp|Users|mnt|opt)/")
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
TEXT_SUFFIXES = {".py", ".md", ".yaml", ".yml", ".json", ".html", ".css", ".js", ".toml", ".service", ".conf", ""}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    """Return every Python file of the product."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def suite() -> list[Path]:
    """Return every Python file of the tests."""
    return sorted((ROOT / "tests").rglob("*.py"))


def committed_texts() -> list[Path]:
    """Return every text file that belongs to the project."""
    folders = (*PACKAGES, "systemd", "configs", "tests", ".ci")
    inside = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    texts = [path for path in inside if path.is_file() and path.suffix in TEXT_SUFFIXES]
    return sorted([*texts, ROOT / "README.md", ROOT / "pyproject.toml"])


def name_of(path: Path) -> str:
    """Return the path as people write it."""
    return path.relative_to(ROOT).as_posix()


def syntax_of(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions_of(path: Path) -> Iterator[Function]:
    """Return every function of a file, nested ones included."""
    return (node for node in ast.walk(syntax_of(path)) if isinstance(node, Function))


def length_of(function: Function) -> int:
    """Return the lines of a function, signature and docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def parameters_of(function: Function) -> int:
    """Return the number of parameters a caller gives: without self and cls."""
    spec = function.args
    named = [argument.arg for argument in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    return len([name for name in named if name not in {"self", "cls"}])


def test_top_level_holds_only_the_fixed_names() -> None:
    """Anybody who opens the repository sees the same eight names; what git ignores does not count."""
    ignored = [line.strip().rstrip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    names = [path.name for path in ROOT.iterdir() if not path.name.startswith(".")]
    visible = {name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)}
    assert visible <= TOP_LEVEL


def test_files_and_functions_stay_short() -> None:
    """A file fits into one reading and a function onto one screen; nobody has to remember seven parameters."""
    offenders = []
    for path in (*sources(), *suite()):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        limit = MAX_TEST_FILE_LINES if path.is_relative_to(ROOT / "tests") else MAX_FILE_LINES
        if lines > limit:
            offenders.append(f"{name_of(path)}: {lines} lines, at most {limit}")
    for path in sources():
        for function in functions_of(path):
            place = f"{name_of(path)}:{function.lineno} {function.name}"
            if length_of(function) > MAX_FUNCTION_LINES:
                offenders.append(f"{place}: {length_of(function)} lines, at most {MAX_FUNCTION_LINES}")
            if parameters_of(function) > MAX_PARAMETERS and not decorated_as_command(function):
                offenders.append(f"{place}: {parameters_of(function)} parameters, at most {MAX_PARAMETERS}")
    assert offenders == []


def decorated_as_command(function: Function) -> bool:
    """Return whether the function is a command of the CLI, which gets one parameter an option."""
    return any("command" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_no_handler_catches_everything() -> None:
    """A handler names what it expects: a blind one turns a defect into silence."""
    offenders = [
        f"{name_of(path)}:{node.lineno}"
        for path in sources()
        if name_of(path) not in BLIND_HANDLERS_ALLOWED
        for node in ast.walk(syntax_of(path))
        if isinstance(node, ast.ExceptHandler) and is_blind(node)
    ]
    assert offenders == []


def is_blind(handler: ast.ExceptHandler) -> bool:
    """Return whether a handler takes every exception and does not pass it on."""
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"} for kind in kinds)


def test_package_files_hold_a_docstring_and_nothing_else() -> None:
    """`__init__.py` re-exports nothing: every name has one place to be imported from."""
    crowded = []
    for path in sources():
        if path.name == "__init__.py":
            body = syntax_of(path).body
            if len(body) != 1 or not isinstance(body[0], ast.Expr) or not isinstance(body[0].value, ast.Constant):
                crowded.append(name_of(path))
    assert crowded == []


def test_every_module_has_its_test_file() -> None:
    """Who opens a module finds its tests at the mirrored place."""
    missing = []
    for path in sources():
        if path.name in {"__init__.py", "__main__.py"}:
            continue
        package, *folders = path.relative_to(ROOT).parent.parts
        beside = ROOT / "tests" / Path(*(folders if package == "gateway" else [package, *folders]))
        if not (beside / f"test_{path.stem}.py").is_file():
            missing.append(f"{name_of(path)} has no {name_of(beside)}/test_{path.stem}.py")
    assert missing == []


def test_every_test_says_what_it_pins() -> None:
    """A failing test is read before its code: its docstring is the sentence that no longer holds."""
    silent = [
        f"{name_of(path)}:{function.lineno} {function.name}"
        for path in suite()
        for function in functions_of(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []


def test_tests_are_found_without_package_files() -> None:
    """Tests are imported by path; a package file among them would change their names."""
    assert [name_of(path) for path in suite() if path.name == "__init__.py"] == []


@pytest.mark.parametrize(
    ("what", "pattern"), [("machine path", MACHINE_PATH), ("mail address", EMAIL)], ids=["path", "mail"]
)
def test_no_machine_or_person_is_named(what: str, pattern: re.Pattern[str]) -> None:
    """Nothing in the product depends on one machine's folders or names a person."""
    found = []
    for path in committed_texts():
        if path == Path(__file__).resolve() or (what == "machine path" and path.is_relative_to(ROOT / "tests")):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            hits = [hit.group() for hit in pattern.finditer(line) if "example" not in hit.group()]
            found.extend(f"{name_of(path)}:{number} {what} {hit}" for hit in hits)
    assert found == []


def test_relative_links_lead_somewhere() -> None:
    """No page points at a file that is not there."""
    pages = [ROOT / "README.md", *(ROOT / "gateway").rglob("*.md"), *(ROOT / "trainer").rglob("*.md")]
    broken = [
        f"{name_of(page)} → {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:|#", target) and not (page.parent / target.split("#")[0]).exists()
    ]
    assert broken == []


def test_decisions_that_are_mentioned_exist() -> None:
    """A comment that says `decision 0003` can be followed, and every record has the four headings."""
    records = {path.name[:4]: path for path in (ROOT / "gateway" / "decisions").glob("[0-9]*.md")}
    dangling = []
    for path in (*sources(), *suite()):
        mentioned = re.findall(r"\bdecisions? (\d{4})\b", path.read_text(encoding="utf-8"))
        dangling.extend(f"{name_of(path)}: {number}" for number in mentioned if number not in records)
    assert dangling == []
    for record in records.values():
        headings = re.findall(r"^## (.+)$", record.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert headings == ["Context", "Options", "Decision", "Consequences"], name_of(record)
