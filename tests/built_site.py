"""The site built as a user builds it: as it stands, or a copy with entries in its log; and what its pages say."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llmlab.report import entry
from strategies_report import specimen

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ("mkdocs.yml", "mkdocs.ja.yml")


def build(config: Path, site: Path) -> Path:
    """Build a site as a user would, in a process of its own, and return its folder; a warning fails it."""
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", str(config), "-d", str(site)]
    done = subprocess.run(
        mkdocs, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    return site


def build_both(folder: Path, site: Path) -> Path:
    for config, below in zip(CONFIGS, (".", "ja"), strict=True):
        build(folder / config, site / below)
    return site


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that one test process makes; the others, where there are several, wait for it."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")
    top = factory.getbasetemp()
    top = top.parent if os.environ.get("PYTEST_XDIST_WORKER") else top
    folder, done = top / name, top / f"{name}.done"
    try:
        folder.mkdir()
    except FileExistsError:
        while not done.exists():
            time.sleep(0.1)
        assert done.read_text("utf-8") == "made", f"{name} could not be made; see the other failures"
        return folder
    how = "failed"
    try:
        make(folder)
        how = "made"
    finally:
        done.write_text(how, "utf-8")
    return folder


def copy_of_the_site(folder: Path) -> Path:
    """Copy what the site is made of, with the log's entries, which pages link to, and return the folder."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for config in CONFIGS:
        shutil.copy(ROOT / config, folder)
    (folder / "src").symlink_to(ROOT / "src")
    return folder


def put_entries(folder: Path, words: list[str]) -> None:
    """Put one entry per text into the log of a site, the text in every place that words of a user can reach."""
    for number, text in enumerate(words):
        record = replace(specimen(text), id=f"{number:08x}")
        post = folder / "docs" / "log" / "posts" / record.name
        post.mkdir(parents=True)
        for name, content in entry.files(record).items():
            (post / name).write_text(content, "utf-8")


def pages(site: Path) -> dict[str, str]:
    """Return every HTML page of a site by its path, and every document of its search index by its address."""
    found = {str(page.relative_to(site)): page.read_text("utf-8") for page in sorted(site.rglob("*.html"))}
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    documents: dict[str, str] = {}
    for document in index["docs"]:
        address = f"search {document['location'].split('#')[0]}"
        documents[address] = documents.get(address, "") + f"{document['title']} {document['text']} "
    return found | documents
