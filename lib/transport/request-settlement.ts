import type { ExecutionContext } from '@nestjs/common';

import type { DbContainer } from '../context/container.js';
import type { ContextHost } from '../context/context-host.js';
import type { CommitPolicy, RequestOutcome } from '../db-context.options.js';

/** How one request is to be settled. */
export interface RequestSettlement {
  readonly host: ContextHost;
  readonly container: DbContainer;
  readonly commitOn: CommitPolicy;
  /** Told before a commit that the server will hear of, while the transaction is still open. */
  onCommit(context: ExecutionContext): void;
}

/**
 * Settles the context of a request by its outcome.
 *
 * @throws the handler's error, unless the policy wanted it committed and that failed
 * @throws why the commit failed, or what the policy threw
 */
export async function settleRequest(
  settlement: RequestSettlement,
  context: ExecutionContext,
  outcome: RequestOutcome,
): Promise<void> {
  const { host, container, commitOn } = settlement;
  let commits: boolean;
  try {
    commits = commitOn(outcome);
  } catch (error) {
    await host.abandon(container);
    throw error;
  }
  if (commits) {
    if (hasWork(container)) {
      settlement.onCommit(context);
    }
    await host.settle(container, 'commit');
  } else if (outcome.failed) {
    await host.abandon(container);
  } else {
    await host.settle(container, 'rollback');
  }
  if (outcome.failed) {
    throw outcome.error;
  }
}

/** Whether a transaction is open, or the commit will open one to write what was only persisted. */
function hasWork(container: DbContainer): boolean {
  return (
    container.hasBegun ||
    container.sessions.some(({ manager }) => {
      const unitOfWork = manager.getUnitOfWork(false);
      return unitOfWork.getPersistStack().size + unitOfWork.getRemoveStack().size > 0;
    })
  );
}
