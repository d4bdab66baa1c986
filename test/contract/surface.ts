import { AsyncLocalStorage } from 'node:async_hooks';

import type { EntityManager, EntityRepository } from '@mikro-orm/postgresql';

/**
 * Members that a later version has than the oldest that is supported, and the spec that drives them where
 * they are there: `isTransactionDisabled` came with 7.2.5. MikroORM marks it as internal, and the commit of
 * a unit of work asks it of the session.
 */
export const COVERED_SINCE = {
  isTransactionDisabled: 'accessors',
} as const;

/**
 * The spec of this folder that drives each public member of MikroORM's EntityManager through both
 * faces of the session. TypeScript refuses a member that an upgrade adds, and `surface.spec.ts`
 * refuses a member that the declarations do not have.
 */
export const COVERED_BY = {
  find: 'reading',
  findAll: 'reading',
  findAndCount: 'reading',
  findByCursor: 'reading',
  findOne: 'reading',
  findOneOrFail: 'reading',
  count: 'reading',
  countBy: 'reading',
  populate: 'relations',
  canPopulate: 'relations',
  preparePopulate: 'relations',
  getReference: 'relations',
  getDataLoader: 'relations',
  create: 'writing',
  persist: 'writing',
  remove: 'writing',
  flush: 'writing',
  tryFlush: 'writing',
  setFlushMode: 'writing',
  assign: 'writing',
  insert: 'native-writing',
  insertMany: 'native-writing',
  upsert: 'native-writing',
  upsertMany: 'native-writing',
  nativeUpdate: 'native-writing',
  nativeDelete: 'native-writing',
  clone: 'native-writing',
  merge: 'unit-of-work',
  map: 'unit-of-work',
  clear: 'unit-of-work',
  refresh: 'unit-of-work',
  refreshOrFail: 'unit-of-work',
  getUnitOfWork: 'unit-of-work',
  execute: 'sql',
  createQueryBuilder: 'sql',
  qb: 'sql',
  getKysely: 'sql',
  stream: 'sql',
  callRoutine: 'sql',
  refreshMaterializedView: 'sql',
  addFilter: 'filters',
  setFilterParams: 'filters',
  getFilterParams: 'filters',
  applyFilters: 'filters',
  cacheKey: 'cache',
  tryCache: 'cache',
  storeCache: 'cache',
  clearCache: 'cache',
  transactional: 'transactions',
  lock: 'locking',
  begin: 'own-ways',
  commit: 'own-ways',
  rollback: 'own-ways',
  isInTransaction: 'own-ways',
  getTransactionContext: 'own-ways',
  setTransactionContext: 'own-ways',
  resetTransactionContext: 'own-ways',
  setSessionContext: 'accessors',
  getSessionContext: 'accessors',
  clearSessionContext: 'accessors',
  getTransactionSessionContext: 'accessors',
  withSessionContext: 'accessors',
  fork: 'forks',
  getContext: 'accessors',
  getDriver: 'accessors',
  getConnection: 'accessors',
  getPlatform: 'accessors',
  getRepository: 'repository',
  repo: 'repository',
  getEventManager: 'events',
  getEntityFactory: 'accessors',
  getEntityLoader: 'accessors',
  getHydrator: 'accessors',
  getMetadata: 'accessors',
  getComparator: 'accessors',
  setLoggerContext: 'accessors',
  getLoggerContext: 'accessors',
  schema: 'accessors',
  id: 'accessors',
  _id: 'accessors',
  name: 'accessors',
  global: 'accessors',
  config: 'accessors',
  '~entities': 'accessors',
} as const satisfies Record<Exclude<keyof EntityManager, keyof typeof COVERED_SINCE>, string>;

/** The same of the repository; its spec is one. */
export const REPOSITORY_METHODS = {
  findOne: true,
  findOneOrFail: true,
  upsert: true,
  upsertMany: true,
  find: true,
  findAndCount: true,
  findByCursor: true,
  findAll: true,
  stream: true,
  insert: true,
  insertMany: true,
  nativeUpdate: true,
  nativeDelete: true,
  map: true,
  getReference: true,
  canPopulate: true,
  populate: true,
  create: true,
  assign: true,
  merge: true,
  count: true,
  countBy: true,
  getEntityName: true,
  getEntityManager: true,
  createQueryBuilder: true,
  qb: true,
} as const satisfies Record<keyof EntityRepository<object>, true>;

export type SpecName = (typeof COVERED_BY)[keyof typeof COVERED_BY];

/** Private and protected in the declarations; reached only through the public members. */
export const NOT_PUBLIC: readonly string[] = [
  'getPopulateWhere',
  'validateSessionContextStaging',
  'mergeSessionContext',
  'processWhere',
  'processUnionWhere',
  'applyDiscriminatorCondition',
  'createPopulateWhere',
  'getJoinedFilters',
  'autoJoinRefsForFilters',
  'getAbortOptions',
  'checkLockRequirements',
  'validateIndexUsage',
  'validateWhereKeysForIndex',
  'lockAndPopulate',
  'buildFields',
  'forceSelectInForLimitedPopulate',
  'shouldRefresh',
  'prepareOptions',
  // Fields.
  'driver',
  'metadata',
  'eventManager',
  'loggerContext',
  'signal',
  'inflightQueryAbortStrategy',
];

/** Names on the prototypes of an object, down to where JavaScript's own begin. */
export function prototypeNames(target: object): string[] {
  const names = new Set<string>();
  let prototype = Object.getPrototypeOf(target) as object | null;
  while (prototype !== null && prototype !== Object.prototype) {
    Object.getOwnPropertyNames(prototype).forEach((name) => names.add(name));
    prototype = Object.getPrototypeOf(prototype) as object | null;
  }
  names.delete('constructor');
  return [...names];
}

const insideCall = new AsyncLocalStorage<true>();

/**
 * Notes which methods of an object are called from outside of it, in `used`. What MikroORM calls
 * on itself meanwhile does not count.
 */
export function recordUse(target: object, used: Set<string>): void {
  for (const name of prototypeNames(target)) {
    const property = describeProperty(target, name);
    const { value } = property as { value?: unknown };
    if (typeof value === 'function') {
      const method = value as (...args: unknown[]) => unknown;
      const recorded = function (this: object, ...args: unknown[]): unknown {
        if (insideCall.getStore() !== undefined) {
          return method.apply(this, args);
        }
        used.add(name);
        // The callback of a transaction is the scenario again.
        return name === 'transactional'
          ? method.apply(this, args)
          : insideCall.run(true, () => method.apply(this, args));
      };
      Object.defineProperty(target, name, { value: recorded, configurable: true });
    } else if (property.get !== undefined) {
      Object.defineProperty(target, name, {
        get(this: object): unknown {
          if (insideCall.getStore() === undefined) {
            used.add(name);
          }
          return property.get?.call(this) as unknown;
        },
        set(this: object, to: unknown): void {
          property.set?.call(this, to);
        },
        configurable: true,
      });
    }
  }
}

function describeProperty(target: object, name: string): PropertyDescriptor {
  let holder = Object.getPrototypeOf(target) as object;
  while (!Object.hasOwn(holder, name)) {
    holder = Object.getPrototypeOf(holder) as object;
  }
  return Object.getOwnPropertyDescriptor(holder, name)!;
}
