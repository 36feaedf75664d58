"""What MkDocs asks of a site that shows a log: the log's own pages, and a build that stays quick with many entries.

A site uses it through a hook of one line (``from llmlab.pages.hooks import *``).  In its pages two comments are
replaced: ``<!-- log: chapters -->`` by the index by chapter, ``<!-- log: comparison -->`` by the comparison.

Two things keep a thousand entries cheap.  Lists of entries show only what stands above an entry's ``<!-- more -->``,
so only that is converted for them.  And the search knows an entry by its title, its summary and its notes: numbers
are looked up in the comparison.
"""

import logging
import re
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import CombinedEvent, event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from llmlab.pages import chapters, comparison, feed, pictures
from llmlab.report import entry
from llmlab.report.logbook import Logbook
from llmlab.report.messages import group
from llmlab.report.record import Record

__all__ = ["on_config", "on_env", "on_files", "on_page_context", "on_page_markdown", "on_post_page", "on_post_template"]

LOG = "log"
FEED = f"{LOG}/feed.xml"
CHAPTERS, COMPARISON = "<!-- log: chapters -->", "<!-- log: comparison -->"
MORE = "<!-- more -->"
POST = re.compile(rf"{LOG}/posts/[^/]+/{re.escape(entry.PAGE)}")
NOTES = re.compile(r"<!-- notes:begin.*?-->(.*?)<!-- notes:end -->", re.DOTALL)
EVERYWHERE, COMPARED = ("site.css", "site.js"), ("compare.css", "compare.js")
SEARCH = '<div class="md-search" data-md-component="search" role="dialog"'
"""The theme's search, a dialog without a name."""

IN_CATEGORY = re.compile(r'\bin(?=\s+<a href="[^"]*category/)')
"""The theme's word between a date and a chapter; Japanese needs none, and the theme then says the English one."""

NAMELESS = re.compile(r"<nav (?![^>]*(aria-label|role=))")
NESTED = re.compile(r'<nav class="md-nav"')
"""Parts of a page that call themselves places to steer to: without a name, or inside one that has a name."""

NO_INDEX = 'var __index = {"config": {"lang": ["en"], "separator": " ", "pipeline": []}, "docs": []};\n'
"""What the theme asks for on a page that is opened from a disk, where it shows no search."""

records: list[Record] = []
"""The entries that have a page, newest first; read once per build."""

addresses: dict[str, str] = {}
"""Where on the site each entry's page lies, by the entry's name; known once all pages are."""

drawn: dict[str, str] = {}
"""Where the file of each picture lies, by the picture's address on the site."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let every page have our style and script, and convert its tables quickly."""
    config.markdown_extensions += ["llmlab.pages.cells", "md_in_html"]  # an entry folds its parts
    config.extra_css.append(f"{LOG}/{EVERYWHERE[0]}")
    config.extra_javascript.append(f"{LOG}/{EVERYWHERE[1]}")
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Read the log, and add the feed and our scripts and styles to the site's files."""
    log = Path(config.docs_dir, LOG)
    found: list[Record] = []
    for folder, record in Logbook(log, log).read():
        if isinstance(record, ValueError):
            logging.getLogger("mkdocs").warning("%s: %s", folder.name, record)
        elif files.get_file_from_path(_source(record)) is not None:
            found.append(record)
    records[:] = sorted(found, key=lambda record: (record.created, record.id), reverse=True)
    for name in (*EVERYWHERE, *COMPARED):
        text = (resources("llmlab.pages") / name).read_text("utf-8")
        files.append(File.generated(config, f"{LOG}/{name}", content=text))
    files.append(File.generated(config, "search/search_index.js", content=NO_INDEX))
    files.append(File.generated(config, FEED, content="<feed/>"))  # its links are not known yet: see on_env
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the index by chapter where a page asks for it."""
    if CHAPTERS not in markdown:
        return markdown
    return markdown.replace(CHAPTERS, chapters.index(records, _language(config)))


def on_env(env: Any, *, config: MkDocsConfig, files: Files) -> Any:
    """Write the feed, and leave of each entry's Markdown only what lists show: its page has been converted by now."""
    pages = {record.name: files.get_file_from_path(_source(record)) for record in records}
    current = [record for record in records if not record.superseded_by]
    addresses.update((name, file.url) for name, file in pages.items() if file is not None)
    drawn.update((file.url, file.abs_src_path) for file in files if file.url.endswith(".svg") and file.abs_src_path)
    made = files.get_file_from_path(FEED)
    assert made is not None  # noqa: S101 - on_files has added it
    made.content_string = feed.atom(
        current,
        title=f"{config.site_name}: {group('pages', _language(config))['feed']}",
        code=_language(config),
        site=config.site_url or "",
        folder=f"{LOG}/",
        links=[get_relative_url(addresses[record.name], FEED) for record in current],
    )
    for file in files.documentation_pages():
        if POST.fullmatch(file.src_uri) and file.page is not None and file.page.markdown:
            above, separator, _ = file.page.markdown.partition(MORE)
            if separator:
                file.page.markdown = f"{above}{MORE}\n\n…\n"
    return env


def on_post_template(output_content: str, *, config: MkDocsConfig, **_: Any) -> str:
    """Name the search and the places to steer to, also on pages that have no source, like 404."""
    named = f'{SEARCH} aria-label="{group("pages", _language(config))["search"]}"'
    output = output_content.replace(SEARCH, named, 1)
    return NAMELESS.sub('<nav role="presentation" ', NESTED.sub('<nav role="group" class="md-nav"', output))


@event_priority(50)
def shorten(context: Any, /, *, page: Page, **_: Any) -> None:
    """Hand the search only an entry's title, summary and notes."""
    if POST.fullmatch(page.file.src_uri) and page.content is not None:
        page.llmlab_whole = page.content  # type: ignore[attr-defined]
        notes = NOTES.search(page.content)
        page.content = page.content.partition(MORE)[0] + (notes[1] if notes else "")


@event_priority(-50)
def restore(context: Any, /, *, page: Page, **_: Any) -> None:
    """Give the entry's page its content back."""
    page.content = vars(page).pop("llmlab_whole", page.content)


on_page_context = CombinedEvent(shorten, restore)


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Name what is nameless, size pictures, and put in what needs the entries' addresses, or is not to be searched."""
    here = page.url
    output = pictures.sized(on_post_template(output, config=config), here, drawn)
    output = output if _language(config) == "en" else IN_CATEGORY.sub("", output)

    def address(record: Record) -> str:
        return get_relative_url(addresses[record.name], here)

    output = chapters.FOLDED.sub(lambda place: chapters.folded(records, place[1], address, _language(config)), output)
    if COMPARISON not in output:
        return output
    style, script = (get_relative_url(f"{LOG}/{name}", here) for name in COMPARED)
    table = comparison.block(records, address, _language(config))
    return output.replace(
        COMPARISON, f'<link rel="stylesheet" href="{style}">\n{table}\n<script src="{script}" defer></script>'
    )


def _source(record: Record) -> str:
    return f"{LOG}/posts/{record.name}/{entry.PAGE}"


def _language(config: MkDocsConfig) -> str:
    return str(config.theme.get("language") or "en")
