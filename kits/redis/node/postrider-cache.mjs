// Reads and fills pages in Redis that `postrider invalidate` invalidates.
//
// Serves one page through the cache; on a miss a command of yours reads the database:
//
//     npm install ioredis
//     REDIS_URL=redis://localhost/ node postrider-cache.mjs feed:42 feed:v1:42:0:20 \
//         psql --tuples-only --no-align --command "select …"
//
// Prints where the page comes from (hit, filled, refused, stale, bypassed), then the page. In a service, use PageCache.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Redis } from "ioredis";

const script = (name) => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");

/** Pages behind one client of ioredis (`Redis` or `Cluster`); all durations in milliseconds. */
export class PageCache {
  #client;
  #options;

  /** A page is fresh for `fresh` plus at most `jitter`, and kept for `stale` more, for when the database cannot be asked. */
  constructor(client, { fresh = 120_000, jitter = 30_000, stale = 600_000, generation = 3_600_000 } = {}) {
    client.defineCommand("postriderOpen", { numberOfKeys: 2, lua: script("open.lua") });
    client.defineCommand("postriderFill", { numberOfKeys: 2, lua: script("fill.lua") });
    this.#client = client;
    this.#options = { fresh, jitter, stale, generation };
    this.counts = { hit: 0, filled: 0, refused: 0, stale: 0, bypassed: 0 };
  }

  /** The part of all pages served that were valid and in the cache. */
  hitRatio() {
    const all = Object.values(this.counts).reduce((sum, count) => sum + count, 0);
    return this.counts.hit / Math.max(1, all);
  }

  /** Serves a page: from the cache if it is valid there, else what `load` reads from the database; fails as `load` does. */
  async read(tag, page, load) {
    const served = await this.#read(tag, page, load);
    this.counts[served.state] += 1;
    return served;
  }

  /** Reads a page and begins to fill it: call it BEFORE the database is read. */
  async open(tag, page) {
    const keys = [generationKey(tag), page];
    const [state, token, payload] = await this.#client.postriderOpenBuffer(...keys, this.#options.generation, "framed");
    return { state: state.toString(), token, payload };
  }

  /** Stores what was read from the database since `open`; false if it was invalidated since. */
  async fill(tag, page, token, payload) {
    const { fresh, jitter, stale } = this.#options;
    const keys = [generationKey(tag), page];
    return (await this.#client.postriderFill(...keys, token, payload, fresh, jitter, stale, "framed")) === 1;
  }

  async #read(tag, page, load) {
    let opened;
    try {
      opened = await this.open(tag, page);
    } catch {
      return { state: "bypassed", payload: await load() };
    }
    if (opened.state === "hit") return { state: "hit", payload: opened.payload };
    let payload;
    try {
      payload = await load();
    } catch (error) {
      if (opened.state === "stale") return { state: "stale", payload: opened.payload };
      throw error;
    }
    const stored = await this.fill(tag, page, opened.token, payload).catch(() => false);
    return { state: stored ? "filled" : "refused", payload };
  }
}

/** The key that holds a tag's generation; a tag without a hash tag of its own becomes one. */
export function generationKey(tag) {
  return /^[^{]*\{[^}]+\}/.test(tag) ? `postrider:gen:${tag}` : `postrider:gen:{${tag}}`;
}

async function main() {
  const [tag, page, program, ...rest] = process.argv.slice(2);
  const url = process.env.REDIS_URL ?? "redis://127.0.0.1/";
  const client = new Redis(url, { connectTimeout: 500, commandTimeout: 500, maxRetriesPerRequest: 1 });
  client.on("error", () => {}); // A cache that is away is bypassed.
  const cache = new PageCache(client);
  const load = async () => (await promisify(execFile)(program, rest, { encoding: "buffer" })).stdout;
  try {
    const { state, payload } = await cache.read(tag, page, load);
    process.stdout.write(Buffer.concat([Buffer.from(`${state}\n`), payload, Buffer.from("\n")]));
  } finally {
    client.disconnect();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
