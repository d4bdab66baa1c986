import { setTimeout as sleep } from 'node:timers/promises';

/** How long {@link Clients.until} waits, and between two looks, in milliseconds. */
const LIMIT_MS = 30_000;
const POLL_INTERVAL_MS = 10;

/** Between an answer and the next request of one client, in milliseconds. */
const THINKING_MS = 20;

/** What became of one request; times are those of `performance.now()`. */
export interface Outcome {
  readonly reference: string;
  readonly startedAt: number;
  readonly endedAt: number;
  /** `undefined` when it was acknowledged. */
  readonly error: string | undefined;
}

/** Clients that send one payment after another, whatever the answers are. */
export class Clients {
  readonly outcomes: Outcome[] = [];
  readonly #url: string;
  readonly #ended: Promise<unknown>;
  #isOver = false;

  /** @param url of the application */
  constructor(url: string, count: number) {
    this.#url = url;
    this.#ended = Promise.all(Array.from({ length: count }, (_, client) => this.#pay(client)));
  }

  get acknowledged(): Outcome[] {
    return this.outcomes.filter(({ error }) => error === undefined);
  }

  get failed(): Outcome[] {
    return this.outcomes.filter(({ error }) => error !== undefined);
  }

  /**
   * Waits until so many requests were acknowledged, or have failed: a slow machine takes longer.
   *
   * @throws Error when that takes too long
   */
  async until(what: 'acknowledged' | 'failed', count: number): Promise<void> {
    const deadline = performance.now() + LIMIT_MS;
    while (this[what].length < count) {
      if (performance.now() > deadline) {
        throw new Error(`${count} requests were not ${what} within ${LIMIT_MS} ms`);
      }
      await sleep(POLL_INTERVAL_MS);
    }
  }

  /** Waits for the answers that are still to come. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#ended;
  }

  async #pay(client: number): Promise<void> {
    for (let turn = 1; !this.#isOver; turn++) {
      const reference = `${client}-${turn}`;
      const startedAt = performance.now();
      const error = await this.#send(reference);
      this.outcomes.push({ reference, startedAt, endedAt: performance.now(), error });
      await sleep(THINKING_MS);
    }
  }

  async #send(reference: string): Promise<string | undefined> {
    const response = await fetch(`${this.#url}/payments`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ reference, amountCents: 100 }),
    });
    const { error = String(response.status) } = (await response.json()) as { error?: string };
    return response.ok ? undefined : error;
  }
}
