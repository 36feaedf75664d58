"""What answers at once: commands that never import anything slow.  Seen in ``sys.modules`` of a real process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import environment
from llmlab.report.logbook import Logbook
from strategies_report import specimen

SLOW = {"torch", "transformers", "datasets", "matplotlib", "mkdocs", "numpy", "safetensors", "scipy", "pandas"}
PROBE = """
import json, sys
from llmlab.cli import main
sys.argv = ["llmlab", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    code = stop.code
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


def modules_after(folder: Path, *args: str) -> set[str]:
    """Run a command in a process of its own and return what it imported."""
    probe = [sys.executable, "-c", PROBE, *args]
    done = subprocess.run(probe, cwd=folder, env=environment(folder), capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code in (0, None), done.stderr
    return set(modules)


@pytest.mark.parametrize(
    "args",
    [
        "--help",
        "--version",
        "phase1-2 --help",
        "log --help",
        "log list",
        "log show {a}",
        "log compare {a} {b}",
        "log render",
        "claims",
        "claims --id P1-1 --json",
        "params --json",
    ],
)
def test_what_does_not_train_does_not_import_torch(tmp_path: Path, args: str) -> None:
    """Help, version, ledger, counts and what reads the log import no numerics, no data library, no site builder."""
    log = Logbook.at(tmp_path / "llmlab-log")
    a, b = (log.put(specimen())[0].id for _ in range(2))
    modules = modules_after(tmp_path, *args.format(a=a, b=b).split())
    assert {name.split(".")[0] for name in modules} & SLOW == set()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("phase1-2 --freeze ", ["none", "embedding", "linear"]),
        ("phase1-2 --optimizer ad", ["adam", "adamw"]),
        ("baseline --preset ", ["pocket", "original", "advanced", "modern"]),
        ("baseline --data wiki", ["wikitext-2"]),
        ("baseline --clip ", ["none", "adaptive"]),
        ("baseline --resume ", ["auto", "runs/baseline-1"]),
        ("baseline evaluate ", ["runs/baseline-1"]),
        ("baseline expand --arms A,s", ["A,scratch"]),
        ("embedding-freeze --arms frozen,t", ["frozen,trained", "frozen,trained-untied"]),
        ("two-stage --ablate noise,l", ["noise,layers"]),
        ("data fetch wiki", ["wikitext-2"]),
        ("claims --lang ", ["en", "ja"]),
        ("claims --verdict ref", ["refuted", "refined"]),
        ("claims --id P12-N", ["P12-N1", "P12-N2", "P12-N3"]),
        ("log show ", ["{a}"]),
        ("log supersede {a} ", ["{a}"]),
    ],
)
def test_a_shell_completes_values_without_torch(tmp_path: Path, typed: str, offered: list[str]) -> None:
    """Choices, names of texts, verdicts, claims and entries are offered, and nothing slow is imported for it."""
    a = Logbook.at(tmp_path / "llmlab-log").put(specimen())[0].id
    (tmp_path / "runs" / "baseline-1").mkdir(parents=True)
    words = f"llmlab {typed.format(a=a)}"
    asked = {"_LLMLAB_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    probe = [sys.executable, "-c", PROBE]
    done = subprocess.run(
        probe, cwd=tmp_path, env=environment(tmp_path) | asked, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == [one.format(a=a) for one in offered]
    assert set(json.loads(done.stderr.splitlines()[-1])[1]) & SLOW == set()


def test_a_wrong_option_is_refused_without_torch(tmp_path: Path) -> None:
    """A range is checked before the slow import: in the settings, which cannot import torch."""
    script = "import sys, llmlab.settings, llmlab.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], env=environment(tmp_path), capture_output=True, check=True)
    assert done.stdout.strip() == b"False"


@pytest.mark.parametrize("chapter", ["phase1", "phase1-2"])
def test_a_chapter_imports_no_compiler(tmp_path: Path, chapter: str) -> None:
    """A run costs the import of torch and no more: neither its compiler nor its optimisers."""
    modules = modules_after(tmp_path, chapter, "--epochs", "2", "--no-log", "--quiet")
    assert "torch" in modules
    assert {name for name in modules if name.startswith(("torch._dynamo", "torch._inductor", "matplotlib"))} == set()


def test_import_llmlab_imports_nothing(tmp_path: Path) -> None:
    """``import llmlab`` costs nothing: it brings in no other module."""
    script = "import sys; before = set(sys.modules); import llmlab; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], env=environment(tmp_path), capture_output=True, check=True)
    assert done.stdout.decode().strip() == "{'llmlab'}"
