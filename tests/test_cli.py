"""The contract of the command line: documents and their keys, the same bits for the same seed, and no leak."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Done
from llmlab import __version__
from llmlab.cli.chapter import CHAPTERS
from llmlab.report.escape import printable, shell_word
from llmlab.report.logbook import read_record
from strategies_report import HOSTILE

Run = Callable[..., Done]
KEYS = {
    "schema", "id", "experiment", "status", "created", "command", "settings", "metrics", "tables", "figures",
    "findings", "environment", "seconds", "entry",
}  # fmt: skip
METRICS = {
    "loss", "loss_floor", "loss_p05", "loss_p50", "loss_p95", "p_next", "correct_fraction", "embedding_moved",
    "linear_moved", "unseen_moved_max", *(f"moved_{token}" for token in "helo"),
}  # fmt: skip
MORE_METRICS = {
    "distance_before", "distance_after", "distance_shrank_fraction", "score_argmax_agrees_fraction",
    "rotation_max_logit_difference",
}  # fmt: skip
ALONE = {"loss_floor", "loss_p05", "loss_p50", "loss_p95", "unseen_moved_max", "rotation_max_logit_difference"}
"""Metrics that are one number over all seeds, without an interval."""


def steady(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without what differs from run to run: the id, the clock and the memory."""
    environment = {key: value for key, value in document["environment"].items() if key != "peak_memory_mb"}
    left_out = {"id", "created", "seconds", "entry"}
    return {key: value for key, value in document.items() if key not in left_out} | {"environment": environment}


@pytest.mark.parametrize("chapter", ["phase1", "phase1-2"])
@pytest.mark.parametrize("seeds", [1, 30])
def test_a_document_has_the_contracts_keys_and_metrics(run_llmlab: Run, chapter: str, seeds: int) -> None:
    done = run_llmlab(chapter, "--json", "--seeds", str(seeds))
    document, metrics = done.document, done.document["metrics"]
    wanted = METRICS | (MORE_METRICS if chapter == "phase1-2" else set())
    assert (done.code, done.complaints) == (0, "")
    assert (document["schema"], document["experiment"], document["status"]) == ("llmlab.result/1", chapter, "complete")
    assert set(document) >= KEYS
    assert set(metrics) >= wanted
    for name in wanted - ALONE:
        assert {name + suffix in metrics for suffix in ("_sd", "_low", "_high")} == {seeds > 1}, name
        if seeds > 1:
            assert metrics[name + "_low"] <= metrics[name] <= metrics[name + "_high"]
    assert all(metrics[name] is not None or f"{name}_reason" in metrics for name in metrics)
    assert all(set(finding) >= {"claim", "verdict", "evidence"} for finding in document["findings"])
    assert (done.folder / document["entry"]).is_file()
    kept = read_record(done.entries[0]).document() | {"findings": document["findings"]}
    assert kept == {k: v for k, v in document.items() if k != "entry"}
    assert "findings" not in json.loads((done.entries[0] / "record.json").read_text("utf-8"))


def test_the_same_seed_gives_the_same_bits(run_llmlab: Run) -> None:
    """In another process, with other hashes and in another time zone."""
    args = ("phase1-2", "--json", "--epochs", "20", "--seeds", "2", "--text", "banana")
    here, there = run_llmlab(*args).document, run_llmlab(*args, PYTHONHASHSEED="4242", TZ="UTC-4").document
    assert here["id"] != there["id"]
    assert steady(here) == steady(there)


def test_nothing_private_is_told(run_llmlab: Run, tmp_path: Path) -> None:
    secret = "".join(("Tre", "acle", "7731"))
    home = tmp_path / f"home-{secret}" / f"work-{secret}"
    home.mkdir(parents=True)
    planted = {name: f"{name.lower()}-{secret}" for name in ("USER", "LOGNAME", "HOSTNAME", "HF_TOKEN", "EMAIL")}
    planted |= {"GIT_AUTHOR_NAME": secret, "GIT_DIR": f"/nowhere/{secret}", "XDG_CACHE_HOME": str(home)}
    for args in (("phase1", "--epochs", "2"), ("phase1-2", "--epochs", "2", "--json", "--expect", "x", "--note", "y")):
        done = run_llmlab(*args, folder=home, **planted)
        assert (done.code, done.complaints) == (0, "")
        assert secret not in done.out
    written = [path for path in home.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path.name for path in written if secret.encode() in path.read_bytes()] == []
    assert str(tmp_path).encode() not in b"".join(path.read_bytes() for path in written)


