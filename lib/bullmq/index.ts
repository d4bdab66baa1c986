/**
 * Jobs of BullMQ that leave with the commit, see docs/jobs.md.
 *
 * @packageDocumentation
 */
export {
  CommittedQueue,
  type CommittedJob,
  type HeldJob,
  type JobReceipt,
  type SentJob,
} from './committed-queue.js';
export {
  DbContextBullModule,
  getCommittedQueueToken,
  InjectCommittedQueue,
  type CommittedQueueAsyncOptions,
  type CommittedQueueOptions,
  type CommittedQueueSettings,
} from './db-context-bull.module.js';
