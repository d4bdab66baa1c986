import type { RunOptions } from '../context/run-options.js';
import type { DecoratedCall } from './managed-method.js';

/** The metadata of `@Processor()` of `@nestjs/bullmq`. */
const PROCESSOR_KEY = 'bullmq:processor_metadata';

/** The errors by which a job of BullMQ says that it goes on later; it knows them by these names as well. */
const GOES_ON_LATER: ReadonlySet<string> = new Set([
  'DelayedError',
  'WaitingError',
  'WaitingChildrenError',
  'RateLimitError',
]);

/**
 * How the context of a job of BullMQ ends: the step of a job that goes on later is saved, and one whose
 * result BullMQ could not keep fails before its commit. Other handlers end as any context.
 */
export function endOfJob({ owner, key }: DecoratedCall): Partial<RunOptions<unknown>> {
  return key === 'process' && Reflect.hasMetadata(PROCESSOR_KEY, owner) ? JOB_ENDS : {};
}

const JOB_ENDS: Partial<RunOptions<unknown>> = {
  commitOn: (result) => {
    // As BullMQ makes the text of the result, and throws what that throws.
    JSON.stringify(result);
    return true;
  },
  commitOnError: (error) => error instanceof Error && GOES_ON_LATER.has(error.name),
};
