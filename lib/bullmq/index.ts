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
