"""The colours of the figures, on a light page, on a dark one, and in the terminal.

Okabe and Ito's, which the colour-blind can tell apart, a little lighter on dark ground.
"""

from llmlab.report.result import Role

THEMES = ("light", "dark")
ROLES: dict[Role, tuple[str, str, str]] = {
    "before": ("#767676", "#b0b0b0", "gray"),
    "path": ("#9a9a9a", "#8a8a8a", "gray"),
    "after": ("#0072b2", "#56b4e9", "blue+"),
    "track": ("#9a9a9a", "#8a8a8a", "gray"),
    "winner": ("#d55e00", "#ff9d4d", "magenta+"),
    "foot": ("#00805c", "#2fc49a", "green"),
    "other": ("#767676", "#b0b0b0", "gray"),
    "series": ("#0072b2", "#56b4e9", "blue+"),
    "floor": ("#00805c", "#2fc49a", "green"),
    "arm1": ("#0072b2", "#56b4e9", "blue+"),
    "arm2": ("#d55e00", "#ff9d4d", "red+"),
    "arm3": ("#00805c", "#2fc49a", "green"),
    "arm4": ("#a3478f", "#e08fd0", "magenta+"),
    "arm5": ("#8a6500", "#d9c04a", "cyan"),
    "arm6": ("#1a1a1a", "#f0f0f0", "default"),
    "arm7": ("#767676", "#9a9a9a", "gray"),
}
"""What a mark is drawn in: on light ground, on dark ground, in the terminal.

In a terminal, whose ground nobody knows, only colours that read on black and on white.
"""

PAGE = {
    "text": ("#1a1a1a", "#f0f0f0"),
    "axis": ("#767676", "#9a9a9a"),
    "grid": ("#e4e4e4", "#3a3d46"),
    "ground": ("#ffffff", "#1e2129"),
}
"""What surrounds the marks on a page."""

INK = {theme: {name: colours[at] for name, colours in (PAGE | ROLES).items()} for at, theme in enumerate(THEMES)}
