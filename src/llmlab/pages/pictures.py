"""Pictures that say how large they are, so that a page does not move when they arrive."""

import posixpath
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from urllib.parse import unquote

IMAGE = re.compile(r'<img (?P<said>[^>]*?src="(?P<address>[^"#:]+\.svg)(?:#[^"]*)?"[^>]*?)(?P<end> ?/?>)')
SIZE = re.compile(r'<svg [^>]*?\bwidth="(\d+)" height="(\d+)"')
HEAD = 400
"""The first characters of a picture, which hold its size."""


def sized(page: str, here: str, pictures: Mapping[str, str]) -> str:
    """Return a page, HTML at an address, whose pictures have their width and height.

    ``pictures`` are the files by the pictures' addresses on the site.
    """

    def told(image: re.Match[str]) -> str:
        address = posixpath.normpath(posixpath.join(posixpath.dirname(here), unquote(image["address"])))
        found = _size(pictures[address]) if address in pictures and "width=" not in image["said"] else None
        return f'<img {image["said"]} width="{found[0]}" height="{found[1]}"{image["end"]}' if found else image[0]

    return IMAGE.sub(told, page)


@cache
def _size(path: str) -> tuple[str, str] | None:
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        found = SIZE.search(file.read(HEAD))
    return (found[1], found[2]) if found else None
