import { randomUUID } from 'node:crypto';

import type { BulkJobOptions, Job, JobsOptions, Queue } from 'bullmq';

import type { Context } from '../context/context.js';
import { currentContext } from '../context/context-storage.js';
import { deferToCommit } from '../context/defer-to-commit.js';
import { InvalidOptionsError, JobNotSentError } from '../errors.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import type { CommittedSends } from './committed-sends.js';
import { jobDataOf } from './job-data.js';
import type { OutgoingQueue } from './outgoing-queue.js';

/** A job as `addBulk()` takes it. */
export interface CommittedJob<Data = unknown, Name extends string = string> {
  readonly name: Name;
  readonly data: Data;
  readonly opts?: BulkJobOptions;
}

/** A job that Redis has: there was no commit to wait for. */
export interface SentJob<Data = unknown, Result = unknown, Name extends string = string> {
  readonly state: 'sent';
  /** The id of the job. */
  readonly id: string;
  readonly job: Job<Data, Result, Name>;
}

/** A job that is sent after the commit, and dropped with a rollback. No worker knows of it yet. */
export interface HeldJob {
  readonly state: 'held';
  /**
   * The id that the job will have, which can be saved with the row; `undefined` with `deduplication`,
   * where Redis decides which job it is.
   */
  readonly id: string | undefined;
}

/** What has come of a job for now. */
export type JobReceipt<Data = unknown, Result = unknown, Name extends string = string> =
  | SentJob<Data, Result, Name>
  | HeldJob;

/** What a {@link CommittedQueue} is made of. */
export interface CommittedQueueParts {
  readonly sends: CommittedSends;
  readonly queue: Queue;
  readonly outgoing: OutgoingQueue;
  /** See `sendTimeoutMs`, in milliseconds. */
  readonly timeoutMs: number;
  /** See `commitOf`. */
  readonly commitOf: string | undefined;
}

/** A queue whose jobs leave with the commit. It is injected with `@InjectCommittedQueue(name)`. */
export class CommittedQueue<Data = unknown, Result = unknown, Name extends string = string> {
  /** BullMQ's queue itself, which knows of no transaction: for counters, schedulers, `getJob()`. */
  readonly queue: Queue<Data, Result, Name>;
  readonly #parts: CommittedQueueParts;

  /** @internal */
  constructor(parts: CommittedQueueParts) {
    this.queue = parts.queue as Queue<Data, Result, Name>;
    this.#parts = parts;
  }

  /** The name of the queue. */
  get name(): string {
    return this.queue.name;
  }

