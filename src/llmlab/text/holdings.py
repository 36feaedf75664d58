"""What is here of each named corpus and model, found by looking at folders only: no library, no network.

Leaves out reading them: ``named`` and ``pretrained``.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmlab.text import hub
from llmlab.text.architecture import CONFIG, INDEX
from llmlab.text.named import DATA, NAMED, Named, arrow_files, cached, given


@dataclass(frozen=True)
class Holding:
    """A corpus as it lies here: ``where`` is empty if it does not; ``rows`` are those to train and validate with."""

    name: str
    where: str
    size: int | None
    rows: tuple[int | None, int | None]
    way: str


@dataclass(frozen=True)
class ModelHolding:
    """A model's files as they lie here: ``where`` is empty if what is needed of them does not."""

    name: str
    where: str
    size: int | None
    way: str


def holding(name: str) -> Holding:
    """Return what is here of a named corpus, by looking at folders only."""
    corpus = NAMED[name]
    way = f"llmlab data fetch {name} (about {corpus.megabytes} MB)"
    folder = given(corpus)
    if folder is not None:
        counts = (lines_in(folder / "train.txt"), lines_in(folder / "valid.txt"))
        return Holding(name, DATA, size_of(folder.glob("*.txt")), counts, "" if None not in counts else way)
    folder = cached(corpus)
    if folder is None:
        return Holding(name, "", None, (None, None), way)
    files = [path for split in corpus.splits for path in arrow_files(corpus, folder, split)]
    return Holding(name, "datasets cache", size_of(iter(files)), recorded_rows(corpus, folder), "")


def model_holding(name: str) -> ModelHolding:
    """Return what is here of a named model, by looking at folders only."""
    model = hub.MODELS[name]
    way = f"llmlab data fetch {name} (about {model.megabytes} MB)"
    folder = hub.given(model)
    where = DATA if folder is not None else "hub cache"
    folder = folder or hub.cached(model, weights=True)
    if folder is None:
        return ModelHolding(name, "", None, way)
    files = [folder / each for each in (CONFIG, hub.TOKENIZER, hub.TOKENIZER_CONFIG, INDEX)]
    whole = all(path.is_file() for path in files[:2]) and hub.has_embedding(folder)
    return ModelHolding(name, where, size_of(iter([*files, *folder.glob("*.safetensors")])), "" if whole else way)


def size_of(paths: Iterator[Path]) -> int:
    """Return how many bytes files have together."""
    return sum(path.stat().st_size for path in paths if path.is_file())


def lines_in(path: Path) -> int | None:
    """Return how many lines of a file are not blank, or nothing where it cannot be read."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    except OSError:
        return None


def recorded_rows(corpus: Named, folder: Path) -> tuple[int | None, int | None]:
    """Return the rows of both splits as the library noted them; WikiText's blank lines are rows too."""
    try:
        splits = json.loads((folder / "dataset_info.json").read_text("utf-8"))["splits"]
        train, valid = (int(splits[split]["num_examples"]) for split in corpus.splits)
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
    return train, valid
