"""What answers at once: commands that never import anything slow.  Seen in ``sys.modules`` of a real process."""

import json
import subprocess
import sys
from pathlib import Path

from conftest import environment
from llmlab.report.logbook import Logbook
from strategies_report import specimen

SLOW = {
    *("torch", "numpy", "scipy", "pandas", "pyarrow", "safetensors", "tokenizers", "transformers"),
    *("datasets", "huggingface_hub", "matplotlib", "mkdocs"),
}
PROBE = """
import contextlib, io, json, os, sys
from llmlab.cli import main
told = []
for words, variables in json.loads(sys.argv[1]):
    os.environ.update(variables)
    sys.argv = ["llmlab", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main()
        except SystemExit as stop:
            told.append([stop.code or 0, out.getvalue(), sorted({name.split(".")[0] for name in sys.modules})])
print(json.dumps([told, sorted(sys.modules)]))
"""


def ran(folder: Path, *commands: tuple[list[str], dict[str, str]]) -> tuple[list[tuple[int, str, set[str]]], set[str]]:
    """Run commands under variables, one after the other, in one process.

    Returns:
        What each exited with, what it printed, and the packages that were imported by then; and all modules at last.
    """
    probe = [sys.executable, "-c", PROBE, json.dumps(commands)]
    done = subprocess.run(probe, cwd=folder, env=environment(folder), capture_output=True, text=True, check=True)
    told, modules = json.loads(done.stdout)
    return [(code, out, set(names)) for code, out, names in told], set(modules)


def test_what_does_not_train_does_not_import_torch(tmp_path: Path) -> None:
    """Help, version, ledger, counts and what reads the log import no numerics, no data library, no site builder."""
    log = Logbook.at(tmp_path / "llmlab-log")
    a, b = (log.put(specimen())[0].id for _ in range(2))
    commands = ["--help", "--version", "phase1-2 --help", "log --help", "log list", f"log show {a}", "log render"]
    commands += [f"log compare {a} {b}", "claims", "claims --id P1-1 --json", "params --json", "data status"]
    told, _ = ran(tmp_path, *((command.split(), {}) for command in commands))
    for command, (code, _, packages) in zip(commands, told, strict=True):
        assert (code, packages & SLOW) == (0, set()), command


COMPLETED = {
    "phase1-2 --freeze ": "none embedding linear",
    "phase1-2 --optimizer ad": "adam adamw",
    "baseline --preset ": "pocket original advanced modern",
    "baseline --data wiki": "wikitext-2",
    "baseline --clip ": "none adaptive",
    "baseline --resume ": "auto runs/baseline-1",
    "baseline evaluate ": "runs/baseline-1",
    "baseline expand --arms A,s": "A,scratch",
    "embedding-freeze --arms frozen,t": "frozen,trained frozen,trained-untied",
    "two-stage --ablate noise,l": "noise,layers",
    "data fetch wiki": "wikitext-2",
    "claims --lang ": "en ja",
    "claims --verdict ref": "refuted refined",
    "claims --id P12-N": "P12-N1 P12-N2 P12-N3",
    "log show ": "{a}",
    "log supersede {a} ": "{a}",
}


def test_a_shell_completes_values_without_torch(tmp_path: Path) -> None:
    """Choices, names of texts, verdicts, claims and entries are offered, and nothing slow is imported for it."""
    a = Logbook.at(tmp_path / "llmlab-log").put(specimen())[0].id
    (tmp_path / "runs" / "baseline-1").mkdir(parents=True)
    typed = [f"llmlab {words.format(a=a)}" for words in COMPLETED]
    asked = [{"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))} for words in typed]
    told, _ = ran(tmp_path, *(([], {"_LLMLAB_COMPLETE": "complete_bash", **variables}) for variables in asked))
    for words, offered, (_, out, packages) in zip(typed, COMPLETED.values(), told, strict=True):
        assert (out.split(), packages & SLOW) == (offered.format(a=a).split(), set()), words


def test_a_chapter_imports_no_compiler(tmp_path: Path) -> None:
    """A run costs the import of torch and no more: neither its compiler nor its optimisers."""
    _, modules = ran(tmp_path, (["phase1-2", "--epochs", "2", "--no-log", "--quiet"], {}))
    assert "torch" in modules
    assert {name for name in modules if name.startswith(("torch._dynamo", "torch._inductor", "matplotlib"))} == set()


def test_import_llmlab_imports_nothing(tmp_path: Path) -> None:
    script = "import sys; before = set(sys.modules); import llmlab; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], env=environment(tmp_path), capture_output=True, check=True)
    assert done.stdout.decode().strip() == "{'llmlab'}"
