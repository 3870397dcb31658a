"""The rules of the house that a machine can hold: floors, sizes, docstrings, no `print`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("flows", "tasks", "serving", "monitoring", "feedback")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
TREES = {path.relative_to(ROOT): ast.parse(path.read_text("utf-8")) for path in FILES}
MAX_FUNCTION_LINES, MAX_FILE_LINES = 40, 300
DEPENDENCIES = {
    "datasets",
    "mlflow",
    "prefect",
    "queue",
    "torch",
    "transformers",
    "evidently",
    "onnx",
    "logging",
    "types",
}


def functions():
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_rooms_import_only_from_lower_floors():
    command = Path(sys.executable).parent / "lint-imports"
    if not command.exists():
        pytest.skip("import-linter is not installed; it comes with the extra `dev`")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_every_room_is_there():
    assert {path.parts[0] for path in TREES} == set(ROOMS)


def test_no_function_is_too_long():
    sizes = {f"{path}:{node.name}": node.end_lineno - node.lineno + 1 for path, node in functions()}
    assert {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES} == {}


def test_no_file_is_too_long():
    sizes = {str(path): len((ROOT / path).read_text("utf-8").splitlines()) for path in TREES}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_LINES} == {}


def test_every_module_says_what_it_is():
    assert [str(path) for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_every_public_function_and_class_says_what_it_is():
    silent = [
        f"{path}:{node.name}"
        for path, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and "migrations" not in path.parts
    ]
    assert silent == []


def test_library_code_does_not_print():
    printed = [
        f"{path}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printed == []


def imported(tree: ast.AST) -> set[str]:
    """Return the root packages that a module imports anywhere in it."""
    named = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in named}


def test_few_modules_know_mlflow():
    """The registry, what is written while a training runs, and the model that MLflow itself loads."""
    knowing = {str(path) for path, tree in TREES.items() if "mlflow" in imported(tree)}
    assert knowing == {"tasks/registry.py", "tasks/live_runs.py", "tasks/pyfunc_model.py"}


def test_packages_do_nothing_at_import():
    """An `__init__.py` holds its docstring and nothing else."""
    busy = [str(path) for path, tree in TREES.items() if path.name == "__init__.py" and len(tree.body) > 1]
    assert busy == []


def test_no_file_is_named_like_a_dependency():
    assert [str(path) for path in TREES if path.stem in DEPENDENCIES] == []


def test_no_bare_except():
    bare = [
        f"{path}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []
