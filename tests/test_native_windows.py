"""Chapters 1 and 2, the log and the claims on Windows: without what only POSIX has, on its consoles, in its folders.

What Windows lacks is taken away here, so that a slip is noticed before it is there.
"""

import errno
import io
import ntpath
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from conftest import Done
from llmlab.errors import WriteError
from llmlab.report import terminal
from llmlab.report.logbook import Logbook, read_record
from processes import answers
from strategies_report import HOSTILE, specimen

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(terminal.__file__).parents[1]
TAKEN = """
import asyncio  # torch imports it, and the half of it that is for Unix asks for what is taken here
import os, signal, sys, types
for name in ("fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog"):
    sys.modules[name] = None
for name in ("termios", "tty"):  # plotext imports them wherever it is not on Windows: empty, so that none can be used
    sys.modules[name] = types.ModuleType(name)
signals = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
taken = [(signal, name) for name in dir(signal) if name.startswith("SIG") and name not in signals]
taken += [(signal, name) for name in ("alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait")]
taken += [(os, name) for name in ("O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC")]
taken += [(os, name) for name in ("chown", "getegid", "geteuid", "getgid", "getgroups", "getuid", "setgid", "setuid")]
taken += [(os, name) for name in ("fork", "forkpty", "getpgid", "killpg", "nice", "sched_getaffinity", "setsid")]
taken += [(os, name) for name in ("getloadavg", "mkfifo", "sync", "sysconf")]
for module, name in taken:
    if hasattr(module, name):
        delattr(module, name)
def without_proc(event, args):
    if event == "open" and str(args[0]).startswith(("/proc", "/sys")):
        raise FileNotFoundError(2, "no such file on Windows", args[0])
sys.addaudithook(without_proc)
"""
FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)
"""What a file's name on Windows may not have in it, at its end, or be."""


def test_nothing_that_only_posix_has_is_needed(tmp_path: Path, run_llmlab: Callable[..., Done]) -> None:
    """Commands print what they print elsewhere; a run's entry leaves out what only POSIX tells, rather than guess."""
    Logbook.at(tmp_path / "llmlab-log").put(specimen())
    commands = ["phase1-2 --seeds 3 --watch --full --no-log", "claims", "log show", "doctor", "phase1 --epochs 3"]
    elsewhere = [run_llmlab(*words.split()).out for words in commands[:3]]
    found = answers(tmp_path, *((words.split(), {}) for words in commands), before=TAKEN)
    here = [done for done, _ in found]

    assert {(done.code, done.complaints) for done in here} == {(0, "")}
    assert [done.out for done in here[:3]] == elsewhere
    (known,) = (read_record(path).environment for path in here[0].entries if "phase1-2" not in path.name)
    assert known.keys() >= {"python", "torch", "system", "processor", "cores"}
    assert None not in known.values()


@pytest.mark.parametrize(
    ("command", "encoding"),
    [("phase1-2 --text さくらさ", "cp1252"), ("claims --all", "cp932"), ("log show", "cp1252"), ("--help", "cp932")],
)
def test_a_console_of_windows_gets_only_what_it_has(
    command: str, encoding: str, tmp_path: Path, run_llmlab: Callable[..., Done]
) -> None:
    """In a code page of Windows no command fails, and our own signs and pictures are spelled by their look."""
    Logbook.at(tmp_path / "llmlab-log").put(specimen("漢→"))
    done = run_llmlab(*command.split(), PYTHONIOENCODING=encoding)  # it is decoded by that code page

    assert (done.code, done.complaints) == (0, "")
    assert {f"U+{ord(sign):04X}" for sign in "漢さくら"} >= set(re.findall(r"U\+[0-9A-F]{4}", done.out))


def test_a_japanese_console_of_windows_speaks_japanese(tmp_path: Path, run_llmlab: Callable[..., Done]) -> None:
    Logbook.at(tmp_path / "llmlab-log").put(specimen())
    done = run_llmlab("log", "show", "--lang", "ja", PYTHONIOENCODING="cp932")
    without = run_llmlab("log", "show", "--lang", "ja", PYTHONIOENCODING="cp1252")

    assert (done.code, done.err) == (0, "")
    assert re.search("[ぁ-ん]", done.out)
    assert "U+" not in done.out
    assert (without.code, without.out.count("U+")) == (0, 0)
    assert "English" in without.err


def test_no_word_of_ours_is_a_code_point_on_a_japanese_console() -> None:
    signs = {sign for path in PACKAGE.rglob("*.toml") for sign in path.read_text("utf-8")}

    assert [sign for sign in signs if not terminal.writes("cp932", sign) and sign not in terminal.ASCII] == []


def assert_windows_knows(names: list[str]) -> None:
    """Assert: no colon, no reserved name, no blank at the end; no two names that differ only in their case."""
    assert [name for name in names for part in name.split("/") if FORBIDDEN.search(part)] == []
    assert len({name.lower() for name in names}) == len(names) > 5


@pytest.mark.parametrize("text", HOSTILE[::8], ids=lambda text: ascii(text[:24]))
def test_whatever_the_text_the_log_has_names_that_windows_knows(text: str, tmp_path: Path) -> None:
    Logbook.at(tmp_path / "log").put(specimen(text))
    assert_windows_knows([path.relative_to(tmp_path).as_posix() for path in (tmp_path / "log").rglob("*")])


def test_the_repository_can_be_checked_out_on_windows() -> None:
    """Its names are short enough for a path of 260 characters, and its line ends those of Unix."""
    folders = [ROOT / name for name in ("src", "docs", "tests", "examples", "benchmarks")]
    paths = [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    names = [path.relative_to(ROOT).as_posix() for path in paths]

    assert_windows_knows(names)
    assert max(map(len, names)) < 160
    assert "* text=auto eol=lf" in (ROOT / ".gitattributes").read_text("utf-8")


def test_a_site_whose_lines_end_as_on_windows_is_still_ours(tmp_path: Path) -> None:
    """An editor of Windows that has touched ``mkdocs.yml`` does not cut the log off from its site."""
    log = Logbook.at(tmp_path / "log")
    log.put(specimen())
    settings = tmp_path / "log" / "mkdocs.yml"
    settings.write_bytes(settings.read_bytes().replace(b"\n", b"\r\n"))

    assert Logbook.at(tmp_path / "log") == log
    assert Logbook.at(tmp_path / "log" / "docs").site == log.site


def test_a_path_on_another_drive_is_told_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """From C: no relative path leads to D:, and that is no reason to fail after a run."""
    monkeypatch.setattr(os.path, "relpath", lambda path: ntpath.relpath(str(path), "C:\\here"))
    assert terminal.from_here(Path("D:\\log")) == "D:\\log"
    assert terminal.from_here(Path("C:\\here\\log")) == "log"


def test_an_old_console_gets_no_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A console that would print the escapes of colours gets none; any other gets its colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for legacy in (False, True):
        monkeypatch.setattr("rich.console.detect_legacy_windows", lambda legacy=legacy: legacy)
        assert (terminal.console().color_system is None) == legacy


def test_a_reader_that_went_away_is_no_failure_on_windows_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows says EINVAL of a pipe that nobody reads; a full disk is a failure everywhere."""
    monkeypatch.setattr(terminal, "GONE", {errno.EPIPE, errno.EINVAL})
    errors = [OSError(number, os.strerror(number)) for number in (errno.EPIPE, errno.EINVAL, errno.ENOSPC)]
    monkeypatch.setattr(sys, "stdout", mock.Mock(write=mock.Mock(side_effect=errors), fileno=io.StringIO().fileno))
    terminal.write("x")
    terminal.write("x")
    with pytest.raises(WriteError):
        terminal.write("x")
