"""The package that `pip install` gives works without the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKED = ("jbatch", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
BESIDE = ("CHANGELOG.md", "CITATION.cff")
SDIST = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"


def pip(*arguments):
    command = (sys.executable, "-m", "pip", *map(str, arguments))
    subprocess.run(command, check=True, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel that is built from an sdist, without a network."""
    try:
        if int(version("setuptools").partition(".")[0]) < 77:
            pytest.skip("setuptools is older than pyproject.toml asks for")
    except PackageNotFoundError:
        pytest.skip("setuptools is not installed")
    folder = tmp_path_factory.mktemp("package")
    tree, dist = folder / "tree", folder / "dist"
    tree.mkdir()
    for name in (*PACKED, *BESIDE):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, tree / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, tree)
    subprocess.run((sys.executable, "-c", SDIST, dist), cwd=tree, check=True, capture_output=True)
    [sdist] = dist.iterdir()
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, sdist)
    [found] = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    package = {name for name in held if ".dist-info/" not in name}
    assert package == {
        str(path.relative_to(ROOT))
        for path in (ROOT / "jbatch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert any(name.endswith("/LICENSE") for name in held)


@pytest.mark.slow
def test_it_runs_from_an_empty_folder(wheel, tmp_path):
    """`new`, a short training, `compare` and `report`, with the wheel alone on the path."""
    site, folder = tmp_path / "site", tmp_path / "folder"
    pip("install", "--no-deps", "--no-index", "--no-compile", "--target", site, wheel)
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}

    def run(*arguments) -> str:
        command = (sys.executable, *map(str, arguments))
        ended = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert Path(run("-c", "import jbatch; print(jbatch.__file__)").strip()).is_relative_to(site)
    assert run(site / "bin" / "jbatch", "--version").startswith("jbatch ")
    run("-m", "jbatch", "new", "mine.py")
    run("-m", "jbatch", "train", "mine.py", "growing", "--plan.num-epochs", 2)
    report = run("-m", "jbatch", "report", "runs/mine").strip()
    assert "growing" in (folder / report).read_text()
