"""The log is never taken back: the git history holds no record that is gone, and no number that was quietly changed.

Additions are free (metrics derived later, a successor, a label), and so is taking out verdicts, which belong to the
ledger.  A number that was counted again is named by an amendment with its old value.  What is looked at are the records
as they lie in the working tree, so that a commit is refused before it is made.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strategies_report import published

ROOT = Path(__file__).resolve().parents[1]
POSTS = "docs/log/posts"
GONE: dict[str, str] = {}
"""Entries that were deleted and stay so, by name, with the reason; better is ``llmlab log supersede``."""

AS_WRITTEN = ("id", "created", "command", "expectation")
"""Words that nobody may put differently afterwards."""


RENAMED = {"--preset seed": "--preset original"}
"""Options of old commands that are spelled otherwise today: their records were rewritten, so that they still run."""


def git(folder: Path, *words: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, encoding="utf-8", check=True, env=clean)
    return done.stdout


def first_versions(folder: Path) -> dict[str, dict[str, Any]]:
    """Return every record that was ever committed, as it was first, by the name of its entry."""
    every = ["log", "--reverse", "--topo-order", "--full-history", "-m", "--diff-filter=A", "--no-renames"]
    told = git(folder, *every, "--raw", "--abbrev=40", "--format=", "--", f"{POSTS}/*/record.json")
    blobs: dict[str, str] = {}
    for line in told.splitlines():
        about, path = line.split("\t")
        blobs.setdefault(path.split("/")[-2], about.split(" ")[3])
    return {name: json.loads(git(folder, "cat-file", "blob", blob)) for name, blob in blobs.items()}


def numbers(document: dict[str, Any]) -> dict[str, Any]:
    samples = {f"samples.{name}": values for name, values in document.get("samples", {}).items()}
    return {**document["metrics"], **samples}


def complaints(folder: Path) -> Iterator[str]:
    """Yield what was taken back of the log in a folder, in the words of an error."""
    for name, first in first_versions(folder).items():
        path = folder / POSTS / name / "record.json"
        if path.is_file():
            yield from (f"{name}: {told}" for told in taken_back(first, json.loads(path.read_text("utf-8"))))
        elif name not in GONE:
            yield f"{name} was deleted; restore it, and let another entry supersede it (llmlab log supersede)"


def taken_back(first: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Yield what was changed or lost since the first version of a record, and is named by no amendment."""
    for old, new in RENAMED.items():
        first, now = (each | {"command": each["command"].replace(old, new)} for each in (first, now))
    there, amendments = numbers(now), now.get("amendments", [])
    for key, value in numbers(first).items():
        amended = any(key in amendment["was"] and amendment["was"][key] == value for amendment in amendments)
        if not amended and (key not in there or there[key] != value):
            yield f"{key} was {value}, is {there.get(key, 'gone')}, and no amendment says so"
    yield from (f"{word} was changed" for word in AS_WRITTEN if now.get(word) != first.get(word))


def whole_history() -> None:
    """Skip where the history is not there: in a shallow clone or an archive; never where the project fetches it."""
    try:
        shallow = git(ROOT, "rev-parse", "--is-shallow-repository").strip() != "false"
        why = "a shallow clone holds no history; see it with: git fetch --unshallow" if shallow else ""
    except (OSError, subprocess.CalledProcessError) as error:
        why = f"no history here: {getattr(error, 'stderr', '') or error}"
    if why:
        assert not os.environ.get("GITHUB_ACTIONS"), why
        pytest.skip(why)


def test_nothing_was_taken_back_from_the_log() -> None:
    """Every record ever committed is still there, with every number of its first version, or an amendment says why."""
    whole_history()
    assert list(complaints(ROOT)) == []


def test_entries_that_supersede_each_other_say_so_both() -> None:
    records = {record.id: record for record in published()}
    replaced = {(record.id, record.superseded_by) for record in records.values() if record.superseded_by}

    assert replaced
    assert replaced == {(old, record.id) for record in records.values() for old in record.supersedes}
    for record in records.values():
        seen = [record.id]
        while successor := records[seen[-1]].superseded_by:
            assert successor not in seen
            seen.append(successor)


