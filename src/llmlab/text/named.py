"""The corpora that have a name: where they come from, at which revision, and whether they are here.

A named corpus is looked for in a fixed order: the folder that the environment variable ``LLMLAB_DATA`` gives, the
cache of the ``datasets`` library, and then, unless offline, the Hugging Face hub.  What is found first counts;
nothing ever takes the place of what is missing.

The revision is pinned, and the cache is read by that revision's folder: the library itself would fall back to
whatever revision it finds when the hub does not answer.  Leaves out texts of the user's own, ``files``, and
what is here without reading it, ``holdings``.
"""

import errno
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from llmlab.errors import UnreachableError, WriteError
from llmlab.text.files import Splits, dialogue, read_folder

DATA = "LLMLAB_DATA"
"""The environment variable that names a folder with a subfolder per named corpus."""

SECONDS = 8
"""How long the hub may take to answer the first question."""

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR}
"""What a disk says that takes no more."""


@dataclass(frozen=True)
class Named:
    """A corpus on the Hugging Face hub.

    ``splits`` are its names for training and validation, ``test`` is the one of a split that we choose nothing by,
    where there is one.  ``lines`` are how many non-blank lines the first two have, where
    that is known for sure.  ``most`` is how many dialogues of each are read: a small machine has no room for all.
    """

    name: str
    repository: str
    revision: str
    megabytes: int
    config: str = "default"
    splits: tuple[str, str] = ("train", "validation")
    test: str = ""
    lines: tuple[int, int] | None = None
    most: tuple[int, int] | None = None
    files: dict[str, str] = field(default_factory=dict)


NAMED = {
    corpus.name: corpus
    for corpus in (
        Named(
            "wikitext-2",
            "Salesforce/wikitext",
            "b08601e04326c79dfdd32d625aee71d232d685c3",
            8,
            config="wikitext-2-raw-v1",
            test="test",
            lines=(23_767, 2_461),
        ),
        Named(
            "ultrachat",
            "HuggingFaceH4/ultrachat_200k",
            "8049631c405ae6576f93f445c6b8166f76f5505a",
            810,
            splits=("train_sft", "test_sft"),
            most=(10_000, 1_000),
            # the repository holds as much again for another purpose
            files={"train_sft": "data/train_sft-*", "test_sft": "data/test_sft-*"},
        ),
        Named("dailydialog", "OpenRL/daily_dialog", "1668faf0c0dc44664f108c489fd0666128db2c48", 5, test="test"),
    )
}


def read_named(name: str, *, offline: bool, progress: bool = False) -> tuple[Splits, str]:
    """Return the lines of a named corpus, and in words where they came from.

    Raises:
        UnreachableError: it is neither here nor to be fetched, or what is here is not the whole of it.
        TextError: the files under ``LLMLAB_DATA`` cannot be used.
        WriteError: what was fetched could not be written.
    """
    corpus = NAMED[name]
    folder = given(corpus)
    if folder is not None:
        return whole(corpus, read_folder(folder), folder), f"{DATA}/{name}"
    folder = cached(corpus)
    if folder is None:
        if offline or told_offline():
            raise unreachable(corpus, "it is not here, and this is offline")
        download(corpus, progress)
        folder = cached(corpus)
    if folder is None:
        raise unreachable(corpus, f"the hub did not give revision {corpus.revision[:12]}")
    most = corpus.most or (None, None)
    train, valid = (read_split(corpus, folder, *each) for each in zip(corpus.splits, most, strict=True))
    test = read_split(corpus, folder, corpus.test) if corpus.test else []
    return whole(corpus, (train, valid, test), folder), f"{corpus.repository} at {corpus.revision[:12]}"


def unreachable(corpus: Named, reason: str) -> UnreachableError:
    """Return the failure in one line, with the ways out."""
    return UnreachableError(
        f"--data {corpus.name}: {reason}; run 'llmlab data fetch {corpus.name}' while online, "
        "or give --data FOLDER with train.txt and valid.txt"
    )


def whole(corpus: Named, splits: Splits, folder: Path) -> Splits:
    """Return the lines if they are as many as the corpus has.

    Raises:
        UnreachableError: they are not.
    """
    found = (len(splits[0]), len(splits[1]))
    expected = corpus.lines or found
    if found != expected or 0 in found:
        counts = " and ".join(f"{count:,}" for count in found)
        wanted = " and ".join(f"{count:,}" for count in expected) if corpus.lines else "some"
        raise UnreachableError(
            f"--data {corpus.name}: {folder} has {counts} lines to train and validate with instead of {wanted}; "
            f"replace that folder, or delete it and run 'llmlab data fetch {corpus.name}'"
        )
    return splits


def told_offline() -> bool:
    """Return whether one of the hub's own variables forbids the network."""
    variables = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in variables)


