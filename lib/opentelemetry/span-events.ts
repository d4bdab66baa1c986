/** The events of spans. */
export const SPAN_EVENTS = {
  poolWait: 'db_context.pool.wait',
  savepointSet: 'db_context.savepoint.set',
  savepointEnd: 'db_context.savepoint.end',
  rollback: 'db_context.rollback',
  retry: 'db_context.retry',
} as const;
