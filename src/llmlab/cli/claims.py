"""The command ``llmlab claims``: the claims of the original notes, their verdicts and their evidence.

It reads the log and imports no torch, so that it answers at once.
"""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from llmlab.cli.log import readable
from llmlab.cli.options import typed
from llmlab.cli.output import AsJson, Lang, LogDir, argument, completing, show, spoken, write_json
from llmlab.errors import SettingError
from llmlab.report import terminal
from llmlab.report.language import Language
from llmlab.report.logbook import Logbook
from llmlab.report.messages import say, sentences, worded
from llmlab.report.record import Record
from llmlab.report.result import Cell, Finding, Table, columns_of, time_span
from llmlab.settings.language import PRESETS
from llmlab.text.hub import CORPORA

if TYPE_CHECKING:  # reading rows takes pydantic, and help has no time for that
    from llmlab.claims.ledger import Claim
    from llmlab.claims.verdicts import Judged, Judgement


PLACES = {"PATH", "CHECKPOINT"}
"""What stands in a claim's command for a place of the reader's own."""

LONG = 600
"""Seconds that an entry may have taken for its command to be run without asking."""


def _ledger() -> "list[Claim]":
    from llmlab.claims.ledger import read

    return [claim for document in read() for claim in document.claims]


def _verdicts() -> "tuple[Judgement, ...]":
    from llmlab.claims.verdicts import JUDGEMENTS

    return JUDGEMENTS


def choosing(text: str, completed: Callable[[], Iterable[str]], *names: str, metavar: str | None = None) -> Any:
    """Return an option that chooses claims, with what completes it in a shell."""
    return typer.Option(*names, help=text, metavar=metavar, autocompletion=completing(completed))


def of_ledger(name: str) -> Callable[[], Iterable[str]]:
    """Return what gives the values that a property of claims has in the ledger."""
    return lambda: dict.fromkeys(str(getattr(claim, name)) for claim in _ledger())


class ClaimsGroup(TyperGroup):
    """A group that knows what is meant by a claim's id in the place of a command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is meant."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise SettingError(f"claims {args[0]}: no such command; one claim is shown by llmlab claims --id {args[0]}")
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=ClaimsGroup, invoke_without_command=True)


@app.callback()
def claims(
    context: typer.Context,
    chapter: Annotated[str, choosing("Only this chapter.", of_ledger("chapter"))] = "",
    verdict: Annotated[str, choosing("Only this verdict.", _verdicts)] = "",
    claim_id: Annotated[str, choosing("Only this claim, in full.", of_ledger("id"), "--id", metavar="ID")] = "",
    document: Annotated[
        str, choosing("Only this document, or how its name begins.", of_ledger("document"), metavar="NAME")
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="The whole ledger instead of ten claims.")] = False,
    log_dir: LogDir = None,
    lang: Lang = "en",
    as_json: AsJson = False,
) -> None:
    """Ten claims of the original notes worth reading first; --all: every one, its verdict, its evidence."""
    from llmlab.claims.verdicts import SCHEMA, judged

    if (verb := context.invoked_subcommand) is not None:
        if early := [each.opts[0] for each in context.command.params if typed(context, str(each.name))]:
            raise SettingError(
                f"{early[0]}: it stands before {verb}, which does not see it; write llmlab claims {verb} ID, and its "
                "own options after that"
            )
        return
    logbook = Logbook.kept(log_dir)
    records = readable(logbook)
    wishes = {"--chapter": chapter, "--verdict": verdict, "--id": claim_id.upper(), "--document": document}
    wishes = {option: wanted for option, wanted in wishes.items() if wanted}
    rows = _chosen([judged(claim, records) for claim in _ledger()], wishes)
    if as_json:
        write_json({"schema": SCHEMA, "claims": [{**row.document(), "entry": _page(logbook, row)} for row in rows]})
        return
    said = spoken(lang)
    if every or wishes:
        one = claim_id and rows
        show([_in_full(rows[0], _page(logbook, rows[0]), said) if one else _table(rows, said.code)], said)
    else:
        _show_first(rows, said)


@app.command("confirm")
def confirm(
    context: typer.Context,
    claim_id: Annotated[str, argument("Id of a claim.", "ID", completing(of_ledger("id")))],
    path: Annotated[str, typer.Option(help="What stands in place of PATH or CHECKPOINT in its command.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Run it even if it takes long or needs data.")] = False,
    log_dir: LogDir = None,
    lang: Lang = "en",
) -> int:
    """Run a claim's command on this machine, and log whether it comes out the same: beside the evidence, not for it."""
    from llmlab.claims.verdicts import judged

    logbook, said = Logbook.kept(log_dir), spoken(lang)
    claim = next((one for one in _ledger() if one.id == claim_id.upper()), None)
    if claim is None:
        raise SettingError(f"ID {claim_id!r}: no such claim; see llmlab claims")
    records = readable(logbook)
    row = judged(claim, records)
    evidence = next((one for one in records if one.name == row.said.record), None)
    words = [(path or word) if word in PLACES else word for word in shlex.split(claim.command)]
    hindrance = _hindrance(claim, evidence, words, yes)
    if evidence is None or hindrance:
        raise SettingError(f"{claim.id}: {hindrance}")
    words += ["--lang", lang, *(["--log-dir", str(log_dir)] if log_dir else [])]
    root = context.find_root().command
    with root.make_context("llmlab", words[1:], obj=evidence.id) as inner:
        if ended := int(root.invoke(inner) or 0):
            return ended
    told = say("claims.nothing_here", claim=claim.id)
    if new := [one for one in judged(claim, readable(logbook)).reruns if one not in row.reruns]:
        verdict, was, why = new[0].verdict, row.said.verdict, new[0].evidence[said.code]
        same = "claims.same_here" if verdict == was else "claims.other_here"
        told = say(same, claim=claim.id, verdict=verdict, was=was, evidence=why)
    terminal.show("", said.say(told))
    return 0


