"""Where output goes: standard output and standard error as they really are.

Covers terminals that know only ASCII, readers that stop reading (``| head``), terminals that are gone and disks
that are full.  A run never fails because nobody listens.
"""

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rich.console import Console, Group, RenderableType

from llmlab.errors import WriteError
from llmlab.report.escape import printable
from llmlab.report.folding import Words

ASCII = dict(zip("−–─␣▇•·○×µ“”‘’", "---_#*.oxu\"\"''", strict=True))
ASCII |= {"…": "...", "→": "->", "±": "+-", "²": "^2", "√": "sqrt "}
"""How our own signs are spelled."""

GONE = {errno.EPIPE} | ({errno.EINVAL} if os.name == "nt" else set())
"""What the system says of a reader that has gone away."""


def _spell_out(error: UnicodeError) -> tuple[str, int]:
    """Replace what an output's encoding lacks: our own signs by their look, the rest by its code point."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(ASCII.get(sign, f"U+{ord(sign):04X}") for sign in missing), error.end


codecs.register_error("llmlab", _spell_out)


def prepare() -> None:
    """Make both streams safe for any character, and overlook a width that is none."""
    if os.environ.get("COLUMNS", "1").strip("0") == "":
        del os.environ["COLUMNS"]  # rich would print into no columns, which is nothing
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # closed streams are None, captured ones may be anything
            stream.reconfigure(errors="llmlab")  # type: ignore[union-attr]


def writes(encoding: str, text: str) -> bool:
    """Return whether an output's encoding has every character of a text."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def console() -> Console:
    """Return a console for standard output that parses no markup and highlights nothing."""
    made = partial(Console, markup=False, highlight=False, emoji=False, soft_wrap=False)
    return made(color_system=None) if made().legacy_windows else made()  # such a console prints the escapes of colours


def from_here(path: Path) -> str:
    """Return a path as it reads from the working directory, or in full if it lies on another drive (of Windows)."""
    try:
        return os.path.relpath(path)
    except ValueError:
        return str(path)


def show(*parts: RenderableType) -> None:
    """Print renderables on standard output.

    Raises:
        WriteError: the output is a file that cannot be written to.
    """
    target = console()
    with _listening():
        with target.capture() as captured:
            for part in parts:
                words = Words(part) if isinstance(part, str) else part
                target.print(Group(words), crop=False)  # uncropped, for a command stays one line
        lines = captured.get().split("\n")
        write("\n".join(lines if target.is_terminal else (line.rstrip() for line in lines)))


def write(text: str) -> bool:
    """Write text to standard output and return whether it arrived; a reader that has gone away is no failure.

    Raises:
        WriteError: the output is a file that cannot be written to.
    """
    if sys.stdout is not None:
        with _listening():
            sys.stdout.write(text)
            sys.stdout.flush()
            return True
    return False


@contextlib.contextmanager
def _listening() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        to_nowhere()
        if error.errno not in GONE:
            raise WriteError(f"standard output: {error.strerror}") from error


def to_nowhere() -> None:
    """Point standard output at nothing, or Python would try once more, and complain, when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(message: str) -> None:
    """Print one line for people on standard error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(printable(message) + "\n")
        sys.stderr.flush()
