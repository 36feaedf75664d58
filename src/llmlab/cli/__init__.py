"""The command line: the only folder that knows the terminal's arguments.

``app`` has the program, its failures and ``doctor``; ``chapter`` makes one thin command per chapter from its
settings; ``log`` has the commands of the experiment log.  Nothing here imports torch before a chapter runs.
"""

from llmlab.cli.app import app, main

__all__ = ["app", "main"]
