"""A disk that is full, small, closed or read-only: the failure is told, and an entry is there whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Done
from faults import limited, mounted, needs_mount, without_privilege
from llmlab.report.logbook import Logbook
from strategies_report import specimen

Run = Callable[..., Done]
SHORT = ("phase1", "--epochs", "2", "--json")


@needs_mount
@pytest.mark.parametrize("options", ["size=24k", "ro"])
def test_a_full_disk_is_told_and_a_read_only_one_refused_before_the_run(
    run_llmlab: Run, tmp_path: Path, options: str
) -> None:
    """Where a disk fills up, the result is shown all the same."""
    done = run_llmlab(*SHORT, "--log-dir", "disk/log", prefix=mounted(tmp_path / "disk", options))
    assert (done.code, "--log-dir" in done.err) == (7, True)
    assert done.out == "" or (options != "ro" and done.document["entry"] is None)
    found = (tmp_path / "disk.found").read_text("utf-8")
    assert [name for name in (".tmp-", "record.json") if name in found] == []


@pytest.mark.parametrize("most", [0, 5_000])
def test_a_limit_on_file_size_leaves_nothing_half_written(tmp_path: Path, run_llmlab: Run, most: int) -> None:
    """Where files may not grow the entry is wholly absent, the site's files are whole, and the code is 7."""
    with limited(most):
        done = run_llmlab(*SHORT)
    assert (done.code, done.entries) == (7, [])
    assert {path.name for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size == 0} == set()


@pytest.mark.parametrize(("mode", "name"), [(0o555, "log"), (0o000, "log/below")])
def test_a_closed_log_folder_is_refused(run_llmlab: Run, tmp_path: Path, mode: int, name: str) -> None:
    log = tmp_path / "log"
    log.mkdir()
    prefix = without_privilege()
    log.chmod(mode)
    done = run_llmlab(*SHORT, "--log-dir", name, prefix=prefix)
    log.chmod(0o700)
    assert done.code in (2, 7)
    assert (done.out, list(log.iterdir())) == ("", [])
    assert "--log-dir" in done.err


@pytest.mark.parametrize("closed", ["entry", "posts", "site"])
def test_a_log_that_may_not_be_read_is_told(run_llmlab: Run, tmp_path: Path, closed: str) -> None:
    prefix = without_privilege()
    log = Logbook.at(tmp_path / "llmlab-log")
    _, page = log.put(specimen())
    place = {"entry": page.parent, "posts": log.posts, "site": log.site}[closed]
    place.chmod(0o000)
    ends = [run_llmlab("log", verb, prefix=prefix).code for verb in ("list", "render")]
    place.chmod(0o700)
    assert set(ends) <= {0, 2, 3, 7}


@pytest.mark.parametrize("command", ["--help", "log list", "phase1 --epochs 2"])
def test_a_standard_output_that_is_full_is_told(shell_llmlab: Run, command: str) -> None:
    """Whatever was to be printed; an entry is kept."""
    done = shell_llmlab(f"$LLMLAB {command} > /dev/full")
    assert (done.code, "standard output" in done.err) == (7, True)
    assert len(done.entries) == command.startswith("phase1")


def test_an_entry_that_cannot_be_read_is_warned_of(run_llmlab: Run, tmp_path: Path) -> None:
    log = Logbook.at(tmp_path / "llmlab-log")
    (_, page), (good, _) = log.put(specimen()), log.put(specimen())
    page.unlink()
    page.mkdir()
    assert run_llmlab("log", "list").code == 0
    done = run_llmlab("log", "render")
    assert good.name not in done.err
    assert "2 entries" in done.out
