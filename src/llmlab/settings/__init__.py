"""Every option of every experiment, declared once.

Covers name, type, default, range, choices and help text.  The command-line option, the "Conditions" row of
the log entry and the key in the JSON document are all made from the fields of these classes.  Nothing here needs torch:
a wrong option is refused before the slow import.
"""

from llmlab.settings.contexts import MADE, ContextSettings, EmbeddingFreezeSettings, TwoStageSettings
from llmlab.settings.declare import LANGUAGE_VARIABLE, RunOptions, Settings, flag, options_of
from llmlab.settings.language import BaselineSettings, LanguageSettings, LayersSettings
from llmlab.settings.tiny import MAX_CHARACTERS, Phase1Settings, Phase12Settings, TinySettings
from llmlab.settings.trained import (
    EvaluateSettings,
    ExpandSettings,
    ExportSettings,
    FinetuneSettings,
    GenerateSettings,
    QuantizeSettings,
)

__all__ = [
    "LANGUAGE_VARIABLE",
    "MADE",
    "MAX_CHARACTERS",
    "BaselineSettings",
    "ContextSettings",
    "EmbeddingFreezeSettings",
    "EvaluateSettings",
    "ExpandSettings",
    "ExportSettings",
    "FinetuneSettings",
    "GenerateSettings",
    "LanguageSettings",
    "LayersSettings",
    "Phase1Settings",
    "Phase12Settings",
    "QuantizeSettings",
    "RunOptions",
    "Settings",
    "TinySettings",
    "TwoStageSettings",
    "flag",
    "options_of",
]
