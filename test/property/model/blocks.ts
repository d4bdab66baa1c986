import { TAKEN, type Database, type Op, type Trace } from '../program.js';
import type { ModelContext } from './context.js';
import { Contexts } from './contexts.js';
import { assertAlive, type Env, type Late } from './env.js';
import { ModelError, REFUSED, Undetermined, rethrowUndetermined } from './failures.js';
import type { ModelSession } from './session.js';
import { Transaction } from './transactions.js';

/** The blocks inside of a context: what begins with them, and what ends. */
export abstract class Blocks extends Contexts {
  protected savepoint(op: Extract<Op, { kind: 'savepoint' }>, env: Env): void {
    const session = this.session(op.db, env);
    assertAlive(session);
    if (op.propagation === 'required' && session.current.isAutocommit) {
      // It has one of its own there, into which MikroORM writes what was pending outside.
      throw new Undetermined('a nested transaction inside of not_supported');
    }
    if (op.propagation === 'required') {
      const own = op.own ? { ...env.own, [op.db]: session } : env.own;
      this.block(op.body, { ...env, own });
    } else if (session.current.isAutocommit) {
      throw new Undetermined('a nested transaction inside of not_supported');
    } else if (op.propagation !== 'nested') {
      this.suspending(op, op.propagation, session, env);
    } else {
      session.flush();
      session.openSavepoint();
      this.nested(op, session, env, {
        keep: () => session.releaseSavepoint(),
        undo: () => session.rollbackToSavepoint(),
      });
    }
  }

  /** Work beside the transaction of the session, which waits meanwhile. */
  protected suspending(
    op: Extract<Op, { kind: 'savepoint' }>,
    propagation: 'requires_new' | 'not_supported',
    session: ModelSession,
    env: Env,
  ): void {
    session.flush();
    if (env.forks.includes(op.db) && !op.own) {
      throw new Undetermined(`the manager of an outer nested transaction inside of ${propagation}`);
    }
    this.assertNoStray();
    session.transactions.push(new Transaction(propagation));
    this.nested(op, session, env, {
      keep: () => {
        session.assertNotFailed();
        session.assertNothingRunsElsewhere();
        session.commit();
        session.transactions.pop();
      },
      undo: () => {
        session.assertNothingRunsElsewhere();
        session.rollback();
        session.transactions.pop();
      },
    });
  }

  protected nested(
    { body, db, own }: Extract<Op, { kind: 'savepoint' }>,
    session: ModelSession,
    env: Env,
    ends: { readonly keep: () => void; readonly undo: () => void },
  ): void {
    const late: Late[] = [];
    const inner = {
      ...env,
      // MikroORM's context does not know the callback of not_supported.
      ambient: session.current.isAutocommit ? env.ambient : session,
      forks: own ? [...env.forks, db] : env.forks,
      outerForks: own
        ? env.outerForks.filter((each) => each !== db)
        : [...env.outerForks, ...env.forks.filter((each) => each === db)],
      own: own ? { ...env.own, [db]: session } : env.own,
      late: { ...env.late, [db]: late },
    };
    try {
      this.block(body, inner);
      session.flushForEnd();
      ends.keep();
    } catch (error) {
      rethrowUndetermined(error);
      ends.undo();
      this.runLate(late);
      throw error;
    }
    this.runLate(late);
  }

  protected atomic(op: Extract<Op, { kind: 'atomic' }>, env: Env): void {
    const { context } = env;
    const { db, mode, body } = op;
    if (mode === 'savepoint') {
      this.savepoint({ ...op, kind: 'savepoint', propagation: 'nested' }, this.ofContext(env, db));
      return;
    }
    const session = context.session(db);
    this.assertNotElsewhere([db], env);
    if (session.isNested) {
      throw new ModelError(REFUSED);
    }
    if (session.hasWork) {
      this.makeWay(session, mode, context);
    }
    const inner = this.ofContext(env, db);
    const own = op.own ? { ...inner.own, [db]: context.session(db) } : inner.own;
    const failure = context.rememberFailure(db);
    try {
      this.block(body, { ...inner, own });
      failure.assertNone();
    } catch (error) {
      rethrowUndetermined(error);
      const existing = context.existing(db);
      if (existing !== undefined) {
        context.rollbackEarly([existing]);
      }
      failure.forget();
      throw error;
    }
    const existing = context.existing(db);
    if (existing !== undefined) {
      context.commitEarly(existing);
    }
  }

  /** The code works on the session of the context again, if it had another one at hand. */
  protected ofContext(env: Env, db: Database): Env {
    const { [db]: other, ...own } = env.own;
    const isForeign = other !== undefined && other !== env.context.existing(db);
    return {
      ...env,
      own,
      forks: env.forks.filter((each) => each !== db),
      outerForks: env.outerForks.filter((each) => each !== db),
      late: isForeign ? { ...env.late, [db]: undefined } : env.late,
    };
  }

  protected makeWay(session: ModelSession, mode: string, context: ModelContext): void {
    if (mode === 'commit') {
      // It is none of the block: whoever catches its failure cannot succeed.
      context.commitByHand(session);
    } else if (mode === 'rollback') {
      context.rollbackEarly([session]);
    } else if (mode === 'append') {
      // What was lost before the block is not undone by it.
      session.assertNotFailed();
    } else if (mode === 'raise') {
      throw new ModelError(REFUSED);
    }
  }

  protected parallel({ branches }: Extract<Op, { kind: 'parallel' }>, env: Env): void {
    // Which of them flushes what is pending, and thus fails, is up to the timing.
    const kinds = branches.flat().map((op) => (op.kind === 'atomic' ? op.mode : op.kind));
    const isMixed = new Set(kinds.filter((kind) => kind !== 'newContext')).size > 1;
    const sessions = [...env.context.sessions, ...Object.values(env.own)];
    if (isMixed && sessions.some(({ top }) => top.pending.includes(TAKEN))) {
      throw new Undetermined('which branch flushes what fails');
    }
    const errors: unknown[] = [];
    const traces = branches.map((branch) => {
      const trace: Trace = [];
      try {
        this.block(branch, { ...env, trace });
      } catch (error) {
        rethrowUndetermined(error);
        this.assertNothingAbandoned(env);
        errors.push(error);
      }
      return trace;
    });
    env.trace.push(traces);
    if (errors.length > 0) {
      throw errors[0];
    }
  }
}
