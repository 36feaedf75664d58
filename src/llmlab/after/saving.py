"""Where a model goes that leaves its run, by ``quantize --save`` and by ``export``: into a folder that is new."""

from pathlib import Path

from llmlab.disk import new_folder
from llmlab.errors import SettingError, WriteError


def check_free(path: Path, option: str) -> None:
    """Refuse, before any work, a place that is taken, or lies in a folder that does not exist; ``option`` names it."""
    try:
        if path.exists() or path.is_symlink():
            raise SettingError(f"{option}: {path} exists; choose another name")
        if not path.parent.is_dir():
            raise WriteError(f"{option}: there is no folder {path.parent}; make it, or choose another")
    except (OSError, ValueError) as error:
        raise WriteError(f"{option}: {path} cannot be written ({error}); choose another name") from error


def save(path: Path, files: dict[str, bytes], option: str) -> None:
    """Write a model in one step."""
    try:
        new_folder(path, files)
    except OSError as error:
        raise WriteError(f"{option}: {path} was not written: {error.strerror}; choose another place") from error
