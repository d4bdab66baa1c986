// The options of connections, transactions and contexts; nothing here runs.
import type { EntityManager } from '@mikro-orm/core';
import { expectTypeOf } from 'expect-type';
import type { ClsService } from 'nestjs-cls';
import {
  commitOnSuccess,
  type DbConnection,
  type DbConnectionOptions,
  type CommitPolicy,
  type ConnectionLimits,
  type ConnectionReadOptions,
  type ConnectionTransactionOptions,
  type DbContextOptions,
  type FailoverOptions,
  type ReadFromOptions,
  type ReadYourWritesOptions,
  type ReplicaChoice,
  type RequestOutcome,
  type SessionVariables,
  type SessionVariableValue,
  type PostgresIsolationLevel,
  type TransactionSettings,
  type WatchOptions,
} from 'nestjs-db-context';

export function limits(): void {
  // All optional, all in milliseconds, and none may be undefined: leave it out.
  expectTypeOf<ConnectionLimits>().toEqualTypeOf<{
    readonly acquireTimeoutMs?: number;
    readonly deadlockTimeoutMs?: number;
    readonly transactionTimeoutMs?: number;
    readonly drainTimeoutMs?: number;
    readonly endTimeoutMs?: number;
    readonly savepointTimeoutMs?: number;
    readonly hostDrainTimeoutMs?: number;
  }>();
  // @ts-expect-error -- `undefined` would hide a variable of the environment that is not set
  expectTypeOf({ acquireTimeoutMs: undefined } satisfies ConnectionLimits);
  // @ts-expect-error -- the unit is in the name
  expectTypeOf({ acquireTimeoutMs: '10s' } satisfies ConnectionLimits);
}

export function transactionSettings(): void {
  expectTypeOf<keyof TransactionSettings>().toEqualTypeOf<
    | 'begin'
    | 'isolationLevel'
    | 'readOnly'
    | 'deferrable'
    | 'statementTimeoutMs'
    | 'lockTimeoutMs'
    | 'idleTimeoutMs'
    | 'sessionVariables'
    | 'role'
  >();
  expectTypeOf<Required<TransactionSettings>>().toExtend<{
    readonly begin: 'first-statement' | 'first-write';
    readonly readOnly: boolean;
    readonly deferrable: boolean;
    readonly statementTimeoutMs: number;
    readonly lockTimeoutMs: number;
    readonly idleTimeoutMs: number;
    readonly sessionVariables: SessionVariables;
    readonly role: string;
  }>();
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

  expectTypeOf<SessionVariableValue>().toEqualTypeOf<string | number | boolean | Date>();
  expectTypeOf<SessionVariables>().toEqualTypeOf<Readonly<Record<string, SessionVariableValue>>>();
  // @ts-expect-error -- a tenant that is missing must not become a value
  expectTypeOf({ 'app.tenant': undefined } satisfies SessionVariables);
  // @ts-expect-error -- nor NULL, which a setting cannot be
  expectTypeOf({ 'app.tenant': null } satisfies SessionVariables);
}

export function connectionTransactions(): void {
  expectTypeOf<ConnectionTransactionOptions>().toEqualTypeOf<{
    readonly transaction?: TransactionSettings;
    readonly sessionVariables?: (cls: ClsService) => SessionVariables | Promise<SessionVariables>;
    readonly role?: string | ((cls: ClsService) => string | undefined);
    readonly beforeSession?: (connection: DbConnection) => void | Promise<void>;
    readonly failover?: FailoverOptions;
  }>();
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
  expectTypeOf<FailoverOptions>().toEqualTypeOf<{
    readonly hosts: readonly string[];
    readonly timeoutMs?: number;
    readonly cacheMs?: number;
  }>();
  // @ts-expect-error -- there is nothing to look for without hosts
  expectTypeOf({ cacheMs: 1_000 } satisfies FailoverOptions);
  // @ts-expect-error -- a list, not a string that pg would not split
  expectTypeOf({ hosts: 'db1,db2' } satisfies FailoverOptions);
  // @ts-expect-error -- leave it out
  expectTypeOf({ hosts: ['db1', 'db2'], cacheMs: undefined } satisfies FailoverOptions);
}

export function replicas(): void {
  expectTypeOf<ConnectionReadOptions>().toEqualTypeOf<{
    readonly readFrom?: ReadFromOptions;
    readonly readYourWrites?: ReadYourWritesOptions;
  }>();
  expectTypeOf<ReadFromOptions>().toEqualTypeOf<{
    readonly choose?: 'round-robin' | ReplicaChoice;
    readonly fallback?: 'primary' | 'error';
    readonly retryAfterMs?: number;
  }>();
  expectTypeOf<ReadYourWritesOptions>().toEqualTypeOf<{
    readonly via: 'cookie' | 'header';
    readonly name?: string;
    readonly waitMs?: number;
    readonly maxAgeSeconds?: number;
    readonly secure?: boolean;
  }>();
  expectTypeOf<ReplicaChoice>().toEqualTypeOf<(hosts: readonly string[]) => number | string>();
  expectTypeOf<ConnectionReadOptions>().toExtend<Pick<DbConnectionOptions, 'readFrom'>>();
  // @ts-expect-error -- by what the client is told has no default
  expectTypeOf({} satisfies ReadYourWritesOptions);
  // @ts-expect-error -- chosen as the transaction begins, not awaited
  expectTypeOf({ choose: async () => 0 } satisfies ReadFromOptions);
}

export function contextOptions(): void {
  expectTypeOf<DbContextOptions>().toEqualTypeOf<{
    readonly mount?: 'interceptor' | 'middleware' | 'none';
    readonly commitOn?: CommitPolicy;
    readonly onDisconnect?: 'finish' | 'rollback';
    readonly readOnlyMethods?: readonly string[];
    readonly beforeCommit?: (session: EntityManager, connectionName: string) => unknown;
    readonly hookTimeoutMs?: number;
    readonly contextTimeoutMs?: number;
    readonly watch?: boolean | WatchOptions;
    readonly shutdownTimeoutMs?: number;
  }>();
  expectTypeOf<WatchOptions>().toEqualTypeOf<{
    readonly contextOpenMs?: number;
    readonly idleInTransactionMs?: number;
  }>();
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
  expectTypeOf<CommitPolicy>().toEqualTypeOf<(outcome: RequestOutcome) => boolean>();
  expectTypeOf(commitOnSuccess).toEqualTypeOf<CommitPolicy>();
  expectTypeOf<RequestOutcome>().toEqualTypeOf<{
    readonly error?: unknown;
    readonly failed: boolean;
    readonly status: number | undefined;
  }>();
  // Told apart on purpose: a status that is not known is given, an error that is none is not.
  expectTypeOf(commitOnSuccess({ failed: false, status: undefined })).toEqualTypeOf<boolean>();
  // @ts-expect-error -- a policy of one's own must not forget the status as it wraps this one
  commitOnSuccess({ failed: false });
}
