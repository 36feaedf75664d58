"""Corpora and models that have a name: at which commit of the Hugging Face hub they are, and whether they are here.

They are looked for in a fixed order: the folder that the environment variable ``LLMLAB_DATA`` gives, the hub's own
cache, and then, unless offline, the hub.  The commit is pinned and the cache is read by that commit's folder, so
nothing ever takes the place of what is missing.  Only the files are fetched that are read.
"""

import errno
import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from llmlab.errors import UnreachableError, WriteError
from llmlab.text.files import Splits, dialogue, read_folder

DATA = "LLMLAB_DATA"
"""The environment variable that names a folder with a subfolder per corpus or model."""

SECONDS = 8
"""How long the hub may take to answer the first question."""

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR}
"""What a disk says that takes no more."""


@dataclass(frozen=True)
class Source:
    """A corpus or a model on the hub, at one commit.

    ``splits`` are the files of a corpus to train on, to validate with and, where there is one that nothing is chosen
    by, to test on; ``lines`` is how many non-blank lines the first two have, where that is known for sure, and
    ``most`` how many of each are read: a small machine has no room for all of a large one.  ``shape`` is that of a
    model's input embedding.
    """

    name: str
    repository: str
    commit: str
    megabytes: int = 0
    splits: tuple[str, ...] = ()
    lines: tuple[int, int] | None = None
    most: tuple[int | None, ...] = (None, None, None)
    shape: tuple[int, int] | None = None

    @property
    def kind(self) -> str:
        """What the hub calls it."""
        return "dataset" if self.splits else "model"

    @property
    def given(self) -> Path | None:
        """Its folder under ``LLMLAB_DATA``, if there is one."""
        base = os.environ.get(DATA)
        folder = Path(base).expanduser() / self.name if base and self.name in {**CORPORA, **MODELS} else None
        return folder if folder is not None and folder.is_dir() else None

    @property
    def cached(self) -> Path:
        """Where the hub's cache has the files of this commit, if it has any."""
        return hub_cache() / f"{self.kind}s--{self.repository.replace('/', '--')}" / "snapshots" / self.commit

    def unreachable(self, reason: str) -> UnreachableError:
        """Return the failure in one line, with the ways out."""
        fetch = f"run 'llmlab data fetch {self.name}'" if self.megabytes else "try again"
        option, files = ("--data", "train.txt and valid.txt")
        if self.kind == "model":
            option, files = "--pretrained", "config.json, tokenizer.json and model.safetensors"
        return UnreachableError(
            f"{option} {self.name}: {reason}; {fetch} while online, or give {option} FOLDER with {files}"
        )


CORPORA = {
    "wikitext-2": Source(
        "wikitext-2",
        "Salesforce/wikitext",
        "b08601e04326c79dfdd32d625aee71d232d685c3",
        8,
        tuple(f"wikitext-2-raw-v1/{split}-*.parquet" for split in ("train", "validation", "test")),
        lines=(23_767, 2_461),
    ),
    "ultrachat": Source(
        "ultrachat",
        "HuggingFaceH4/ultrachat_200k",
        "8049631c405ae6576f93f445c6b8166f76f5505a",
        810,
        ("data/train_sft-*.parquet", "data/test_sft-*.parquet"),
        most=(10_000, 1_000),
    ),
    "dailydialog": Source(
        "dailydialog",
        "OpenRL/daily_dialog",
        "1668faf0c0dc44664f108c489fd0666128db2c48",
        5,
        tuple(f"data/{split}-*.parquet" for split in ("train", "validation", "test")),
    ),
}
MODELS = {
    "gpt2": Source(
        "gpt2", "openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e", 550, shape=(50_257, 768)
    ),
}


def hub_cache() -> Path:
    """Return where the hub's library keeps what it fetched, by the same variables that it reads."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    place = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub"
    return Path(place).expanduser()


def told_offline() -> bool:
    """Return whether one of the hub's own variables forbids the network."""
    variables = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in variables)


