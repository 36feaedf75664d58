"""What answers at once: commands that never import anything slow.  Seen in ``sys.modules`` of a real process."""

import subprocess
import sys
from pathlib import Path

from conftest import environment
from llmlab.report.logbook import Logbook
from processes import answers
from strategies_report import specimen

SLOW = {
    *("torch", "numpy", "scipy", "pandas", "pyarrow", "safetensors", "tokenizers", "transformers"),
    *("datasets", "huggingface_hub", "matplotlib", "mkdocs"),
}
AT_ONCE = [
    *("--help", "--version", "phase1-2 --help", "log --help", "log list", "log show {a}", "log render"),
    *("log compare {a} {b}", "claims", "claims --id P1-1 --json", "params --json", "data status"),
]
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
    "log show {b}": "{b}",
    "log supersede {a} {b}": "{b}",
}


def test_what_does_not_train_imports_nothing_slow_and_a_chapter_no_compiler(tmp_path: Path) -> None:
    """Neither do help, counts, the ledger, what reads the log, and the values that a shell completes.

    A run costs the import of torch and no more: neither its compiler nor its optimisers.
    """
    log = Logbook.at(tmp_path / "llmlab-log")
    a, b = (log.put(specimen())[0].id for _ in range(2))
    (tmp_path / "runs" / "baseline-1").mkdir(parents=True)
    commands = [(words.format(a=a, b=b).split(), {}) for words in AT_ONCE]
    for words in COMPLETED:
        typed = f"llmlab {words.format(a=a, b=b)}"
        asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
        commands.append(([], {"_LLMLAB_COMPLETE": "complete_bash", **asked}))
    *quick, (_, modules) = answers(tmp_path, *commands, (["phase1-2", "--epochs", "2", "--no-log", "--quiet"], {}))
    for words, (done, imported) in zip([*AT_ONCE, *COMPLETED], quick, strict=True):
        assert (done.code, {name.split(".")[0] for name in imported} & SLOW) == (0, set()), words
        if words in COMPLETED:
            assert done.out.split() == COMPLETED[words].format(b=b).split(), words
    assert "torch" in modules
    assert [name for name in modules if name.startswith(("torch._dynamo", "torch._inductor", "matplotlib"))] == []


def test_import_llmlab_imports_nothing(tmp_path: Path) -> None:
    script = "import sys; before = set(sys.modules); import llmlab; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], env=environment(tmp_path), capture_output=True, check=True)
    assert done.stdout.decode().strip() == "{'llmlab'}"
