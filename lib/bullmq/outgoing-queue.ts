import type { JobsOptions, Queue, QueueOptions } from 'bullmq';

import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';

/** A job as BullMQ takes it. */
interface OutgoingJob {
  readonly name: string;
  readonly data: unknown;
  readonly opts: JobsOptions;
}

/** How long the end of the substitute may take before its connection is cut, in milliseconds. */
const CLOSE_TIMEOUT_MS = 1_000;

/**
 * The way of jobs to Redis. Nest closes its queue while the workers of the application still end their
 * jobs, and what these send with their commits would be lost. So a queue with the same options takes its
 * place then, which is closed when the last context has ended (H3).
 */
export class OutgoingQueue {
  readonly #queue: Queue;
  #substitute: Queue | undefined;
  #isOver = false;

  constructor(queue: Queue) {
    this.#queue = queue;
  }

  /** Sends jobs in one step. */
  async send(jobs: readonly OutgoingJob[]): Promise<Awaited<ReturnType<Queue['addBulk']>>> {
    const queue = this.#open();
    try {
      return await sendThrough(queue, jobs);
    } catch (error) {
      const next = this.#open();
      // Nest has closed the queue meanwhile. BullMQ takes a job with the same id only once.
      if (next === queue || !jobs.every(isTakenOnce)) {
        throw error;
      }
      return sendThrough(next, jobs);
    }
  }

  /** Closes what has taken the place of Nest's queue. Never throws. */
  async close(): Promise<void> {
    this.#isOver = true;
    const substitute = this.#substitute;
    if (substitute === undefined) {
      return;
    }
    const closed = await withinLimit(substitute.close(), CLOSE_TIMEOUT_MS).catch(() => TIMED_OUT);
    if (closed === TIMED_OUT) {
      await withinLimit(substitute.disconnect(), CLOSE_TIMEOUT_MS).catch(() => undefined);
    }
  }

  #open(): Queue {
    const queue = this.#queue;
    return queue.closing === undefined || this.#isOver ? queue : (this.#substitute ??= like(queue));
  }
}

function like(queue: Queue): Queue {
  // The class that the application has given to BullModule.
  const QueueClass = queue.constructor as new (name: string, options: QueueOptions) => Queue;
  const substitute = new QueueClass(queue.name, queue.opts);
  substitute.on('error', (error) => queue.emit('error', error));
  return substitute;
}

async function sendThrough(
  queue: Queue,
  jobs: readonly OutgoingJob[],
): Promise<Awaited<ReturnType<Queue['addBulk']>>> {
  const [first] = jobs;
  return jobs.length === 1 && first !== undefined
    ? [await queue.add(first.name, first.data, first.opts)]
    : queue.addBulk([...jobs]);
}

function isTakenOnce({ opts }: OutgoingJob): boolean {
  return (opts.jobId ?? opts.deduplication) !== undefined;
}
