"""The option ``--lang``: in which language a command shows its tables and sentences.

Leaves out the words: ``report.language``.
"""

import sys
from typing import Annotated

import typer

from llmlab.errors import SettingError
from llmlab.report import terminal
from llmlab.report.language import CODES, ENGLISH, Language, language
from llmlab.settings import LANGUAGE_VARIABLE

Lang = Annotated[
    str, typer.Option("--lang", envvar=LANGUAGE_VARIABLE, help=f"Language of tables: {' or '.join(CODES)}.")
]


def spoken(code: str) -> Language:
    """Return the language of a command's output; English, with a word of why, where the output lacks the signs.

    Raises:
        SettingError: there is no such language.
    """
    if code not in CODES:
        raise SettingError(f"--lang (or {LANGUAGE_VARIABLE}): {code!r} is not one of {', '.join(CODES)}")
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if code != "en" and not encoding.lower().startswith("utf"):
        terminal.say(f"warning: --lang {code}: the output knows only {encoding}, so this is English")
        return ENGLISH
    return language(code)
