"""``python -m llmlab`` does what ``llmlab`` does."""

from llmlab.cli import main

main()
