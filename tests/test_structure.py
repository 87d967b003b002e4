"""The house: who may import whom, who takes the whole config, who knows a label."""

from __future__ import annotations

import ast
import pathlib
import re
from typing import Iterator

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "trainer"

# From the ground up. A module imports from floors below its own, or from its own
# package. What two entries say of a module, the longer one decides.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("exit_codes", "messages", "locks", "json_text"),
    ("config",),
    ("storage", "stack", "environment", "templates", "wording", "console"),
    ("sweep_space",),
    ("study_config",),
    ("folder_lock", "caches"),
    ("data",),
    ("tasks.task",),
    ("modeling",),
    # What an export keeps for later; what it is held against is above.
    ("runtime", "drift.reference"),
    ("training", "evaluation"),
    ("tasks",),
    ("serving", "baselines", "forecast", "trackers"),
    ("kept", "champion", "groups"),
    ("run_folder", "flags", "drift"),
    ("stages",),
    ("experiment",),
    ("studies",),
    ("main", "predict", "serve", "audit", "study", "compare"),
)


def modules() -> dict[str, ast.Module]:
    """Every module of the package, by its name without `trainer.`."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(
            ".__init__"
        ): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"
    }


MODULES = modules()


def floor_of(module: str) -> tuple[int, str]:
    """The number of a module's floor, and the entry that says so."""
    entries = [
        (len(entry), number, entry)
        for number, floor in enumerate(FLOORS)
        for entry in floor
        if module == entry or module.startswith(f"{entry}.")
    ]
    assert entries, f"{module} is on no floor"
    _, number, entry = max(entries)
    return number, entry


def imports_of(tree: ast.Module) -> Iterator[str]:
    """Modules of this package that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("trainer."):
                name = name.removeprefix("trainer.")
                # A name within a module, or a module.
                yield name if name in MODULES else name.rpartition(".")[0]


def functions_of(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_below(module: str) -> None:
    floor, entry = floor_of(module)
    for imported in filter(None, imports_of(MODULES[module])):
        other_floor, other_entry = floor_of(imported)
        is_own_package = other_entry == entry and "." in imported
        assert other_floor < floor or is_own_package, f"{module} imports {imported}"


def test_few_functions_take_the_whole_config() -> None:
    """The others take sections, or the run."""
    takers = [
        f"{module}.{function.name}"
        for module, tree in MODULES.items()
        for function in functions_of(tree)
        if any(
            argument.annotation is not None
            and "ExperimentConfig" in ast.unparse(argument.annotation)
            for argument in (*function.args.args, *function.args.kwonlyargs)
        )
    ]
    assert len(takers) <= 9, takers


def test_only_tasks_make_labels_of_logits() -> None:
    pattern = re.compile(r"softmax|argmax|ArgMax")
    allowed = {
        # Attention's own, over keys; the op names that a server has.
        "modeling.attention",
        "serving.stock_ops",
    }
    for module in MODULES:
        path = PACKAGE / (module.replace(".", "/") + ".py")
        if not path.is_file():
            path = PACKAGE / module.replace(".", "/") / "__init__.py"
        if module in allowed or module.startswith(("tasks.", "data.labels")):
            continue
        code = ast.unparse(_without_docstrings(ast.parse(path.read_text())))
        assert not pattern.search(code), module


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(body[0].value, ast.Constant):
                body[0] = ast.Pass()
    return tree


def test_functions_fit_a_screen() -> None:
    long = [
        f"{module}.{function.name}"
        for module, tree in MODULES.items()
        for function in functions_of(tree)
        if (function.end_lineno or 0) - function.lineno + 1 > 60
    ]
    assert not long


def test_the_way_of_the_data_fits_a_page() -> None:
    assert len((PACKAGE / "experiment.py").read_text().splitlines()) <= 120
