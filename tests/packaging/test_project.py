"""What the project says of itself agrees with its code: dependencies, versions, links."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import chargen

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DEPENDENCIES = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
EXTRAS = [
    Requirement(line)
    for lines in PROJECT["project"]["optional-dependencies"].values()
    for line in lines
]
GROUPS = [Requirement(line) for lines in PROJECT["dependency-groups"].values() for line in lines]
BUILD = [Requirement(line) for line in PROJECT["build-system"]["requires"]]
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
}


def imported_packages() -> set[str]:
    """Names of the packages of other projects that any module of chargen imports."""
    names = set()
    for path in Path(chargen.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"chargen"}


def test_every_import_is_a_declared_dependency():
    declared = {canonicalize_name(line.name) for line in DEPENDENCIES + EXTRAS}
    distributions = packages_distributions()
    for name in imported_packages():
        owners = {canonicalize_name(owner) for owner in distributions[name]}
        assert owners & declared, f"{name} is imported, and pyproject.toml does not name it"


@pytest.mark.parametrize("requirement", DEPENDENCIES + EXTRAS + GROUPS + BUILD, ids=str)
def test_every_requirement_has_an_exact_version_within_its_bounds(requirement):
    assert any(part.operator == ">=" for part in requirement.specifier), "no lower bound"
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_the_changelog_has_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(chargen.__version__)}\] - ", changelog, re.MULTILINE)
    for version in re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE):
        assert f"\n[{version}]: https://" in changelog


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_and_targets_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https://)([^)#]+)", text):
        assert (ROOT / link).exists(), link
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z]+)(?= |`|$)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in re.findall(r"\b(?:benchmarks|tests)/\w+\.py\b", text):
        assert (ROOT / script).is_file(), script


def test_pythons_are_those_that_the_workflow_tests():
    classifiers = PROJECT["project"]["classifiers"]
    declared = [
        line.rpartition(" ")[2] for line in classifiers if re.search(r"Python :: 3\.\d+$", line)
    ]
    workflow = (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^ +python: \[(.+)\]$", workflow, re.MULTILINE)
    assert declared == re.findall(r"3\.\d+", listed)
