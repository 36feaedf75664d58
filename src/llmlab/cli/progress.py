"""How far a long run is, for people on standard error; and the one place where a signal stops it.

A signal stops at once, unless the run keeps checkpoints and has begun: then it waits for the next call of ``step``.
Between two updates everything fits together, so that is where a checkpoint can be written.  A second signal does
not wait.  While something is imported no signal stops it (``signals_held``).
"""

import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmlab.errors import Stopped
from llmlab.report import terminal
from llmlab.report.result import Figure, time_span

if TYPE_CHECKING:  # it brings Rich's tables and plots, for which help has no time
    from llmlab.report.watching import Screen

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Windows has no SIGHUP."""


class ProgressLine:
    """Tells people on standard error how far a long run is; says nothing of one that takes a second."""

    def __init__(
        self, *, hidden: bool, saves: bool = False, together: bool = False, screen: "Screen | None" = None
    ) -> None:
        self.hidden, self.saves, self.together, self.screen = hidden, saves, together, screen
        self.live = sys.stderr is not None and sys.stderr.isatty()
        self.begun = self.next_line = 0.0
        self.at = self.first = self.planned = 0
        self.stopped_by: int | None = None
        self.at_once = False  # a second signal did not wait for the end of the update
        self.line_open = False
        self.folders: list[Path] = []

    def watch(self, picture: Callable[[], Figure] | None) -> None:
        """Draw this picture from now on, if pictures are drawn."""
        if self.screen:
            self._clear()
            self.screen.picture = picture

    def keep(self, folder: Path) -> None:
        """Take note of where checkpoints are."""
        self.folders.append(folder)

    def begin(self, told: str) -> None:
        """Say what is done before the first update, on a terminal."""
        if self.live and not self.hidden:
            self._write(told)

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of an update, and tell about it now and then; of work before any update none is planned yet."""
        now = time.monotonic()
        self.next_line = self.next_line or now + (1.0 if self.live else 10.0)
        if not self.planned:
            self.begun, self.first = now, update
        self.at, self.planned = update, planned
        if self.stopped_by is not None:
            raise _stopped(self.stopped_by)
        if self.screen:
            drawn = self.screen.draw(self._text(told, now))
            self.begun += time.monotonic() - now  # what drawing takes is no time of the run
            if drawn:
                return
        if not self.hidden and now >= self.next_line:
            self.next_line = now + (0.2 if self.live else 10.0)
            text = self._text(told, now)
            self._write(text) if self.live else terminal.say(text)

    def _text(self, told: str, now: float) -> str:
        """Return where the run is; how long it takes yet is not said of what comes after the last update."""
        done, rest = self.at - self.first, self.planned - self.at
        seconds = (now - self.begun) / done * rest if done else 0.0
        left = f"about {time_span(seconds)} left" if seconds >= 1 else ""
        at = f"update {self.at:,} of {self.planned:,}" if self.planned else ""
        return ", ".join(filter(None, (at, told, left)))

    def _write(self, text: str, end: str = "") -> None:
        """Write the live line anew."""
        width = max(20, terminal.console().width - 1)
        sys.stderr.write(f"\r{text[:width]:<{width}}{end}")
        sys.stderr.flush()
        self.line_open = not end

    def _clear(self) -> None:
        if self.line_open:
            self._write("", "\r")

    def close(self) -> None:
        """Remove the picture and the live line."""
        if self.screen:
            self.screen.close()
        self._clear()

    def where(self) -> str:
        """Return where the run is, for a message."""
        return f" after update {self.at:,} of {self.planned:,}" if self.at else ""

    def stop(self, number: int, _: types.FrameType | None) -> None:
        """Handle a signal."""
        again, self.stopped_by = self.stopped_by is not None, number
        self.at_once = again and self.saves
        # one of several processes never goes alone, however early: the others would wait for it
        if again or not (self.saves and (self.planned or self.together)):
            stop_at_once(number)


def on_signals(handler: Callable[[int, types.FrameType | None], None]) -> None:
    """Let every signal that ends a run call a handler, but one that is to be ignored: nohup means it."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def stop_at_once(number: int, _: types.FrameType | None = None) -> None:
    """Handle a signal where there is nothing to wait for: always raises ``Stopped``."""
    ignore_signals()
    raise _stopped(number)


def ignore_signals() -> None:
    """Hear no further signal: the process is ending, and would only end less tidily."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _stopped(number: int) -> Stopped:
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    return Stopped(f"stopped by {name}", number)


@contextmanager
def signals_held() -> Iterator[None]:
    """Take note of signals, and hand them on only at the end.

    The import of torch runs Python below C++ that lets no exception through: one that a handler raises there does
    not stop the process, it aborts it.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}
    heard: set[int] = set()
    on_signals(lambda number, _: heard.add(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in heard:
            signal.raise_signal(number)
