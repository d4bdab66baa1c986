// The code of docs/telemetry.md; tsc checks it here, and a spec checks that it is the same.
import { dbContextChannels } from 'nestjs-db-context/telemetry';

dbContextChannels.transactionEnd.subscribe(({ transaction, outcome, durationMs, error }) => {
  console.log(transaction.connection.name, outcome, durationMs, error?.code);
});

import { UNMASKED } from 'nestjs-db-context/telemetry';

dbContextChannels.statement.error.subscribe((statement) => {
  console.log(statement.sql, statement[UNMASKED].texts);
});

import { AsyncLocalStorage } from 'node:async_hooks';
import type { TransactionInfo } from 'nestjs-db-context/telemetry';

const current = new AsyncLocalStorage<string>();
const spans = new WeakMap<TransactionInfo, string>();

dbContextChannels.transactionStart.subscribe(({ transaction }) => {
  spans.set(transaction, `transaction in ${current.getStore() ?? 'none'}`);
});
dbContextChannels.statement.start.bindStore(
  current,
  ({ transaction }) => (transaction && spans.get(transaction)) ?? 'none',
);

dbContextChannels.statementRequest.subscribe((request) => request.keepStack());
dbContextChannels.statement.asyncEnd.subscribe(({ sql, durationMs, stack }) => {
  console.log(durationMs, sql, stack);
});

dbContextChannels.finding.subscribe(({ kind, message, context, stack }) => {
  console.log(kind, context.origin, message, stack);
});
