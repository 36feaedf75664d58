"""Notebooks: each is what its example makes, holds no output and runs; a result shows itself in them, safely."""

import re
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given

import site_hooks
from conftest import HANG, environment, needs
from llmlab.cli.chapter import CHAPTERS
from llmlab.report import screen
from llmlab.report.folding import is_wide
from llmlab.report.format import cell
from llmlab.report.record import Record
from strategies_report import records, specimen

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = [EXAMPLES / f"{chapter.replace('-', '_')}.ipynb" for chapter in CHAPTERS]
QUICK = "phase1"
TAGS = {"p", "b", "img", "table", "tr", "th", "td", "details", "summary"}
ATTRIBUTES = {"alt", "src", "style"}
jupyter = needs("nbclient", "test")


@jupyter
def test_every_notebook_is_what_its_example_makes() -> None:
    """Else run: make notebooks.  Every chapter has one, and none has output in it."""
    import nbformat

    made = site_hooks.hook("notebooks").made()

    assert sorted(made) == sorted(NOTEBOOKS) == sorted(EXAMPLES.glob("*.ipynb"))
    for path, text in made.items():
        assert path.read_text("utf-8") == text, path.name
        cells = nbformat.reads(text, as_version=4).cells
        assert [one for one in cells if one.get("outputs") or one.get("execution_count")] == []
        assert "](https://colab.research.google.com/github/" in cells[0].source


@jupyter
def test_a_known_repository_is_where_the_badge_leads() -> None:
    """Once the site's settings name the repository, badge and first cell do so as well."""
    text = site_hooks.hook("notebooks").notebook(EXAMPLES / "layers.py", "https://github.com/someone/llmlab")

    assert "(https://colab.research.google.com/github/someone/llmlab/blob/main/examples/layers.ipynb)" in text
    assert 'REPOSITORY = \\"https://github.com/someone/llmlab\\"' in text


@jupyter
@pytest.mark.parametrize(
    "path",
    [pytest.param(one, id=one.stem, marks=() if one.stem == QUICK else pytest.mark.slow) for one in NOTEBOOKS],
)
def test_every_notebook_runs(path: Path, tmp_path: Path) -> None:
    """Each runs from top to bottom in an empty folder, complains of nothing, and shows its last result as HTML."""
    import nbformat
    from nbclient import NotebookClient

    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=HANG, resources={"metadata": {"path": str(work)}}).execute(env=environment(home))
    outputs = [output for one in book.cells for output in one.get("outputs", ())]
    shown = [output.data for output in outputs if output.output_type == "execute_result"]

    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert "".join(output.text for output in outputs if output.get("name") == "stdout").count("\n") >= 3
    assert len(shown) == ("result = " in path.with_suffix(".py").read_text("utf-8"))
    assert all("<table>" in data["text/html"] and "<img " in data["text/html"] for data in shown)
    assert list(work.iterdir()) == []


def parsed(html: str) -> Element:
    """Return what HTML is made of by a strict parser, which refuses a tag that does not close, but for a picture's."""
    closed = re.sub(r"(<img [^>]*)>", r"\1/>", html)
    return fromstring(f"<p>{closed}</p>")  # noqa: S314 - our own document


@given(records)
def test_no_words_of_a_result_can_do_anything_in_a_notebook(record: Record) -> None:
    seen = list(parsed(record.result._repr_html_()).iter())

    assert {element.tag for element in seen} <= TAGS
    assert {name for element in seen for name in element.attrib} <= ATTRIBUTES
    assert all(one.attrib["src"].startswith("data:image/svg+xml;base64,") for one in seen if "src" in one.attrib)


@pytest.mark.parametrize("code", ["en", "ja"])
def test_a_result_shows_what_was_found_first_and_all_else_folded(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The findings stand before the fold, every number of every table after it, in the language of the environment."""
    monkeypatch.setenv("LLMLAB_LANG", code)
    result = specimen().result
    before, folded = result._repr_html_().split("<details>")
    there = [*parsed(f"<details>{folded}").itertext()]

    assert is_wide(folded) == (code == "ja")
    for sentence in screen.findings(specimen()) if code == "en" else ():
        assert sentence in "".join(parsed(before).itertext())
    for table in result.tables:
        for row in table.rows:
            numbers = [cell(value, column) for value, column in zip(row, table.columns, strict=True)]
            assert code == "ja" or set(numbers) <= {*there}
