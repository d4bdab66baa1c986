import type { DbConnection } from '../connection/db-connection.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { TestTimeoutError } from './errors.js';

/** A test that is to begin. */
interface ToBegin {
  /** What the test runner calls it. */
  readonly name: string;
  /** The block that it is a test of. */
  readonly block: object;
  /** Those of whose pools it holds one connection each. */
  readonly connections: readonly DbConnection[];
  /** Longest wait in milliseconds. */
  readonly limitMs: number | undefined;
}

interface Pool {
  readonly connection: DbConnection;
  readonly size: number;
}

/** A test that has a slot, or waits for one. */
interface Place {
  readonly name: string;
  readonly pools: readonly Pool[];
}

/** A test that waits for a slot. */
interface Waiter extends Place {
  readonly block: object;
  readonly begin: () => void;
  readonly giveUp: (error: Error) => void;
}

const slotsOf = new WeakMap<ContextRegistry, TestSlots>();

/**
 * Lets as many tests of one application run at the same time as its pools have connections, those of all
 * blocks together, in the order in which they came. A test gets its connections of all pools at once, so that
 * no two tests wait for one another.
 */
export class TestSlots {
  readonly #waiting = new Set<Waiter>();
  readonly #holding = new Set<Place>();
  readonly #closed = new WeakSet<object>();

  static of(registry: ContextRegistry): TestSlots {
    let slots = slotsOf.get(registry);
    if (slots === undefined) {
      slots = new TestSlots();
      slotsOf.set(registry, slots);
    }
    return slots;
  }

  /**
   * @returns a function that gives the slot to the next in the queue
   * @throws {@link TestTimeoutError} the limit is over, or the block of the test is
   */
  async take({ name, block, connections, limitMs }: ToBegin): Promise<() => void> {
    const pools = await Promise.all(
      connections.map(async (connection) => ({ connection, size: await connection.poolSize() })),
    );
    const place = { name, pools };
    if (this.#closed.has(block)) {
      throw this.#error(place, 'when the tests had ended');
    }
    if (this.#fullPoolOf(place) === undefined) {
      this.#holding.add(place);
    } else {
      await this.#wait(place, block, limitMs);
    }
    return () => this.#giveBack(place);
  }

  /** Lets no more tests of a block begin. */
  close(block: object): void {
    this.#closed.add(block);
    for (const waiter of this.#waiting) {
      if (waiter.block === block) {
        this.#waiting.delete(waiter);
        waiter.giveUp(new Error());
      }
    }
  }

  #giveBack(place: Place): void {
    this.#holding.delete(place);
    for (const waiter of this.#waiting) {
      if (this.#fullPoolOf(waiter) === undefined) {
        this.#waiting.delete(waiter);
        waiter.begin();
      }
    }
  }

  #fullPoolOf({ pools }: Place): Pool | undefined {
    return pools.find(({ connection, size }) => this.#holdersOf(connection).length >= size);
  }

  #holdersOf(connection: DbConnection): readonly Place[] {
    return [...this.#holding].filter(({ pools }) =>
      pools.some((pool) => pool.connection === connection),
    );
  }

  async #wait(place: Place, block: object, limitMs: number | undefined): Promise<void> {
    const startedAt = performance.now();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const begin = (): void => {
      this.#holding.add(place);
      resolve();
    };
    const waiter: Waiter = { ...place, block, begin, giveUp: reject };
    this.#waiting.add(waiter);
    const timer = limitMs === undefined ? undefined : setTimeout(reject, limitMs);
    try {
      await promise;
    } catch {
      this.#waiting.delete(waiter);
      throw this.#error(place, `for ${Math.round(performance.now() - startedAt)} ms`);
    } finally {
      clearTimeout(timer);
    }
  }

  #error(place: Place, when: string): TestTimeoutError {
    const { name } = place;
    const [smallest] = place.pools.toSorted((a, b) => a.size - b.size);
    const { connection, size } = this.#fullPoolOf(place) ?? smallest!;
    const held = this.#holdersOf(connection).map((each) => `"${each.name}"`);
    return new TestTimeoutError(
      `The test "${name}" did not begin: it waited ${when} for a connection of its own. Each concurrent ` +
        `test holds one of each pool, and that of "${connection.name}" has ${size}, held by: ` +
        `${held.join(', ') || 'no test any more'}. End what hangs there, enlarge pool.max, or let the ` +
        'runner begin fewer tests at a time (maxConcurrency).',
    );
  }
}
