"""A stand-in for the Hugging Face hub on this machine: one small dataset or model, or one way to fail.

It answers what the ``datasets`` and ``huggingface_hub`` libraries ask of the real one, so that the real code is
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

from llmlab.text.hub import Model
from llmlab.text.named import Named

REVISION = "0123456789abcdef" * 2 + "01234567"
SMALL = Model("small", "nobody/small", REVISION, 1)
"""A model that has a name only while ``no_model_here`` is asked for."""


def parquet(column: str, values: list[Any]) -> bytes:
    """Return a Parquet file of one column."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({column: values}), buffer)
    return buffer.getvalue()


def repository(corpus: Named, column: str, train: list[Any], valid: list[Any]) -> dict[str, bytes]:
    """Return the files of a dataset repository laid out as on the hub."""
    folder = "data" if corpus.config == "default" else corpus.config
    card = ["---", "configs:", f"- config_name: {corpus.config}", "  data_files:"]
    for split in corpus.splits:
        card += [f"  - split: {split}", f"    path: {folder}/{split}-*"]
    files = {"README.md": "\n".join([*card, "---", ""]).encode()}
    for split, values in zip(corpus.splits, (train, valid), strict=True):
        files[f"{folder}/{split}-00000-of-00001.parquet"] = parquet(column, values)
    return files


@contextlib.contextmanager
def serving(corpus: Named | Model, files: dict[str, bytes], failure: int = 0) -> Iterator[tuple[str, list[str]]]:
    """Serve a repository, or answer everything with a status code; yield the address and what is asked."""
    asked: list[str] = []
    kind, prefix = ("datasets", "/datasets") if isinstance(corpus, Named) else ("models", "")
    stop = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(self.path)
            if failure == -1:
                stop.wait()
                self.close_connection = True
            elif failure:
                self.answer(failure)
            else:
                self.serve(unquote(urlparse(self.path).path), body)

        def serve(self, path: str, body: bytes) -> None:
            resolve = f"{prefix}/{corpus.repository}/resolve/{corpus.revision}/"
            api = f"/api/{kind}/{corpus.repository}"
            if path.startswith(resolve) and path.removeprefix(resolve) in files:
                found = files[path.removeprefix(resolve)]
                tag = f'"{hashlib.sha256(found).hexdigest()}"'
                self.answer(200, found, ETag=tag, **{"X-Repo-Commit": corpus.revision})
            elif path.startswith(f"{api}/tree/{corpus.revision}"):
                self.json(self.tree(path.removeprefix(f"{api}/tree/{corpus.revision}").strip("/")))
            elif path == f"{api}/paths-info/{corpus.revision}":
                self.json([entry(name) for name in json.loads(body)["paths"] if name in files])
            elif path in (api, f"{api}/revision/{corpus.revision}"):
                self.json({"id": corpus.repository, "sha": corpus.revision, "siblings": []})
            else:
                self.answer(404, **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": corpus.revision})

        def tree(self, folder: str) -> list[dict[str, Any]]:
            prefix = folder + "/" if folder else ""
            found = {}
            for name in (name for name in files if name.startswith(prefix)):
                head, deeper, _ = name.removeprefix(prefix).partition("/")
                kind = {"type": "directory", "oid": "0" * 40, "size": 0, "path": prefix + head}
                found[head] = kind if deeper else entry(name)
            return list(found.values())

        def json(self, document: Any) -> None:
            self.answer(200, json.dumps(document).encode(), **{"Content-Type": "application/json"})

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    def entry(name: str) -> dict[str, Any]:
        return {
            "type": "file",
            "oid": hashlib.sha256(files[name]).hexdigest()[:40],
            "size": len(files[name]),
            "path": name,
        }

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, address: object) -> None:
            """Say nothing of a client that went away."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            stop.set()
            server.shutdown()
