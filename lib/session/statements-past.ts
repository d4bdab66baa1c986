import type { MikroORM } from '@mikro-orm/core';

import { writesRows } from '../postgresql/writes-rows.js';
import type { KyselyClient } from './kysely-shapes.js';
import { asKyselyTransaction, isAutocommit } from './kysely-transaction.js';
import { observedKysely } from './observed-kysely.js';

/** A statement that was sent on MikroORM's connection, and in no transaction of this library. */
export interface StatementPast {
  readonly sql: string;
  /** Whether MikroORM has a transaction for it: somebody has flushed a manager that is no session. */
  readonly isInTransaction: boolean;
  /** The id of the entity manager that sends it, where MikroORM says so. */
  readonly managerId: unknown;
}

type Observer = (statement: StatementPast) => void;

/** MikroORM's way of sending a statement, in any driver of SQL. */
type Execute = (
  query: string | { readonly sql?: string; toRaw?(): { readonly sql: string } },
  params?: unknown,
  method?: unknown,
  context?: unknown,
  loggerContext?: { readonly id?: unknown },
) => Promise<unknown>;

const OBSERVERS: unique symbol = Symbol.for('nestjs-db-context:statement-observers');

interface ObservedConnection {
  execute: Execute;
  /** The Kysely instance that an application sends by itself with; MikroORM sends with the one behind it. */
  getClient: () => KyselyClient;
  [OBSERVERS]?: Set<Observer>;
}

/**
 * Calls `observe` with each statement that writes rows and that no session sends, before it is sent.
 *
 * @returns a function that stops this; after the last one, the connection is what it was before
 */
export function observeStatementsPast({ driver }: MikroORM, observe: Observer): () => void {
  // What writes is sent to the primary.
  const connection = driver.getConnection('write') as unknown as ObservedConnection;
  const observers = connection[OBSERVERS] ?? tap(connection);
  observers.add(observe);
  return () => {
    observers.delete(observe);
    if (observers.size === 0) {
      delete connection[OBSERVERS];
      delete (connection as Partial<ObservedConnection>).execute;
      delete (connection as Partial<ObservedConnection>).getClient;
    }
  };
}

function tap(connection: ObservedConnection): Set<Observer> {
  const observers = new Set<Observer>();
  const observe: Observer = (statement) => {
    if (writesRows(statement.sql)) {
      observers.forEach((each) => each(statement));
    }
  };
  connection[OBSERVERS] = observers;
  connection.execute = observedExecute(connection, observe);
  connection.getClient = observedGetClient(connection, observe);
  return observers;
}

function observedExecute(connection: ObservedConnection, observe: Observer): Execute {
  // Asked for at each call, so that what the application puts into MikroORM's class meanwhile is called.
  const execute: Execute = (...args) => methodsOf(connection).execute.apply(connection, args);
  return (query, params, method, context, loggerContext) => {
    if (asKyselyTransaction(context) === undefined && !isAutocommit(context)) {
      const isInTransaction = context !== undefined;
      observe({ sql: textOf(query), isInTransaction, managerId: loggerContext?.id });
    }
    return execute(query, params, method, context, loggerContext);
  };
}

/** Where MikroORM has the methods that the connection has of its own while it is observed. */
function methodsOf(connection: ObservedConnection): ObservedConnection {
  return Object.getPrototypeOf(connection) as ObservedConnection;
}

function observedGetClient(connection: ObservedConnection, observe: Observer): () => KyselyClient {
  // MikroORM makes another instance for each server that it connects to.
  let last: { readonly client: KyselyClient; readonly observed: KyselyClient } | undefined;
  return () => {
    const client = methodsOf(connection).getClient.call(connection);
    if (last?.client !== client) {
      const send = (sql: string): void =>
        observe({ sql, isInTransaction: false, managerId: undefined });
      last = { client, observed: observedKysely(client, send) };
    }
    return last.observed;
  };
}

function textOf(query: Parameters<Execute>[0]): string {
  return typeof query === 'string' ? query : ((query.toRaw?.() ?? query).sql ?? '');
}
