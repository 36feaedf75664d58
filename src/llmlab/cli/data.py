"""The commands of the corpora: ``llmlab data status|fetch``.

Status looks at folders only, so it answers at once and without a network.  Leaves out where corpora come from:
``text.named``.
"""

import sys
from typing import Annotated, Any

import typer

from llmlab.cli.log import AsJson, write_json
from llmlab.errors import SettingError
from llmlab.report import terminal
from llmlab.report.result import Cell, Column, Table
from llmlab.text.corpus import DIALECT, SYNTHETIC, load_corpus
from llmlab.text.holdings import Holding, holding
from llmlab.text.named import NAMED

app = typer.Typer(help="The corpora: what is here, what is missing, how to get it.")

BUILT_IN = {name: Holding(name, "built in", None, (None, None), "") for name in (SYNTHETIC, DIALECT)}
CAPTION = (
    "A path works as a corpus too: a text file, a folder with train.txt and valid.txt, or a .jsonl of chat messages. "
    "Lines in the datasets cache count blank ones."
)


@app.callback(invoke_without_command=True)
def top(context: typer.Context) -> None:
    """Show what is here, or fetch a corpus."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("status")
def data_status(as_json: AsJson = False) -> None:
    """List the corpora: here or not, where, how large, and how to get them."""
    show([*BUILT_IN.values(), *map(holding, NAMED)], as_json)


@app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMED)}.", metavar="NAME", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Fetch a corpus into the cache of the datasets library, and check it (needs the data extra)."""
    if name not in (*BUILT_IN, *NAMED):
        raise SettingError(f"data fetch {name!r}: the names are {', '.join((*BUILT_IN, *NAMED))}")
    if name in BUILT_IN:
        show([BUILT_IN[name]], as_json)
        return
    corpus = load_corpus(name, progress=sys.stderr is not None and sys.stderr.isatty())
    found = holding(name)
    show([Holding(name, found.where, found.size, (len(corpus.train), len(corpus.valid)), "")], as_json)


def show(holdings: list[Holding], as_json: bool) -> None:
    """Print corpora as one table, or as one document."""
    from llmlab.report.table import table_view

    if as_json:
        write_json(document(holdings))
    else:
        terminal.show(table_view(table(holdings), terminal.console()))


def table(holdings: list[Holding]) -> Table:
    """Return corpora as a table."""
    names = (("corpus", "token"), ("here", "text"), ("MB", "number"), ("train", "integer"), ("valid", "integer"))
    rows: list[list[Cell]] = [
        [each.name, each.where or "no", None if each.size is None else each.size / 1e6, *each.rows, each.way]
        for each in holdings
    ]
    columns = [Column(name, kind, 1) for name, kind in names]  # type: ignore[arg-type]
    return Table("data", "Corpora", [*columns, Column("how to get it", "text")], rows, CAPTION)


def document(holdings: list[Holding]) -> dict[str, Any]:
    """Return corpora as strict JSON values."""
    return {
        "schema": "llmlab.data/1",
        "corpora": [
            {
                "name": each.name,
                "here": bool(each.where),
                "where": each.where or None,
                "bytes": each.size,
                "train_lines": each.rows[0],
                "valid_lines": each.rows[1],
                "get": each.way or None,
            }
            for each in holdings
        ],
    }
