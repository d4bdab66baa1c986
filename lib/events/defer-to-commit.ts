import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { currentContext } from '../context/context-storage.js';

/**
 * Puts `work` off until the context that the calling code runs in has committed; a rollback drops
 * it. `work` has to see to a context of its own: when it comes late, it runs in one that is closed.
 *
 * @param connection the connection whose commit is meant; that of the whole context if omitted
 * @returns whether there is a commit to wait for; if not, `work` is up to the caller
 * @throws {@link UnknownConnectionError}
 */
export function deferToCommit(
  host: ContextRegistry,
  work: () => unknown,
  connection?: string,
): boolean {
  const context = currentContext(host);
  if (context === undefined) {
    return false;
  }
  if (context.isClosed) {
    void runLate(host, context, work);
  } else {
    context.addHook('onCommit', work, connection);
  }
  return true;
}

/**
 * For an event that comes when the context takes no hooks any more: from work that nobody awaited,
 * or because a request-scoped listener was made in the meantime.
 */
async function runLate(
  host: ContextRegistry,
  context: Context,
  work: () => unknown,
): Promise<void> {
  if (await isCommitted(context)) {
    try {
      await work();
    } catch (error) {
      host.report('an event that was emitted after the end of its context failed', error);
    }
  }
}

async function isCommitted(context: Context): Promise<boolean> {
  // The end may have just begun, further up this very call stack.
  await Promise.resolve();
  return context.settle('commit').then(
    () => true,
    // Whoever ended the context has been told.
    () => false,
  );
}
