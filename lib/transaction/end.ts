import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import { CommitOutcomeUnknownError, SessionClosedError } from '../errors.js';
import type { Outcome } from '../outcome.js';
import type { TransactionOwner, TransactionSource } from './begin-plan.js';
import { lookUpHiddenCode } from './ask-hidden-code.js';
import type { SerialQueue } from './serial-queue.js';
import type { StateMachine } from './state-machine.js';
import { commitOn, rollbackOn } from './transaction-end.js';
import { hasBegun, leaseOf } from './transaction-state.js';

const ignore = (): void => undefined;

/** What is known of a transaction that is to be committed. */
interface CommitOptions {
  /** Whether the server refuses every write of it. */
  readonly isReadOnly: boolean;
  /** Whether a read whose COMMIT is not answered is as good as committed. */
  readonly mayLoseAnswer: boolean;
  /** Whether nothing comes after it in its unit of work, so that its connection is waited for by nobody. */
  readonly isLast: boolean;
}

/** Ends one transaction whose gate is shut: once, and a second end waits for the first (F1). */
export class End {
  readonly #source: TransactionSource;
  readonly #owner: TransactionOwner;
  readonly #machine: StateMachine;
  /** The end that is under way or over. */
  #ending: Promise<unknown> | undefined;

  constructor(source: TransactionSource, owner: TransactionOwner, machine: StateMachine) {
    this.#source = source;
    this.#owner = owner;
    this.#machine = machine;
  }

  /** Commits what nothing forbids to be committed. */
  commit(options: CommitOptions): Promise<Outcome> {
    const { isReadOnly, mayLoseAnswer, isLast } = options;
    const machine = this.#machine;
    const { state } = machine;
    if (this.#ending !== undefined || state.tag !== 'shut') {
      return Promise.reject(new SessionClosedError(this.#source.name));
    }
    const { lease } = state;
    if (lease === undefined) {
      machine.end('untouched');
      return Promise.resolve('untouched');
    }
    machine.ending();
    // The server says that the transaction is sound and can have written nothing, so COMMIT can tell nothing new.
    const needsNoAnswer =
      isLast &&
      isReadOnly &&
      mayLoseAnswer &&
      lease.status === 'T' &&
      this.#source.waitsForEnds !== true &&
      this.#owner.holder?.waitsForCommits !== true &&
      !this.#owner.hears('afterTransactionCommit');
    const ending = commitOn(lease, this.#source, {
      hasOnlyRead: async () => mayLoseAnswer && (isReadOnly || (await this.#hasOnlyRead())),
      noteWrite: isReadOnly ? undefined : this.#noteWrite,
      announce: (event) => this.#owner.announce(event),
    });
    this.#ending = ending;
    const committed = this.#committed(ending);
    if (needsNoAnswer) {
      const source = this.#source;
      const ended = committed.catch((error: unknown) => {
        source.report(
          `a read on connection "${source.name}" is done, and its COMMIT failed`,
          error,
        );
      });
      source.leftBehind?.(ended);
      return Promise.resolve('committed');
    }
    return committed;
  }

  async #committed(ending: Promise<void>): Promise<Outcome> {
    const machine = this.#machine;
    try {
      await ending;
    } catch (error) {
      machine.commitFailed(error);
      machine.end(error instanceof CommitOutcomeUnknownError ? 'unknown' : 'rolled-back');
      throw error;
    }
    machine.end('committed');
    const announced = this.#owner.announce('afterTransactionCommit');
    if (announced !== undefined) {
      await announced;
    }
    return 'committed';
  }

  /** Names can hide code that writes; nobody needs to know them before a COMMIT is lost. */
  async #hasOnlyRead(): Promise<boolean> {
    const machine = this.#machine;
    if (!machine.hasOnlyRead()) {
      return false;
    }
    const hidden = await lookUpHiddenCode(this.#source, this.#owner.holder);
    return hidden !== undefined && machine.hasOnlyRead(hidden);
  }

  /**
   * Rolls back, unless it is committed.
   *
   * @param queue the turns of the statements that may be in flight
   */
  async rollback(queue: SerialQueue): Promise<void> {
    this.#ending ??= this.#rollBack(queue);
    await this.#ending.catch(ignore);
  }

  async #rollBack(queue: SerialQueue): Promise<void> {
    const machine = this.#machine;
    const isAnnounced = hasBegun(machine.state);
    if (isAnnounced) {
      await this.#owner.announce('beforeTransactionRollback');
    }
    await this.#drain(queue);
    const { state } = machine;
    if (state.tag === 'shut') {
      machine.ending();
      if (state.lease !== undefined) {
        await rollbackOn(state.lease, this.#source);
      }
      machine.end('rolled-back');
    }
    await machine.destroyed;
    if (isAnnounced) {
      await this.#owner.announce('afterTransactionRollback');
    }
  }

  /** Waits for the statements in flight, and gives the connection up when they take too long (F6). */
  async #drain(queue: SerialQueue): Promise<void> {
    if (leaseOf(this.#machine.state) !== undefined && queue.unfinished > 0) {
      const { drainTimeoutMs } = this.#source.limits;
      if ((await withinLimit(queue.run(ignore), drainTimeoutMs)) === TIMED_OUT) {
        const because = this.#owner.holder?.endCause;
        this.#machine.kill(
          new SessionClosedError(this.#source.name, undefined, { because, brokenOff: {} }),
        );
      }
    }
  }

  /** Notes how far a replica must be to show what was written; `undefined` where nobody asks. */
  get #noteWrite(): ((lsn: bigint) => void) | undefined {
    const { name, readYourWrites } = this.#source;
    const { writtenLsns } = this.#owner.holder ?? {};
    return writtenLsns === undefined || readYourWrites === undefined
      ? undefined
      : writtenLsns.committing(name);
  }
}
