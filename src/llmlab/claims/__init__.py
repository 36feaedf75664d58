"""The ledger: every claim of the original notes, what became of it, and which numbers say so.

``ledger`` reads the rows (data, in ``ledger/*.toml``), ``evaluate`` and ``counts`` compute what a row asks for, and
``verdicts`` judges each row by the records of the log.  Rules and the sentences of their evidence stand in the rows and
nowhere else; a record holds numbers, and no verdict.
"""

from llmlab.report.record import Record
from llmlab.report.result import Finding


def findings(record: Record, lang: str = "en") -> list[Finding]:
    """Return what a run decides of the claims, in a language.

    The judge is imported here: it reads rows with pydantic, and help has no time for that.
    """
    from llmlab.claims.verdicts import findings

    return findings(record, lang)
