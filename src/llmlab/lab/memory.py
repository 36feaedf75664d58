"""The least memory that training takes, and the check that this machine has as much."""

from llmlab.environment import memory_bytes
from llmlab.errors import SettingError

FLOAT = 4
"""Bytes of a number."""

HELD = {"sgd": 2, "adam": 4, "adamw": 4}
"""Numbers that a trained parameter has in memory: itself, its gradient, and what the optimiser keeps of it."""


def check_memory(needed: dict[str, float]) -> None:
    """Refuse what this machine has no memory for.

    Raises:
        SettingError: says how much it takes at the least, how much there is, and what to lower.
    """
    there, least = memory_bytes(), sum(needed.values())
    if there and least > there:
        most = max(needed, key=lambda options: needed[options])
        raise SettingError(
            f"{most}: this takes at least {least / 2**30:,.1f} GB of memory, and there are {there / 2**30:,.1f} GB; "
            "lower one of the two"
        )
