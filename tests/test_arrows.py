"""The arrows of the house: who may import whom, and what nobody may do.  Read from the source, not from a run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmlab

SOURCE = Path(llmlab.__file__).parent
MODULES = {
    ".".join(("llmlab", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}
GROUND = {"settings", "errors"}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}
REPORT = {"report.messages", "report.result"}
CHAPTER = {"lab", "fast", "text", "measure", *REPORT, *GROUND}
CHAPTERS = {"phase1", "phase1_2", "baseline", "layers", "embedding_freeze", "two_stage"}
ALLOWED: dict[str, set[str]] = {
    "": set(),
    "__main__": {"cli"},
    "phase1": {"shown", *CHAPTER},
    "phase1_2": {"phase1", "shown", *CHAPTER},
    "baseline": {"shown", *CHAPTER},
    "layers": {"baseline", "shown", *CHAPTER},
    "peers": {"baseline", "shown", *CHAPTER},
    "embedding_freeze": {"shown", *CHAPTER},
    "two_stage": {"embedding_freeze", "shown", *CHAPTER},
    "after": {"after", "baseline", "peers", "shown", "disk", *CHAPTER},
    "shown": {"shown", "lab", "measure", "text", *REPORT, *GROUND},
    "lab": {"lab", "fast", "text", "measure", "disk", "environment", *REPORT, "", *GROUND},
    "fast": {"fast", "lab", *GROUND},
    "text": {"text", "disk", "report.messages", *GROUND},
    "measure": {"measure", "report.messages", *GROUND},
    "settings": {"settings", "errors"},
    "errors": set(),
    "environment": {"", "errors"},
    "disk": set(),
    "report": {"report", "claims", "disk", "errors"},
    "claims": {"claims", "errors", "lab.block_sizes", "lab.sizes", "measure.stats", "report.record", *REPORT},
    "compare": {"measure.stats", "report.record", *REPORT},
    "pages": {"pages", "claims", "compare", "report"},
    "exercises": {"exercises", "after", "claims.evaluate", *CHAPTERS, *CHAPTER},
    "doctor": {"environment", "errors", "report"},
    "params": {"lab.block_sizes", "lab.sizes", "settings", *REPORT},
}
"""What each room may import of llmlab, by the beginning of the name; ``cli`` may import everything."""
TORCH = {
    *("phase1", "phase1_2", "baseline", "layers", "peers", "embedding_freeze"),
    *("shown", "lab", "fast", "after", "doctor"),
    *("text.pairs", "text.words", "text.windows", "text.grammar"),
    *("text.cache", "text.pretrained", "text.streams"),
    *("measure.geometry", "measure.ranks", "measure.ngram", "measure.score", "measure.spectrum"),
    *("measure.generation", "exercises.computed"),
}


def imports(name: str) -> Iterator[str]:
    """Yield the full name of every module that a module imports, anywhere in its code."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                longer = f"{node.module}.{alias.name}"
                yield longer if longer in MODULES else str(node.module)


def within(name: str, rooms: set[str]) -> bool:
    own = name.removeprefix("llmlab").lstrip(".")
    return any(own == room or (room and own.startswith(room + ".")) for room in rooms)


@pytest.mark.parametrize("name", [name for name in MODULES if not within(name, {"cli"})])
def test_imports_follow_the_arrows(name: str) -> None:
    """Each module imports only what lies further down the flow; a new room has to be entered in the table."""
    room = name.removeprefix("llmlab").lstrip(".").split(".")[0]
    own = {target for target in imports(name) if target.split(".")[0] == "llmlab"}
    assert {target for target in own if not within(target, ALLOWED[room])} == set()


def test_no_import_goes_round_in_a_circle() -> None:
    waiting = {name: {target for target in imports(name) if target in MODULES and target != name} for name in MODULES}
    while waiting:
        ready = {name for name, targets in waiting.items() if not targets & waiting.keys()}
        assert ready, f"a circle among {sorted(waiting)}"
        waiting = {name: targets for name, targets in waiting.items() if name not in ready}


@pytest.mark.parametrize(
    ("package", "rooms"),
    [
        ("torch", TORCH),
        ("rich", {"report"}),
        ("plotext", {"report"}),
        ("simpleeval", {"claims.evaluate"}),
        ("safetensors", {"lab.checkpoint", "text.cache", "text.pretrained"}),
        ("filelock", {"lab.checkpoint"}),
        ("typer", {"cli"}),
        ("subprocess", {"cli.log", "environment"}),
        ("torch.optim", set()),  # its first use costs as much as importing torch
        # formats that can carry code
        *((name, set()) for name in ("pickle", "pickletools", "marshal", "shelve", "joblib", "yaml", "dill", "ctypes")),
    ],
)
def test_each_package_has_its_rooms(package: str, rooms: set[str]) -> None:
    """Torch stays out of the report, rich out of the chapters, and Typer out of everything but the command line."""
    users = {name for name in MODULES if any(f"{target}.".startswith(f"{package}.") for target in imports(name))}
    assert {name for name in users if not within(name, rooms)} == set()


CALLED = {
    "print",
    "eval",
    "exec",
    "compile",
    "__import__",
    "input",
    "os.system",
    "yaml.load",
    "torch.load",
    "torch.save",
}
HIDDEN = {"serialization", "add_safe_globals", "safe_globals", "broadcast_object_list", "all_gather_object"}


@pytest.mark.parametrize("name", MODULES)
def test_nobody_prints_evaluates_starts_a_shell_or_goes_through_the_pickles_of_torch(name: str) -> None:
    """Nothing prints past the report, asks, or evaluates text; nor by what hides behind other names in torch."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in CALLED
            assert "shell" not in {keyword.arg for keyword in node.keywords}
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("torch"):
            assert not {"load", "save", *HIDDEN} & {alias.name for alias in node.names}
        if isinstance(node, ast.Attribute):
            assert node.attr not in HIDDEN
            assert ast.unparse(node) not in CALLED


def test_the_names_of_the_chapters_are_the_table_of_contents() -> None:
    """Every chapter command has its module, and both are in the arrows' table."""
    from llmlab.cli.chapter import CHAPTERS, FOLLOW_UPS, module_of

    assert {module_of(name) for name in (*CHAPTERS, *FOLLOW_UPS)} <= set(MODULES)
    assert {module_of(name).removeprefix("llmlab.") for name in CHAPTERS} <= set(ALLOWED)
