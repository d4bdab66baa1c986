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

  /**
   * Commits what nothing forbids to be committed.
   *
   * @param options `mayLoseAnswer`: whether a read whose COMMIT is not answered is as good as committed
   */
  async commit(options: {
    readonly isReadOnly: boolean;
    readonly mayLoseAnswer: boolean;
  }): Promise<Outcome> {
    const { isReadOnly, mayLoseAnswer } = options;
    const machine = this.#machine;
    const { state } = machine;
    if (this.#ending !== undefined || state.tag !== 'shut') {
      throw new SessionClosedError(machine.place);
    }
    if (state.lease === undefined) {
      machine.end('untouched');
      return 'untouched';
    }
    machine.ending();
    this.#ending = commitOn(state.lease, this.#source, {
      placed: machine,
      hasOnlyRead: async () => mayLoseAnswer && (isReadOnly || (await this.hasOnlyRead())),
      noteWrite: isReadOnly ? undefined : this.#noteWrite,
      announce: (event) => this.#owner.announce(event),
    });
    try {
      await this.#ending;
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

  /**
   * Whether it is known that none of its statements has written. Names can hide code that writes; nobody needs to
   * know them before a COMMIT has failed.
   */
  async hasOnlyRead(): Promise<boolean> {
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
          new SessionClosedError(this.#machine.place, undefined, { because, brokenOff: {} }),
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
