"""The code of the moment: a marker in a page is replaced by source as it stands, so that no page can drift from it.

    <!-- code: llmlab.phase1:TinyModel.logits -->                            a function, a method or a class
    <!-- code: llmlab.phase1:descend | free = -->                              the statement that begins so
    <!-- code: llmlab.phase1:TinyModel.loss_and_gradients | excess … if -->  from one statement to another

Docstrings are left out, since the page says the same in its own words; under the code stands its name, with a link to
the reference page.  Names are found by ``ast``: nothing is imported.  A name or a statement that is gone stops the
build.

Leaves out log entries on purpose: they hold other people's words.  (Not called ``code.py``, which would hide Python's
own module of that name from ``outputs.py`` beside it.)
"""

import ast
import os
import re
import textwrap
from pathlib import Path

from mkdocs.exceptions import PluginError

MARKER = re.compile(
    r"^(?P<indent> *)<!-- code: (?P<module>[\w.]+):(?P<name>[\w.]+)"
    r"(?: \| (?P<first>[^\n]+?)(?: … (?P<last>[^\n]+?))?)? -->$",
    re.MULTILINE,
)
REFERENCED = re.compile(r"^::: (\S+)$", re.MULTILINE)
Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def on_page_markdown(markdown: str, page, config, **_) -> str:
    """Return the page's Markdown with source in place of each marker."""
    where = page.file.src_uri
    if where.startswith("log/"):
        return markdown
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir)

    def shown(found: re.Match[str]) -> str:
        try:
            code = source(root / "src", found["module"], found["name"], found["first"], found["last"])
        except (LookupError, OSError) as error:
            raise PluginError(f"{where}: {found[0].strip()}: {error}") from error
        lines = f"```python\n{code}\n```\n\n{caption(docs, where, found['module'], found['name'])}"
        return textwrap.indent(lines, found["indent"])

    return MARKER.sub(shown, markdown)


def source(src: Path, module: str, name: str, first: str | None = None, last: str | None = None) -> str:
    """Return the source of a name in a module without its docstring, or of some statements of it.

    Args:
        src: the folder of the packages.
        module: by its dots.
        name: of a function or class, with dots for what is inside a class.
        first: what the first statement begins with; ``None`` for all of it.
        last: what the last statement begins with; ``None`` for the first one alone.

    Raises:
        LookupError: no such name, or not exactly one such statement.
        OSError: no such module.
    """
    path = src.joinpath(*module.split(".")).with_suffix(".py")
    text = path.read_text("utf-8")
    node: ast.Module | Named = ast.parse(text)
    for part in name.split("."):
        inside = [one for one in node.body if isinstance(one, Named) and one.name == part]
        if len(inside) != 1:
            raise LookupError(f"{module} has no {name}")
        node = inside[0]
    lines, (start, stop) = text.split("\n"), _whole(node)
    left_out = _docstring(node, lines)
    if first is not None:
        start, end = _whole(_statement(node, lines, first))
        stop = end if last is None else _whole(_statement(node, lines, last))[1]
    kept = [lines[number - 1] for number in range(start, stop + 1) if number not in left_out]
    return textwrap.dedent("\n".join(kept))


def _whole(node: ast.stmt) -> tuple[int, int]:
    """Return the first and last line of a statement, decorators among it."""
    decorators = [decorator.lineno for decorator in getattr(node, "decorator_list", [])]
    return min([node.lineno, *decorators]), node.end_lineno or node.lineno


def _docstring(node: Named, lines: list[str]) -> range:
    """Return the lines of a docstring, and the empty line behind it if there is one."""
    if ast.get_docstring(node) is None:
        return range(0)
    start, stop = _whole(node.body[0])
    return range(start, stop + 1 if lines[stop].strip() else stop + 2)


def _statement(node: Named, lines: list[str], beginning: str) -> ast.stmt:
    """Return the one statement inside a node that begins so.

    Raises:
        LookupError: there is none, or more than one.
    """
    inside = [one for one in ast.walk(node) if isinstance(one, ast.stmt) and one is not node]
    found = [one for one in inside if lines[one.lineno - 1][one.col_offset :].startswith(beginning)]
    if len(found) != 1:
        raise LookupError(f"{len(found)} statements in {node.name} begin with {beginning!r}")
    return found[0]


def caption(docs: Path, where: str, module: str, name: str) -> str:
    """Return the name of shown code, as a link to where the reference speaks of it, if it does."""
    public = [module]
    for part in name.split("."):
        if part.startswith("_"):
            break
        public.append(part)
    full = f"{module}.{name}"
    for page in sorted((docs / "reference").glob("*.md")):
        if module in REFERENCED.findall(page.read_text("utf-8")):
            address = os.path.relpath(f"reference/{page.name}", Path(where).parent)
            return f"*[`{full}`]({Path(address).as_posix()}#{'.'.join(public)})*"
    return f"*`{full}`*"