def given(corpus: Named) -> Path | None:
    """Return the corpus's folder under ``LLMLAB_DATA``, if there is one."""
    folder = Path(os.environ[DATA]) / corpus.name if os.environ.get(DATA) else None
    return folder if folder is not None and folder.is_dir() else None


def datasets_cache() -> Path:
    """Return where the ``datasets`` library keeps what it fetched, by the same variables that it reads."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    home = Path(os.environ.get("HF_HOME") or home)
    return Path(os.path.expanduser(os.environ.get("HF_DATASETS_CACHE") or home / "datasets"))  # noqa: PTH111


def cached(corpus: Named) -> Path | None:
    """Return the folder of the pinned revision in the library's cache, if both splits are in it."""
    place = datasets_cache() / corpus.repository.replace("/", "___")
    for folder in sorted(place.glob(f"{corpus.config}*/0.0.0/{corpus.revision}")):
        if all(arrow_files(corpus, folder, split) for split in corpus.splits):
            return folder
    return None


def arrow_files(corpus: Named, folder: Path, split: str) -> list[Path]:
    """Return the files of a split in order; a large split has several."""
    stem = f"{corpus.repository.split('/')[1]}-{split}"
    return [*folder.glob(f"{stem}.arrow"), *sorted(folder.glob(f"{stem}-*-of-*.arrow"))]


def read_split(corpus: Named, folder: Path, split: str, most: int | None = None) -> list[str]:
    """Return the lines of a split from the library's cache, the first ones of very many; of a missing split none.

    Raises:
        UnreachableError: pyarrow is missing, or a file is broken.
    """
    paths = arrow_files(corpus, folder, split)
    try:
        found = (line for line in map(as_line, rows(paths)) if line)
        return list(islice(found, most))
    except ImportError as error:
        raise unreachable(corpus, f"{error}; pip install 'llmlab[data]'") from error
    except (OSError, ValueError, TypeError) as error:  # pyarrow's failures are among these
        raise UnreachableError(
            f"--data {corpus.name}: a file in {folder} is broken; delete that folder and run "
            f"'llmlab data fetch {corpus.name}'"
        ) from error


def rows(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """Yield the rows of Arrow files, a batch at a time."""
    arrow = importlib.import_module("pyarrow")
    for path in paths:
        with arrow.memory_map(str(path)) as file, arrow.ipc.open_stream(file) as batches:
            for batch in batches:
                yield from batch.to_pylist()


def as_line(row: dict[str, Any]) -> str:
    """Return a row as one line: its text, or its dialogue."""
    return str(row["text"]).strip() if "text" in row else dialogue(row)


def download(corpus: Named, progress: bool) -> None:
    """Fetch a corpus into the cache of the ``datasets`` library.

    Raises:
        UnreachableError: the library is missing, or the hub does not answer or refuses.
        WriteError: the disk is full or may not be written to.
    """
    try:
        datasets, hub = (importlib.import_module(name) for name in ("datasets", "huggingface_hub"))
    except ImportError as error:
        raise unreachable(
            corpus, f"the datasets library is not installed ({error}); pip install 'llmlab[data]'"
        ) from error
    quieten(datasets, hub, progress)
    try:
        knock(hub, f"datasets/{corpus.repository}/resolve/{corpus.revision}/README.md")
        datasets.load_dataset(
            corpus.repository,
            None if corpus.config == "default" else corpus.config,
            revision=corpus.revision,
            data_files=corpus.files or None,
            cache_dir=str(datasets_cache()),
        )
    except Exception as error:  # whatever the library or the network throws, the corpus is not to be had
        if isinstance(error, OSError) and error.errno in DISK:
            raise WriteError(f"{datasets_cache()}: {error.strerror}") from error
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise unreachable(corpus, f"it is not here and could not be fetched ({told})") from error


def knock(hub: Any, path: str) -> None:
    """Ask the hub for one small file, once: the library would try for minutes before it says that nobody answers.

    Args:
        hub: the library.
        path: of the file on the hub.

    Raises:
        Exception: whatever says that the hub is not reachable.
    """
    endpoint = importlib.import_module("huggingface_hub.constants").ENDPOINT
    answer = hub.get_session().head(f"{endpoint}/{path}", timeout=SECONDS)
    if answer.status_code >= 400:
        raise ConnectionError(f"{endpoint} answers {answer.status_code}")


def quieten(datasets: Any, hub: Any, progress: bool) -> None:
    """Keep the libraries' own warnings and, unless wanted, their progress bars off standard error."""
    datasets.logging.set_verbosity_error()
    hub.logging.set_verbosity_error()
    for switch in (datasets, hub.utils):
        (switch.enable_progress_bars if progress else switch.disable_progress_bars)()
