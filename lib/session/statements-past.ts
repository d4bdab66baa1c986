import type { MikroORM } from '@mikro-orm/core';

import { asKyselyTransaction, isAutocommit } from './kysely-transaction.js';

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
    }
  };
}

function tap(connection: ObservedConnection): Set<Observer> {
  const observers = new Set<Observer>();
  const execute: Execute = connection.execute.bind(connection);
  connection[OBSERVERS] = observers;
  connection.execute = (query, params, method, context, loggerContext) => {
    if (asKyselyTransaction(context) === undefined && !isAutocommit(context)) {
      const sql = textOf(query);
      if (writesRows(sql)) {
        const isInTransaction = context !== undefined;
        const managerId = loggerContext?.id;
        observers.forEach((observe) => observe({ sql, isInTransaction, managerId }));
      }
    }
    return execute(query, params, method, context, loggerContext);
  };
  return observers;
}

function textOf(query: Parameters<Execute>[0]): string {
  return typeof query === 'string' ? query : ((query.toRaw?.() ?? query).sql ?? '');
}

const WRITES = /^\s*(?:insert|update|delete|merge)\b/i;
const BEGINS_WITH_PARTS = /^\s*with\b/i;
const WRITES_IN_PART = /\b(?:insert\s+into|delete\s+from|merge\s+into|update\s+\S+\s+set)\b/i;

/** Whether a statement writes rows, as far as its text says. */
function writesRows(sql: string): boolean {
  return WRITES.test(sql) || (BEGINS_WITH_PARTS.test(sql) && WRITES_IN_PART.test(sql));
}
