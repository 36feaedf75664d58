"""The command ``llmlab claims``: every claim of the seed documents, its verdict and its evidence.

It reads the log and imports no torch, so that it answers at once.  Leaves out the judging: ``llmlab.claims``.
"""

import os
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.language import Lang, spoken
from llmlab.cli.log import AsJson, LogDir, readable, write_json
from llmlab.errors import SettingError
from llmlab.report import terminal
from llmlab.report.logbook import Logbook

if TYPE_CHECKING:  # reading rows takes pydantic, and help has no time for that
    from llmlab.claims.verdicts import Judged
    from llmlab.report.result import Table


def claims(
    chapter: Annotated[str, typer.Option(help="Only this chapter.")] = "",
    verdict: Annotated[str, typer.Option(help="Only this verdict.")] = "",
    claim_id: Annotated[str, typer.Option("--id", help="Only this claim, in full.", metavar="ID")] = "",
    seed: Annotated[str, typer.Option(help="Only this seed document, or how its name begins.", metavar="NAME")] = "",
    log_dir: LogDir = None,
    lang: Lang = "en",
    as_json: AsJson = False,
) -> None:
    """The ledger: every claim of the seed documents, its verdict, its evidence."""
    from llmlab.claims.ledger import read
    from llmlab.claims.verdicts import SCHEMA, judged
    from llmlab.report.table import table_view

    logbook = Logbook.kept(log_dir)
    records = readable(logbook)
    everything = [judged(claim, records) for document in read() for claim in document.claims]
    rows = _chosen(everything, {"--chapter": chapter, "--verdict": verdict, "--id": claim_id.upper(), "--seed": seed})
    if as_json:
        document = [{**row.document(), "entry": _page(logbook, row)} for row in rows]
        write_json({"schema": SCHEMA, "claims": document})
    else:
        said = spoken(lang)
        table = _in_full(rows[0], _page(logbook, rows[0]), said.code) if claim_id and rows else _table(rows, said.code)
        terminal.show(table_view(said.table(table), terminal.console()))


def _chosen(everything: "list[Judged]", wishes: dict[str, str]) -> "list[Judged]":
    """Return the rows that were asked for.

    Raises:
        SettingError: no row of the ledger is like that, whatever the other options say.
    """
    from llmlab.claims.verdicts import JUDGEMENTS

    rows = everything
    for option, wanted in wishes.items():
        if not wanted:
            continue
        known = {_property(row, option) for row in everything} | ({*JUDGEMENTS} if option == "--verdict" else set())
        fits = {each for each in known if (each.startswith(wanted) if option == "--seed" else each == wanted)}
        if not fits:
            raise SettingError(f"{option} {wanted!r}: {_names(sorted(known), option)}")
        rows = [row for row in rows if _property(row, option) in fits]
    return rows


def _property(row: "Judged", option: str) -> str:
    return row.said.verdict if option == "--verdict" else str(getattr(row.claim, option.removeprefix("--")))


def _names(known: list[str], option: str) -> str:
    return "no such claim; see llmlab claims" if option == "--id" else f"the ledger has {', '.join(known)}"


def _page(logbook: Logbook, row: "Judged") -> str | None:
    """Return the path of the entry that a verdict comes from."""
    from llmlab.report.entry import PAGE

    return os.path.relpath(logbook.posts / row.said.record / PAGE) if row.said.record else None


def _table(rows: "list[Judged]", lang: str) -> "Table":
    """Return the rows as a table, with their number by verdict below it."""
    from llmlab.claims.ledger import worded
    from llmlab.claims.verdicts import JUDGEMENTS
    from llmlab.report.result import Column, Table, counted

    found = Counter(row.said.verdict for row in rows)
    told = ", ".join(f"{judgement} {found[judgement]}" for judgement in JUDGEMENTS if found[judgement])
    elsewhere, ours = sum(bool(row.elsewhere) for row in rows), sum(row.claim.ours for row in rows)
    caption = [f"{counted(len(rows), 'claim')}: {told}."]
    caption += [f"{ours} of them are statements of llmlab's own."] if ours else []
    caption += [f"{elsewhere} of them by runs under other conditions than the document's."] if elsewhere else []
    caption += ["All of one: llmlab claims --id ID."]
    return Table(
        "claims",
        "Claims of the seed documents",
        [Column("id", "token"), Column("verdict", "text"), Column("claim", "text")],
        [[row.claim.id, row.said.verdict, worded(row.claim, "claim", lang)] for row in rows],
        " ".join(caption) if rows else "No claim is all of that.",
    )


def _in_full(row: "Judged", entry: str | None, lang: str) -> "Table":
    """Return one row as a table of everything that is known of it."""
    from llmlab.claims.ledger import worded
    from llmlab.claims.verdicts import text_in
    from llmlab.report.language import language
    from llmlab.report.result import Column, Table

    claim, say = row.claim, language(lang).say
    told = {
        "claim": worded(claim, "claim", lang),
        "verdict": row.said.verdict,
        "evidence": text_in(row.said, "evidence", lang),
        "basis": row.basis,
        "conditions": row.elsewhere,
        "wanting to decide": ", ".join(row.said.unmet),
        "entry": entry or "",
        "also": say(", ").join(f"{say(other.verdict)} ({other.record})" for other in row.others),
        "run": claim.command,
        "figures": worded(claim, "figures", lang),
        "known": "" if claim.check == "opinion" else worded(claim, "known", lang),
        "kind": f"{claim.kind}, checked by {claim.check}",
        "needed to decide": ", ".join(f"{name} {wanted}" for name, wanted in claim.records.needs.items())
        if claim.records
        else "",
        "one outcome only": worded(claim.records, "only", lang) if claim.records else "",
        "sums": "; ".join(
            (one.value or one.holds) + (f" ({told})" if (told := worded(one, "source", lang)) else "")
            for one in claim.sums
        ),
        "chapter": f"llmlab {claim.chapter}",
        "seed document": claim.seed,
        "ours": "Beside this document, a statement of llmlab's own." if claim.ours else "",
    }
    columns = [Column("what", "text"), Column("", "text")]
    return Table(claim.id, claim.id, columns, [[name, text] for name, text in told.items() if text])
