"""Make the notebooks of the chapters from their examples: ``make notebooks``.

A notebook begins with the example's own first words, a badge that opens it in Colab, and a cell that installs llmlab
where it is missing; then come the example's lines, its imports first, and its last result, which shows itself.  It is
stored without output.  The address of the repository is ``repo_url`` of ``mkdocs.yml``; while there is none, the badge
leads to where Colab asks for it, and the first cell wants it, too.

``tests/test_notebooks.py`` makes them again and compares.  Not a MkDocs hook: the build itself makes no notebook.
"""

import ast
import re
from pathlib import Path

import nbformat
from nbformat import v4

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
COLAB = "https://colab.research.google.com/github/"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
INSTALL = """import importlib.util

REPOSITORY = "{repository}"  # where llmlab is, for machines that do not have it yet, like Colab
if importlib.util.find_spec("llmlab") is None:
    assert REPOSITORY, "write the address of llmlab's repository between the quotes above"
    %pip install -q git+$REPOSITORY"""


def repository() -> str:
    """Return the address of the repository on GitHub, or nothing."""
    settings = (ROOT / "mkdocs.yml").read_text("utf-8")
    found = re.search(r"^repo_url: (https://github\.com/\S+?)/?$", settings, re.MULTILINE)
    return found[1] if found else ""


def notebook(example: Path, address: str) -> str:
    """Return the notebook of an example as text: the same example, the same bytes."""
    source = example.read_text("utf-8")
    tree = ast.parse(source)
    title, _, _ = (ast.get_docstring(tree) or "").partition("\n")
    where = f"{COLAB}{address.removeprefix('https://github.com/')}/blob/main/examples/{example.stem}.ipynb"
    badge = f"[![Open in Colab]({BADGE})]({where if address else COLAB})"
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = source.split("\n")
    first = imports[0].lineno - 1
    last = imports[-1].end_lineno or 0
    code = [INSTALL.format(repository=address), "\n".join(lines[first:last]), "\n".join(lines[last:])]
    code += ["result"] if re.search(r"^ *result = ", source, re.MULTILINE) else []
    cells = [
        v4.new_markdown_cell(f"# {title}\n\n{badge}", id="title"),
        *(v4.new_code_cell(text.strip("\n"), id=f"code-{number}") for number, text in enumerate(code)),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made = v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    nbformat.validate(made)
    return str(nbformat.writes(made, version=4)) + "\n"


def made() -> dict[Path, str]:
    """Return the notebook of each example by its path."""
    return {example.with_suffix(".ipynb"): notebook(example, repository()) for example in sorted(EXAMPLES.glob("*.py"))}


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text, "utf-8")
