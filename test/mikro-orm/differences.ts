/** Why a test passes on plain MikroORM and not in a context; docs/sessions.md explains each. */
export type Reason =
  | 'by the text or the order of the query log'
  | 'since a session always counts as being in a transaction'
  | 'since the global entity manager may be used'
  | 'since an entity belongs to the session, and not to orm.em'
  | 'since a rollback forgets the entities'
  | 'since a read-only session says so itself'
  | 'in this harness, which ends a transaction that a parallel statement still uses';

const MANAGER = 'features/entity-manager/EntityManager.postgre.test.ts > EntityManagerPostgre';
const AUTO_FLUSH =
  'features/auto-flush.postgre.test.ts > automatic flushing when querying for overlapping entities via em.find/One';
const CONCURRENCY =
  'features/concurrency-checks/concurrency-checks.postgre.test.ts > optimistic locking - concurrency check (postgres)';

const TESTS: Readonly<Record<Reason, readonly string[]>> = {
  'by the text or the order of the query log': [
    `${AUTO_FLUSH} em.find() triggers auto-flush`,
    `${AUTO_FLUSH} changes to managed entities are detected automatically`,
    `${AUTO_FLUSH} em.transactional() supports flushMode option`,
    `${AUTO_FLUSH} QB triggers auto-flushing`,
    `${AUTO_FLUSH} QB supports \`setFlushMode()\` to allow disabling auto-flush for given query`,
    `${AUTO_FLUSH} performance`,
    `${AUTO_FLUSH} em.find() triggers auto-flush when STI entity changed`,
    `${MANAGER} transactions with isolation levels`,
    `${MANAGER} nested transaction rollback with save-points will commit the outer one`,
    `${MANAGER} findOne supports optimistic locking [testMultipleFlushesDoIncrementalUpdates2]`,
    `${MANAGER} json properties respect field names`,
    `${MANAGER} findOne supports pessimistic locking [pessimistic write]`,
    `${MANAGER} findOne supports pessimistic locking [pessimistic read]`,
    `${MANAGER} locking and select-in population (GH #1670)`,
    `${MANAGER} populating dirty collections will merge the items and keep it dirty`,
    `${MANAGER} flushing via Promise.all()`,
    'features/filters/disable-filters-on-relation-props.postgres.test.ts > disable filters on relations [postgres] get one employee with benefit status = A',
    'features/filters/disable-filters-on-relations.postgres.test.ts > disable filters on relations [postgres] get one employee with benefit status = A',
    'features/filters/filters.postgres.test.ts > filters [postgres] get one employee with benefit status = A',
    'features/result-cache/result-cache.postgre.test.ts > result cache (postgres) result caching (query builder)',
    'features/virtual-entities/virtual-entities.postgres.test.ts > virtual entities (sqlite) with SQL expression',
    'issues/GH5499.test.ts > GH #5499 [postgresql] 5499',
    'issues/GHx19.test.ts > pagination and "for update" lock',
  ],
  'since a session always counts as being in a transaction': [
    `${MANAGER} em.commit/rollback validation`,
    `${MANAGER} pessimistic locking requires active transaction`,
    'features/stored-routines/postgres.test.ts > stored routines — PostgreSQL multi-result-set procedure throws with a helpful message when called outside a transaction',
  ],
  'since the global entity manager may be used': [
    `${MANAGER} working with global identity map will throw`,
    `${MANAGER} working with global identity map will not throw if disableIdentityMap is used`,
  ],
  'since an entity belongs to the session, and not to orm.em': [
    `${MANAGER} creating unmanaged entity reference`,
  ],
  'since a rollback forgets the entities': [
    `${CONCURRENCY} should compare original to database value on entity update`,
    `${CONCURRENCY} should compare original to database value on entity update (batch update)`,
    'issues/GH482.test.ts > GH issue 482 GH issue 476 - enum arrays',
  ],
  'since a read-only session says so itself': [`${MANAGER} read-only transactions`],
  'in this harness, which ends a transaction that a parallel statement still uses': [
    `${MANAGER} Collection.init() returns Loaded type`,
  ],
};

/** The reasons of the differences that are known, by file and name of the test. */
export const DIFFERENCES: ReadonlyMap<string, Reason> = new Map(
  Object.entries(TESTS).flatMap(([reason, tests]) =>
    tests.map((test): [string, Reason] => [test, reason as Reason]),
  ),
);
