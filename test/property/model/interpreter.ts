import {
  DATABASES,
  TAKEN,
  perDatabase,
  seedOf,
  type Op,
  type Outcome,
  type Program,
  type Trace,
} from '../program.js';
import { Blocks } from './blocks.js';
import { ModelContext } from './context.js';
import { assertAlive, type Env } from './env.js';
import { BOOM, ModelError, Undetermined, labelOf } from './failures.js';
import type { ModelSession } from './session.js';

/**
 * Runs a program on a stack of scopes, as the documents describe them: nothing here knows how the
 * library does it.
 *
 * @throws {@link Undetermined} the documents do not say what comes of the program
 */
export function predicted(program: Program, readsAhead = false): Outcome {
  return new Interpreter(program, readsAhead).run(program);
}

const READS: ReadonlySet<string> = new Set(['read', 'find', 'divide']);
const ON_UNIT_OF_WORK: ReadonlySet<string> = new Set(['persist', 'persistTaken', 'flush', 'find']);

class Interpreter extends Blocks {
  run(program: Program): Outcome {
    const trace: Trace = [];
    let result = 'ok';
    try {
      this.inNewContext(program, trace);
    } catch (error) {
      result = labelOf(error);
    }
    const rows = perDatabase((db) =>
      [...this.databases[db].rows].map(([text, transaction]) => ({ text, transaction })),
    );
    return {
      result,
      trace,
      rows,
      beforeCommits: perDatabase((db) => this.databases[db].beforeCommits),
    };
  }

  protected override step(op: Op, env: Env): void {
    switch (op.kind) {
      case 'statement':
        if (env.outerForks.includes(op.db) && ON_UNIT_OF_WORK.has(op.statement)) {
          throw new Undetermined('the unit of work of an outer nested transaction');
        }
        return this.#statement(op, this.session(op.db, env), env.trace);
      case 'stray':
        return this.session(op.db, env).leaveRunning(`n${op.id}`);
      case 'late':
        return this.#late(op, env);
      case 'abandon':
        this.session(op.db, env).abandon();
        throw new ModelError(BOOM);
      case 'throw':
        throw new ModelError(BOOM);
      case 'pool':
        this.assertNoStray();
        env.trace.push(
          `pool #${op.id}: ${DATABASES.map((db) => this.databases[db].open).join(' ')}`,
        );
        return undefined;
      case 'end':
        return this.#end(op, env);
      case 'attempt':
        return this.#attempt(op, env);
      case 'savepoint':
        return this.savepoint(op, env);
      case 'atomic':
        return this.atomic(op, env);
      case 'newContext':
        return this.inNewContext(op.body, env.trace);
      case 'join':
        return this.block(op.body, env);
      case 'newSession':
        return this.inNewSession(op, env);
      case 'hook':
        return this.#hook(op, env);
      case 'parallel':
        return this.parallel(op, env);
    }
  }

  #statement(op: Extract<Op, { kind: 'statement' }>, session: ModelSession, trace: Trace): void {
    const { statement, id } = op;
    if (statement === 'persist' || statement === 'persistTaken') {
      assertAlive(session);
      session.top.pending.push(statement === 'persist' ? `p${id}` : TAKEN);
      return;
    }
    if (statement === 'flush' || statement === 'find') {
      assertAlive(session);
      session.flush();
    }
    if (statement === 'flush') {
      return;
    }
    if (READS.has(statement)) {
      session.read();
    } else {
      session.send();
    }
    if (statement === 'insert') {
      session.insert(`n${id}`);
    } else if (statement === 'update') {
      session.replace(seedOf(op), `u${id}`);
    } else if (statement === 'delete') {
      session.remove(seedOf(op));
    } else if (statement === 'read') {
      trace.push(`read #${id}: ${session.visible.join(' ')}`);
    } else if (statement === 'duplicate') {
      session.fail('23505');
    } else if (statement === 'divide') {
      session.fail('22012');
    } else if (statement === 'orphan') {
      session.orphan();
    }
  }

  #end({ verb, target, bySession }: Extract<Op, { kind: 'end' }>, env: Env): void {
    const { context } = env;
    if (target === 'all') {
      const { sessions } = context;
      this.assertNotElsewhere(
        sessions.map(({ database }) => database.name),
        env,
      );
      if (verb === 'commit') {
        context.commitAll();
      } else if (verb === 'rollback') {
        const failed = DATABASES.filter((db) => context.hasFailed(db));
        const renewed = failed.map((db) => context.session(db));
        context.rollbackByHand([...new Set([...sessions, ...renewed])]);
      } else {
        context.close(sessions);
      }
      return;
    }
    const isBySession = bySession && verb !== 'close';
    const isToEnd = isBySession || (verb !== 'close' && context.hasFailed(target));
    const session =
      (isBySession ? env.own[target] : undefined) ??
      (isToEnd ? context.session(target) : context.existing(target));
    if (!isBySession) {
      this.assertNotElsewhere([target], env);
    }
    if (session === undefined) {
      return;
    }
    assertAlive(session);
    // A session in no context has an owner of its own, without hooks.
    const isOfContext = context.existing(target) === session;
    const owner = (isOfContext ? context : this.owners.get(session)) ?? new ModelContext(this);
    if (verb === 'commit') {
      owner.commitByHand(session);
    } else if (verb === 'rollback') {
      owner.rollbackByHand([session]);
    } else {
      owner.close([session]);
    }
  }

  #late({ id, db }: Extract<Op, { kind: 'late' }>, { late, trace }: Env): void {
    const block = late[db];
    if (block === undefined) {
      throw new Undetermined('a block of the context inside of a session in no context');
    }
    block.push({ id, trace });
  }

  #attempt({ id, body }: Extract<Op, { kind: 'attempt' }>, env: Env): void {
    try {
      this.block(body, env);
    } catch (error) {
      const label = labelOf(error);
      this.assertNothingAbandoned(env);
      env.trace.push(`caught #${id}: ${label}`);
    }
  }

  #hook({ id, hook, bound, body }: Extract<Op, { kind: 'hook' }>, env: Env): void {
    const { context, trace } = env;
    this.assertNotElsewhere(bound === undefined ? DATABASES : [bound], env);
    const sessions = bound === undefined ? context.sessions : [context.session(bound)];
    if (bound !== undefined && sessions.some(({ transactions }) => transactions.length > 1)) {
      throw new Undetermined('a hook that is bound to a connection with two transactions');
    }
    context.hooks.add({ id, kind: hook, bound, body, trace }, sessions);
  }
}
