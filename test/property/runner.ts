import type { EntityManager } from '@mikro-orm/postgresql';
import type { DbContext } from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { Boom, labelOf } from './labels.js';
import { perDatabase, type Database, type Op, type Program, type Trace } from './program.js';
import { runStatement } from './statements.js';

/** What a program is run on. */
export interface Target {
  readonly dbContext: DbContext;
  /** The injected sessions. */
  readonly sessions: Readonly<Record<Database, EntityManager>>;
  /** Number of connections of each pool that are checked out. */
  checkedOut(): Readonly<Record<Database, number>>;
}

interface Env {
  readonly managers: Readonly<Record<Database, EntityManager>>;
  /** Started when the innermost block around the current code has ended. */
  readonly late: Readonly<Record<Database, (() => Promise<void>)[]>>;
  readonly trace: Trace;
}

type Of<K extends Op['kind']> = Extract<Op, { readonly kind: K }>;

/** More turns than MikroORM takes from the call of a method to its statement. */
const TURNS = 200;

/**
 * Waits until a statement that nobody awaits has reached its transaction, and not for its answer: that
 * arrives through a socket, and no promise of this loop waits for one. Otherwise it would depend on
 * the number of promises in MikroORM whether the next operation finds a transaction that has begun.
 */
async function untilSent(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) {
    await Promise.resolve();
  }
}

/** Runs programs as an application would. */
export class Runner {
  readonly #target: Target;
  /** What the program left running, with any outcome. */
  readonly #leftovers: Promise<unknown>[] = [];

  constructor(target: Target) {
    this.#target = target;
  }

  /** Runs a program, and waits also for what it did not wait for. */
  async run(program: Program): Promise<{ readonly result: string; readonly trace: Trace }> {
    const trace: Trace = [];
    const { dbContext } = this.#target;
    const result = await this.#context((body) => dbContext.run(body), program, trace).then(
      () => 'ok',
      labelOf,
    );
    await Promise.all(this.#leftovers);
    return { result, trace };
  }

