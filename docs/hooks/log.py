"""The log's own pages, its feed, and a build that stays quick with many entries: all of it ``llmlab.pages.hooks``."""

from llmlab.pages.hooks import *  # noqa: F403
