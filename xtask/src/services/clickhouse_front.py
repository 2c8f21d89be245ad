"""ClickHouse's HTTP interface (https://clickhouse.com/docs/interfaces/http) before the embedded engine of chdb-core.

For development and CI on machines without a Docker engine. Queries are the engine's own; this file only carries them: one at a time,
each in a connection of its own, so that settings, parameters and the database of one request never reach the next.
Inserted data always goes through a file: given inline, the engine cuts it at the first blank line without a word. It is decoded on its
way there, a block at a time: gzip and LZ4 frames by Content-Encoding, and with decompress=1 the blocks of the native protocol.
A request is read whole before it waits for its turn, and answered after it: a client that stalls holds up nobody else.
Users are names with passwords, or without one, as `default` is where nothing else is said; who may only read has the setting readonly.
Not carried: sessions, ZSTD, an answer in parts (it is complete or an error).
"""

import argparse
import base64
import hmac
import json
import os
import re
import signal
import ssl
import sys
import tempfile
import threading
import uuid
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import lz4.block
import lz4.frame
from chdb.state.sqlitelike import Connection
from clickhouse_cityhash.cityhash import CityHash128

# Parameters of the interface itself; every other one is a setting, or `param_…`: a value for the query.
OWN = {"query", "database", "default_format", "user", "password", "query_id", "quota_key", "role", "session_id",
       "session_timeout", "session_check", "compress", "decompress", "buffer_size", "wait_end_of_query"}
NOT_FOUND = {46, 47, 50, 56, 60, 73, 81, 115}
BAD_REQUEST = {6, 16, 26, 27, 33, 36, 38, 41, 53, 62, 69, 70, 72, 117, 130, 131, 168, 427}
FORBIDDEN = {192, 193, 516}
PIECE_BYTES = 1 << 20  # what is read, decoded and written at once
BLOCK_BYTES_MAX = 1 << 30  # the server's own limit for a block of the native protocol
HEAD_BYTES = 9  # of such a block: method, size with this head, size of what is in it
LZ4, NONE = 0x82, 0x02
PATIENCE_SECONDS = 60  # for a TLS handshake
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


class Spill:
    """A body in a file, where the engine reads rows from."""

    def __init__(self, folder):
        self.file = tempfile.NamedTemporaryFile(dir=folder, buffering=PIECE_BYTES)
        self.size = 0

    def take(self, pieces):
        for piece in pieces:
            self.file.write(piece)
            self.size += len(piece)
        self.file.flush()

    def read(self):
        self.file.seek(0)
        return self.file.read()


class Engine:
    """The one engine of this process, on a path."""

    def __init__(self, path):
        self.path = os.path.join(path, "store")
        self.inserts = os.path.join(path, "inserts")
        os.makedirs(self.inserts, exist_ok=True)
        for left in os.scandir(self.inserts):  # by a process that was killed
            os.remove(left.path)
        self.turn = threading.Lock()
        self.first = Connection(self.path)  # keeps the engine alive between requests
        self.version = self.first.query("SELECT version()", "TabSeparatedRaw").bytes().decode().strip()

    def run(self, query, body, options, readonly):
        """The statement is `query`, then the body; rows to insert go on from the body in its file, or come after the statement."""
        insert = split_insert(query) if query and body.size else None
        if insert and not insert[2]:
            return self.insert(insert, body.file.name, options, readonly)
        whole = b"\n".join(part for part in (query, body.read()) if part)
        if not whole.strip():
            raise Refused(62, "SYNTAX_ERROR", "the query is empty")
        insert = split_insert(whole)
        if not insert:
            return self.ask(whole, options, readonly)
        with tempfile.NamedTemporaryFile(dir=self.inserts) as rows:
            rows.write(insert[2])
            rows.flush()
            return self.insert(insert, rows.name, options, readonly)

    def insert(self, parts, rows, options, readonly):
        head, name, _, at = parts
        source = f" FROM INFILE {quoted(rows)} COMPRESSION 'none' ".encode()
        return self.ask(head[:at] + source + head[at:] + b" FORMAT " + name, options, readonly)

    def ask(self, query, options, readonly):
        settings = ", ".join(f"{key} = {quoted(value)}" for key, value in options.items() if key not in OWN)
        with self.turn:
            connection = Connection(self.path)
            try:
                if options.get("database"):
                    connection.query("USE `" + options["database"].replace("`", "\\`") + "`")
                if readonly:
                    connection.query(f"SET readonly = {int(readonly)}")
                if settings:
                    connection.query("SET " + settings)
                form = options.get("default_format", "TabSeparated")
                return connection.query(query.decode("utf-8", "surrogateescape"), form)
            finally:
                connection.close()


