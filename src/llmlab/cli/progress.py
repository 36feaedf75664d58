"""How far a long run is, for people on standard error."""

import sys
import time

from llmlab.report import terminal


class Progress:
    """Tells people on standard error how far a long run is; says nothing of one that takes a second."""

    def __init__(self, *, hidden: bool) -> None:
        self.hidden, self.begun, self.next_line = hidden, 0.0, 0.0
        self.at, self.planned, self.line_open = 0, 0, False

    def step(self, update: int, planned: int) -> None:
        """Take note of an update, and tell about it now and then."""
        live = sys.stderr is not None and sys.stderr.isatty()
        now = time.monotonic()
        if not self.planned:
            self.begun, self.next_line = now, now + (1.0 if live else 10.0)
        self.at, self.planned = update, planned
        if self.hidden or now < self.next_line:
            return
        self.next_line = now + (0.2 if live else 10.0)
        left = (now - self.begun) / update * (planned - update)
        text = f"update {update:,} of {planned:,}, about {left:.0f} s left"
        if live:
            sys.stderr.write(f"\r{text:<60}")
            sys.stderr.flush()
            self.line_open = True
        else:
            terminal.say(text)

    def where(self) -> str:
        """Return where the run is, for a message."""
        return f" after update {self.at:,} of {self.planned:,}" if self.planned else ""

    def close(self) -> None:
        """Remove the live line."""
        if self.line_open:
            sys.stderr.write("\r" + " " * 60 + "\r")
