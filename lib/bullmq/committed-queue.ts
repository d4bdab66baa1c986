import { randomUUID } from 'node:crypto';

import type { BulkJobOptions, Job, JobsOptions, Queue } from 'bullmq';

import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { currentContext } from '../context/context-storage.js';
import { deferToCommit } from '../context/defer-to-commit.js';
import { HookTimeoutError, InvalidOptionsError, JobNotSentError } from '../errors.js';
import { jobDataOf } from './job-data.js';

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

/** A queue whose jobs leave with the commit. It is injected with `@InjectCommittedQueue(name)`. */
export class CommittedQueue<Data = unknown, Result = unknown, Name extends string = string> {
  /** BullMQ's queue itself, which knows of no transaction: for counters, schedulers, `getJob()`. */
  readonly queue: Queue<Data, Result, Name>;
  readonly #registry: ContextRegistry;
  readonly #timeoutMs: number;

  /** @internal */
  constructor(registry: ContextRegistry, queue: Queue, timeoutMs: number) {
    this.#registry = registry;
    this.queue = queue as Queue<Data, Result, Name>;
    this.#timeoutMs = timeoutMs;
  }

  /** The name of the queue. */
  get name(): string {
    return this.queue.name;
  }

  /**
   * Adds a job. In a context it is sent after the commit and before the response leaves, and dropped when
   * the context is rolled back, or the savepoint that it was added in. Where no context is active it is
   * sent at once.
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
   * @throws {@link InvalidOptionsError} in a context, for a `jobId` that begins with `0:`
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
    const context = currentContext(this.#registry);
    if (context === undefined) {
      return (await this.#send(jobs)).map((job) => ({ state: 'sent', id: job.id!, job }));
    }
    const checked = jobs.map((job) => this.#check(withId(job)));
    deferToCommit(this.#registry, () => this.#sendLater(checked, context));
    return checked.map(({ opts }) => ({ state: 'held', id: opts.jobId }));
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
  async #sendLater(jobs: readonly Draft<Data, Name>[], context: Origin): Promise<void> {
    try {
      // After an early commit the context goes on, and these jobs are none of what follows in it.
      const sending = this.#registry.runOutside(() => this.#send(jobs));
      const sent = await withinLimit(sending, this.#timeoutMs);
      if (sent === TIMED_OUT) {
        throw new HookTimeoutError('Redis', this.#timeoutMs, 'sendTimeoutMs');
      }
    } catch (error) {
      const names = jobs.map(({ name }) => name);
      const { origin } = context;
      this.#registry.report(
        'a job is lost, or late',
        new JobNotSentError(this.name, names, origin, error),
      );
    }
  }

  async #send(jobs: readonly Draft<Data, Name>[]): Promise<Job<Data, Result, Name>[]> {
    const [first] = jobs;
    const queue = this.queue as Queue;
    const sent =
      jobs.length === 1 && first !== undefined
        ? [await queue.add(first.name, first.data, first.opts)]
        : await queue.addBulk([...jobs]);
    return sent as Job<Data, Result, Name>[];
  }
}

/** A job that is not sent yet. */
interface Draft<Data, Name> {
  readonly name: Name;
  readonly data: Data;
  readonly opts: JobsOptions;
}

/** A context, which may get its name later. */
interface Origin {
  readonly origin: string;
}

function withId<Data, Name>(job: Draft<Data, Name>): Draft<Data, Name> {
  const { opts } = job;
  return opts.jobId !== undefined || opts.deduplication !== undefined
    ? job
    : { ...job, opts: { ...opts, jobId: randomUUID() } };
}
