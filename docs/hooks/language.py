"""One set of pages, two sites: English, and Japanese where a page is translated.

Both sites have the same pages at the same addresses.  In the Japanese one, ``docs/ja/start/laptop.md`` stands in for
``docs/start/laptop.md``; a page that is not translated stays English, is marked as such, and says so.  Entries of the
log are made anew from their records, in Japanese; what a human wrote under Notes stays as it is.  Menus are translated
by the catalogue in ``src/llmlab/report/ja``.

A translated page keeps the English page's anchors, so a link to ``glossary.md#letters`` finds its place in both.
Leaves out the switcher itself: ``docs/overrides/partials/alternate.html``.
"""

import atexit
import re
import shutil
import tempfile
from pathlib import Path

from markdown.extensions.toc import slugify, unique
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

from llmlab.report import entry
from llmlab.report.language import Language, language
from llmlab.report.logbook import Logbook

POSTS = "log/posts"
FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2`*~*$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^(#+) +(.*?)$", re.MULTILINE)
HEAD_LINKS = re.compile(r'\s*<link rel="alternate" href="[^"]*" hreflang="[^"]*">')


def spoken(config) -> Language:
    """Return the language of the site that is being built."""
    return language(str(config.theme["language"] or "en"))


def on_config(config, **_):
    """Translate the menu, the names of the switches, and the title of the link at each heading."""
    say = spoken(config).say
    if config.site_url and spoken(config).code != "en":
        config.site_url += f"{spoken(config).code}/"
    config.nav = told(config.nav, say)
    config.mdx_configs["toc"]["permalink_title"] = say("Permanent link")
    for palette in config.theme["palette"]:
        palette["toggle"]["name"] = say(palette["toggle"]["name"])
    return config


def told(nav, say):
    """Return a menu with its titles in another language."""
    if isinstance(nav, list):
        return [told(item, say) for item in nav]
    return {say(title): told(below, say) for title, below in nav.items()} if isinstance(nav, dict) else nav


@event_priority(100)
def on_files(files: Files, config, **_) -> Files:
    """Put translated pages and entries in the place of the English ones."""
    if spoken(config).code == "en":
        return files
    translated = Path(config.docs_dir) / spoken(config).code
    ours = [(translated, path.relative_to(translated).as_posix()) for path in translated.rglob("*.*")]
    folder = Path(tempfile.mkdtemp(prefix="llmlab-site-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = [(folder, name) for name in entries(Path(config.docs_dir) / POSTS, folder, spoken(config))]
    for source, name in (*ours, *made):
        english = files.get_file_from_path(name)
        if english is not None:
            files.remove(english)
        files.append(File(name, str(source), config.site_dir, config.use_directory_urls))
    return files


def entries(posts: Path, folder: Path, said: Language):
    """Write the entries of the log in a language under a folder, and yield the names of the files."""
    logbook = Logbook(posts.parent, posts.parents[2])
    names = logbook.names()
    for post, record in logbook.read():
        if isinstance(record, ValueError) or not (post / entry.PAGE).is_file():
            continue  # as it stands: the English site shows it so
        try:
            files = entry.files(record, (post / entry.PAGE).read_text("utf-8"), said, names)
        except entry.NotesLost:
            continue
        for name, text in files.items():
            path = folder / POSTS / post.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            yield path.relative_to(folder).as_posix()


@event_priority(100)
def on_page_markdown(markdown: str, page, config, **_) -> str:
    """Give a translated page the anchors of the English one."""
    if not is_translation(page, config):
        return markdown
    names = iter(anchors((Path(config.docs_dir) / page.file.src_uri).read_text("utf-8")))
    held = FENCE.sub(lambda fence: fence[0].replace("#", "\0"), markdown)
    held = HEADING.sub(lambda heading: f'{heading[1]} <a id="{next(names, "")}"></a>{heading[2]}', held)
    return held.replace("\0", "#").replace('<a id=""></a>', "")


def anchors(markdown: str) -> list[str]:
    """Return the anchors of a page's headings, as the table of contents makes them."""
    used: set[str] = set()
    return [unique(slugify(plain(title), "-"), used) for _, title in HEADING.findall(FENCE.sub("", markdown))]


def plain(title: str) -> str:
    """Return a heading without its marks."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", title)


def on_page_content(content: str, page, config, **_) -> str:
    """Mark a page that is still English, and say so."""
    said = spoken(config)
    if said.code == "en" or is_translation(page, config) or not is_written(page, config):
        return content
    note = said.say("This page is not translated yet; it is shown in English.")
    return f'<p class="untranslated">{note}</p>\n<div lang="en">\n{content}\n</div>'


def is_translation(page, config) -> bool:
    """Return whether a page comes from the folder of translations."""
    folder = Path(config.docs_dir) / spoken(config).code
    return Path(page.file.abs_src_path or "").is_relative_to(folder)


def is_written(page, config) -> bool:
    """Return whether a page comes from the folder of the English ones, and was not made by a plugin."""
    return Path(page.file.abs_src_path or "").is_relative_to(config.docs_dir)


@event_priority(-100)
def on_post_page(output: str, **_) -> str:
    """Take out the head's links to the other language: they lead to its first page, and a script would ask for maps."""
    return HEAD_LINKS.sub("", output)


def on_post_template(output_content: str, **_) -> str:
    """Do the same for pages that have no source, like 404."""
    return HEAD_LINKS.sub("", output_content)
