import type { Placed } from '../connection/claim.js';
import type { Answer, Lease, RequestedStatement } from '../connection/lease.js';
import { millisecondsSince, TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import {
  CommitOutcomeUnknownError,
  named,
  ProtocolViolationError,
  UnexpectedRollbackError,
  type ErrorPlace,
} from '../errors.js';
import type { TransactionEvent, TransactionSource } from './begin-plan.js';
import type { Statement } from './server.js';

/** What a commit needs beyond its connection. */
interface CommitWishes {
  readonly placed: Placed;
  /** Whether nothing can have been written, so that a lost answer loses nothing. */
  readonly hasOnlyRead: () => Promise<boolean>;
  /** Called with how far a replica must be to show what was written, if anything was. */
  readonly noteWrite: ((lsn: bigint) => void) | undefined;
  /** Announces the rollback of a commit that was refused to subscribers. */
  readonly announce: (event: TransactionEvent) => Promise<void> | undefined;
}

/**
 * Sends COMMIT, once, and believes only the server's own word (F4, S6). The client is given back or
 * destroyed, also when COMMIT fails (F1).
 *
 * @throws {@link UnexpectedRollbackError} the server answered `ROLLBACK`
 * @throws {@link CommitOutcomeUnknownError} no answer came, or none that says what became of it
 * @throws the server's own error, when it refused (a deferred constraint, 40001)
 */
export async function commitOn(
  lease: Lease,
  source: TransactionSource,
  { placed, hasOnlyRead, noteWrite, announce }: CommitWishes,
): Promise<void> {
  const { server, limits } = source;
  const startedAt = performance.now();
  let answer: Answer | typeof TIMED_OUT;
  try {
    const text = server.commit(noteWrite !== undefined);
    answer = await withinLimit(lease.query(text, [], 'commit'), limits.endTimeoutMs);
  } catch (error) {
    if (server.isIdleTimeout(error)) {
      await lease.destroy();
      throw new UnexpectedRollbackError(placed.place, 'connection-lost', error);
    }
    if (server.isRefusal(error)) {
      await announce('beforeTransactionRollback');
      // The answer to ROLLBACK shows whether the server that refused is still there.
      if (await rollbackOn(lease, source)) {
        await announce('afterTransactionRollback');
        // A question that came before COMMIT met what COMMIT would have answered with ROLLBACK.
        throw server.isAborted(error)
          ? new UnexpectedRollbackError(placed.place, 'server-rollback')
          : error;
      }
    }
    await lose(error);
    return;
  }
  if (answer === TIMED_OUT) {
    await lose(new Error(`no answer within ${limits.endTimeoutMs} ms`));
    return;
  }
  source.onStatement('commit', millisecondsSince(startedAt));
  const { word, hasWritten } = server.commitAnswer(answer, noteWrite !== undefined);
  if (word === 'unclear' || lease.status !== 'I') {
    await lose(new ProtocolViolationError(placed.place));
    return;
  }
  const isCommitted = word === 'committed';
  if (isCommitted && hasWritten && noteWrite !== undefined) {
    noteWrite(await askLsn(lease, source, placed.place));
  }
  if (!isCommitted) {
    await announce('beforeTransactionRollback');
  }
  lease.giveBack();
  if (!isCommitted) {
    await announce('afterTransactionRollback');
    throw new UnexpectedRollbackError(placed.place, 'server-rollback');
  }

  /** What the server is still doing would keep its locks. */
  async function lose(cause: unknown): Promise<void> {
    await lease.destroy();
    if (!(await hasOnlyRead())) {
      // It may have been saved, and then its client has to find it.
      noteWrite?.(server.unreachableLsn);
      throw new CommitOutcomeUnknownError(placed.place, cause);
    }
  }
}

/**
 * Asks how far a replica must be to show what has just been committed. Never throws: the work is
 * saved, and an LSN that is not known sends the reads that follow to the primary.
 */
async function askLsn(lease: Lease, source: TransactionSource, place: ErrorPlace): Promise<bigint> {
  const { server, limits } = source;
  try {
    const answer = await withinLimit(
      lease.query(server.writtenLsn, [], 'question'),
      limits.endTimeoutMs,
    );
    if (answer !== TIMED_OUT) {
      return server.lsnOf(answer);
    }
    throw new Error(`no answer within ${limits.endTimeoutMs} ms`);
  } catch (error) {
    // Where no answer came, one may yet come.
    lease.preventReuse();
    source.report(
      `the LSN of a write on connection ${named(place)} is not known, so its client reads from the primary for a while`,
      error,
    );
    return server.unreachableLsn;
  }
}

/**
 * Sends ROLLBACK. The client is given back, or destroyed when no answer came.
 *
 * @returns whether the server confirmed it; if not, it rolls back as the connection goes
 */
export async function rollbackOn(lease: Lease, source: TransactionSource): Promise<boolean> {
  const startedAt = performance.now();
  try {
    const answer = await withinLimit(
      lease.query(source.server.rollback, [], 'rollback'),
      source.limits.endTimeoutMs,
    );
    if (answer !== TIMED_OUT) {
      source.onStatement('rollback', millisecondsSince(startedAt));
      if (source.server.isRolledBack(answer)) {
        lease.giveBack();
        return true;
      }
    }
  } catch {
    // The end of the connection does the work of a ROLLBACK that failed.
  }
  await lease.destroy();
  return false;
}

/**
 * Sends a read in a transaction that holds nothing else: BEGIN, the read and COMMIT in one message,
 * and so in one round trip. The server refuses every write of it. The client is given back or
 * destroyed.
 *
 * @param begin what begins the transaction, read-only
 */
export async function readOn(
  lease: Lease,
  source: TransactionSource,
  begin: readonly Statement[],
  first: RequestedStatement,
  placed: Placed,
): Promise<Answer> {
  const { sql } = first;
  const { server } = source;
  const message = server.combine(lease.client, begin, sql, true);
  const around = begin.map((each) => each.sql);
  const startedAt = performance.now();
  try {
    const answer = await lease.sendMessage(message, first);
    if (server.isUnanswered(sql, answer)) {
      throw new ProtocolViolationError(placed.place);
    }
    lease.giveBack();
    return answer;
  } catch (error) {
    if (server.isRefusal(error) && !server.endsConnection(error)) {
      await rollbackOn(lease, source);
    } else {
      await lease.destroy();
    }
    throw error;
  } finally {
    const tookMs = millisecondsSince(startedAt);
    [...around, 'commit'].forEach((each) => source.onStatement(each, tookMs));
  }
}
