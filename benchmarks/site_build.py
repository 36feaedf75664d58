"""The site's build with many entries in its log: seconds, and how they grow with the number of entries.

Copies the entries of this checkout's log in turn, under fresh ids and on other days, until there are as many as asked
for, and builds the site with them.  The bars are those of the project's design: a thousand entries within a minute, and
twice the entries at most little more than twice the time.  Seconds are the processor's, which a busy machine distorts
less than the clock's.
Run it alone on the machine: ``python benchmarks/site_build.py``.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from itertools import cycle, islice
from pathlib import Path

from llmlab.report import entry
from llmlab.report.logbook import Logbook
from llmlab.report.record import Record

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (250, 500, 1000)
SECONDS = 60.0
GROWTH = 1.25
"""An entry beyond the first 250 may cost so many times what one of them costs."""


def made_up(count: int) -> Iterator[Record]:
    """Yield so many records: those of this checkout in turn, each with an id and a day of its own."""
    there = [record for _, record in Logbook.at(ROOT).read() if isinstance(record, Record)]
    for number, record in enumerate(islice(cycle(there), count)):
        day = date(2024, 1, 1) + timedelta(days=number // 2)
        yield replace(record, id=f"{number:08x}", created=f"{day}{record.created[10:]}")


def site_with(count: int, folder: Path) -> None:
    """Copy the site, and put made-up entries into its log until there are so many."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", folder)
    (folder / "src").symlink_to(ROOT / "src")
    for record in made_up(count - len(Logbook.at(ROOT).folders())):
        post = folder / "docs" / "log" / "posts" / record.name
        post.mkdir(parents=True)
        for name, text in entry.files(record).items():
            (post / name).write_text(text, "utf-8")


def seconds(folder: Path) -> float:
    """Return the processor's time that one strict build takes; on a shared machine the clock says less."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder / "built")]
    subprocess.run(mkdocs, cwd=folder, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Build with growing logs, and print seconds and what an entry more costs; return 1 if a bar is missed."""
    fewest = len(Logbook.at(ROOT).folders())
    taken: dict[int, float] = {}
    print(f"{'entries':>8} {'cpu s':>8} {'ms per entry more':>18}")
    for count in (fewest, *COUNTS):
        with tempfile.TemporaryDirectory() as folder:
            site_with(count, Path(folder))
            taken[count] = seconds(Path(folder))
        more = (taken[count] - taken[fewest]) / (count - fewest) * 1000 if count > fewest else 0.0
        print(f"{count:>8} {taken[count]:>8.1f} {more:>18.1f}", flush=True)
    least, most = COUNTS[0], COUNTS[-1]
    slope = (taken[least] - taken[fewest]) / (least - fewest)
    growth = (taken[most] - taken[least]) / (most - least) / slope
    print(f"{most} entries within {SECONDS:.0f} s: {'ok' if taken[most] <= SECONDS else 'MISSED'}")
    print(f"an entry beyond {least} costs {growth:.2f} times one before (bar {GROWTH}): ", end="")
    print("ok" if growth <= GROWTH else "MISSED")
    return 0 if taken[most] <= SECONDS and growth <= GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
