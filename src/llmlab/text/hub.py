"""Models on the Hugging Face hub: where their files are, at which revision, and whether they are here.

A model is looked for in a fixed order: the folder that the environment variable ``LLMLAB_DATA`` gives, the hub's
own cache, and then, unless offline, the hub.  The revision is pinned and the cache is read by that revision's folder,
so nothing ever takes the place of what is missing.  Of the weights only the file is fetched that holds the input
embedding.  Leaves out what the files say: ``matrix`` and ``pretrained``; and corpora: ``named``.
"""

import importlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlab.errors import TextError, UnreachableError, WriteError
from llmlab.text import named
from llmlab.text.architecture import CONFIG, INDEX, WEIGHTS, embedding_shard

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
"""``owner/name@commit``; a branch would change under the study."""


@dataclass(frozen=True)
class Model:
    """A model on the hub; ``shape`` is that of its input embedding, where it is known for sure."""

    name: str
    repository: str
    revision: str
    megabytes: int | None = None
    shape: tuple[int, int] | None = None


MODELS = {
    "gpt2": Model("gpt2", "openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e", 550, (50_257, 768)),
}


def model_on_hub(name: str) -> Model | None:
    """Return the model that a name means: one of ours, or ``owner/name@commit``; a path means none."""
    told = HUB_ID.fullmatch(name)
    return MODELS.get(name) or (Model(name, told[1], told[2]) if told else None)


def locate(model: Model, *, offline: bool, weights: bool, progress: bool = False) -> Path:
    """Return the folder with a model's files, fetched if need be.

    ``weights`` tells whether the input embedding is needed too, or the tokenizer only.

    Raises:
        UnreachableError: it is neither here nor to be fetched.
        WriteError: what was fetched could not be written.
    """
    folder = given(model) or cached(model, weights)
    if folder is None:
        if offline or named.told_offline():
            raise unreachable(model, "it is not here, and this is offline")
        download(model, weights, progress)
        folder = cached(model, weights)
    if folder is None:
        raise unreachable(model, f"the hub did not give revision {model.revision[:12]} with its {WEIGHTS}")
    return folder


def unreachable(model: Model, reason: str) -> UnreachableError:
    """Return the failure in one line, with the ways out."""
    way = f"run 'llmlab data fetch {model.name}' while online" if model.name in MODELS else "try again while online"
    return UnreachableError(
        f"--pretrained {model.name}: {reason}; {way}, or give --pretrained FOLDER with {CONFIG}, {TOKENIZER} "
        f"and {WEIGHTS}"
    )


def given(model: Model) -> Path | None:
    """Return the model's folder under ``LLMLAB_DATA``, if there is one."""
    base = os.environ.get(named.DATA)
    folder = Path(base) / model.name if base and model.name in MODELS else None
    return folder if folder is not None and folder.is_dir() else None


def hub_cache() -> Path:
    """Return where the hub's library keeps what it fetched, by the same variables that it reads."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    home = Path(os.environ.get("HF_HOME") or home)
    place = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or home / "hub"
    return Path(os.path.expanduser(place))  # noqa: PTH111


def cached(model: Model, weights: bool) -> Path | None:
    """Return the folder of the pinned revision in the hub's cache, if all that is needed is in it."""
    folder = hub_cache() / f"models--{model.repository.replace('/', '--')}" / "snapshots" / model.revision
    needed = [TOKENIZER] if not weights else [TOKENIZER, CONFIG]
    if not all((folder / name).is_file() for name in needed):
        return None
    return folder if not weights or has_embedding(folder) else None


def has_embedding(folder: Path) -> bool:
    """Return whether the file that holds the input embedding is in a folder."""
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return (folder / WEIGHTS).is_file()
    try:
        return (folder / embedding_shard(folder)).is_file()
    except TextError:
        return True  # whoever reads it says what is wrong with it


def download(model: Model, weights: bool, progress: bool) -> None:
    """Fetch a model's files into the hub's cache.

    Raises:
        UnreachableError: the library is missing, or the hub does not answer or refuses.
        WriteError: the disk is full or may not be written to.
    """
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise unreachable(model, f"{error}; pip install 'llmlab[pretrained]'") from error
    hub.logging.set_verbosity_error()
    (hub.utils.enable_progress_bars if progress else hub.utils.disable_progress_bars)()
    try:
        named.knock(hub, f"{model.repository}/resolve/{model.revision}/{TOKENIZER}")
        fetch(model, weights, hub)
    except TextError as error:
        raise unreachable(model, str(error)) from error
    except Exception as error:  # whatever the library or the network throws, the model is not to be had
        if isinstance(error, OSError) and error.errno in named.DISK:
            raise WriteError(f"{hub_cache()}: {error.strerror}") from error
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise unreachable(model, f"it is not here and could not be fetched ({told})") from error


def fetch(model: Model, weights: bool, hub: Any) -> None:
    """Fetch the tokenizer and, if wanted, the configuration and the one file that holds the input embedding.

    Raises:
        TextError: no file of the model holds an input embedding.
        Exception: whatever the library throws.
    """

    def get(name: str, needed: bool = True) -> Path | None:
        try:
            return Path(
                hub.hf_hub_download(model.repository, name, revision=model.revision, cache_dir=str(hub_cache()))
            )
        except hub.errors.EntryNotFoundError:
            if needed:
                raise
            return None

    get(TOKENIZER)
    get(TOKENIZER_CONFIG, needed=False)
    if weights:
        get(CONFIG)
        if get(WEIGHTS, needed=False) is None:
            index = get(INDEX)
            get(embedding_shard(index.parent) if index else INDEX)
