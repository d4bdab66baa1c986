import type { EntityManager } from '@mikro-orm/core';

import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import type { DriverEntityManager } from '../session/driver-entity-manager.js';
import { BlockEntities } from './block-entities.js';
import type { KeptRows } from './kept-rows.js';
import type { TestTarget } from './test-target.js';
import type { TestTransaction } from './test-transaction.js';

/**
 * Makes the data of a block of tests.
 *
 * @param session a session of the block on the default connection, or on its only one; what is left in it is
 *   flushed afterwards
 * @typeParam E the driver's EntityManager
 * @publicApi
 */
export type BlockSetUp<E extends EntityManager = DriverEntityManager> = (
  session: E,
) => void | Promise<void>;

/** A block of tests. */
interface Block {
  readonly transaction: TestTransaction;
  /** The sessions of its set-up, with the names of their connections. */
  readonly sessions: (readonly [connectionName: string, session: EntityManager])[];
  /** What it has made and loaded, with what was there from the blocks around it; by connection. */
  entities: ReadonlyMap<string, BlockEntities>;
}

/**
 * The blocks of tests that share their data, each inside of the one before. The outermost one holds a
 * transaction, an inner one and each test a savepoint in it.
 */
export class TestBlocks {
  readonly #begin: (signal?: AbortSignal) => Promise<TestTransaction>;
  readonly #open: Block[] = [];
  /** The block whose set-up runs. */
  #setUp: Block | undefined;

  /** @param begin begins the transaction of the outermost block, or of a test that is in none */
  constructor(begin: (signal?: AbortSignal) => Promise<TestTransaction>) {
    this.#begin = begin;
  }

  /** The transaction that a hook uses which runs between the tests; `undefined` outside of all blocks. */
  get current(): TestTransaction | undefined {
    return (this.#setUp ?? this.#open.at(-1))?.transaction;
  }

  /** A session was given out; what it has made during a set-up belongs to the block. */
  gaveOut<E extends EntityManager>(connectionName: string, session: E): E {
    this.#setUp?.sessions.push([connectionName, session]);
    return session;
  }

  /**
   * Begins the transaction of a test.
   *
   * @param name what the test runner calls it
   * @param signal gives it up, where it is in no block
   */
  async beginTest(
    app: () => TestTarget,
    name: string | undefined,
    signal: AbortSignal,
  ): Promise<TestTransaction> {
    const transaction = await this.#beginTest(signal);
    transaction.ownContexts(app(), { name });
    return transaction;
  }

  async #beginTest(signal: AbortSignal): Promise<TestTransaction> {
    const block = this.#open.at(-1);
    if (block === undefined) {
      return this.#begin(signal);
    }
    const transaction = await block.transaction.nested();
    try {
      for (const [name, entities] of block.entities) {
        entities.attachTo(transaction.session(name));
      }
    } catch (error) {
      await transaction.end();
      throw error;
    }
    return transaction;
  }

  /**
   * Begins a block inside of the innermost one, and makes its data.
   *
   * @returns a function that ends it, with the blocks inside of it
   * @throws what `setUp` throws; nothing of the block is left then
   */
  async begin(setUp: BlockSetUp): Promise<() => Promise<void>> {
    const outer = this.#open.at(-1);
    const transaction = await (outer === undefined ? this.#begin() : outer.transaction.nested());
    const block: Block = { transaction, sessions: [], entities: new Map() };
    this.#setUp = block;
    try {
      for (const [name, entities] of outer?.entities ?? []) {
        entities.attachTo(this.gaveOut(name, transaction.session(name)));
      }
      const [name] = transaction.connectionNames;
      const isNamed = transaction.connectionNames.includes(DEFAULT_CONNECTION_NAME);
      await setUp(this.#sessionOf(block, isNamed ? DEFAULT_CONNECTION_NAME : name!));
      await flushAll(block);
    } catch (error) {
      await transaction.end();
      throw error;
    } finally {
      this.#setUp = undefined;
    }
    transaction.rest();
    this.#open.push(block);
    return () => this.#end(block);
  }

  /** Ends a test and the blocks around it by a real COMMIT of all that they did. */
  async keep(test: TestTransaction): Promise<readonly KeptRows[]> {
    const blocks = this.#open.splice(0).map(({ transaction }) => transaction);
    const [outermost, ...inner] = [...blocks, test];
    const kept = await outermost.keep();
    for (const transaction of inner.toReversed()) {
      await transaction.end();
    }
    return kept;
  }

  /** The session that has the entities of the blocks around, or a new one. */
  #sessionOf(block: Block, name: string): DriverEntityManager {
    const [, session] = block.sessions.find(([each]) => each === name) ?? [];
    return (session ??
      this.gaveOut(name, block.transaction.session(name))) as unknown as DriverEntityManager;
  }

  /** Hooks that end several blocks may run in any order, so that one may have ended with another. */
  async #end(block: Block): Promise<void> {
    const index = this.#open.indexOf(block);
    if (index < 0) {
      return;
    }
    const ended = this.#open.splice(index);
    for (const { transaction } of ended.toReversed()) {
      await transaction.end();
    }
  }
}

/** Flushes the sessions of a set-up, and remembers their entities. */
async function flushAll(block: Block): Promise<void> {
  const sessions = new Map<string, EntityManager[]>();
  for (const [name, session] of block.sessions) {
    await session.flush();
    sessions.set(name, [...(sessions.get(name) ?? []), session]);
  }
  block.entities = new Map(
    [...sessions].map(([name, all]) => [name, new BlockEntities(all)] as const),
  );
  // The entities belong to the tests from here on.
  block.sessions.forEach(([, session]) => session.clear());
}
