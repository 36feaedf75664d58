"""What is published: the sdist, and the wheel that is made of it, installed where there is no source, and used."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from conftest import HANG, Done, environment, needs, watch

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "llmlab"

metadata = pytest.importorskip("packaging.metadata", reason="packaging is not installed")
pytestmark = needs("hatchling", "test")


def ran(*words: str | Path, folder: Path) -> str:
    variables = environment(folder, PYTHONPATH=None)
    return subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    ran(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, folder=ROOT)
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as packed:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # there from Python 3.11.4 on
        packed.extractall(folder / "source", **safely)  # noqa: S202 - our own
    (source,) = (folder / "source").iterdir()
    ran(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=source)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel; what the wheel needs it has from the environment of the tests."""
    pytest.importorskip("pip", reason="pip is not installed")
    place = tmp_path_factory.mktemp("environment")
    venv.create(place)
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    pip = [sys.executable, "-m", "pip", "--isolated", "--python", str(programs / "python")]
    ran(*pip, "install", "--no-deps", "--no-index", "--quiet", wheel, folder=place)
    (packages,) = {path.parent for path in place.rglob("llmlab") if (path / "__init__.py").is_file()}
    # behind the wheel, and without what .pth files there name: an editable llmlab
    (packages / "tests.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    return programs


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    """Sentences, Japanese, ledger, screens, scripts and pages go along byte for byte; tests and the log stay behind."""
    files = {path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    wanted = {path.relative_to(SOURCE.parent).as_posix(): path.read_bytes() for path in files}
    with zipfile.ZipFile(wheel) as packed:
        found = {name: packed.read(name) for name in packed.namelist() if ".dist-info/" not in name}

    assert found == wanted
    assert {Path(name).suffix for name in found} >= {".py", ".toml", ".js", ".css", ".md", ".yml", ".typed"}


def test_the_sdist_has_what_the_wheel_and_the_tests_need_and_no_entry_of_the_log(sdist: Path) -> None:
    """Source, tests, pages, licence and versions; the entries of our log stay in the repository."""
    with tarfile.open(sdist) as packed:
        names = {name.split("/", 1)[1] for name in packed.getnames()}

    assert names >= {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "mkdocs.yml", "tests/conftest.py"}
    assert not [name for name in names if name.startswith("docs/log/posts") or name.endswith(".lock")]


def test_the_metadata_is_valid_and_says_what_the_page_of_the_package_shows(wheel: Path) -> None:
    """A strict reader finds no fault; the page is the README, the licence MIT, and the core needs few packages."""
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        told = metadata.Metadata.from_email(packed.read(name), validate=True)
    core = {need.name for need in told.requires_dist if not need.marker}

    assert (told.name, told.license_expression, told.description_content_type) == ("llmlab", "MIT", "text/markdown")
    assert told.description == (ROOT / "README.md").read_text("utf-8")
    assert core == {"filelock", "plotext", "pydantic", "rich", "safetensors", "simpleeval", "torch", "typer"}


def test_the_wheel_works_in_an_empty_folder_without_the_source(programs: Path, tmp_path: Path) -> None:
    """Chapter 2, its entry in ``llmlab-log``, the claims and Japanese, by the program that the wheel installs."""
    variables = environment(tmp_path, PYTHONPATH=None)

    def llmlab(*args: str) -> str:
        words = [str(programs / "llmlab"), *args]
        done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, timeout=HANG, check=False)
        out = done.stdout.decode().replace(os.linesep, "\n")
        assert watch(Done(done.returncode, out, done.stderr.decode(), tmp_path), args).code == 0
        return out

    where = ran(programs / "python", "-c", "import llmlab; print(llmlab.__file__)", folder=tmp_path)
    entry = tmp_path / llmlab("phase1-2", "--dim", "2").splitlines()[-1].removeprefix("Entry: ")

    assert Path(where.strip()).is_relative_to(programs.parent)
    assert entry.is_file()
    assert entry.is_relative_to(tmp_path / "llmlab-log" / "docs" / "log" / "posts")
    assert entry.parent.name.rsplit("-", 1)[-1] in llmlab("log", "list")
    assert "P12-2" in llmlab("claims")
    assert re.search("[ぁ-ん]", llmlab("log", "show", "--lang", "ja"))


@pytest.mark.slow
@needs("material", "docs")
def test_the_log_of_the_wheel_is_a_site_of_its_own(programs: Path, tmp_path: Path) -> None:
    """MkDocs builds it strictly, with the pages, styles and scripts that came with the wheel."""
    ran(programs / "llmlab", "phase1", "--quiet", folder=tmp_path)
    site = [programs / "python", "-m", "mkdocs", "build", "--strict", "--quiet"]
    ran(*site, "--config-file", "llmlab-log/mkdocs.yml", "--site-dir", str(tmp_path / "site"), folder=tmp_path)

    assert "phase1" in (tmp_path / "site" / "log" / "index.html").read_text("utf-8")
    assert list((tmp_path / "site").rglob("compare*.js")) != []


def test_the_readme_says_of_every_extra_what_it_adds() -> None:
    """Each extra of the package stands in the README's table of them, and no other does."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    table = (ROOT / "README.md").read_text("utf-8").split("## What is installed")[1].split("\n\n")[4]

    assert set(re.findall(r"`([a-z]+)`", table)) == extras.keys()
