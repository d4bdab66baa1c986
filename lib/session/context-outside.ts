import {
  EntityManager,
  TransactionContext,
  ValidationError,
  type Configuration,
} from '@mikro-orm/core';

import { isSessionOfOther } from './asking-manager.js';
import type { EntityManagerClass } from './session-manager.js';

/** What `em.getContext(validate)` returns. */
export type ContextOf = (em: EntityManager, validate: boolean | undefined) => EntityManager;

/**
 * What MikroORM's own `getContext()` returns for an entity manager with `useContext`, where no session is
 * meant. Each call of MikroORM's API asks for it several times, and MikroORM would ask our `context`
 * function of the configuration again for what is known already.
 * `test/e2e/context-outside.spec.ts` fails when an upgrade decides in another way.
 *
 * @param contextOf the `context` function that the application configured, or MikroORM's default
 * @returns `undefined` for a class of the application's that decides by itself
 */
export function contextOutside(
  Base: EntityManagerClass,
  config: Configuration,
  contextOf: (name: string) => EntityManager | undefined,
): ContextOf | undefined {
  if (Base.prototype.getContext !== EntityManager.prototype.getContext) {
    return undefined;
  }
  return (em, validate = true) => {
    const inTransaction = TransactionContext.getEntityManager(em.name);
    if (inTransaction !== undefined && !isSessionOfOther(inTransaction, config)) {
      return inTransaction;
    }
    const context = contextOf(em.name) ?? em;
    if (validate && context.global && !config.get('allowGlobalContext')) {
      throw ValidationError.cannotUseGlobalContext();
    }
    return context;
  };
}
