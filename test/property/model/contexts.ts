import {
  perDatabase,
  seedsOf,
  type Database,
  type Op,
  type Program,
  type Trace,
} from '../program.js';
import { ModelContext, type ContextRegistry } from './context.js';
import type { Env, Late } from './env.js';
import {
  CLOSED,
  ModelError,
  REFUSED,
  Undetermined,
  labelOf,
  rethrowUndetermined,
} from './failures.js';
import type { ModelHook } from './hooks.js';
import type { ModelSession } from './session.js';
import { ModelDatabase, type Frame } from './transactions.js';

/** The contexts and sessions that a program opens, and what becomes of them. */
export abstract class Contexts implements ContextRegistry {
  readonly databases: Readonly<Record<Database, ModelDatabase>>;
  strayFrame: Frame | undefined;

  readonly readsAhead: boolean;
  /** Of the sessions in no context, what ends them. */
  protected readonly owners = new WeakMap<ModelSession, ModelContext>();

  constructor(program: Program, readsAhead: boolean) {
    this.readsAhead = readsAhead;
    this.databases = perDatabase((db) => new ModelDatabase(db, seedsOf(program, db)));
  }

  protected abstract step(op: Op, env: Env): void;

  runInside({ id, kind, body, trace }: ModelHook, context: ModelContext): void {
    trace.push(`${kind} #${id}`);
    this.block(body, {
      context,
      own: {},
      late: perDatabase(() => []),
      trace,
      forks: [],
      outerForks: [],
      ambient: undefined,
    });
  }

  runApart({ id, kind, body, trace }: ModelHook): void {
    trace.push(`${kind} #${id}`);
    try {
      this.inNewContext(body, trace);
    } catch (error) {
      labelOf(error);
    }
  }

  protected inNewContext(body: Program, trace: Trace): void {
    const context = new ModelContext(this);
    const shared: Late[] = [];
    try {
      this.block(body, {
        context,
        own: {},
        late: perDatabase(() => shared),
        trace,
        forks: [],
        outerForks: [],
        ambient: undefined,
      });
    } catch (error) {
      rethrowUndetermined(error);
      context.settleByRollback();
      this.runLate(shared);
      throw error;
    }
    try {
      context.settleByCommit();
    } finally {
      this.runLate(shared);
    }
  }

  protected inNewSession(op: Extract<Op, { kind: 'newSession' }>, env: Env): void {
    const context = new ModelContext(this);
    const session = context.session(op.db);
    this.owners.set(session, context);
    const late: Late[] = [];
    const inner = {
      ...env,
      forks: env.forks.filter((db) => db !== op.db),
      outerForks: env.outerForks.filter((db) => db !== op.db),
      own: { ...env.own, [op.db]: session },
      late: { ...env.late, [op.db]: late },
    };
    try {
      this.block(op.body, inner);
    } catch (error) {
      rethrowUndetermined(error);
      context.settleByRollback();
      this.runLate(late);
      throw error;
    }
    try {
      if (op.commits) {
        context.settleByCommit();
      } else {
        context.settleByRollback();
      }
    } finally {
      this.runLate(late);
    }
  }

  /** S5, F3: what starts after the end is refused. */
  protected runLate(late: readonly Late[]): void {
    late.forEach(({ id, trace }) => trace.push(`late #${id}: ${CLOSED}`));
  }

  protected block(body: Program, env: Env): void {
    body.forEach((op) => this.step(op, env));
  }

  /** C6: in the nested transaction of another session nothing of the context is ended, nor hooked into. */
  protected assertNotElsewhere(dbs: readonly Database[], { ambient, context }: Env): void {
    if (
      ambient !== undefined &&
      dbs.includes(ambient.database.name) &&
      context.existing(ambient.database.name) !== ambient
    ) {
      throw new ModelError(REFUSED);
    }
  }

  protected session(db: Database, env: Env): ModelSession {
    return env.own[db] ?? env.context.session(db);
  }

  protected assertNothingAbandoned(env: Env): void {
    const sessions = [...env.context.sessions, ...Object.values(env.own)];
    if (sessions.some(({ isAbandoned, isGone }) => isAbandoned && !isGone)) {
      throw new Undetermined('what goes on beside abandoned work');
    }
  }

  protected assertNoStray(): void {
    if (this.strayFrame !== undefined) {
      throw new Undetermined('what a running statement has come to');
    }
  }
}
