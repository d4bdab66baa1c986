import type { OperationError, RequestOutcome } from '../options/context-options.js';

/** What `commitOn` is asked about an operation; the status of its answer says nothing of it. */
export function outcomeOf(errors: readonly OperationError[]): RequestOutcome {
  const [first] = errors;
  return first === undefined
    ? { failed: false, status: undefined, errors }
    : { failed: true, status: undefined, error: first.originalError ?? first, errors };
}