def test_no_page_rests_on_a_superseded_entry() -> None:
    replaced = [record.name for record in published() if record.superseded_by]
    pages = [page for page in (ROOT / "docs").rglob("*.md") if POSTS not in page.as_posix()]
    texts = {page: page.read_text("utf-8") for page in [ROOT / "README.md", *pages]}

    assert [(page.name, name) for page, text in texts.items() for name in replaced if name in text] == []


METRICS = {"loss": 0.5, "unigram_ppl": 3, "gone": None}
RECORD = {
    "id": "0123abcd",
    "created": "2026-11-22T03:18:00Z",
    "command": "llmlab baseline --preset seed",
    "expectation": "less",
    "metrics": METRICS,
    "samples": {"loss": [0.25, 0.75]},
    "findings": [{"claim": "P1-1"}],
}
OTHER_LOSS = {"metrics": METRICS | {"loss": 0.4}, "samples": {"loss": [0.2, 0.6]}}


def amended(loss: float, samples: list[float]) -> dict[str, Any]:
    was = {"loss": loss, "samples.loss": samples}
    return OTHER_LOSS | {"amendments": [{"date": "2026-11-29", "why": "w", "was": was}]}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"findings": []}, []),
        ({"metrics": METRICS | {"new": 1.0}, "superseded_by": "89abcdef"}, []),
        (OTHER_LOSS, ["loss was 0.5, is 0.4", "samples.loss was [0.25, 0.75], is [0.2, 0.6]"]),
        (amended(0.5, [0.25, 0.75]), []),
        (amended(0.6, [0.25]), ["loss was", "samples.loss was"]),
        ({"metrics": {"loss": 0.5, "gone": None}}, ["unigram_ppl was 3, is gone"]),
        ({"samples": {}}, ["samples.loss was [0.25, 0.75], is gone"]),
        ({"metrics": METRICS | {"gone": 1.0}}, ["gone was None, is 1.0"]),
        ({"expectation": "more"}, ["expectation was changed"]),
        ({"command": "llmlab baseline --preset original"}, []),
        ({"command": "llmlab baseline --preset modern"}, ["command was changed"]),
    ],
)
def test_what_was_changed_is_seen(changed: dict[str, Any], found: list[str]) -> None:
    """Additions pass, and verdicts taken out; what is changed, lost or wrongly amended is named."""
    told = list(taken_back(RECORD, RECORD | changed))
    assert len(told) == len(found)
    assert all(line.startswith(words) for words, line in zip(found, told, strict=True))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    write(tmp_path, RECORD)
    commit(tmp_path)
    return tmp_path


def write(folder: Path, document: dict[str, Any], day: int = 22) -> Path:
    path = folder / POSTS / f"2026-11-{day}-phase1-0123abcd" / "record.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), "utf-8")
    return path


def by_somebody(folder: Path, *words: str) -> None:
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b.c", *words)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    by_somebody(folder, "commit", "-q", "--no-verify", "-m", "m")


def test_the_walk_sees_what_was_deleted(repository: Path) -> None:
    """A deleted record is named, one that goes by a new name too; put back as it was, it is well again."""
    assert list(complaints(repository)) == []
    write(repository, RECORD).unlink()
    write(repository, RECORD, 23)
    commit(repository)
    (told,) = complaints(repository)
    assert told.startswith("2026-11-22-phase1-0123abcd was deleted")
    write(repository, RECORD)
    commit(repository)
    assert list(complaints(repository)) == []


def test_what_counts_is_the_very_first_version(repository: Path) -> None:
    """A change is seen before it is committed and after."""
    write(repository, RECORD | OTHER_LOSS)
    assert len(list(complaints(repository))) == 2
    commit(repository)
    assert len(list(complaints(repository))) == 2


def test_a_record_that_came_by_a_merge_is_seen(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "side")
    path = write(repository, RECORD, 24)
    commit(repository)
    git(repository, "checkout", "-q", "-")
    write(repository, RECORD, 25)
    commit(repository)
    by_somebody(repository, "merge", "-q", "--no-edit", "side")
    path.unlink()
    assert len(list(complaints(repository))) == 1