def test_what_was_expected_stands_beside_the_outcome(run_llmlab: Run) -> None:
    """In the output as in the record; bytes that are not UTF-8 are replaced, visibly."""
    told = ("--expect", b"It [will] work.\xff", "--note", b"First\ntry.\xed\xa0\x80")
    done = run_llmlab("phase1", "--epochs", "2", *told)
    record = read_record(done.entries[0])
    assert f"You expected: {record.expectation}" in done.out
    assert (record.expectation, record.note) == ("It [will] work.\ufffd", "First\ntry.\ufffd\ufffd\ufffd")
    assert done.out.strip().splitlines()[-1].endswith("/entry.md")


def test_quiet_prints_the_path_alone_and_without_a_log_there_is_none(run_llmlab: Run, tmp_path: Path) -> None:
    """A folder for the log may have any name."""
    assert run_llmlab("phase1", "--epochs", "2", "--no-log", "--json").document["entry"] is None
    assert list(tmp_path.iterdir()) == []
    (line,) = run_llmlab("phase1", "--epochs", "2", "--quiet").out.splitlines()
    assert (tmp_path / line).is_file()
    assert len(run_llmlab("phase1", "--epochs", "2", "--json", "--log-dir", b"log-\xff").entries) == 2


@pytest.mark.parametrize("ours", [True, False])
def test_only_inside_a_site_of_ours_entries_go_to_its_log(run_llmlab: Run, tmp_path: Path, ours: bool) -> None:
    """Below a marked ``mkdocs.yml`` the entry goes to that site's ``docs/log``; nobody else's site gets a file."""
    config = "site_name: mine\n" + ("extra:\n  llmlab_log: true\n" if ours else "")
    (tmp_path / "mkdocs.yml").write_text(config, "utf-8")
    below = tmp_path / "deep" / "down"
    below.mkdir(parents=True)
    done = run_llmlab("phase1", "--epochs", "2", "--json", folder=below)
    assert done.document["entry"].startswith("../../docs/log/posts/" if ours else "llmlab-log/docs/log/posts/")
    assert (tmp_path / "mkdocs.yml").read_text("utf-8") == config
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", *(["docs"] if ours else []), "mkdocs.yml"]


def test_the_list_is_a_document_too(run_llmlab: Run) -> None:
    first = run_llmlab("phase1", "--epochs", "2", "--json").document
    run_llmlab("phase1-2", "--epochs", "2", "--quiet")
    listed = run_llmlab("log", "list", "--json", "--experiment", "phase1").document
    assert listed["schema"] == "llmlab.log/1"
    assert [entry["id"] for entry in listed["entries"]] == [first["id"]]
    shown = run_llmlab("log", "show", first["id"], "--json").document
    assert shown == {key: value for key, value in first.items() if key != "entry"}


def test_showing_an_entry_shows_what_the_run_showed(run_llmlab: Run) -> None:
    done = run_llmlab("phase1-2", "--epochs", "2", "--seeds", "2", COLUMNS="60")
    entry = read_record(done.entries[0])
    shown = run_llmlab("log", "show", entry.id, COLUMNS="60").out
    first, rest = shown[: shown.index("2 · How")], shown[shown.index("2 · How") :]
    assert entry.id in first
    assert done.out == rest + f"Entry: {done.entries[0].relative_to(done.folder)}/entry.md\n"


def test_an_empty_log_is_no_failure(run_llmlab: Run) -> None:
    assert run_llmlab("log", "list", "--json").document["entries"] == []
    assert (run_llmlab("log", "render").code, run_llmlab("log", "list").err) == (0, "")
    assert list(run_llmlab("log").folder.iterdir()) == []


@pytest.mark.parametrize("command", ["", "phase1-2", "layers", "embedding-freeze", "log serve"])
def test_help_cuts_no_name_at_forty_columns(run_llmlab: Run, command: str) -> None:
    wide, narrow = (run_llmlab(*command.split(), "--help", COLUMNS=columns).out for columns in ("120", "40"))
    options = set(re.findall(r"^│ (--[a-z0-9-]+)", wide, re.MULTILINE))
    assert len(options) > 1
    assert options <= set(narrow.split())
    assert max(map(len, narrow.splitlines())) <= 40


