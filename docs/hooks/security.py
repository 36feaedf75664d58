"""A second wall: each page says which scripts may run on it, and which addresses it may load from.

The first wall is that entries of the log are escaped when they are written.  If something ever came through, the
browser would still refuse it: the page's Content Security Policy allows the theme's own inline scripts by their
SHA-256 and no other one.  Inside the page's articles no script is ever allowed.

Inline styles stay allowed, for Markdown's table columns are aligned by them.
"""

import base64
import hashlib
import re

PLACE = "CONTENT-SECURITY-POLICY"
ARTICLES = re.compile(r"<article.*</article>", re.DOTALL)
INLINE_SCRIPT = re.compile(r"<script(?![^>]*\b(?:src|type)=)[^>]*>(.*?)</script>", re.DOTALL)

serving = False


def on_startup(command: str, **_) -> None:
    """Take note of ``mkdocs serve``: it adds a script of its own, later, that reloads the page."""
    global serving
    serving = command == "serve"


def on_post_page(output: str, **_) -> str:
    """Return the page with its policy."""
    return output.replace(PLACE, policy(output))


def on_post_template(output_content: str, **_) -> str:
    """Do the same for pages that have no source, like 404."""
    return output_content.replace(PLACE, policy(output_content))


def policy(page: str) -> str:
    """Return the Content Security Policy of a page."""
    scripts = INLINE_SCRIPT.findall(ARTICLES.sub("", page))
    hashes = sorted({base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts})
    inline = "'unsafe-inline'" if serving else " ".join(f"'sha256-{digest}'" for digest in hashes)
    rules = [
        "default-src 'self'",
        f"script-src 'self' {inline}",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",  # the theme's icons are data: URLs in its style sheet
        "object-src 'none'",
        "frame-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ]
    return "; ".join(rules)
