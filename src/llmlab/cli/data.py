"""The commands of corpora and pretrained models: ``llmlab data status|fetch``.

Status looks at folders only, so it answers at once and without a network.  Leaves out where corpora and models come
from: ``text.named`` and ``text.hub``.
"""

import sys
from typing import Annotated, Any

import typer

from llmlab.cli.output import AsJson, show, write_json
from llmlab.errors import SettingError
from llmlab.report.result import Cell, Table, columns_of
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
MODEL_CAPTION = "Only the tokenizer and the input embedding are read. A folder with a model's files works too."


@app.callback(invoke_without_command=True)
def top(context: typer.Context) -> None:
    """Show what is here, or fetch a corpus or a model."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("status")
def data_status(as_json: AsJson = False) -> None:
    """List the corpora and models: here or not, where, how large, and how to get them."""
    _show([*BUILT_IN.values(), *map(holding, NAMED)], [*map(model_holding, MODELS)], as_json)


@app.command("fetch")
def data_fetch(
    name: Annotated[
        str, typer.Argument(help=f"One of {', '.join((*NAMED, *MODELS))}.", metavar="NAME", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Fetch a corpus or a model, and check it.

    It goes into the cache of the datasets library (needs the data extra) or of the Hugging Face hub (needs the
    pretrained extra).
    """
    progress = sys.stderr is not None and sys.stderr.isatty()
    if name in BUILT_IN:
        _show([BUILT_IN[name]], [], as_json)
    elif name in MODELS:
        from llmlab.text.pretrained import load_pretrained  # it imports torch

        load_pretrained(name, progress=progress)
        _show([], [model_holding(name)], as_json)
    elif name in NAMED:
        corpus = load_corpus(name, progress=progress)
        found = holding(name)
        _show([Holding(name, found.where, found.size, (len(corpus.train), len(corpus.valid)), "")], [], as_json)
    else:
        raise SettingError(f"data fetch {name!r}: the names are {', '.join((*BUILT_IN, *NAMED, *MODELS))}")


def _show(corpora: list[Holding], models: list[ModelHolding], as_json: bool) -> None:
    """Print corpora and models as a table each, or as one document."""
    if as_json:
        lines = [dict(zip(("train_lines", "valid_lines"), each.rows, strict=True)) for each in corpora]
        write_json(
            {
                "schema": "llmlab.data/1",
                "corpora": [_document(each, **rows) for each, rows in zip(corpora, lines, strict=True)],
                "models": [_document(each) for each in models],
            }
        )
        return
    ends = "how to get it:text"
    tables = [
        Table(
            "data",
            "Corpora",
            columns_of(f"corpus:token | here:text | MB:1 | train:integer | valid:integer | {ends}"),
            [_row(each, *each.rows) for each in corpora],
            CAPTION,
        ),
        Table(
            "models",
            "Pretrained models",
            columns_of(f"model:token | here:text | MB:1 | {ends}"),
            [_row(each) for each in models],
            MODEL_CAPTION,
        ),
    ]
    for table in tables:
        if table.rows:
            show([table])


def _row(each: Holding | ModelHolding, *rows: int | None) -> list[Cell]:
    return [each.name, each.where or "no", None if each.size is None else each.size / 1e6, *rows, each.way]


def _document(each: Holding | ModelHolding, **rows: int | None) -> dict[str, Any]:
    """Return a corpus or a model as strict JSON values."""
    here = {"name": each.name, "here": bool(each.where), "where": each.where or None, "bytes": each.size}
    return here | rows | {"get": each.way or None}
