"""The built wheel: what is in it, and that a bare environment can install it.

Building takes hatchling from the test environment, so that nothing is fetched.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.test_layout import PACKAGES

pytestmark = pytest.mark.slow

PROBE = """
import empathy_agent, importlib.metadata, importlib.util, sys
names = sys.argv[1:]
assert all(importlib.util.find_spec(name) for name in names)
print(empathy_agent.__version__, importlib.metadata.version("empathy-agent"))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--no-cache-dir", "-w", str(folder), str(repository)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_is_pure_and_carries_the_licence(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_holds_the_four_packages_and_nothing_beside_them(contents: set[str]) -> None:
    assert {name.split("/")[0] for name in contents} == set(PACKAGES)


@pytest.mark.parametrize(("package", "folder"), PACKAGES.items())
def test_every_file_of_a_package_is_in_the_wheel(
    package: str, folder: str, contents: set[str], repository: Path
) -> None:
    source = repository / folder
    files = (path.relative_to(source) for path in source.rglob("*") if path.is_file())
    expected = {f"{package}/{path.as_posix()}" for path in files if "__pycache__" not in path.parts}
    assert {name for name in contents if name.startswith(f"{package}/")} == expected
    assert f"{package}/py.typed" in contents


def test_data_files_are_in_the_wheel(contents: set[str]) -> None:
    for ending in (".md", ".toml", ".gguf"):
        assert any(name.endswith(ending) for name in contents), ending


def test_a_bare_environment_installs_the_wheel_and_reads_its_version(
    wheel: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True)
    probe = subprocess.run(
        [str(python), "-I", "-c", PROBE, *PACKAGES],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    module_version, distribution_version = probe.stdout.split()
    assert module_version == distribution_version
