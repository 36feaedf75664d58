"""Records and texts for the tests of the report, by hand and by Hypothesis; nothing here imports torch.

``specimen`` puts one text in every place that words of a user can reach, so that a hostile one meets every door.
"""

import functools
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from rich.console import Console, RenderableType

from llmlab.report.format import cell
from llmlab.report.language import ENGLISH, Language
from llmlab.report.messages import say
from llmlab.report.record import Record
from llmlab.report.result import TO_ROUNDING, Column, Figure, Mark, Result, Table
from llmlab.report.table import report

HOSTILE = [
    "[/INST]", "[red]", "[link=https://evil.example]x", ":smile:", "{% raw %}", "{{ config }}", "%s {0}",
    "\x1b[2J", "\x1b]8;;https://evil.example\x1b\\x", "\x1b]52;c;aGk=\x07", "\x07", "x\b\b\b", "a\rb", "\x9b2J", "\x00",
    "\u202eabc", "\u2066x", "\u00a0", "\u200d", "👩\u200d👩\u200d👧", "漢字漢字漢字", "e\u0301\u0301",
    "\u2028x", "\ufeffx", "\ufffe",
    "---", "---\ntitle: stolen\n---", "...", "# heading", "Heading\n===", "Heading\n---", "- item", "+ item", "* item",
    "1. item", "1) item", "> quote", "    code", "\tcode", "a\n\n    code", "Term\n:   definition",
    "*[HTML]: x", "[^1]: x",
    "!!! note", "??? note", '=== "tab"', "/// note\nx\n///", '--8<-- "/etc/passwd"', "{: onclick=alert(1) }", "[TOC]",
    "```\n<script>alert(1)</script>\n```", "~~~\nx\n~~~", "````", "`x`", "<script>alert(1)</script>", "<!--", "-->",
    "<img src=x onerror=alert(1)>", "</title><svg onload=alert(1)>", "<!-- notes:begin", "<!-- notes:end -->",
    "]]>", "<![CDATA[", "&lt;script&gt;", "&#60;b&#62;", "[x](javascript:alert(1))", "![x](https://evil.example/x.png)",
    "<https://evil.example>", "[x]: https://evil.example", "| a | b |\n| - | - |", "**x**", "__x__", "~~x~~", "==x==",
    "$x$", "\\", "\\(x\\)", "'", '"', "$(id)", "`id`", "!!", "' ; id #", "x" * 10_000, "[" * 500, "-", "+", "=", "1.",
]  # fmt: skip
"""Texts that have broken a terminal, a Markdown page, an SVG, a shell or a template somewhere."""

texts = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=60), st.lists(st.sampled_from(HOSTILE), max_size=4).map("\n".join)
)
"""Hostile texts, any texts, and hostile texts of several lines."""

numbers = st.one_of(
    st.floats(-1e9, 1e9), st.sampled_from([0.0, -0.0, 1e-12, 5e-324, 0.00005, 0.99995, 999_999.9999, 1e6, -1e15, 1e25])
)
"""Finite numbers, the awkward ones among them."""


def strict_json(text: str) -> Any:
    """Return a JSON document; NaN, Infinity and a repeated key are refused, as strict readers do."""

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is not JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), f"a key stands twice: {[key for key, _ in pairs]}"
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=once)


@functools.cache
def published() -> list[Record]:
    posts = Path(__file__).parents[1] / "docs" / "log" / "posts"
    return [Record.from_json(path.read_text("utf-8")) for path in sorted(posts.glob("*/record.json"))]


def on_screen(
    record: Record, width: int, show: Callable[..., Iterable[RenderableType]] = report, language: Language = ENGLISH
) -> str:
    """Return what a run shows in a pipe of a given width."""
    console = Console(markup=False, highlight=False, emoji=False, width=width, file=io.StringIO())
    for part in show(record, console, language):
        console.print(part, crop=False)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def number_cells(record: Record) -> list[str]:
    """Return every number cell of a record's tables that has digits, as it should be read."""
    return [
        text
        for table in record.result.tables
        for row in table.rows
        for value, column in zip(row, table.columns, strict=True)
        if isinstance(value, (int, float)) and (text := cell(value, column)) != TO_ROUNDING
    ]


def specimen(text: str = "h", value: float = 0.374, *, seed: int = 0, losses: list[float] | None = None) -> Record:
    """Return a record that has every kind of column and mark, with ``text`` wherever words of a user can stand."""
    losses = losses or [0.25, 0.5, 0.125]
    settings = {"seed": seed, "seeds": len(losses), "text": f"{text}ello", "focus": text, "dim": 2, "freeze": "none"}
    went = say("phase1_2.went_over_seeds", focus=text, next=text, before=3.8, now=5.0, closer=0, seeds=len(losses))
    result = Result(
        "phase1-2",
        settings,
        "Why was it done?",
        "This is how.",
        metrics={
            "loss": value,
            "loss_floor": 0.25,
            "embedding_moved": 1.0,
            f"moved_{text}": value,
            "gone": None,
            "gone_reason": "why",
        },
        summary=[went, f"After {text} the model expects {text}."],
        tables=[_tokens(text, value), _words(text, value)],
        figures=[_map(text, value), _curve(value)],
        samples={"loss": losses, "p_next": [value for _ in losses]},
    )
    return Record(
        result,
        id="0123abcd",
        created="2026-11-22T03:18:00Z",
        command=f"llmlab phase1-2 --text {text}",
        seconds=0.4,
        environment={"processor": text, "cores": 2, "memory_gb": 7.9},
        expectation=text,
        note=text,
    )


def _tokens(text: str, value: float) -> Table:
    columns = [
        Column("token", "token"),
        Column("axis", "integer"),
        Column("before", digits=3),
        Column("share", "share"),
    ]
    return Table("loss", "Where the tokens are", columns, [[text, 1, value, 0.5], ["e", 2, None, 1.0]], f"{text} said")


def _words(text: str, value: float) -> Table:
    columns = [Column("what", "text"), *(Column(f"number {n}") for n in range(1, 6))]
    return Table("words", "Losses", columns, [["before training", *[value] * 5], [text, *[-value] * 5]], text)


def _map(text: str, value: float) -> Figure:
    marks = [
        Mark("track", "winner", [value], [0.5], [f"→{text}"], legend=f"where {text} lands"),
        Mark("line", "foot", [0.0, value], [0.0, 1.0]),
        Mark("points", "before", [0.0], [0.0], legend="before"),
        Mark("points", "after", [value, 1.0], [1.0, value], [text, "e"]),
    ]
    return Figure(
        "map", "Stations", f"From {text} to {text}.", "axis 1", "axis 2", marks, equal_axes=True, after="loss"
    )


def _curve(value: float) -> Figure:
    marks = [
        Mark("band", "series", [1.0, 2.0], [value, 0.0], tops=[value + 1, 1.0], legend="90 % of seeds"),
        Mark("line", "series", [1.0, 2.0], [value, 0.5], legend="loss"),
        Mark("level", "floor", [], [0.25], legend="floor"),
    ]
    return Figure("curve", "Learning curve", "From 1 to 0.", "update", "loss (nats)", marks)


records = st.builds(specimen, texts, numbers)
"""Whole records around one hostile text and one awkward number."""
