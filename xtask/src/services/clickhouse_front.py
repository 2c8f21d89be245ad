"""ClickHouse's HTTP interface (https://clickhouse.com/docs/interfaces/http) before the embedded engine of chdb-core.

For development and CI on machines without a Docker engine. Queries are the engine's own; this file only carries them: one at a time,
each in a connection of its own, so that settings, parameters and the database of one request never reach the next.
Inserted data always goes through a file: given inline, the engine cuts it at the first blank line without a word.
Not carried: users, sessions, compressed bodies other than gzip; asking for compression of the native kind is an error.
"""

import argparse
import gzip
import os
import re
import signal
import sys
import tempfile
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from chdb.state.sqlitelike import Connection

# Parameters of the interface itself; every other one is a setting, or `param_…`: a value for the query.
OWN = {"query", "database", "default_format", "user", "password", "query_id", "quota_key", "role", "session_id",
       "session_timeout", "session_check", "compress", "decompress", "buffer_size", "wait_end_of_query"}
NOT_FOUND = {46, 47, 50, 56, 60, 73, 81, 115}
BAD_REQUEST = {6, 16, 26, 27, 33, 36, 38, 41, 53, 62, 69, 70, 72, 117, 130, 131, 168, 427}
TOKEN = re.compile(rb"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`|--[^\n]*|/\*.*?\*/|\w+|\S""", re.S)


class Refused(Exception):
    """A request that this front cannot carry."""

    def __init__(self, code, name, text):
        super().__init__(f"Code: {code}. DB::Exception: {text}. ({name})")


def split_insert(query):
    """(statement without its data and format, format, data, where FROM INFILE belongs), or None if no data can follow."""
    depth, infile, words = 0, None, TOKEN.finditer(query)
    first = next((word for word in words if not word[0].startswith((b"--", b"/*"))), None)
    if first is None or first[0].upper() != b"INSERT":
        return None
    for word in words:
        text = word[0].upper()
        depth += (text == b"(") - (text == b")")
        if depth:
            continue
        if text in (b"SELECT", b"WITH", b"INFILE", b"WATCH"):
            return None
        if text == b"SETTINGS":
            infile = word.start()
        if text in (b"FORMAT", b"VALUES"):
            name = next(words, None) if text == b"FORMAT" else None
            if text == b"FORMAT" and name is None:
                return None
            end = name.end() if name else word.end()
            data = re.sub(rb"\A[ \t]*(?:;\s*\Z|\r?\n)?", b"", query[end:], count=1)
            return query[: word.start()], name[0] if name else b"Values", data, infile or word.start()
    return None


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Engine:
    """The one engine of this process, on a path."""

    def __init__(self, path):
        self.path = os.path.join(path, "store")
        self.inserts = os.path.join(path, "inserts")
        os.makedirs(self.inserts, exist_ok=True)
        self.turn = threading.Lock()
        self.first = Connection(self.path)  # keeps the engine alive between requests
        self.version = self.first.query("SELECT version()", "TabSeparatedRaw").bytes().decode().strip()

    def run(self, query, options):
        form = options.get("default_format", "TabSeparated")
        insert = split_insert(query)
        with self.turn, tempfile.NamedTemporaryFile(dir=self.inserts) as data:
            if insert:
                head, name, rest, at = insert
                data.write(rest)
                data.flush()
                source = f" FROM INFILE {quoted(data.name)} COMPRESSION 'none' ".encode()
                query = head[:at] + source + head[at:] + b" FORMAT " + name
            connection = Connection(self.path)
            try:
                if options.get("database"):
                    connection.query("USE `" + options["database"].replace("`", "\\`") + "`")
                for key, value in options.items():
                    if key not in OWN:
                        connection.query(f"SET {key} = {quoted(value)}")
                return connection.query(query.decode("utf-8", "surrogateescape"), form)
            finally:
                connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine = None

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def answer(self):
        try:
            body = self.body()
        except (ValueError, OSError, EOFError) as error:
            self.close_connection = True
            return self.reply(400, f"cannot read the body: {error}\n".encode())
        url = urlsplit(self.path)
        if self.command == "GET" and url.path in ("/ping", "/") and not url.query:
            return self.reply(200, b"Ok.\n")
        options = dict(parse_qsl(url.query, keep_blank_values=True, errors="surrogateescape"))
        for header, option in (("X-ClickHouse-Database", "database"), ("X-ClickHouse-Format", "default_format")):
            if self.headers.get(header):
                options.setdefault(option, self.headers[header])
        names = {"X-ClickHouse-Query-Id": options.get("query_id") or str(uuid.uuid4()), "X-ClickHouse-Server-Display-Name": "postrider"}
        try:
            if options.get("compress") == "1" or options.get("decompress") == "1":
                raise Refused(48, "NOT_IMPLEMENTED", "compression of the native kind is not carried by this front")
            query = options.get("query", "").encode("utf-8", "surrogateescape")
            query = query + b"\n" + body if query and body else query or body
            if not query.strip():
                raise Refused(62, "SYNTAX_ERROR", "the query is empty")
            result = self.engine.run(query, options)
            rows = f'{{"read_rows":"{result.rows_read()}","read_bytes":"{result.bytes_read()}"}}'
            self.reply(200, result.bytes(), {**names, "X-ClickHouse-Summary": rows})
        except Exception as error:  # whatever the engine raises belongs to the client
            text = str(error).strip()
            found = re.match(r"Code: (\d+)", text)
            code = int(found[1]) if found else 1002
            status = 404 if code in NOT_FOUND else 400 if code in BAD_REQUEST else 501 if code == 48 else 500
            text = f"{text} (version {self.engine.version})\n".encode("utf-8", "surrogateescape")
            self.reply(status, text, {**names, "X-ClickHouse-Exception-Code": str(code)})

    def body(self):
        """The request's body: of a known length, or in chunks (RFC 9112, section 7.1)."""
        data = bytearray()
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline(1024).split(b";")[0], 16):
                data += self.exactly(size)
                self.rfile.readline(1024)
            while self.rfile.readline(65536).strip():
                pass
        else:
            data += self.exactly(int(self.headers.get("Content-Length") or 0))
        encoding = self.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise ValueError(f"Content-Encoding {encoding} is not carried by this front")
        return gzip.decompress(data) if encoding == "gzip" else bytes(data)

    def exactly(self, size):
        data = self.rfile.read(size)
        if len(data) != size:
            raise EOFError("the connection ended inside the body")
        return data

    def reply(self, status, content, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Nothing: queries may hold row values."""


class Front(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description="ClickHouse's HTTP interface before chdb-core")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    arguments = parser.parse_args()
    Handler.engine = Engine(arguments.path)
    front = Front(("127.0.0.1", arguments.port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=front.shutdown).start())
    front.serve_forever(poll_interval=0.1)
    with Handler.engine.turn:
        Handler.engine.first.close()
    sys.exit(0)


if __name__ == "__main__":
    main()