def _hindrance(claim: "Claim", evidence: Record | None, words: list[str], yes: bool) -> str:
    """Return why a claim's command is not simply run again: what it lacks or needs, or how long its entry took."""
    if claim.check != "records":
        return f"nothing to run, it is checked by {claim.check}; see llmlab claims --id {claim.id}"
    if evidence is None:
        return f"no entry of this log to confirm; the first one is made by: {claim.command}"
    if not PLACES.isdisjoint(words):
        return f"{claim.command} wants a place of yours: give it with --path"
    needs = {*PRESETS[1:], *CORPORA} & {*words}
    if yes or not (needs or evidence.seconds > LONG):
        return ""
    why = "needs data and may take hours" if needs else f"took {time_span(evidence.seconds)}"
    return f"{claim.command} {why}; with --yes it is run all the same"


def _show_first(rows: "list[Judged]", said: Language) -> None:
    """Print the claims worth reading first in two or three lines each, and how to see all."""
    from llmlab.claims.verdicts import first
    from llmlab.report.table import findings_view  # with Rich's tables and plots, for which help has no time

    told = [
        Finding(row.claim.id, worded(row.claim, "claim", said.code), row.said.verdict, row.in_brief(said.code))
        for row in first(rows)
    ]
    terminal.show(findings_view(told, said), "", said.say(say("claims.more", first=len(told), claims=len(rows))))


def _chosen(everything: "list[Judged]", wishes: dict[str, str]) -> "list[Judged]":
    """Return the rows that were asked for; a wish that no row of the ledger could meet is refused."""
    rows = everything
    for option, wanted in wishes.items():
        of = attrgetter("said.verdict" if option == "--verdict" else option.replace("--", "claim."))
        known = {of(row) for row in everything} | ({*_verdicts()} if option == "--verdict" else set())
        fits = {each for each in known if each == wanted or (option == "--document" and each.startswith(wanted))}
        if not fits:
            here = f"the ledger has {', '.join(sorted(known))}"
            raise SettingError(
                f"{option} {wanted!r}: {'no such claim; see llmlab claims' if option == '--id' else here}"
            )
        rows = [row for row in rows if of(row) in fits]
    return rows


def _page(logbook: Logbook, row: "Judged") -> str | None:
    """Return the path of the entry that a verdict comes from."""
    from llmlab.report.entry import PAGE

    return terminal.from_here(logbook.posts / row.said.record / PAGE) if row.said.record else None


def _table(rows: "list[Judged]", code: str) -> Table:
    """Return the rows as a table, with their number by verdict below it."""
    found = Counter(row.said.verdict for row in rows)
    each = [say("claims.of_verdict", verdict=verdict, n=found[verdict]) for verdict in _verdicts() if found[verdict]]
    elsewhere, ours = sum(bool(row.elsewhere) for row in rows), sum(row.claim.ours for row in rows)
    caption = sentences(
        say("claims.counted", claims=len(rows), each=each),
        say("claims.of_ours", ours=ours) if ours else "",
        say("claims.elsewhere", elsewhere=elsewhere) if elsewhere else "",
        say("claims.all_of_one"),
    )
    lines: list[list[Cell]] = [[row.claim.id, row.said.verdict, worded(row.claim, "claim", code)] for row in rows]
    columns = columns_of("id:token | verdict:text | claim:text")
    return Table("claims", "Claims of the original notes", columns, lines, caption if rows else say("claims.none"))


def _in_full(row: "Judged", entry: str | None, said: Language) -> Table:
    """Return one row as a table of everything that is known of it."""
    claim, records, comma = row.claim, row.claim.records, said.say(", ")
    sums = [(one.value or one.holds, worded(one, "source", said.code)) for one in claim.sums]
    told = {
        "claim": worded(claim, "claim", said.code),
        "verdict": row.said.verdict,
        "evidence": row.said.evidence[said.code],
        "basis": row.basis,
        "conditions": row.elsewhere,
        "wanting to decide": ", ".join(row.said.unmet),
        "entry": entry or "",
        "also": comma.join(f"{said.say(other.verdict)} ({other.record})" for other in row.others),
        "reruns": " ".join(said.say(one) for one in row.confirmations()),
        "run": claim.command,
        "figures": worded(claim, "figures", said.code),
        "known": "" if claim.check == "opinion" else worded(claim, "known", said.code),
        "kind": say("claims.checked_by", kind=claim.kind, check=claim.check),
        "needed to decide": ", ".join(f"{name} {wanted}" for name, wanted in records.needs.items()) if records else "",
        "one outcome only": worded(records, "only", said.code) if records else "",
        "sums": "; ".join(sum_ + (f" ({source})" if source else "") for sum_, source in sums),
        "chapter": f"llmlab {claim.chapter}",
        "document": claim.document,
        "ours": say("claims.ours") if claim.ours else "",
    }
    lines: list[list[Cell]] = [[name, text] for name, text in told.items() if text]
    return Table(claim.id, claim.id, columns_of("what:text | :text"), lines)
