"""Reads and fills pages in Redis that `postrider invalidate` invalidates.

Serves one page through the cache; on a miss a command of yours reads the database:

    pip install redis
    REDIS_URL=redis://localhost/ python postrider_cache.py feed:42 feed:v1:42:0:20 \
        psql --tuples-only --no-align --command "select …"

Prints where the page comes from (hit, filled, refused, stale, bypassed), then the page. In a service, use PageCache.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import redis

SCRIPTS = Path(__file__).resolve().parent.parent


class PageCache:
    """Pages behind one client (`redis.Redis` or `redis.RedisCluster`), all durations in milliseconds.

    A page is fresh for `fresh` plus at most `jitter`, and after that, or once invalidated, kept to be served as stale where
    the database cannot be asked.
    """

    def __init__(self, client, fresh=120_000, jitter=30_000, stale=600_000, generation=3_600_000):
        self._open = client.register_script((SCRIPTS / "open.lua").read_text())
        self._fill = client.register_script((SCRIPTS / "fill.lua").read_text())
        self._fresh, self._jitter, self._stale, self._generation = fresh, jitter, stale, generation
        self.counts = dict.fromkeys(["hit", "filled", "refused", "stale", "bypassed"], 0)

    def read(self, tag, page, load):
        """Serves (state, payload): from the cache if it is valid there, else what `load()` reads from the database.

        Raises what `load` raises, if there is not even a stale page.
        """
        state, payload = self._read(tag, page, load)
        self.counts[state] += 1
        return state, payload

    def hit_ratio(self):
        """The part of all pages served that were valid and in the cache."""
        return self.counts["hit"] / max(1, sum(self.counts.values()))

    def open(self, tag, page):
        """Reads a page and begins to fill it: call it BEFORE the database is read. Gives (state, token, payload)."""
        keys = [generation_key(tag), page]
        state, token, payload, _age = self._open(keys=keys, args=[self._generation, "framed"])
        return state.decode(), token, payload

    def fill(self, tag, page, token, payload):
        """Stores what was read from the database since `open`; False if it was invalidated since."""
        arguments = [token, payload, self._fresh, self._jitter, self._stale, "framed"]
        return self._fill(keys=[generation_key(tag), page], args=arguments) == 1

    def _read(self, tag, page, load):
        try:
            found, token, cached = self.open(tag, page)
        except redis.RedisError:
            return "bypassed", load()
        if found == "hit":
            return "hit", cached
        try:
            payload = load()
        except Exception:
            if found == "stale":
                return "stale", cached
            raise
        try:
            stored = self.fill(tag, page, token, payload)
        except redis.RedisError:
            stored = False
        return ("filled" if stored else "refused"), payload


def generation_key(tag):
    """The key that holds a tag's generation; a tag without a hash tag of its own becomes one."""
    own = re.search(r"^[^{]*\{[^}]+\}", tag)
    return f"postrider:gen:{tag}" if own else f"postrider:gen:{{{tag}}}"


def main():
    tag, page, *command = sys.argv[1:]
    url = os.environ.get("REDIS_URL", "redis://127.0.0.1/")
    cache = PageCache(redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5))
    load = lambda: subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    state, payload = cache.read(tag, page, load)
    print(state)
    sys.stdout.flush()
    sys.stdout.buffer.write(payload + b"\n")


if __name__ == "__main__":
    main()
