"""How many wrong programs do the tests notice?  One small change at a time, chosen by chance from a fixed seed.

Run it where an hour does not matter: ``python benchmarks/mutants.py [name …]``.  The bar is that of the project's
design: at least nine in ten are caught.  A change that changes nothing (``<`` for ``<=`` where both are never equal)
cannot be caught by anyone; what survives is printed to be judged by eye.
"""

import ast
import copy
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
BAR, EACH, HANGS = 0.9, 10, 900
TARGETS = {
    "the gradient of TinyModel": ("phase1.py", "TinyModel", "test_model test_phase1 test_invariances"),
    "New-LLM's step": ("baseline.py", "ContextVectorLM", "test_new_llm test_sweep test_language"),
    "window cutting": ("text/windows.py", "", "test_windows test_held_out test_documents"),
    "Kneser-Ney": ("measure/ngram.py", "", "test_ngram"),
    "intervals": ("measure/stats.py", "", "test_measure"),
    "checkpoints": ("lab/checkpoint.py", "", "test_checkpoint test_checkpoint_folder"),
    "the study": ("lab/study.py", "", "test_study test_stops"),
    "folders to resume in": ("lab/folders.py", "", "test_checkpoint_folder test_checkpoint_faults test_baseline"),
    "ledger rules": ("claims/ledger", "", "test_rules test_verdicts test_claims"),
}
"""What is changed, of which class if not all of it, and the tests that are there to notice."""

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip


def changed(node: ast.AST) -> ast.AST | None:
    """Return a copy of a piece of code with one thing changed, or nothing where there is nothing to change."""
    node = copy.deepcopy(node)
    match node:
        case ast.Compare(ops=[op]) if type(op) in SWAPPED:
            node.ops = [SWAPPED[type(op)]()]  # type: ignore[list-item]
        case ast.BoolOp(op=op) | ast.BinOp(op=op) if type(op) in SWAPPED:
            node.op = SWAPPED[type(op)]()  # type: ignore[assignment]
        case ast.UnaryOp(op=ast.Not()):
            return node.operand
        case ast.UnaryOp(op=ast.USub()):
            return node.operand
        case ast.Constant(value=bool(value)):
            node.value = not value
        case ast.Constant(value=int(value)) | ast.Constant(value=float(value)):
            node.value = value + 1
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign():
            return ast.Pass()
        case _:
            return None
    return node


def of_code(source: str, within: str) -> Iterator[tuple[int, str, str]]:
    """Yield every mutant of a module, or of one class in it: its line, what it changes, and the whole source."""
    tree = ast.parse(source)
    root = (
        next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == within) if within else tree
    )
    starts = [0, *(at + 1 for at, sign in enumerate(source.encode()) if sign == 10)]
    bodies = (node for node in ast.walk(root) if isinstance(node, ast.FunctionDef))
    for node in (inner for body in bodies for statement in body.body for inner in ast.walk(statement)):
        mutant = changed(node)
        if mutant is None or not isinstance(node, ast.expr | ast.stmt):
            continue
        begin = starts[node.lineno - 1] + node.col_offset
        end = begin + len((ast.get_source_segment(source, node) or "").encode())
        told = ast.unparse(mutant)
        text = source.encode()[:begin] + (told if told == "pass" else f"({told})").encode() + source.encode()[end:]
        if isinstance(node, ast.Constant) and source.encode()[begin - 1 : begin] in b"{'\"":
            continue  # within a format string
        yield node.lineno, f"{ast.unparse(node)} -> {told}", text.decode()


def of_rules(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield the mutants of a part of the ledger: a sign turned round or moved, a number changed, in one rule."""
    turned = {"<=": ">", ">=": "<", "<": ">=", ">": "<=", " and ": " or ", " or ": " and "}
    for line in re.finditer(r"^(supported|refuted|refined)[\w.]* = \"(.+)\"$", source, re.MULTILINE):
        for sign in re.finditer(r"<=|>=|<|>| and | or |\b\d+\.?\d*\b", line[2]):
            told = turned.get(sign[0]) or f"({sign[0]} * 2 + 1)"
            begin, end = (line.start(2) + at for at in sign.span())
            yield (
                source.count("\n", 0, begin) + 1,
                f"{line[2][:80]}: {sign[0]} -> {told}",
                (source[:begin] + told + source[end:]),
            )


def passes(folder: Path, tests: str) -> bool:
    """Return whether the tests pass on a copy of the project."""
    names = [f"tests/{name}.py" for name in tests.split()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *names]
    told = os.environ | {"PYTHONPATH": str(folder / "src"), "HYPOTHESIS_PROFILE": "ci", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(command, cwd=folder, env=told, capture_output=True, timeout=HANGS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main(asked: list[str]) -> int:
    """Try every target, or those whose names hold a word; return 1 if too many mutants survive."""
    caught, tried = 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "llmlab"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".venv", "runs", "site", "__pycache__", ".*_cache"))
        for target, (place, within, tests) in TARGETS.items():
            if asked and not any(word in target for word in asked):
                continue
            assert passes(folder, tests), f"{target}: its tests fail as they are"
            whole = folder / "src" / "llmlab" / place
            each = [
                (path, *mutant)
                for path in (sorted(whole.glob("*.toml")) if whole.is_dir() else [whole])
                for mutant in (of_rules(path.read_text()) if whole.is_dir() else of_code(path.read_text(), within))
            ]
            for path, line, what, text in random.Random(0).sample(each, min(EACH, len(each))):  # noqa: S311 - any sample will do
                before = path.read_text()
                path.write_text(text)
                survived = passes(folder, tests)
                path.write_text(before)
                caught, tried = caught + (not survived), tried + 1
                print(f"{'SURVIVED' if survived else 'caught  '} {target}, {path.name}:{line}: {what}", flush=True)
    print(f"{caught} of {tried} caught, {caught / max(tried, 1):.0%}; the bar is {BAR:.0%}")
    return int(caught < BAR * tried)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
