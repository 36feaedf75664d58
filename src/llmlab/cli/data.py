"""The commands of corpora and pretrained models: ``llmlab data status|fetch``.

Status looks at folders only, so it answers at once and without a network.
"""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from llmlab.cli.output import AsJson, Lang, argument, completing, helped, show, spoken, write_json
from llmlab.errors import SettingError
from llmlab.report.messages import Text, say
from llmlab.report.result import Cell, Table, columns_of
from llmlab.text.corpus import DIALECT, SYNTHETIC, load_corpus
from llmlab.text.hub import CORPORA, DATA, MODELS, Source, split_files
from llmlab.text.model_files import is_whole
from llmlab.text.story import STORY

app = typer.Typer(help="The corpora and pretrained models: what is here, what is missing, how to get it.")
app.callback(invoke_without_command=True)(helped)

CAPTION = (
    "A path works as a corpus too: a text file, a folder with train.txt and valid.txt, or a .jsonl of chat messages."
)
OF_MODELS = "Only the tokenizer and the input embedding are read. A folder with a model's files works too."
Lines = tuple[int | None, int | None]


@dataclass(frozen=True)
class Holding:
    """A corpus or model as it lies here: ``where`` is empty if it does not, ``way`` if nothing of it is missing.

    ``lines`` are those of a corpus to train and validate with, where they are known.
    """

    name: str
    where: str = ""
    size: int | None = None
    lines: Lines = (None, None)
    way: Text = ""


TO_FETCH = (*CORPORA, *MODELS)
BUILT_IN = {name: Holding(name, "built in") for name in (SYNTHETIC, DIALECT, STORY)}


def holding(source: Source) -> Holding:
    """Return what is here of a corpus or model, by looking at folders only: no library, no network."""
    way: Text = f"llmlab data fetch {source.name} (about {source.megabytes} MB)"
    folder = source.given or source.cached
    lines: Lines = source.lines or (None, None)
    if source.kind == "model":
        whole, files = is_whole(folder), [*folder.glob("*.json"), *folder.glob("*.safetensors")]
    elif source.given:
        lines = lines_in(folder / "train.txt"), lines_in(folder / "valid.txt")
        whole, files = lines == source.lines if source.lines else all(lines), list(folder.glob("*.txt"))
    else:
        splits = split_files(source, folder)
        whole, files = all(splits), [path for paths in splits for path in paths]
    if not (whole or source.given):
        return Holding(source.name, way=way)
    size = sum(path.stat().st_size for path in files if path.is_file())
    if source.given:  # what is fetched would never be looked at
        way = say("text.incomplete", folder=f"{DATA}/{source.name}")
    return Holding(source.name, DATA if source.given else "hub cache", size, lines, "" if whole else way)


def lines_in(path: Path) -> int | None:
    """Return how many lines of a file are not blank, or nothing where it cannot be read."""
    with contextlib.suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return sum(1 for line in file if line.strip())
    return None


@app.command("status")
def data_status(lang: Lang = "en", as_json: AsJson = False) -> None:
    """List the corpora and models: here or not, where, how large, and how to get them."""
    _show([*BUILT_IN.values(), *map(holding, CORPORA.values())], [*map(holding, MODELS.values())], as_json, lang)


@app.command("fetch")
def data_fetch(
    name: Annotated[str, argument(f"One of {', '.join(TO_FETCH)}.", "NAME", completing(lambda: TO_FETCH))],
    lang: Lang = "en",
    as_json: AsJson = False,
) -> None:
    """Fetch a corpus or a model into the cache of the Hugging Face hub, and check it.

    A corpus needs the data extra, a model the pretrained extra.
    """
    progress = sys.stderr is not None and sys.stderr.isatty()
    if name in BUILT_IN:
        _show([BUILT_IN[name]], [], as_json, lang)
    elif name in MODELS:
        from llmlab.text.pretrained import load_pretrained  # it imports torch

        load_pretrained(name, progress=progress)
        _show([], [holding(MODELS[name])], as_json, lang)
    elif name in CORPORA:
        corpus = load_corpus(name, progress=progress)
        found = holding(CORPORA[name])
        _show([Holding(name, found.where, found.size, (len(corpus.train), len(corpus.valid)))], [], as_json, lang)
    else:
        raise SettingError(f"data fetch {name!r}: the names are {', '.join((*BUILT_IN, *TO_FETCH))}")


def _show(corpora: list[Holding], models: list[Holding], as_json: bool, lang: str) -> None:
    """Print corpora and models as a table each, or as one document."""
    if as_json:
        known = [_document(each, train_lines=each.lines[0], valid_lines=each.lines[1]) for each in corpora]
        write_json({"schema": "llmlab.data/1", "corpora": known, "models": [*map(_document, models)]})
        return
    here, way = "here:text | MB:1", "how to get it:text"
    columns = columns_of(f"corpus:token | {here} | train:integer | valid:integer | {way}")
    tables = [
        Table("data", "Corpora", columns, [_row(each, *each.lines) for each in corpora], CAPTION),
        Table(
            "models",
            "Pretrained models",
            columns_of(f"model:token | {here} | {way}"),
            list(map(_row, models)),
            OF_MODELS,
        ),
    ]
    show([table for table in tables if table.rows], spoken(lang))


def _row(each: Holding, *lines: int | None) -> list[Cell]:
    return [each.name, each.where or "no", None if each.size is None else each.size / 1e6, *lines, each.way]


def _document(each: Holding, **lines: int | None) -> dict[str, Any]:
    """Return a corpus or a model as strict JSON values."""
    here = {"name": each.name, "here": bool(each.where), "where": each.where or None, "bytes": each.size}
    return here | lines | {"get": each.way or None}
