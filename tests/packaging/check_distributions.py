"""The wheel and the sdist in dist/: what they contain, and that an installed chargen works.

`make package` builds both and runs this file. pytest does not collect it by itself, because its
name does not begin with `test_`: it needs the distributions, and it takes half a minute.

Nothing is downloaded. Each distribution is installed in a fresh environment that sees the
dependencies of the environment that runs this file, but not the chargen that is installed there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
MAX_SDIST_BYTES = 13_000_000
"""Of these, the models in the box are 8 million."""
BASES = {f"chargen/bases/{name}/model.safetensors" for name in ("english", "python", "tiny")}
TEXT = "To be, or not to be, that is the question.\n" * 400


def the_only(pattern: str) -> Path:
    (path,) = (ROOT / "dist").glob(pattern)
    return path


def version() -> str:
    """The version that the sources state, read without importing them."""
    namespace: dict[str, str] = {}
    exec((ROOT / "chargen" / "_version.py").read_text(encoding="utf-8"), namespace)
    return namespace["__version__"]


def sources(folder: str) -> set[str]:
    """Files below a folder of the repository, relative to its root, without caches."""
    paths = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {
        path.as_posix()
        for path in paths
        if not any(part == "__pycache__" or part.startswith(".") for part in path.parts)
    }


@pytest.fixture(scope="module")
def wheel_names() -> set[str]:
    with zipfile.ZipFile(the_only("*.whl")) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def sdist_names() -> set[str]:
    """Names in the sdist without its top folder."""
    with tarfile.open(the_only("*.tar.gz")) as archive:
        files = [member.name for member in archive.getmembers() if member.isfile()]
    assert {name.partition("/")[0] for name in files} == {f"chargen-{version()}"}
    return {name.partition("/")[2] for name in files}


def test_the_wheel_has_the_whole_package(wheel_names):
    package = sources("chargen")
    assert {"recurrence.c", "py.typed"} <= {PurePosixPath(name).name for name in package}
    assert package <= wheel_names


def test_the_wheel_has_the_corpora_inside_the_package(wheel_names):
    corpora = {f"chargen/{name}" for name in sources("corpora")}
    assert any(name.endswith(".toml") for name in corpora)
    assert corpora <= wheel_names


def test_the_wheel_has_nothing_else(wheel_names):
    expected = sources("chargen") | {f"chargen/{name}" for name in sources("corpora")} | BASES
    assert wheel_names >= BASES
    others = wheel_names - expected
    assert {name.partition("/")[0] for name in others} == {f"chargen-{version()}.dist-info"}


@pytest.mark.parametrize("folder", ["chargen", "corpora", "tests", "docs"])
def test_the_sdist_has_what_tests_need(sdist_names, folder):
    assert sources(folder) <= sdist_names


def test_the_sdist_has_the_papers(sdist_names):
    papers = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"}
    assert papers | {"PKG-INFO", "pyproject.toml"} <= sdist_names


def test_the_sdist_is_small():
    assert the_only("*.tar.gz").stat().st_size < MAX_SDIST_BYTES


def test_the_metadata_name_the_project():
    with zipfile.ZipFile(the_only("*.whl")) as archive:
        text = archive.read(f"chargen-{version()}.dist-info/METADATA").decode()
    metadata = Parser().parsestr(text)
    assert metadata["Name"] == "chargen"
    assert metadata["Version"] == version()
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_all("Provides-Extra") == ["documents", "plot", "verse"]
    labels = {line.partition(", ")[0] for line in metadata.get_all("Project-URL")}
    assert labels == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Installed:
    """A fresh environment with chargen in it, and an empty folder to work in."""

    scripts: Path
    site_packages: Path
    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs in the empty folder.

        Nothing of this process's Python settings reaches it, and no chargen of another place.
        """
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
        }
        environment["CHARGEN_CACHE"] = str(self.folder / "cache")
        program = shutil.which(command[0], path=str(self.scripts))
        assert program is not None, f"{command[0]} is not in {self.scripts}"
        result = subprocess.run(
            [program, *command[1:]],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert result.returncode == 0, result.stderr
        return result


@pytest.fixture(scope="module", params=["*.whl", "*.tar.gz"], ids=["wheel", "sdist"])
def installed(request, tmp_path_factory) -> Installed:
    home = tmp_path_factory.mktemp("home")
    venv.create(home, with_pip=False)
    paths = sysconfig.get_paths("venv", vars={"base": str(home), "platbase": str(home)})
    site_packages, scripts = Path(paths["purelib"]), Path(paths["scripts"])
    dependencies = Path(sysconfig.get_paths()["purelib"])
    # Python reads .pth files only in site-packages itself. The path added here makes the
    # dependencies visible, and leaves the .pth file of an editable chargen unread.
    (site_packages / "dependencies.pth").write_text(f"{dependencies}\n", encoding="utf-8")
    python = shutil.which("python", path=str(scripts))
    assert python is not None
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
         "--no-index", "--no-build-isolation", "--ignore-installed", str(the_only(request.param))],
        check=True,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    return Installed(scripts, site_packages, folder)


def test_the_installed_package_is_imported(installed):
    result = installed.run("python", "-c", "import chargen; print(chargen.__file__)")
    assert Path(result.stdout.strip()).is_relative_to(installed.site_packages)


@pytest.mark.parametrize("start", [("chargen",), ("python", "-m", "chargen")])
def test_entry_points(installed, start):
    assert version() in installed.run(*start, "--version").stdout
    assert "Usage:" in installed.run(*start, "--help").stdout


def test_the_model_in_the_box_writes_without_any_run(installed):
    draw = ("chargen", "sample", "-p", "It was a", "--length", "40", "--seed", "1")
    result = installed.run(*draw)
    assert result.stdout.startswith("It was a")
    assert "english, a model in the box, writes" in result.stderr
    assert result.stdout == installed.run("chargen", "sample", "english", *draw[2:]).stdout


def test_corpora_are_listed(installed):
    listing = installed.run("chargen", "corpora").stdout
    for path in (ROOT / "corpora").glob("*.toml"):
        assert path.stem in listing


def test_ten_steps_and_a_sample(installed):
    installed.run(
        "chargen", "train", "text.txt", "--run", "tiny", "--steps", "10", "--hidden-size", "16",
        "--quiet",
    )  # fmt: skip
    run = installed.folder / "checkpoints" / "tiny"
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["steps"] == 10
    draw = ("chargen", "sample", "tiny", "-p", "To be", "--length", "20", "--seed", "1")
    text = installed.run(*draw).stdout
    assert text.startswith("To be")
    assert len(text) == len("To be") + 20
    assert set(text) <= set(TEXT)
    assert installed.run(*draw).stdout == text


@pytest.mark.skipif(
    os.name == "nt" or not any(map(shutil.which, ("cc", "gcc"))), reason="no C compiler here"
)
def test_the_kernels_in_c_are_compiled_from_the_installed_source(installed):
    installed.run(
        "chargen", "train", "text.txt", "--run", "native", "--steps", "1", "--hidden-size", "16",
        "--kernel", "native", "--quiet",
    )  # fmt: skip
    assert any((installed.folder / "cache" / "kernels").iterdir())
