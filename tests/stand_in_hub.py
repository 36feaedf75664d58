"""A stand-in for the Hugging Face hub on this machine: one small dataset or model, or one way to fail.

It answers what the ``huggingface_hub`` library asks of the real one, so that the real code is
tested without a network.
"""

import contextlib
import hashlib
import http.server
import io
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow
import pyarrow.parquet
import pytest

from llmlab.text.hub import Source

REVISION = "0123456789abcdef" * 2 + "01234567"
SMALL = Source("small", "nobody/small", REVISION, 1)
"""A model that has a name only while ``no_model_here`` is asked for."""


def parquet(column: str, values: list[Any]) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({column: values}), buffer)
    return buffer.getvalue()


def repository(corpus: Source, column: str, *splits: list[Any]) -> dict[str, bytes]:
    """Return the files of a dataset repository laid out as on the hub, and one that nobody needs."""
    named = zip(corpus.splits, splits, strict=True)
    files = {pattern.replace("*", "00000-of-00001"): parquet(column, values) for pattern, values in named}
    return {"README.md": b"# A corpus", "data/other-00000-of-00001.parquet": b"large", **files}


@contextlib.contextmanager
def hub_at(address: str) -> Iterator[None]:
    """Let the library find the hub at an address."""
    with pytest.MonkeyPatch.context() as patch:
        constants = "huggingface_hub.constants."
        patch.setattr(f"{constants}ENDPOINT", address)
        patch.setattr(f"{constants}HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
        yield


@contextlib.contextmanager
def serving(source: Source, files: dict[str, bytes], failure: int = 0) -> Iterator[list[str]]:
    """Be the hub with one repository, or answer everything with a status code, or (-1) not at all; yield what is asked.

    Nothing else is a hub meanwhile.
    """
    asked, stop = list[str](), threading.Event()
    kind, prefix = ("datasets", "/datasets") if source.splits else ("models", "")
    resolve, api = f"{prefix}/{source.repository}/resolve/{source.commit}/", f"/api/{kind}/{source.repository}"
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    entries = {
        name: {"type": "file", "oid": hashes[name][:40], "size": len(content), "path": name}
        for name, content in files.items()
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlparse(self.path).path)
            name = path.removeprefix(resolve)
            asked.append(self.path)
            if failure == -1:
                stop.wait()
                self.close_connection = True
            elif failure:
                self.answer(failure)
            elif path.startswith(resolve) and name in files:
                self.answer(200, files[name], ETag=f'"{hashes[name]}"', **{"X-Repo-Commit": source.commit})
            elif path.startswith(f"{api}/tree/{source.commit}"):
                self.answer(200, list(entries.values()))
            elif path == f"{api}/paths-info/{source.commit}":
                self.answer(200, [entries[name] for name in json.loads(body)["paths"] if name in entries])
            elif path in (api, f"{api}/revision/{source.commit}"):
                self.answer(200, {"id": source.repository, "sha": source.commit, "siblings": []})
            else:
                self.answer(404, **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": source.commit})

        do_HEAD = do_POST = do_GET  # noqa: N815 - the names of the standard library

        def answer(self, status: int, found: Any = b"", **headers: str) -> None:
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            kind = "application/octet-stream" if isinstance(found, bytes) else "application/json"
            self.send_response(status)
            for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, address: object) -> None:
            """Say nothing of a client that went away."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with hub_at(f"http://127.0.0.1:{server.server_port}"):
                yield asked
        finally:
            stop.set()
            server.shutdown()
