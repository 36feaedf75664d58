"""Results that a comparison keeps beside its checkpoints, so that going on finds them: trained blocks, rates tried."""

from pathlib import Path
from typing import Any

from llmlab.disk import replace_file
from llmlab.errors import CheckpointError, WriteError
from llmlab.lab.checkpoint import packed, read
from llmlab.lab.folders import check_same_run


def keep(path: Path, identity: dict[str, Any], values: dict[str, Any]) -> None:
    """Write a result with what says whose it is.

    Raises:
        WriteError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, packed(identity | values))
    except OSError as error:
        raise WriteError(f"{path}: {error.strerror}; choose another folder with --out") from error


def kept(path: Path, identity: dict[str, Any], *names: str) -> dict[str, Any] | None:
    """Return the named values of a result; ``None`` for one that is not there or cannot be read.

    Raises:
        CheckpointError: it is another run's.
    """
    try:
        state = read(path)
        found = {name: state[name] for name in names}
    except (CheckpointError, KeyError):
        return None
    check_same_run(identity, state, path)
    return found
