import type { Context } from './context.js';
import type { ContextRegistry } from './context-registry.js';
import { currentContext } from './context-storage.js';

/**
 * Defers `work` until the context that the calling code runs in has committed; a rollback drops it.
 * `work` has to open a context of its own if it needs one, since the one that it is called in may be
 * closed.
 *
 * @param connection the connection whose commit is waited for; that of the whole context if omitted
 * @returns whether there is a commit to wait for; if not, the caller runs `work` itself
 * @throws {@link UnknownConnectionError} there is no connection of that name
 */
export function deferToCommit(
  registry: ContextRegistry,
  work: () => unknown,
  connection?: string,
): boolean {
  const context = currentContext(registry);
  if (context === undefined) {
    return false;
  }
  if (context.isClosed) {
    void runLate(registry, context, work);
  } else {
    context.addHook('onCommit', work, connection);
  }
  return true;
}

/**
 * Runs `work` that is deferred when its context takes no hooks any more: by code that nobody awaited, or
 * because Nest had to make a request-scoped listener of an event first.
 */
async function runLate(
  registry: ContextRegistry,
  context: Context,
  work: () => unknown,
): Promise<void> {
  if (await isCommitted(context)) {
    try {
      await work();
    } catch (error) {
      registry.report(`what was to follow the commit of ${context.origin} failed`, error);
    }
  }
}

async function isCommitted(context: Context): Promise<boolean> {
  // The end of the context may have begun further up this very call stack, and is not recorded yet.
  await Promise.resolve();
  return context.settle('commit').then(
    () => true,
    // The caller that ended the context got this error.
    () => false,
  );
}
