"""The command ``llmlab params``: exact parameter counts.

Leaves out the counting: ``llmlab.params``.
"""

from llmlab.cli.language import Lang, spoken
from llmlab.cli.log import AsJson, write_json
from llmlab.report import terminal


def params(lang: Lang = "en", as_json: AsJson = False) -> None:
    """Exact parameter counts of every model in the study."""
    from llmlab import params as counts
    from llmlab.report.table import table_view

    counted = counts.models()
    if as_json:
        write_json(counts.document(counted))
    else:
        tables = map(spoken(lang).table, counts.tables(counted))
        terminal.show(*(table_view(table, terminal.console()) for table in tables))
