// Types of postrider-cache.mjs, for TypeScript.

import type { Cluster, Redis } from "ioredis";

export type Served = "hit" | "filled" | "refused" | "stale" | "bypassed";

export interface PageOptions {
  /** How long a page is fresh, unless it is invalidated before; 120 000 ms. */
  fresh?: number;
  /** At most so much is added to that; 30 000 ms. */
  jitter?: number;
  /** How long after that a page can still be served as stale; 600 000 ms. */
  stale?: number;
  /** How long a tag is remembered of which no page is stored; 3 600 000 ms. */
  generation?: number;
}

export class PageCache {
  constructor(client: Redis | Cluster, options?: PageOptions);
  readonly counts: Record<Served, number>;
  hitRatio(): number;
  read(tag: string, page: string, load: () => Promise<Buffer>): Promise<{ state: Served; payload: Buffer }>;
  open(tag: string, page: string): Promise<{ state: "hit" | "stale" | "miss"; token: Buffer; payload: Buffer }>;
  fill(tag: string, page: string, token: Buffer, payload: Buffer): Promise<boolean>;
}

export function generationKey(tag: string): string;
