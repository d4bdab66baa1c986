/**
 * The worker of the test runner that this process, or this thread, is: a text that differs between those
 * that run at the same time, and that later ones have again. Vitest gives each worker a number from 1 to
 * `maxWorkers`, Jest and node:test do so too; Mocha counts its processes.
 */
export function ownWorkerId(): string {
  const { VITEST_POOL_ID, JEST_WORKER_ID, MOCHA_WORKER_ID, NODE_TEST_WORKER_ID } = process.env;
  return (
    VITEST_POOL_ID ??
    JEST_WORKER_ID ??
    MOCHA_WORKER_ID ??
    NODE_TEST_WORKER_ID ??
    String(process.pid)
  );
}