  /**
   * The same queue for work on another connection: its jobs are sent with the commits of that one.
   *
   * @param connection the name of the connection of the database
   * @throws {@link UnknownConnectionError}
   * @example
   * ```ts
   * await this.mail.withCommitOf('reports').add('report', { id });
   * ```
   */
  withCommitOf(connection: string): CommittedQueue<Data, Result, Name> {
    this.#parts.sends.registry.connections.factory(connection);
    return new CommittedQueue({ ...this.#parts, commitOf: connection });
  }

  /**
   * Adds a job. In a context it is sent after the next commit of its connection, an early one included, and
   * before the response leaves; it is dropped when the transaction that it was added in is rolled back, or
   * the savepoint. Where no context is active it is sent at once.
   *
   * Name, data and options are checked, and the data is copied, when this is called: what BullMQ refuses
   * fails the request, rather than be lost after its commit. Redis is not asked before the commit. When it
   * does not take the job then, the log has a {@link JobNotSentError}, which names the route; the request
   * has succeeded.
   *
   * @param data what `JSON.stringify()` takes
   * @returns what has come of it for now: `held` in a context, else `sent`
   * @throws what BullMQ throws: for options or data that it refuses; outside of a context, also when Redis
   *   does not take the job
   * @throws {@link InvalidTransactionStateError} the call is inside of the transaction of another session,
   *   such as that of `em.fork().transactional()`, of whose end the context does not learn
   * @throws {@link InvalidOptionsError} in a context, for a `jobId` that begins with `0:`; or the application
   *   has several connections, none of them is called `default`, and the queue has no `commitOf`
   */
  async add(name: Name, data: Data, opts?: JobsOptions): Promise<JobReceipt<Data, Result, Name>> {
    const [receipt] = await this.#add([{ name, data, opts: opts ?? {} }]);
    return receipt!;
  }

  /**
   * Adds several jobs, which are sent in one step: all of them, or none. Otherwise as
   * {@link CommittedQueue.add}.
   */
  async addBulk(
    jobs: readonly CommittedJob<Data, Name>[],
  ): Promise<JobReceipt<Data, Result, Name>[]> {
    return this.#add(jobs.map((job) => ({ ...job, opts: job.opts ?? {} })));
  }

  async #add(jobs: readonly Draft<Data, Name>[]): Promise<JobReceipt<Data, Result, Name>[]> {
    const { registry } = this.#parts.sends;
    const context = currentContext(registry);
    if (context === undefined) {
      return (await this.#send(jobs)).map((job) => ({ state: 'sent', id: job.id!, job }));
    }
    const checked = jobs.map((job) => this.#check(withId(job)));
    deferToCommit(registry, () => this.#sendLater(checked, context), this.#connection);
    return checked.map(({ opts }) => ({ state: 'held', id: opts.jobId }));
  }

  /** The connection whose commits the jobs wait for. */
  get #connection(): string {
    const { commitOf, sends } = this.#parts;
    if (commitOf !== undefined) {
      return commitOf;
    }
    const names = sends.registry.connections.all.map(({ name }) => name);
    const [only, ...others] = names;
    if (names.includes(DEFAULT_CONNECTION_NAME) || only === undefined) {
      return DEFAULT_CONNECTION_NAME;
    }
    if (others.length > 0) {
      throw new InvalidOptionsError(
        `The queue "${this.name}" does not say whose commit its jobs wait for, and the application has the ` +
          `connections ${names.map((name) => `"${name}"`).join(', ')}. Give it one of them: ` +
          `registerQueue({ name: '${this.name}', commitOf: '${only}' }), or queue.withCommitOf('${only}').`,
      );
    }
    return only;
  }

  /** Takes the data as BullMQ would take it now; throws what it would throw. */
  #check(draft: Draft<Data, Name>): Draft<Data, Name> {
    const { name, data, opts } = draft;
    if (opts.jobId?.startsWith('0:') === true) {
      // The one rule that BullMQ checks nowhere but in Queue.add().
      throw new InvalidOptionsError(
        `The job ${name} of the queue "${this.name}" has jobId: '${opts.jobId}'. BullMQ takes no id that begins ` +
          "with '0:'; give it another one.",
      );
    }
    const all = { ...this.queue.defaultJobOptions, ...opts };
    const sent = jobDataOf(this.queue, name, data, all, opts.jobId);
    return { name, data: JSON.parse(sent) as Data, opts: { ...opts } };
  }

  /** Never throws: what it belongs to is saved, and nobody can undo it. */
  async #sendLater(jobs: readonly Draft<Data, Name>[], context: Context): Promise<void> {
    const { sends, timeoutMs } = this.#parts;
    try {
      // After an early commit the context goes on, and these jobs are none of what follows in it.
      const sending = sends.registry.runOutside(() => this.#send(jobs));
      await sends.wait(context, sending, timeoutMs);
    } catch (error) {
      const names = jobs.map(({ name }) => name);
      const ids = jobs.map(({ opts }) => opts.jobId);
      sends.report(new JobNotSentError(this.name, names, ids, context.origin, error));
    }
  }

  async #send(jobs: readonly Draft<Data, Name>[]): Promise<Job<Data, Result, Name>[]> {
    return (await this.#parts.outgoing.send(jobs)) as Job<Data, Result, Name>[];
  }
}

/** A job that is not sent yet. */
interface Draft<Data, Name> {
  readonly name: Name;
  readonly data: Data;
  readonly opts: JobsOptions;
}

function withId<Data, Name>(job: Draft<Data, Name>): Draft<Data, Name> {
  const { opts } = job;
  return opts.jobId !== undefined || opts.deduplication !== undefined
    ? job
    : { ...job, opts: { ...opts, jobId: randomUUID() } };
}
