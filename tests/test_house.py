"""The house holds: layers, sizes of rooms, unique names, a README whose files exist."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from ltat_tune.api.isolation import process_kept

PACKAGE = Path(__file__).parents[1] / "ltat_tune"
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({module.parent for module in MODULES})


def test_no_module_imports_upwards_and_libraries_have_one_door() -> None:
    config = str(PACKAGE.parent / "pyproject.toml")
    with process_kept():  # it switches every logger off that is there already
        assert lint_imports(config_filename=config, no_cache=True) == EXIT_STATUS_SUCCESS


def test_no_module_is_longer_than_350_lines() -> None:
    lengths = {module: len(module.read_text().splitlines()) for module in MODULES}
    assert {str(m.relative_to(PACKAGE)): n for m, n in lengths.items() if n > 350} == {}


def test_no_folder_holds_more_than_16_modules_and_the_root_no_more_than_8() -> None:
    counts = {folder: len(list(folder.glob("*.py"))) for folder in FOLDERS}
    assert counts[PACKAGE] <= 8
    assert {str(folder.relative_to(PACKAGE)): n for folder, n in counts.items() if n > 16} == {}


@pytest.mark.parametrize("folder", FOLDERS[1:], ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_package_says_what_lives_there_and_who_may_import_whom(folder: Path) -> None:
    doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    assert len(doc.split()) >= 8, f"{folder.name}/__init__.py says too little"


def test_no_two_modules_define_the_same_public_name() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        for node in ast.parse(module.read_text()).body:
            for name in _defined(node):
                if name[0] != "_":
                    places[name].add(module.relative_to(PACKAGE).as_posix())
    assert {name: sorted(where) for name, where in places.items() if len(where) > 1} == {}


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [part.id for t in targets for part in ast.walk(t) if isinstance(part, ast.Name)]


_NO_VERB = set(
    "the a an what where how which every all whether why one each no of in as by who when that it "
    "there this these those for with from on at not only two both several some any its same such "
    "nothing everything".split()
)


def test_the_docstring_of_a_function_begins_with_what_it_does() -> None:
    starts = {}
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if not isinstance(node, ast.FunctionDef) or not ast.get_docstring(node):
                continue
            if any("property" in ast.unparse(decorator) for decorator in node.decorator_list):
                continue
            first = (ast.get_docstring(node) or "").split()[0]
            word = first.strip(".,:;").lower()
            if word in _NO_VERB or not first[0].isalpha():
                starts[f"{module.relative_to(PACKAGE)}:{node.lineno}"] = first
    assert starts == {}


def test_the_readme_of_the_package_names_files_that_exist() -> None:
    text = (PACKAGE / "README.md").read_text()
    architecture = text[text.index("## Architecture") :]
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*/(?:[a-z_]+\.py)?|[a-z_]+\.py)`", architecture))
    assert len(named) > 40
    assert [name for name in sorted(named) if not (PACKAGE / name).exists()] == []


def test_the_readme_draws_every_package() -> None:
    text = (PACKAGE / "README.md").read_text()
    drawing = text[text.index("## Architecture") :].split("```")[1]
    packages = [folder.name for folder in FOLDERS if folder.parent == PACKAGE]
    modules = [p.name for p in PACKAGE.glob("*.py") if p.name != "__init__.py"]
    assert [name for name in (*packages, *modules) if not re.search(rf"\b{name}", drawing)] == []


def test_no_comment_names_a_document_that_is_not_here() -> None:
    named = re.compile(r"\b(?:DESIGN|PLATFORM|PERFORMANCE|FACTS\w*|STYLE|HOUSE)\b(?! =)")
    lines = {
        f"{module.relative_to(PACKAGE)}:{number}": line.strip()
        for module in MODULES
        for number, line in enumerate(module.read_text().splitlines(), start=1)
        if named.search(line)
    }
    assert lines == {}
