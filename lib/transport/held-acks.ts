import type { ExecutionContext } from '@nestjs/common';

import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { currentContext } from '../context/context-storage.js';
import { deferToCommit } from '../context/defer-to-commit.js';

type Ack = (...values: unknown[]) => void;

/**
 * Makes the callback that `@Ack()` gives a handler of a gateway wait for the commit of what the handler
 * has done before it calls it; a rollback drops the call, and the client gets the error instead (W1).
 *
 * Nest takes the callback out of the arguments of the message as it calls the handler. What a handler
 * returns is acknowledged by Nest itself, after the commit.
 */
export function holdAcks(message: ExecutionContext, registry: ContextRegistry): void {
  const args = message.getArgs<unknown[]>();
  const index = args.findIndex((arg) => typeof arg === 'function');
  if (index >= 0) {
    args[index] = heldAck(args[index] as Ack, registry);
  }
}

/** Whether nothing has been done, or all of it is committed. */
function isSettled(context: Context): boolean {
  return context.isClosed ? context.isCommitted : !context.hasWork && !context.hasWorkBeside;
}

function heldAck(ack: Ack, registry: ContextRegistry): Ack {
  return (...values) => {
    const context = currentContext(registry);
    if (context?.isClosed === false) {
      // The work may be that of a transaction that the context does not know.
      context.assertFollows('@Ack()');
    }
    if (context === undefined || isSettled(context)) {
      ack(...values);
    } else {
      // An early commit of the only connection with work saves all of it.
      deferToCommit(registry, () => ack(...values), context.workingConnection);
    }
  };
}