class Users:
    """Who may connect. One without a password gets in with any, as in the server."""

    def __init__(self, file):
        self.known = {"default": {}}
        if file:
            with open(file, encoding="utf-8") as text:
                self.known = json.load(text)

    def admit(self, name, password):
        """The value of `readonly` for this user; refused as the server does it: without saying whether the name or the password is wrong."""
        user = self.known.get(name)
        wanted = (user or {}).get("password", "").encode()
        if user is None or (wanted and not hmac.compare_digest(wanted, password.encode("utf-8", "surrogateescape"))):
            raise Refused(516, "AUTHENTICATION_FAILED", f"{name}: Authentication failed: password is incorrect, or there is no user with such name")
        return user.get("readonly", 0)


def exactly(source, size):
    """The next `size` bytes of the request, in pieces."""
    while size:
        piece = source.read(min(size, PIECE_BYTES))
        if not piece:
            raise EOFError("the connection ended inside the body")
        size -= len(piece)
        yield piece


def chunks(source):
    """A body in chunks (RFC 9112, section 7.1)."""
    while size := int(source.readline(1024).split(b";")[0], 16):
        yield from exactly(source, size)
        source.readline(1024)
    while source.readline(65536).strip():
        pass


def decoded(pieces, decoder, is_whole):
    for piece in pieces:
        yield decoder(piece)
    if not is_whole():
        raise EOFError("the compressed body ends too early")


def by_content(pieces, encoding):
    """What was sent, without its Content-Encoding."""
    if encoding == "gzip":
        gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
        return decoded(pieces, gzip.decompress, lambda: gzip.eof)
    if encoding == "lz4":
        frame = lz4.frame.LZ4FrameDecompressor()
        return decoded(pieces, frame.decompress, lambda: frame.eof)
    if encoding != "identity":
        raise Refused(48, "NOT_IMPLEMENTED", f"Content-Encoding {encoding} is not carried by this front")
    return pieces


def blocks(pieces):
    """The blocks of the native protocol: a checksum of what follows, the head, compressed data
    (https://clickhouse.com/docs/native-protocol/compression)."""
    have = bytearray()
    pieces = iter(pieces)

    def wanted(size):
        while len(have) < size:
            piece = next(pieces, None)
            if piece is None:
                return False
            have.extend(piece)
        return True

    while wanted(1):
        if not wanted(16 + HEAD_BYTES):
            raise Refused(271, "CANNOT_DECOMPRESS", "the compressed body ends inside a block's head")
        method, size = have[16], int.from_bytes(have[17:21], "little")
        raw = int.from_bytes(have[21:25], "little")
        if method not in (LZ4, NONE):
            raise Refused(89, "UNKNOWN_COMPRESSION_METHOD", f"a block is compressed by method {method:#04x}; this front knows LZ4 and none")
        if not HEAD_BYTES <= size <= BLOCK_BYTES_MAX or raw > BLOCK_BYTES_MAX:
            raise Refused(271, "CANNOT_DECOMPRESS", f"a block says {size} bytes of {raw}, more than {BLOCK_BYTES_MAX} or less than its head")
        if not wanted(16 + size):
            raise Refused(271, "CANNOT_DECOMPRESS", "the compressed body ends inside a block")
        checked = bytes(have[16 : 16 + size])
        if checksum(checked) != have[:16]:
            raise Refused(40, "CHECKSUM_DOESNT_MATCH", "a block's checksum is not that of its content")
        del have[: 16 + size]
        try:
            data = lz4.block.decompress(memoryview(checked)[HEAD_BYTES:], uncompressed_size=raw) if method == LZ4 else checked[HEAD_BYTES:]
        except lz4.block.LZ4BlockError as error:
            raise Refused(271, "CANNOT_DECOMPRESS", f"a block is no LZ4: {error}") from None
        if len(data) != raw:
            raise Refused(271, "CANNOT_DECOMPRESS", f"a block has {len(data)} bytes and says {raw}")
        yield data


def checksum(data):
    """The hash's two halves, the first one first."""
    hashed = CityHash128(data)
    return ((hashed >> 64) | (hashed & (1 << 64) - 1) << 64).to_bytes(16, "little")


def in_blocks(content):
    """The answer as compress=1 wants it."""
    made = bytearray()
    for start in range(0, len(content), PIECE_BYTES):
        raw = content[start : start + PIECE_BYTES]
        packed = lz4.block.compress(raw, store_size=False)
        block = bytes([LZ4]) + (len(packed) + HEAD_BYTES).to_bytes(4, "little") + len(raw).to_bytes(4, "little") + packed
        made += checksum(block) + block
    return bytes(made)


