"""The picture of a run, redrawn in place on the terminal while it trains: ``--watch``.

It is drawn when the run calls, by whoever trains: no thread, no timer, and nothing of the run is changed.
"""

import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from llmlab.report.language import Language
from llmlab.report.result import Figure
from llmlab.report.table import frame_view

FRAME = 0.05
"""Seconds between two pictures: at most 20 a second."""

SLOWLY = 200
"""The first so many pictures are of one update each: a small model is trained before anybody has looked."""


class Screen:
    """Where the pictures are drawn: standard error, which has to be a terminal."""

    def __init__(self, language: Language) -> None:
        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        self.language = language
        self.picture: Callable[[], Figure] | None = None
        self.live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self.drawn, self.next = 0, 0.0

    def draw(self, told: str) -> bool:
        """Draw the picture as it is now with a line below it, if it is time; return whether there is one."""
        if self.picture is None:
            self.live.stop()
            return False
        early = self.next - time.monotonic()
        if early > 0 and self.drawn >= SLOWLY:
            return True
        time.sleep(max(0.0, early))
        view = frame_view(self.language.figure(self.picture()), self.live.console, self.language)
        if view is None:
            self.live.stop()
            return False
        self.live.start()
        self.live.update(Group(view, Text(told, no_wrap=True, overflow="ellipsis")), refresh=True)
        self.drawn, self.next = self.drawn + 1, time.monotonic() + FRAME
        return True

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.live.stop()