@pytest.mark.parametrize("command", ["params", "data status", "doctor", "claims --all", "claims --id P12-4"])
def test_no_table_cuts_a_name_or_a_digit_at_forty_columns(run_llmlab: Run, command: str) -> None:
    wide, narrow = (run_llmlab(*command.split(), COLUMNS=columns) for columns in ("200", "40"))
    kept = set(re.findall(r"[A-Z0-9]+-\w+|\d[\d,]{3,}|wikitext-2|gpt2|memory", wide.out))
    assert (narrow.code, narrow.err, "…" in narrow.out, list(narrow.folder.iterdir())) == (0, "", False, [])
    assert max(map(len, narrow.out.splitlines())) <= 40
    assert kept
    assert [word for word in kept if word not in narrow.out] == []


def test_the_language_may_stand_before_the_welcome_but_not_before_a_command(run_llmlab: Run) -> None:
    """``llmlab --lang ja`` welcomes in Japanese; before a command it is told where it belongs."""
    assert run_llmlab("--lang", "ja").out == run_llmlab(LLMLAB_LANG="ja").out != run_llmlab().out
    for command in (["params"], ["log", "list"]):  # where a group takes no option, the end of the line is the place
        told = run_llmlab("--lang", "ja", *command)
        assert (told.code, f"llmlab {command[0]} … --lang ja" in told.err) == (2, True)
        assert run_llmlab(*command, "--lang", "ja").code == 0


@pytest.mark.parametrize("command", ["phase1", "phase1-2", "baseline", "layers", "embedding-freeze", "two-stage"])
def test_what_a_learner_needs_comes_first_in_the_help(run_llmlab: Run, command: str) -> None:
    """One panel with the seeds and the chapter's own options, a second with the rest; a flag has no type."""
    first, _, rest = run_llmlab(command, "--help").out.partition(" Example: ")[0].partition(" More options ")

    assert {"--seed", "--seeds", "--full"} <= set(first.split()) - set(rest.split())
    assert {"--log-dir", "--threads", "--epochs"} <= set(rest.split()) - set(first.split())
    assert "<bool>" not in first + rest


def test_version_and_help(run_llmlab: Run) -> None:
    assert run_llmlab("--version").out == f"llmlab {__version__}\n"
    helped = run_llmlab("--help")
    assert {"phase1", "phase1-2", "log", "doctor"} <= set(helped.out.split())
    assert "130" in helped.out
    welcome = run_llmlab().out
    assert all(f"llmlab {name} " in welcome for name in CHAPTERS)
    assert "Usage" not in welcome
    assert run_llmlab("phase1", "-h").out == run_llmlab("phase1", "--help").out


def test_json_in_ascii_loses_nothing(run_llmlab: Run) -> None:
    done = run_llmlab("phase1", "--epochs", "2", "--json", "--text", "é−漢-", PYTHONIOENCODING="ascii")
    assert done.out.isascii()
    assert done.document["settings"]["text"] == "é−漢-"
    assert {"moved_−", "moved_-"} <= set(done.document["metrics"])


PRINT_ARGUMENTS = "llmlab() { printf '%s\\0' \"$@\"; }; "


@pytest.mark.parametrize(
    "text", ["--debug", "-x y", "a'b", "$(id)`id`", "a\nb\tc", "\\n\\x41", "é\x1b0f", "\u2028ab", "!!a"]
)
def test_the_command_of_an_entry_repeats_the_run(run_llmlab: Run, text: str) -> None:
    """Given to bash, the recorded command has the very arguments of the run, paths and output options left out."""
    document = run_llmlab("phase1", "--epochs", "2", "--json", "--no-log", "--text", text).document
    command = ["bash", "-c", PRINT_ARGUMENTS + document["command"]]
    words = subprocess.run(command, env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=True).stdout.decode()
    given = words.split("\0")[:-1]
    assert printable(document["command"]) == document["command"]
    assert given[0] == "phase1"
    assert given[given.index("--text") + 1] == text
    assert given[given.index("--epochs") + 1] == "2"


@settings(max_examples=60)
@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=80)).filter(lambda text: "\0" not in text))
def test_a_shell_word_gives_its_text_back(text: str) -> None:
    word = shell_word(text)
    command = ["bash", "-c", f"printf %s {word}"]
    done = subprocess.run(command, env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=True)
    assert done.stdout == text.encode()
    assert printable(word) == word