def form_fields(body, content_type):
    """The fields of multipart/form-data (RFC 7578), by which a client sends a query with its parameters."""
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if not found:
        raise Refused(62, "SYNTAX_ERROR", "multipart/form-data without a boundary")
    fields = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + found[1].encode())[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = re.search(rb'\bname="([^"]*)"', head)
        if name:
            fields[name[1].decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
    return fields


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = PIECE_BYTES
    engine = None
    users = None

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def answer(self):
        self.is_read = False
        url = urlsplit(self.path)
        options = dict(parse_qsl(url.query, keep_blank_values=True, errors="surrogateescape"))
        for header, option in (("X-ClickHouse-Database", "database"), ("X-ClickHouse-Format", "default_format")):
            if self.headers.get(header):
                options.setdefault(option, self.headers[header])
        names = {"X-ClickHouse-Query-Id": options.get("query_id") or str(uuid.uuid4()), "X-ClickHouse-Server-Display-Name": "postrider"}
        body = Spill(self.engine.inserts)
        with body.file:
            try:
                body.take(self.sent(options))
                self.is_read = True
                if self.command == "GET" and url.path in ("/ping", "/") and not url.query:
                    return self.reply(200, b"Ok.\n")
                if self.headers.get_content_type() == "multipart/form-data":
                    options |= form_fields(body.read(), self.headers["Content-Type"])
                    body.size = 0
                    body.file.truncate(0)
                readonly = self.users.admit(*self.credentials(options))
                query = options.get("query", "").encode("utf-8", "surrogateescape")
                result = self.engine.run(query, body, options, readonly)
                rows = f'{{"read_rows":"{result.rows_read()}","read_bytes":"{result.bytes_read()}"}}'
                content = in_blocks(result.bytes()) if options.get("compress") == "1" else result.bytes()
                return self.reply(200, content, {**names, "X-ClickHouse-Summary": rows})
            except Exception as error:  # whatever the engine raises belongs to the client
                return self.fail(str(error).strip(), names)

    def fail(self, text, names):
        found = re.match(r"Code: (\d+)", text)
        code = int(found[1]) if found else 1002 if self.is_read else 33
        status = 403 if code in FORBIDDEN else 404 if code in NOT_FOUND else 400 if code in BAD_REQUEST else 501 if code == 48 else 500
        if not self.is_read:
            # What is left of the body would be taken for the next request.
            self.close_connection = True
        text = f"{text} (version {self.engine.version})\n".encode("utf-8", "surrogateescape")
        self.reply(status, text, {**names, "X-ClickHouse-Exception-Code": str(code)})

    def credentials(self, options):
        """Name and password: from headers, from basic authentication, or from the URL."""
        if self.headers.get("X-ClickHouse-User"):
            return self.headers["X-ClickHouse-User"], self.headers.get("X-ClickHouse-Key", "")
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            name, _, password = base64.b64decode(given).decode("utf-8", "surrogateescape").partition(":")
            return name, password
        return options.get("user", "default"), options.get("password", "")

    def sent(self, options):
        """The request's body in pieces, decoded."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            pieces = chunks(self.rfile)
        else:
            pieces = exactly(self.rfile, int(self.headers.get("Content-Length") or 0))
        pieces = by_content(pieces, self.headers.get("Content-Encoding", "identity").lower())
        return blocks(pieces) if options.get("decompress") == "1" else pieces

    def reply(self, status, content, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Nothing: queries may hold row values."""


class Front(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    secure = None

    def finish_request(self, request, client_address):
        """In the thread of the connection: a handshake that hangs holds up nobody else."""
        if self.secure:
            request.settimeout(PATIENCE_SECONDS)
            request = self.secure.wrap_socket(request, server_side=True)
            request.settimeout(None)
        super().finish_request(request, client_address)

    def handle_error(self, *_):
        """Nothing: a client that went away is its own affair."""


def secured(certificate, key, clients):
    """TLS with this certificate; only for clients whose certificate one of `clients` signed, if that is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if clients:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def main():
    parser = argparse.ArgumentParser(description="ClickHouse's HTTP interface before chdb-core")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--users", help='a file with JSON: {"name": {"password": "…", "readonly": 2}}')
    parser.add_argument("--https-port", type=int)
    parser.add_argument("--cert", help="PEM, with the chain")
    parser.add_argument("--key", help="PEM")
    parser.add_argument("--ca", help="PEM; clients then need a certificate that is signed by one of these")
    arguments = parser.parse_args()
    Handler.users = Users(arguments.users)
    Handler.engine = Engine(arguments.path)
    fronts = [Front(("127.0.0.1", arguments.port), Handler)]
    if arguments.https_port:
        fronts.append(Front(("127.0.0.1", arguments.https_port), Handler))
        fronts[-1].secure = secured(arguments.cert, arguments.key, arguments.ca)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    for front in fronts:
        threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    ended.wait()
    for front in fronts:
        front.shutdown()
    with Handler.engine.turn:
        Handler.engine.first.close()
    sys.exit(0)


if __name__ == "__main__":
    main()
