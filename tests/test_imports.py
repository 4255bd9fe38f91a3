"""Imports run one way, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "cnnstat"
LEVELS = (
    {"errors", "choices", "version", "call_cleanup"},
    {"numbers", "display", "files", "child_process"},
    {"picture_file"},
    {"ir"},
    {"ops", "analysis"},
    {"draw"},
    {"sources", "spec", "pytorch", "report", "profile", "exported"},
    {"verify", "export", "sweep"},
    {"check", "python_options"},
    {"api"},
    {"testing"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
RENDERING = {
    ("report.subjects.check", "check"), ("report.subjects.verification", "verify"),
    ("report.subjects.sweep", "sweep"), ("sources.trace_cache", "export"),
}  # fmt: skip
"""Documents are made of the verdicts of a check or a verification, and of the points of a sweep. A trace is kept as the
spec that it is exported to."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def level(module: str) -> int:
    """Return the height of the part of the package that a module belongs to."""
    part = module.split(".")[0]
    return next(height for height, parts in enumerate(LEVELS) if part in parts)


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> list[str]:
    """Return the modules of the package that a file imports, inside functions too, but not for type checking."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cnnstat":
            inner = (node.module or "").partition(".")[2]
            found += [inner] if inner else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [a.name.partition(".")[2] for a in node.names if a.name.startswith("cnnstat.")]
    return [module for module in found if module and (PACKAGE / module.split(".")[0]).with_suffix("") != PACKAGE]


def test_imports_never_climb() -> None:
    modules = {name_of(path): imports(path) for path in MODULES if name_of(path)}
    pairs = [
        (module, imported)
        for module, all_imported in modules.items()
        for imported in all_imported
        if not imported.startswith("__") and imported.split(".")[0] != module.split(".")[0]
    ]
    assert len(pairs) > len(modules)
    climbing = [(module, imported) for module, imported in pairs if level(imported) > level(module)]
    assert {(module, name.split(".")[0]) for module, name in climbing} == RENDERING


def dependencies() -> dict[str, set[str]]:
    """Return the files that each file imports anywhere: at its top, inside functions, and for type checking.

    A name that a package passes on counts as its `__init__.py`, which then counts with all that it imports itself.
    """
    files = {name_of(path): path for path in MODULES}
    edges: dict[str, set[str]] = {}
    for module, path in files.items():
        imported: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cnnstat":
                package = (node.module or "").partition(".")[2]
                inner = [f"{package}.{alias.name}".lstrip(".") for alias in node.names]
                imported |= {name if name in files else package for name in inner}
            elif isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("cnnstat.")}
        edges[module] = imported - {module}
    return edges


def test_no_two_files_import_each_other() -> None:
    # Results reach their reports by names that `cnnstat.display` lists as text, which is no import.
    try:
        tuple(TopologicalSorter(dependencies()).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(module or "cnnstat" for module in error.args[1]))


@pytest.mark.parametrize("path", sorted((PACKAGE / "ops").glob("*.py")), ids=lambda p: p.stem)
def test_ops_never_import_torch(path: Path) -> None:
    names = {a.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)}
    assert not any(name.split(".")[0] == "torch" for name in names)


@pytest.mark.parametrize(
    ("package", "folders"),
    [("torch", {"pytorch", "verify", "profile", "sources", "sweep"}), ("onnx", {"exported", "verify"})],
)
def test_a_package_is_imported_where_it_is_worked_with(package: str, folders: set[str]) -> None:
    importing = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == package for name in names):
                importing.add(name_of(path).split(".")[0])
    assert importing - {"api"} == folders  # whose import is for types alone


def test_passes_name_no_op() -> None:
    from cnnstat import ops

    for path in (PACKAGE / "analysis").rglob("*.py"):
        tree = ast.parse(path.read_text())
        words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        words |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        assert not words & set(ops.names()), path.name


def test_analysis_of_a_spec_imports_neither_torch_nor_rich() -> None:
    code = (
        "import sys, cnnstat; cnnstat.analyze('vgg16').to_dict(); "
        "print([m for m in ('torch', 'numpy', 'rich', 'typer', 'fvcore') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_importing_cnnstat_imports_nothing_of_it() -> None:
    code = "import sys, cnnstat; print([m for m in sys.modules if m.startswith('cnnstat.')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_plain_command_makes_no_converters_of_the_options_that_it_is_not_given() -> None:
    code = (
        "import sys; from cnnstat import cli; sys.argv = ['cnnstat', 'analyze', 'lenet5', '--sort', 'macs']\n"
        "try: cli.main()\nfinally: print('pydantic' in sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "61,706" in ran.stdout and ran.stderr == "False\n"


def test_no_two_files_have_one_name_for_different_things() -> None:
    """What two folders call alike is one subject: what computes it or asks for it, and the report of it."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        if path.stem != "__init__":
            places.setdefault(path.stem, []).append(path.parent.relative_to(PACKAGE).as_posix())
    twice = {stem: folders for stem, folders in places.items() if len(folders) > 1}
    assert "analysis" in twice
    assert {stem: folders for stem, folders in twice.items() if "report/subjects" not in folders} == {}
