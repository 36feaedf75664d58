"""The drawings of docs/drawings in the pages that ask for them; see ``llmlab.pages.drawings``."""

from pathlib import Path

from mkdocs.exceptions import PluginError

from llmlab.pages import drawings


def on_page_markdown(markdown: str, page, config, **_) -> str:
    """Return the page with a drawing in place of each mark; a log entry, which holds a user's words, as it is."""
    if page.file.src_uri.startswith("log/"):
        return markdown
    folder, code = Path(config.docs_dir) / "drawings", str(config.theme["language"] or "en")

    def drawn(name: str) -> str:
        try:
            return drawings.inlined(name, (folder / f"{name}.svg").read_text("utf-8"), code)
        except (OSError, KeyError) as error:
            raise PluginError(f"{page.file.src_uri}: drawing {name}: {error!r}") from error

    return drawings.PLACE.sub(lambda place: drawn(place[1]), markdown)
