import type { DbContainer, Decision } from '../context/container.js';
import type { ContextHost } from '../context/context-host.js';
import { decisionOf } from '../context/unit-of-work.js';
import type { CommitPolicy, RequestOutcome } from '../db-context.options.js';

/** How one request is to be settled. */
export interface RequestSettlement {
  readonly host: ContextHost;
  readonly container: DbContainer;
  readonly commitOn: CommitPolicy;
  /** Told before a commit that the server will hear of, while the transaction is still open. */
  onCommit(): void;
}

/**
 * Settles the context of a request by its outcome.
 *
 * @returns whether it was committed
 * @throws why the commit failed, or what the policy threw
 */
export async function settleRequest(
  settlement: RequestSettlement,
  outcome: RequestOutcome,
): Promise<boolean> {
  const { host, container, commitOn } = settlement;
  let decision: Decision;
  try {
    decision = decisionOf(commitOn(outcome), container.origin);
  } catch (error) {
    await host.abandon(container);
    throw error;
  }
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
