import type { CommitPolicy } from './context-options.js';

/**
 * The default policy: commits when nothing was thrown and the status is below 400.
 *
 * @example
 * ```ts
 * // also keep what a 404 handler wrote
 * forRoot({ commitOn: (outcome) => commitOnSuccess(outcome) || outcome.status === 404, ... })
 * ```
 * @publicApi
 */
export const commitOnSuccess: CommitPolicy = ({ failed, status }) =>
  !failed && (status === undefined || status < 400);
