"""``llmlab baseline generate --prompt -``: a trained model goes on after each line of standard input, until that ends.

On a terminal that is a conversation, in a pipe a filter: one line in, one line out.  It leaves no entry in the log.
"""

import sys
from collections.abc import Iterator

from llmlab.cli.execute import import_with_torch
from llmlab.cli.options import Chosen, decoded
from llmlab.cli.output import spoken
from llmlab.environment import rank_and_size
from llmlab.errors import SettingError, TextError
from llmlab.report import terminal
from llmlab.report.escape import printable
from llmlab.report.messages import say
from llmlab.settings import flag

LINES = "-"
NOT_WITH = ("json", "full", "seeds", "expect", "note", "log_dir")
"""Options of a run that leaves a result: here there is none."""
LONGEST_LINE = 10_000
"""Bytes: more than a prompt may have characters, so that a line without an end fills no memory."""


def continue_lines(module: str, chosen: Chosen) -> int:
    """Write a line after each line that is read; return the exit code.  Arguments: see ``execute``."""
    if name := next((name for name in NOT_WITH if name in chosen.given), ""):
        raise SettingError(f"{flag(name)}: --prompt - answers line by line and leaves no result; drop one of the two")
    if rank_and_size() != (0, 1):
        raise SettingError("--prompt -: one process reads the lines; start it without torchrun")
    if sys.stdin is None:
        raise TextError("--prompt -: there is no standard input; give the text itself, or lines through a pipe")
    generate = import_with_torch(module, chosen.options.threads)
    language = spoken(chosen.options.lang)
    go_on = generate.continuing(chosen.settings, lambda note: terminal.say(language.say(note)))
    if sys.stdin.isatty() and not chosen.options.quiet:
        terminal.say(language.say(say("generate.lines")))
    for line in read_lines():
        if not terminal.write(printable(go_on(line)) + "\n"):
            break  # nobody listens any more
    return 0


def read_lines() -> Iterator[str]:
    """Yield the lines of standard input as they come."""
    try:
        for number, line in enumerate(iter(lambda: sys.stdin.buffer.readline(LONGEST_LINE), b""), 1):
            where = f"standard input, line {number}"
            if len(line) == LONGEST_LINE:
                raise TextError(f"{where}: {LONGEST_LINE:,} bytes and more; write shorter lines")
            yield decoded(line, where).strip()
    except OSError as error:
        raise TextError(f"standard input: {error.strerror}; give lines through a pipe") from error
