"""The code in the pages is the code that runs: each marker finds its name, and a name that is gone stops the build."""

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import llmlab.lab.optimizer
import llmlab.phase1
import llmlab.text.pairs
import site_hooks
from llmlab.cli.chapter import CHAPTERS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
STUDY = sorted((DOCS / "study").glob("*.md"))

sources = site_hooks.hook("sources")
PluginError = pytest.importorskip("mkdocs.exceptions", reason="mkdocs is not installed").PluginError


@pytest.mark.parametrize("page", STUDY, ids=lambda page: page.stem)
def test_every_marker_in_a_page_finds_its_code_and_every_chapter_has_one(page: Path) -> None:
    text = page.read_text("utf-8")
    became = site_hooks.on_page(sources, text, f"study/{page.name}")

    assert "<!-- code:" not in became
    assert became.count("```python") == text.count("```python") + text.count("<!-- code:")
    assert sources.MARKER.search(text) or page.stem not in CHAPTERS


@pytest.mark.parametrize("module", [llmlab.text.pairs, llmlab.phase1, llmlab.lab.optimizer])
def test_shown_source_is_the_source_without_its_docstring(module: ModuleType) -> None:
    for name, thing in vars(module).items():
        if not (inspect.isfunction(thing) or inspect.isclass(thing)) or thing.__module__ != module.__name__:
            continue
        whole = ast.parse(inspect.getsource(thing)).body[0]
        assert isinstance(whole, ast.FunctionDef | ast.ClassDef)
        if ast.get_docstring(whole) is not None:
            del whole.body[0]
        found = sources.source(ROOT / "src", module.__name__, name)

        assert ast.dump(ast.parse(found).body[0]) == ast.dump(whole)
        assert set(found.split("\n")) <= set(inspect.getsource(thing).split("\n"))


def test_a_marker_becomes_a_block_with_a_link_to_the_reference() -> None:
    name, marker = "llmlab.phase1.TinyModel.probabilities", "    <!-- code: llmlab.phase1:TinyModel.probabilities -->"
    became = site_hooks.on_page(sources, marker, "study/deeper/page.md")

    assert became.split("\n") == [
        "    ```python",
        "    def probabilities(self) -> Tensor:",
        "        return self.logits().softmax(-1)",
        "    ```",
        "",
        f"    *[`{name}`](../../reference/chapters.md#{name})*",
    ]


def test_statements_can_be_shown_alone_or_from_one_to_another() -> None:
    """A beginning picks a statement; two pick all from the first to the last."""
    place = (ROOT / "src", "llmlab.lab.optimizer", "Adam.update")

    assert sources.source(*place, "b1, b2").startswith("b1, b2 = ")
    decayed = "if self.weight_decay:\n    parameter.mul_(1 - lr * self.weight_decay)"
    assert sources.source(*place, "if self") == decayed
    assert sources.source(*place, "self.updates", "b1, b2").count("\n") == 1


@pytest.mark.parametrize(
    "marker",
    [
        "llmlab.phase1:TinyModel.gone",
        "llmlab.phase1:Gone",
        "llmlab.gone:TinyModel",
        "llmlab.phase1:TinyModel.loss | gone",
        "llmlab.lab.optimizer:Adam.update | parameter.",
    ],
)
def test_a_name_that_is_gone_stops_the_build(marker: str) -> None:
    with pytest.raises(PluginError, match=r"study/phase1\.md: <!-- code: llmlab"):
        site_hooks.on_page(sources, f"<!-- code: {marker} -->", "study/phase1.md")


def test_entries_of_the_log_are_left_alone() -> None:
    """What looks like a marker in an entry is somebody's text, and stays."""
    text = "<!-- code: llmlab.phase1:TinyModel.logits -->"

    assert site_hooks.on_page(sources, text, "log/posts/2026-11-22-phase1-00000000/entry.md") == text
    assert site_hooks.on_page(sources, text, "log/index.md") == text