  async #context(
    open: (body: () => Promise<void>) => Promise<void>,
    body: Program,
    trace: Trace,
  ): Promise<void> {
    const shared: (() => Promise<void>)[] = [];
    const env = { managers: this.#target.sessions, late: perDatabase(() => shared), trace };
    await this.#thenLate(shared, () => open(() => this.#block(body, env)));
  }

  /** Runs a block, then what it scheduled for afterwards, one after another. */
  async #thenLate(late: readonly (() => Promise<void>)[], run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } finally {
      for (const start of late) {
        await start();
      }
    }
  }

  async #block(body: Program, env: Env): Promise<void> {
    for (const op of body) {
      await this.#step(op, env);
    }
  }

  async #step(op: Op, env: Env): Promise<void> {
    const { dbContext } = this.#target;
    switch (op.kind) {
      case 'statement':
        return runStatement(op, env.managers[op.db], env.trace);
      case 'stray':
        this.#leave(env.managers[op.db].insert(Note, { text: `n${op.id}` }));
        return untilSent();
      case 'late':
        return this.#late(op, env);
      case 'abandon':
        return this.#abandon(op, env.managers[op.db]);
      case 'throw':
        throw new Boom();
      case 'pool': {
        const counts = this.#target.checkedOut();
        env.trace.push(`pool #${op.id}: ${counts.default} ${counts.other}`);
        return undefined;
      }
      case 'end':
        return this.#end(op, env);
      case 'attempt':
        return this.#block(op.body, env).catch((error: unknown) => {
          env.trace.push(`caught #${op.id}: ${labelOf(error)}`);
        });
      case 'savepoint':
        return this.#nested(op, env, (body) =>
          env.managers[op.db].transactional((em) => body(em), {
            propagation: op.propagation as never,
          }),
        );
      case 'atomic':
        return this.#atomic(op, env);
      case 'newContext':
        return this.#context((body) => dbContext.runInNewContext(body), op.body, env.trace);
      case 'join':
        return dbContext.run(() => this.#block(op.body, env));
      case 'newSession':
        return this.#nested({ ...op, own: true }, env, (body) =>
          op.commits
            ? dbContext.newAtomicSession(body, { connection: op.db })
            : dbContext.newSession(body, { connection: op.db }),
        );
      case 'hook':
        return this.#hook(op, env);
      case 'parallel':
        return this.#parallel(op, env);
    }
  }

  /** Starts when the block has ended, with the asynchronous context of this place. */
  #late({ id, db }: Of<'late'>, { managers, late, trace }: Env): void {
    const start = deferred();
    const insert = start.promise
      .then(() => managers[db].insert(Note, { text: `n${id}` }))
      .then(() => 'ok', labelOf);
    late[db].push(async () => {
      start.resolve();
      trace.push(`late #${id}: ${await insert}`);
    });
  }

  #abandon({ id, branches }: Of<'abandon'>, em: EntityManager): never {
    for (let index = 0; index < branches; index++) {
      const branch = em.transactional(async (own) => {
        await own.insert(Note, { text: `n${id} ${index} first` });
        await em.insert(Note, { text: `n${id} ${index} second` });
      });
      this.#leave(branch);
    }
    throw new Boom();
  }

  #leave(work: Promise<unknown>): void {
    this.#leftovers.push(work.catch(() => undefined));
  }

  async #end({ verb, target, bySession }: Of<'end'>, env: Env): Promise<void> {
    const { dbContext } = this.#target;
    if (target === 'all') {
      await dbContext[`${verb}All`]();
    } else if (bySession && verb !== 'close') {
      await env.managers[target][verb]();
    } else {
      await dbContext[verb](target);
    }
  }

  /** A block that is given an entity manager, and after which nothing of it may go on. */
  async #nested(
    op: Of<'savepoint'> | (Of<'newSession'> & { readonly own: boolean }),
    env: Env,
    open: (body: (em: EntityManager) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    if (op.kind === 'savepoint' && op.propagation === 'required') {
      await open((em) => this.#block(op.body, op.own ? given(env, op.db, em) : env));
      return;
    }
    const late: (() => Promise<void>)[] = [];
    const inner = { ...env, late: { ...env.late, [op.db]: late } };
    await this.#thenLate(late, () =>
      open((em) => this.#block(op.body, op.own ? given(inner, op.db, em) : inner)),
    );
  }

  async #atomic(op: Of<'atomic'>, env: Env): Promise<void> {
    const { dbContext, sessions } = this.#target;
    const { db, mode, own, body } = op;
    const open = (callback: (em: EntityManager) => Promise<void>): Promise<void> =>
      dbContext.atomic(callback, { connection: db, current: mode });
    // Outside of it the code may be working with a session that is not the context's.
    const inner = given(env, db, sessions[db]);
    if (mode === 'savepoint') {
      await this.#nested({ ...op, kind: 'savepoint', propagation: 'nested' }, inner, open);
    } else {
      await open((em) => this.#block(body, own ? given(inner, db, em) : inner));
    }
  }

  #hook({ id, hook, bound, body }: Of<'hook'>, { trace }: Env): void {
    const { dbContext, sessions } = this.#target;
    dbContext[hook](
      async () => {
        trace.push(`${hook} #${id}`);
        const late: (() => Promise<void>)[] = [];
        const env = { managers: sessions, late: perDatabase(() => late), trace };
        await this.#block(body, env);
      },
      bound === undefined ? {} : { connection: bound },
    );
  }

  async #parallel({ branches }: Of<'parallel'>, env: Env): Promise<void> {
    const traces = branches.map((): Trace => []);
    const results = await Promise.allSettled(
      branches.map((branch, index) => this.#block(branch, { ...env, trace: traces[index]! })),
    );
    env.trace.push(traces);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) {
      throw failed.reason;
    }
  }
}

function given(env: Env, db: Database, em: EntityManager): Env {
  return { ...env, managers: { ...env.managers, [db]: em } };
}