def fetch(source: Source, get: Callable[[Any], object], progress: bool) -> None:
    """Let the hub's library get what ``get`` asks it for, once the hub has answered for one small file.

    Not asked for that, the library would try for minutes before it says that nobody answers.
    """
    try:
        hub, constants = (importlib.import_module(f"huggingface_hub{name}") for name in ("", ".constants"))
    except ImportError as error:
        extra = "data" if source.kind == "dataset" else "pretrained"
        raise source.unreachable(f"{error}; pip install 'llmlab[{extra}]'") from error
    hub.logging.set_verbosity_error()
    (hub.utils.enable_progress_bars if progress else hub.utils.disable_progress_bars)()
    where, file = (
        (f"datasets/{source.repository}", "README.md") if source.splits else (source.repository, "tokenizer.json")
    )
    try:
        address = f"{constants.ENDPOINT}/{where}/resolve/{source.commit}/{file}"
        status = hub.get_session().head(address, timeout=SECONDS).status_code
        if status >= 400:
            raise ConnectionError(f"{constants.ENDPOINT} answers {status}")
        get(hub)
    except Exception as error:  # whatever the library or the network throws, it is not to be had
        if isinstance(error, OSError) and error.errno in DISK:
            raise WriteError(f"{hub_cache()}: {error.strerror}") from error
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise source.unreachable(f"it is not here and could not be fetched ({told})") from error


def located(
    source: Source, whole: Callable[[Path], bool], get: Callable[[Any], object], *, offline: bool, progress: bool
) -> Path:
    """Return the folder of a source in the hub's cache, fetched unless it is ``whole``; ``get`` asks the hub."""
    if not whole(source.cached):
        if offline or told_offline():
            raise source.unreachable("it is not here, and this is offline")
        fetch(source, get, progress)
        if not whole(source.cached):
            raise source.unreachable(f"the hub did not give commit {source.commit[:12]} with all its files")
    return source.cached


def read_corpus(name: str, *, offline: bool, progress: bool = False) -> tuple[Splits, str]:
    """Return the lines of a corpus on the hub, and in words where they came from.

    Raises:
        UnreachableError: it is neither here nor to be fetched, or what is here is not the whole of it.
        TextError: the files under ``LLMLAB_DATA`` cannot be used.
        WriteError: what was fetched could not be written.
    """
    source = CORPORA[name]
    folder, where = source.given, f"{DATA}/{name}"
    if folder is not None:
        found = read_folder(folder)
    else:
        where = f"{source.repository} at {source.commit[:12]}"
        asked = {"revision": source.commit, "repo_type": source.kind, "allow_patterns": list(source.splits)}
        folder = located(
            source,
            lambda place: all(split_files(source, place)),
            lambda hub: hub.snapshot_download(source.repository, cache_dir=hub_cache(), **asked),
            offline=offline,
            progress=progress,
        )
        splits = zip(split_files(source, folder), source.most, strict=False)
        train, valid, *test = (read_split(source, paths, most) for paths, most in splits)
        found = train, valid, test[0] if test else []
    counts = len(found[0]), len(found[1])
    if counts != (source.lines or counts) or 0 in counts:
        wanted = "{:,} and {:,}".format(*source.lines) if source.lines else "some"
        raise UnreachableError(
            f"--data {name}: {folder} has {counts[0]:,} and {counts[1]:,} lines to train and validate with instead of "
            f"{wanted}; replace that folder, or delete it and run 'llmlab data fetch {name}'"
        )
    return found, where


def split_files(source: Source, folder: Path) -> list[list[Path]]:
    """Return the files of each split in order; of one that lacks a file none."""
    found = [sorted(folder.glob(pattern)) for pattern in source.splits]
    return [paths if paths and f"-of-{len(paths):05d}" in paths[0].name else [] for paths in found]


def read_split(source: Source, paths: list[Path], most: int | None) -> list[str]:
    """Return the lines of a split, the first ones of very many."""
    try:
        return list(islice(filter(None, lines_in(paths)), most))
    except ImportError as error:
        raise source.unreachable(f"{error}; pip install 'llmlab[data]'") from error
    except (OSError, ValueError, TypeError) as error:  # pyarrow's failures are among these
        raise UnreachableError(
            f"--data {source.name}: a file in {paths[0].parent} is broken; delete {source.cached.parents[1]} and run "
            f"'llmlab data fetch {source.name}'"
        ) from error


def lines_in(paths: list[Path]) -> Iterator[str]:
    """Yield each row of Parquet files as one line, its text or its dialogue, a batch at a time."""
    parquet = importlib.import_module("pyarrow.parquet")
    for path in paths:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    yield str(row["text"]).strip() if "text" in row else dialogue(row)[0]
