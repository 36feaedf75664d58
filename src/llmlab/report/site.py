"""The small site that a log outside any checkout lives in: a few files, so that ``log serve`` has a site to show.

Leaves out the project's own site, whose ``mkdocs.yml`` stands at the top of the checkout.
"""

from pathlib import Path

from llmlab.disk import replace_file

MKDOCS = """\
# A small site for your llmlab log.  Show it with: llmlab log serve
site_name: llmlab log
use_directory_urls: false # a copy on a disk works by double click
theme:
  name: material
  font: false # the reader's own fonts: no request to anybody
  palette:
    - media: "(prefers-color-scheme: light)"
      scheme: default
      toggle: {icon: material/weather-night, name: Switch to dark}
    - media: "(prefers-color-scheme: dark)"
      scheme: slate
      toggle: {icon: material/weather-sunny, name: Switch to light}
plugins:
  - search
  - blog:
      blog_dir: log
      post_url_format: "{slug}"
      post_readtime: false
      pagination_per_page: 20
      archive: false
# Entries hold users' own words: no extension that acts on text belongs here.
markdown_extensions:
  - tables
hooks:
  - log_pages.py
nav:
  - index.md
  - Log: log/index.md
  - By chapter: log/chapters.md
  - Compare: log/compare.md
"""

HOOKS = '"""The index by chapter, the comparison and the feed."""\n\nfrom llmlab.pages.hooks import *\n'

INDEX = """\
# My llmlab log

Every run of an llmlab chapter adds an entry to the [log](log/index.md).
What you write between an entry's notes markers is kept when entries are rendered anew.
"""

LOG_INDEX = """\
# Log

Newest first. The entries stand [by chapter](chapters.md) as well, and all in one table where two can be
[compared](compare.md). New ones come by [feed](feed.xml).
"""

CHAPTERS = "# By chapter\n\n<!-- log: chapters -->\n"

COMPARE = """\
---
hide: [toc]
---

# Compare

Press a heading to sort by it. Choose two entries to see their settings and metrics side by side.

<!-- log: comparison -->
"""

FILES = {
    "log_pages.py": HOOKS,
    "docs/index.md": INDEX,
    "docs/log/index.md": LOG_INDEX,
    "docs/log/chapters.md": CHAPTERS,
    "docs/log/compare.md": COMPARE,
    "mkdocs.yml": MKDOCS,
}
"""The site's files; ``mkdocs.yml``, which says that all is there, is the last."""


def write_small_site(site: Path) -> None:
    """Write the site's files where they are missing.

    Raises:
        OSError: a file cannot be written.
    """
    for name, text in FILES.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            replace_file(path, text)
