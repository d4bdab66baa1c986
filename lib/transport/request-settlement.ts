import type { Context } from '../context/context.js';
import { decisionOf, type Decision } from '../context/end-by.js';
import type { ContextRegistry } from '../context/context-registry.js';
import type { CommitPolicy, RequestOutcome } from '../options/context-options.js';

/** How one request is to be settled. */
export interface RequestSettlement {
  readonly registry: ContextRegistry;
  readonly context: Context;
  readonly commitOn: CommitPolicy;
  /** Called before a commit that sends something, while the transaction is still open. */
  onCommit?(): void;
  /** Why work must not be committed, whatever the policy says. */
  refusal?(): Error | undefined;
}

/**
 * Settles the context of a request by the outcome of its handler (S2). A context that no code has worked
 * in is settled synchronously.
 *
 * @returns whether the context was committed; the promise fails with the reason why it was not, or with
 *   what the policy threw
 */
export function settleRequest(
  settlement: RequestSettlement,
  outcome: RequestOutcome,
): boolean | Promise<boolean> {
  const { registry, context, commitOn } = settlement;
  let decision: Decision;
  try {
    decision = decisionOf(commitOn(outcome), 'commitOn', context);
  } catch (error) {
    return registry.abandon(context).then(() => Promise.reject(error as Error));
  }
  return registry.endUntouched(context, decision)
    ? decision === 'commit'
    : settleWork(settlement, outcome, decision);
}

async function settleWork(
  settlement: RequestSettlement,
  outcome: RequestOutcome,
  decision: Decision,
): Promise<boolean> {
  const { registry, context } = settlement;
  if (decision === 'rollback' && outcome.failed) {
    await registry.abandon(context);
    return false;
  }
  if (decision === 'commit' && context.hasWork) {
    const refusal = settlement.refusal?.();
    if (refusal !== undefined) {
      await registry.abandon(context);
      throw refusal;
    }
    settlement.onCommit?.();
  }
  await registry.settle(context, decision);
  return decision === 'commit';
}
