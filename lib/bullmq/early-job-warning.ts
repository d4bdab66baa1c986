import { Logger } from '@nestjs/common';
import type { Queue } from 'bullmq';

import type { ContextRegistry } from '../context/context-registry.js';

/**
 * Warns, once per route, where a job is given to BullMQ's queue itself while the context has work that is not
 * committed: its worker may begin before the COMMIT and find no row, and it runs also after a rollback.
 */
export function warnOfEarlyJobs(queue: Queue, registry: ContextRegistry): void {
  const logger = new Logger('DbContext');
  const warned = new Set<string>();
  queue.on('waiting', ({ name }) => {
    const context = registry.active();
    if (context?.hasWork !== true || warned.has(context.origin)) {
      return;
    }
    warned.add(context.origin);
    logger.warn(
      `${context.origin} has added the job ${name} to the queue "${queue.name}" before its commit: the worker may ` +
        'find no row, and runs after a rollback, too. Add it to the queue that ' +
        `@InjectCommittedQueue('${queue.name}') injects, or in dbContext.onCommit().`,
    );
  });
}
