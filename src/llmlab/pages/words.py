"""What the log's pages say around the records.

Leaves out what the records say, and other languages: ``report.language``.
"""

from llmlab.report.language import language

CHAPTERS = {
    "phase1": "1 · Only the output layer",
    "phase1-2": "2 · How embeddings move",
    "baseline": "3 · Baseline",
    "generate": "3 · Generate",
    "evaluate": "3 · Evaluate",
    "quantize": "3 · Quantize",
    "finetune": "3 · Finetune",
    "expand": "3 · Expand",
    "layers": "4 · Layers",
    "embedding-freeze": "5 · Embedding freeze",
    "two-stage": "6 · Two stages",
}
"""The experiments in the order of the study, with the chapter each belongs to."""

WORDS = {
    "controls": "Filter and compare",
    "experiment": "Experiment",
    "setting": "Setting",
    "value": "Value",
    "metric": "Metric shown",
    "all": "all",
    "any": "any",
    "none": "none",
    "table": "Entries of the log",
    "choose": "Compare",
    "entry": "Entry",
    "date": "Date",
    "seeds": "Seeds",
    "loss": "Loss",
    "perplexity": "Perplexity",
    "verdicts": "Verdicts",
    "shown": "{shown} of {all} entries",
    "one": "Choose one more entry to compare it with.",
    "show": "Show the comparison",
    "clear": "Choose others",
    "pair": "Two entries side by side",
    "settings": "Settings",
    "metrics": "Metrics that both have",
    "difference": "Difference",
    "differs": "differs",
    "rounding": "to rounding",
    "more": "Differences seed by seed, with their interval:",
    "empty": "No entries yet.",
    "feed": "Experiment log",
    "search": "Search",
}
"""The words of the comparison, of the feed and of the search."""


def words(code: str) -> dict[str, str]:
    """Return the words in a language."""
    return {name: language(code).say(text) for name, text in WORDS.items()}


def chapter(experiment: str, code: str) -> str:
    """Return what an experiment's chapter is called; an experiment that no chapter knows goes by its own name."""
    return language(code).say(CHAPTERS[experiment]) if experiment in CHAPTERS else experiment
