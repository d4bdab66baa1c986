import { EntityManager, type Configuration } from '@mikro-orm/core';

import { outsideTransactionContext } from './request-context.js';
import { CONTROL } from './session-marks.js';

/** The configuration of the orm whose entity manager asks which one it stands for, while it does. */
let asking: Configuration | undefined;

/** Runs `ask` for an entity manager that looks for the one that it stands for. */
export function askFor<T>(config: Configuration, ask: () => T): T {
  const before = asking;
  asking = config;
  try {
    return ask();
  } finally {
    asking = before;
  }
}

/**
 * Whether a session of `config` may be the answer: code that asks by hand gets it, and so does an orm that asks for
 * another name than its own, as the `context` function of its configuration may.
 */
export function mayBeAnswered(config: Configuration, contextName: string): boolean {
  return asking === undefined || asking === config || asking.get('contextName') !== contextName;
}

/** MikroORM's own `getContext()`. */
export const ORIGINAL_GET_CONTEXT = Reflect.get(EntityManager.prototype, 'getContext') as (
  this: EntityManager,
  validate?: boolean,
) => EntityManager;

/**
 * Keeps the entity managers of other orms out of the sessions. MikroORM knows what an entity manager stands for by a
 * context name alone, which is `default` for each orm that has been given no other one, and so takes the session of
 * one database for that of another.
 *
 * The method is replaced in MikroORM's class, since the lookups that it calls are not told for which orm they are.
 * `test/e2e/context-outside.spec.ts` fails when an upgrade decides in another way.
 */
function getContext(this: EntityManager, validate?: boolean): EntityManager {
  // MikroORM asks several times in each of its methods, so that this makes no function for it.
  const before = asking;
  asking = this.config;
  try {
    const found = ORIGINAL_GET_CONTEXT.call(this, validate);
    return found !== this && isSessionOfOther(found, this.config)
      ? outsideTransactionContext(() => ORIGINAL_GET_CONTEXT.call(this, validate))
      : found;
  } finally {
    asking = before;
  }
}

/** Whether a manager is one of the library's, of another orm than `config`. */
export function isSessionOfOther(manager: EntityManager, config: Configuration): boolean {
  return manager.config !== config && CONTROL in manager;
}

/** Called once for each copy of this library in the process. */
export function keepOrmsApart(): void {
  Object.assign(EntityManager.prototype, { getContext });
}
