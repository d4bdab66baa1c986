import type { Context } from '../context/context.js';
import { decisionOf, type Decision } from '../context/end-by.js';
import type { ContextRegistry } from '../context/context-registry.js';
import type { CommitPolicy, RequestOutcome } from '../options/context-options.js';

/** How one request is to be settled. */
export interface RequestSettlement {
  readonly host: ContextRegistry;
  readonly container: Context;
  readonly commitOn: CommitPolicy;
  /** Told before a commit that the server will hear of, while the transaction is still open. */
  onCommit(): void;
}

/**
 * Settles the context of a request by its outcome; at once where nothing was done in it.
 *
 * @returns whether it was committed; the promise fails with why it was not, or with what the policy
 *   threw
 */
export function settleRequest(
  settlement: RequestSettlement,
  outcome: RequestOutcome,
): boolean | Promise<boolean> {
  const { host, container, commitOn } = settlement;
  let decision: Decision;
  try {
    decision = decisionOf(commitOn(outcome), 'commitOn', container);
  } catch (error) {
    return host.abandon(container).then(() => Promise.reject(error as Error));
  }
  return host.endUntouched(container, decision)
    ? decision === 'commit'
    : settleWork(settlement, outcome, decision);
}

async function settleWork(
  settlement: RequestSettlement,
  outcome: RequestOutcome,
  decision: Decision,
): Promise<boolean> {
  const { host, container } = settlement;
  if (decision === 'rollback' && outcome.failed) {
    await host.abandon(container);
    return false;
  }
  if (decision === 'commit' && container.hasWork) {
    settlement.onCommit();
  }
  await host.settle(container, decision);
  return decision === 'commit';
}
