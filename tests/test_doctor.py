"""``llmlab doctor``: what it finds, in both forms, on a machine that may be anything."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Done
from llmlab import doctor, environment
from llmlab.environment import commit
from llmlab.errors import WriteError
from llmlab.report.logbook import Logbook


def test_the_document_lists_every_check(run_llmlab: Callable[..., Done]) -> None:
    document = run_llmlab("doctor", "--json").document
    checks = document["checks"]
    assert (set(document), document["schema"]) == ({"schema", "checks"}, "llmlab.doctor/1")
    assert all(set(check) == {"name", "state", "found", "advice"} for check in checks)
    assert {check["state"] for check in checks} <= {"ok", "warning", "missing"}
    assert {"processor", "Python", "torch", "memory", "free disk", "log"} <= {check["name"] for check in checks}


def test_advice_comes_with_what_is_not_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Little memory, and a log that cannot be written to, are warnings."""
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "memory_bytes", lambda: 2**29)
    found = {check.name: check for check in doctor.checks(tmp_path / "file")}
    assert (found["memory"].state, found["log"].state, "file" in found["log"].found) == ("warning", "warning", True)
    assert all(check.advice or len(check.found) > 20 for check in found.values() if check.state != "ok")
    with pytest.raises(WriteError):
        Logbook.at(tmp_path / "file").check_writable()


def test_the_facts_are_a_fixed_list() -> None:
    """What is told of a machine is a list that can be read here; no name of a person or place is on it."""
    machine = {"system", "processor", "cores", "memory_gb", "peak_memory_mb", "threads"}
    assert set(environment.facts(2)) == {"llmlab", "python", "torch", *machine}


def test_the_commit_is_our_own_whatever_repository_a_hook_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git hands its hooks variables that name their repository; ours is the one that llmlab lies in."""
    ours = commit()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert commit() == ours
