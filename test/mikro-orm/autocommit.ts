import { AsyncLocalStorage } from 'node:async_hooks';

import { DriverException, type EntityManager } from '@mikro-orm/core';

import { DbConnection } from '../../lib/connection/db-connection.js';
import { NestedTransaction } from '../../lib/session/nested-transaction.js';
import { SessionFactory } from '../../lib/session/session-factory.js';
import type { SessionOptions } from '../../lib/session/session-observer.js';
import type { Session } from '../../lib/session/session.js';

/** Methods that write by themselves. */
const WRITING = [
  'callRoutine',
  'execute',
  'insert',
  'insertMany',
  'nativeDelete',
  'nativeUpdate',
  'upsert',
  'upsertMany',
] as const;
const READING = [
  'count',
  'find',
  'findAndCount',
  'findByCursor',
  'findOne',
  'populate',
  'refresh',
] as const;

type Method =
  | 'begin'
  | 'commit'
  | 'flush'
  | 'rollback'
  | 'transactional'
  | 'tryFlush'
  | (typeof WRITING)[number]
  | (typeof READING)[number];
type Methods = Record<Method, (...args: never[]) => Promise<unknown>>;

/** Methods of the library that are exchanged, as functions. */
interface Creating {
  create: (this: SessionFactory, options: SessionOptions) => Session;
}
interface Logging {
  onStatement: (this: DbConnection, query: string, took: number) => void;
}

/** Connections on which a transaction begins and ends that plain MikroORM would not have begun. */
const hidden = new Set<DbConnection>();

/**
 * Makes each session end its transaction where plain MikroORM has ended one: after a flush, and after any
 * other statement, unless the code is in a transaction of its own. What is then left of differences is not
 * due to the time of the commit.
 */
export function endEachTransaction(): void {
  const factories = SessionFactory.prototype as Creating;
  const { create } = factories;
  factories.create = function createEnding(options): Session {
    const session = create.call(this, options);
    const autocommit = new Autocommit(session, this.connection);
    autocommit.install();
    autocommits.set(session.manager, autocommit);
    return session;
  };
  const connections = DbConnection.prototype as Logging;
  const { onStatement } = connections;
  connections.onStatement = function log(query, took): void {
    if (!hidden.has(this)) {
      onStatement.call(this, query, took);
    }
  };
}

/** What has failed in `transactional()` was undone by its savepoint. */
const UNDONE = (): boolean => false;

const autocommits = new WeakMap<EntityManager, Autocommit>();

/** Does the same for what is called on the global entity manager, and does not call that of the session. */
export function endEachCallOf(em: EntityManager): void {
  for (const name of [...WRITING, ...READING, 'tryFlush'] as const) {
    const original = (em as EntityManager & Methods)[name];
    const value = (...args: never[]): Promise<unknown> => {
      const call = (): Promise<unknown> => original.apply(em, args);
      const autocommit = autocommits.get(em.getContext(false));
      return (name === 'tryFlush' ? autocommit?.join(call) : autocommit?.call(call)) ?? call();
    };
    Object.defineProperty(em, name, { value, writable: true, configurable: true });
  }
}

class Autocommit {
  readonly #session: Session;
  readonly #connection: DbConnection;
  readonly #manager: EntityManager & Methods;
  /** Set in what one of the methods calls: that is part of it. */
  readonly #inside = new AsyncLocalStorage<true>();
  /** Whether the test has called `begin()`. */
  #isExplicit = false;
  /** How many of the methods are under way; of parallel ones the last ends the transaction of all. */
  #running = 0;
  #ending: Promise<void> | undefined;
  #hasFailed = false;
  #isFlushless = false;

  constructor(session: Session, connection: DbConnection) {
    this.#session = session;
    this.#connection = connection;
    this.#manager = session.manager as EntityManager & Methods;
  }

  install(): void {
    const [manager, session] = [this.#manager, this.#session];
    this.#exchange(manager, 'flush', (flush) => this.#flush(flush));
    this.#exchange(manager, 'transactional', (call) => this.#endAfter(call, UNDONE));
    for (const name of [...WRITING, ...READING]) {
      this.#exchange(manager, name, (call) => this.call(call));
    }
    // The query builder that flushes first goes on in the transaction that it was made for.
    this.#exchange(manager, 'tryFlush', (call) => this.join(call));
    this.#exchange(manager, 'begin', (begin) => {
      this.#isExplicit = true;
      return begin();
    });
    for (const [target, name] of [
      [manager, 'commit'],
      [manager, 'rollback'],
      [session as unknown as Methods, 'flush'],
    ] as const) {
      this.#exchange(target, name, (end) => {
        this.#isExplicit = false;
        return this.join(end);
      });
    }
  }

  #exchange(
    target: Methods,
    name: Method,
    around: (call: () => Promise<unknown>) => Promise<unknown>,
  ): void {
    const original = target[name];
    const value = (...args: never[]): Promise<unknown> =>
      around(() => original.apply(target, args));
    Object.defineProperty(target, name, { value });
  }

  get #isOwn(): boolean {
    return (
      this.#inside.getStore() === undefined &&
      !this.#isExplicit &&
      NestedTransaction.forkOf(this.#manager) === undefined
    );
  }

  /** What is part of the call that it belongs to. */
  join<T>(call: () => T): T {
    return this.#inside.run(true, call);
  }

  /** A method whose statements plain MikroORM sends in no transaction. */
  call(call: () => Promise<unknown>): Promise<unknown> {
    if (this.#isOwn) {
      hidden.add(this.#connection);
    }
    return this.#endAfter(call, (error) => error instanceof DriverException);
  }

  async #flush(flush: () => Promise<unknown>): Promise<unknown> {
    if (this.#isFlushless) {
      return undefined;
    }
    const wasHidden = hidden.delete(this.#connection);
    try {
      return await this.#endAfter(flush, () => true);
    } finally {
      if (wasHidden) {
        hidden.add(this.#connection);
      }
    }
  }

  /** @param hasFailed whether an error has failed the transaction, so that it cannot be committed */
  async #endAfter(
    call: () => Promise<unknown>,
    hasFailed: (error: unknown) => boolean,
  ): Promise<unknown> {
    if (!this.#isOwn) {
      return call();
    }
    this.#running += 1;
    try {
      // It takes the transaction that is there when it is called.
      await this.#ending;
      return await this.#inside.run(true, call);
    } catch (error) {
      this.#hasFailed ||= hasFailed(error);
      throw error;
    } finally {
      this.#running -= 1;
      if (this.#running === 0) {
        this.#ending = this.#end();
        await this.#ending;
      }
    }
  }

  async #end(): Promise<void> {
    const session = this.#session;
    const hasFailed = this.#hasFailed;
    this.#hasFailed = false;
    this.#isFlushless = true;
    try {
      await (hasFailed ? session.rollback() : session.commit());
    } finally {
      this.#isFlushless = false;
      hidden.delete(this.#connection);
    }
  }
}
