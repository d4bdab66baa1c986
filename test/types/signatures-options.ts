// The options of connections, transactions and contexts; nothing here runs.
import type { EntityManager } from '@mikro-orm/core';
import { expectTypeOf } from 'expect-type';
import {
  commitOnSuccess,
  type DbConnectionOptions,
  type ConnectionLimits,
  type ConnectionReadOptions,
  type ConnectionTransactionOptions,
  type DbContextOptions,
  type FailoverOptions,
  type ReadFromOptions,
  type ReadYourWritesOptions,
  type SessionVariables,
  type PostgresIsolationLevel,
  type TransactionSettings,
} from 'nestjs-db-context';

export function limits(): void {
  // @ts-expect-error -- `undefined` would hide a variable of the environment that is not set
  expectTypeOf({ acquireTimeoutMs: undefined } satisfies ConnectionLimits);
  // @ts-expect-error -- the unit is in the name
  expectTypeOf({ acquireTimeoutMs: '10s' } satisfies ConnectionLimits);
}

export function transactionSettings(): void {
  // The plain words, without an import of MikroORM's enum.
  expectTypeOf<
    'read uncommitted' | 'read committed' | 'repeatable read' | 'serializable'
  >().toExtend<TransactionSettings['isolationLevel']>();
  // One of MikroORM's, for another server.
  expectTypeOf<'snapshot'>().not.toExtend<TransactionSettings['isolationLevel']>();
  expectTypeOf<PostgresIsolationLevel>().not.toBeNever();
  expectTypeOf<'SERIALIZABLE'>().not.toExtend<TransactionSettings['isolationLevel']>();
  // @ts-expect-error -- leave it out
  expectTypeOf({ readOnly: undefined } satisfies TransactionSettings);

  // @ts-expect-error -- a tenant that is missing must not become a value
  expectTypeOf({ 'app.tenant': undefined } satisfies SessionVariables);
  // @ts-expect-error -- nor NULL, which a setting cannot be
  expectTypeOf({ 'app.tenant': null } satisfies SessionVariables);
}

export function connectionTransactions(): void {
  const computed: ConnectionTransactionOptions = {
    // The parameter is inferred.
    sessionVariables: async (cls) => ({ 'app.tenant': cls.get<string>('tenant') }),
    role: (cls) => (cls.isActive() ? 'app_tenant' : undefined),
    beforeSession: (connection) => connection.changeHost('db2:5432'),
  };
  expectTypeOf(computed.transaction).toEqualTypeOf<TransactionSettings | undefined>();
  // @ts-expect-error -- a role is looked up before a connection is taken, not awaited
  expectTypeOf({ role: async () => 'app' } satisfies ConnectionTransactionOptions);
}

export function failover(): void {
  // @ts-expect-error -- there is nothing to look for without hosts
  expectTypeOf({ cacheMs: 1_000 } satisfies FailoverOptions);
  // @ts-expect-error -- a list, not a string that pg would not split
  expectTypeOf({ hosts: 'db1,db2' } satisfies FailoverOptions);
  // @ts-expect-error -- leave it out
  expectTypeOf({ hosts: ['db1', 'db2'], cacheMs: undefined } satisfies FailoverOptions);
}

export function replicas(): void {
  expectTypeOf<ConnectionReadOptions>().toExtend<Pick<DbConnectionOptions, 'readFrom'>>();
  // @ts-expect-error -- how the LSN is sent to the client has no default
  expectTypeOf({} satisfies ReadYourWritesOptions);
  // @ts-expect-error -- chosen as the transaction begins, not awaited
  expectTypeOf({ choose: async () => 0 } satisfies ReadFromOptions);
}

export function contextOptions(): void {
  const options: DbContextOptions = {
    commitOn: (outcome) => commitOnSuccess(outcome) || outcome.status === 404,
    beforeCommit: (session, name) => {
      expectTypeOf(session).toEqualTypeOf<EntityManager>();
      expectTypeOf(name).toEqualTypeOf<string>();
    },
  };
  expectTypeOf(options.mount).toEqualTypeOf<'interceptor' | 'middleware' | 'none' | undefined>();
  // @ts-expect-error -- leave it out
  expectTypeOf({ mount: undefined } satisfies DbContextOptions);
  // @ts-expect-error -- decided before the response leaves, so it cannot be awaited
  expectTypeOf({ commitOn: async () => true } satisfies DbContextOptions);
}

export function policies(): void {
  // `status` is always given, as undefined if it is unknown; `error` is missing if there is none.
  expectTypeOf(commitOnSuccess({ failed: false, status: undefined })).toEqualTypeOf<boolean>();
  // @ts-expect-error -- a policy of one's own must not forget the status as it wraps this one
  commitOnSuccess({ failed: false });
}
