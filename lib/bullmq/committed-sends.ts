import { Inject, Injectable, Optional } from '@nestjs/common';
import type { Queue } from 'bullmq';

import { TIMED_OUT, withinLimit } from '../connection/time-limit.js';
import type { Context } from '../context/context.js';
import { ContextRegistry } from '../context/context-registry.js';
import { watchLimits } from '../context/watch-limits.js';
import { HookTimeoutError, type JobNotSentError } from '../errors.js';
import { assertRoot } from '../context/assert-root.js';
import type { DbContextOptions } from '../options/context-options.js';
import { DB_CONTEXT_OPTIONS } from '../options/options-token.js';
import { warnOfEarlyJobs } from './early-job-warning.js';
import { OutgoingQueue } from './outgoing-queue.js';

/** How long the jobs of one commit have kept their caller waiting. */
interface Wait {
  readonly commit: number;
  readonly ms: number;
}

const LAST_COMMIT = -1;

/** What all queues of an application share that send with its commits. */
@Injectable()
export class CommittedSends {
  readonly registry: ContextRegistry;
  readonly #warns: boolean;
  readonly #waits = new WeakMap<Context, Wait>();

  /** @throws {@link InvalidOptionsError} the application has no `DbContextModule.forRoot()` */
  constructor(
    @Optional() @Inject(ContextRegistry) registry: ContextRegistry | undefined,
    @Optional() @Inject(DB_CONTEXT_OPTIONS) options: DbContextOptions | undefined,
  ) {
    assertRoot(registry, 'DbContextBullModule.registerQueue()');
    this.registry = registry;
    this.#warns = watchLimits(options?.watch) !== undefined;
  }

  /** The way of a queue to Redis, which is open until the last context has ended. */
  outgoing(queue: Queue): OutgoingQueue {
    if (this.#warns) {
      warnOfEarlyJobs(queue, this.registry);
    }
    const outgoing = new OutgoingQueue(queue);
    this.registry.shutdown.afterContexts(() => outgoing.close());
    return outgoing;
  }

  /**
   * Waits for what is sent after a commit, with one limit for all that follows the same commit.
   *
   * @param limitMs in milliseconds; `hookTimeoutMs`, where that is less
   * @throws why it could not be sent, {@link HookTimeoutError}
   */
  async wait(context: Context, sending: Promise<unknown>, limitMs: number): Promise<void> {
    const { hookTimeoutMs } = this.registry;
    const [ms, name] =
      hookTimeoutMs < limitMs ? [hookTimeoutMs, 'hookTimeoutMs'] : [limitMs, 'sendTimeoutMs'];
    const commit = context.isClosed ? LAST_COMMIT : context.earlyCommits;
    const before = this.#waits.get(context);
    const waitedMs = before?.commit === commit ? before.ms : 0;
    const startedAt = performance.now();
    try {
      if ((await withinLimit(sending, Math.max(ms - waitedMs, 0))) === TIMED_OUT) {
        throw new HookTimeoutError('Redis', ms, name);
      }
    } finally {
      this.#waits.set(context, { commit, ms: waitedMs + performance.now() - startedAt });
    }
  }

  /** Reports jobs that nobody can be thrown at any more. */
  report(error: JobNotSentError): void {
    this.registry.report(error.isLate ? 'a job is late, or lost' : 'a job is lost', error);
  }
}
