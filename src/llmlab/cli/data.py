"""The commands of corpora and pretrained models: ``llmlab data status|fetch``.

Status looks at folders only, so it answers at once and without a network.  Leaves out where corpora and models come
from: ``text.named`` and ``text.hub``.
"""

import sys
from typing import Annotated, Any

import typer

from llmlab.cli.log import AsJson, write_json
from llmlab.errors import SettingError
from llmlab.report import terminal
from llmlab.report.result import Cell, Column, Table
from llmlab.text.corpus import DIALECT, SYNTHETIC, load_corpus
from llmlab.text.holdings import Holding, ModelHolding, holding, model_holding
from llmlab.text.hub import MODELS
from llmlab.text.named import NAMED

app = typer.Typer(help="The corpora and pretrained models: what is here, what is missing, how to get it.")

BUILT_IN = {name: Holding(name, "built in", None, (None, None), "") for name in (SYNTHETIC, DIALECT)}
CAPTION = (
    "A path works as a corpus too: a text file, a folder with train.txt and valid.txt, or a .jsonl of chat messages. "
    "Lines in the datasets cache count blank ones."
)


FETCHED = (*NAMED, *MODELS)
MODEL_CAPTION = "Only the tokenizer and the input embedding are read. A folder with a model's files works too."


@app.callback(invoke_without_command=True)
def top(context: typer.Context) -> None:
    """Show what is here, or fetch a corpus or a model."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("status")
def data_status(as_json: AsJson = False) -> None:
    """List the corpora and models: here or not, where, how large, and how to get them."""
    show([*BUILT_IN.values(), *map(holding, NAMED)], [*map(model_holding, MODELS)], as_json)


@app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(FETCHED)}.", metavar="NAME", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Fetch a corpus or a model, and check it.

    It goes into the cache of the datasets library (needs the data extra) or of the Hugging Face hub (needs the
    pretrained extra).
    """
    progress = sys.stderr is not None and sys.stderr.isatty()
    if name in BUILT_IN:
        show([BUILT_IN[name]], [], as_json)
    elif name in MODELS:
        from llmlab.text.pretrained import load_pretrained  # it imports torch

        load_pretrained(name, progress=progress)
        show([], [model_holding(name)], as_json)
    elif name in NAMED:
        corpus = load_corpus(name, progress=progress)
        found = holding(name)
        show([Holding(name, found.where, found.size, (len(corpus.train), len(corpus.valid)), "")], [], as_json)
    else:
        raise SettingError(f"data fetch {name!r}: the names are {', '.join((*BUILT_IN, *FETCHED))}")


def show(corpora: list[Holding], models: list[ModelHolding], as_json: bool) -> None:
    """Print corpora and models as a table each, or as one document."""
    from llmlab.report.table import table_view

    if as_json:
        write_json(document(corpora, models))
        return
    for shown in ([table(corpora)] if corpora else []) + ([model_table(models)] if models else []):
        terminal.show(table_view(shown, terminal.console()))


def table(holdings: list[Holding]) -> Table:
    """Return corpora as a table."""
    names = (("corpus", "token"), ("here", "text"), ("MB", "number"), ("train", "integer"), ("valid", "integer"))
    rows: list[list[Cell]] = [
        [each.name, each.where or "no", None if each.size is None else each.size / 1e6, *each.rows, each.way]
        for each in holdings
    ]
    columns = [Column(name, kind, 1) for name, kind in names]  # type: ignore[arg-type]
    return Table("data", "Corpora", [*columns, Column("how to get it", "text")], rows, CAPTION)


def model_table(holdings: list[ModelHolding]) -> Table:
    """Return models as a table."""
    rows: list[list[Cell]] = [
        [each.name, each.where or "no", None if each.size is None else each.size / 1e6, each.way] for each in holdings
    ]
    columns = [Column("model", "token"), Column("here", "text"), Column("MB", "number", 1)]
    return Table("models", "Pretrained models", [*columns, Column("how to get it", "text")], rows, MODEL_CAPTION)


def document(corpora: list[Holding], models: list[ModelHolding]) -> dict[str, Any]:
    """Return corpora and models as strict JSON values."""
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
            for each in corpora
        ],
        "models": [
            {
                "name": each.name,
                "here": bool(each.where),
                "where": each.where or None,
                "bytes": each.size,
                "get": each.way or None,
            }
            for each in models
        ],
    }
