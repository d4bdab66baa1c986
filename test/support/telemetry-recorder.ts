import { channel } from 'node:diagnostics_channel';

import type {
  AcquireEvent,
  ConnectionEvent,
  ConnectionUse,
  ContextEndEvent,
  ContextEvent,
  FailoverEvent,
  HookEvent,
  HostChangeEvent,
  HostDrainEvent,
  LendEvent,
  PoolEvent,
  PoolReleaseEvent,
  RetryEvent,
  SavepointEndEvent,
  SavepointEvent,
  StatementEvent,
  TransactionEndEvent,
  TransactionEvent,
} from 'nestjs-db-context/telemetry';

/** Events of the library, as text, in their order. */
export interface TelemetryRecorder {
  readonly lines: string[];
  /** Every event that came, with the name of its channel. */
  readonly events: { readonly name: string; readonly event: unknown }[];
  stop(): void;
}

type AnyOperation = Pick<AcquireEvent, 'connection' | 'error' | 'transaction' | 'use'>;

/**
 * Records all events by the names of their channels, as a subscriber does that does not import the library.
 * Transactions are numbered in the order of their first events, and so are other uses of connections.
 */
export function recordTelemetry(): TelemetryRecorder {
  const lines: string[] = [];
  const events: TelemetryRecorder['events'] = [];
  const numbers = new Map<object, number>();
  const label = (transaction: object | undefined, use?: ConnectionUse): string => {
    const of = transaction ?? use;
    if (of === undefined) {
      return '-';
    }
    numbers.set(of, numbers.get(of) ?? numbers.size + 1);
    return `${use?.kind ?? 't'}${numbers.get(of)}`;
  };
  const codeOf = (error: { code: string | undefined; name: string } | undefined): string =>
    error === undefined ? '' : ` [${error.code ?? error.name}]`;
  const operation = ({ transaction, use, connection, error }: AnyOperation): string =>
    `${label(transaction, use)} ${connection.name}${codeOf(error)}`;
  const sent = (event: StatementEvent): string =>
    `${operation(event)} ${event.isLent ? 'lent ' : ''}${event.kind}: ${event.texts.join('; ')}`;

  const printers: Record<string, (event: never) => string> = {
    'nestjs-db-context:context:open': ({ context }: ContextEvent) => context.origin,
    'nestjs-db-context:context:end': ({
      context,
      outcome,
      connections,
      reason,
      error,
    }: ContextEndEvent) =>
      `${context.origin} ${outcome} (${connections.join(', ')})${reason === undefined ? '' : ` because ${reason}`}${codeOf(error)}`,
    'nestjs-db-context:transaction:start': ({ transaction }: TransactionEvent) =>
      `${label(transaction)} ${transaction.connection.name} of ${transaction.context?.origin}`,
    'nestjs-db-context:transaction:begin': ({ transaction }: TransactionEvent) =>
      label(transaction),
    'nestjs-db-context:transaction:end': ({ transaction, outcome, error }: TransactionEndEvent) =>
      `${label(transaction)} ${outcome}${codeOf(error)}`,
    'nestjs-db-context:savepoint:set': ({ transaction, name }: SavepointEvent) =>
      `${label(transaction)} ${name}`,
    'nestjs-db-context:savepoint:end': ({ transaction, name, outcome }: SavepointEndEvent) =>
      `${label(transaction)} ${name} ${outcome}`,
    'nestjs-db-context:hook:end': ({ origin, kind, error }: HookEvent) =>
      `${kind} of ${origin}${codeOf(error)}`,
    'nestjs-db-context:retry': ({ origin, attempt, error }: RetryEvent) =>
      `${origin} after attempt ${attempt}${codeOf(error)}`,
    'nestjs-db-context:pool:wait': ({ transaction, use, connection, pool }: PoolEvent) =>
      `${label(transaction, use)} ${connection.name} ${pool.checkedOut} of ${pool.size} in use, ${pool.waiting} waiting`,
    'nestjs-db-context:pool:release': ({
      transaction,
      use,
      connection,
      isDestroyed,
    }: PoolReleaseEvent) =>
      `${label(transaction, use)} ${connection.name}${isDestroyed ? ' destroyed' : ''}`,
    'nestjs-db-context:connection:close': ({ connection }: ConnectionEvent) => connection.name,
    'nestjs-db-context:host:change': ({ connection }: HostChangeEvent) => connection.name,
    'nestjs-db-context:host:drain': ({ connection, isForced }: HostDrainEvent) =>
      `${connection.name}${isForced ? ' forced' : ''}`,
    'nestjs-db-context:failover': ({ connection, answers }: FailoverEvent) =>
      `${connection.name} ${answers.map(({ role }) => role).join(', ')}`,
    'tracing:nestjs-db-context:acquire:start': operation,
    'tracing:nestjs-db-context:acquire:asyncEnd': operation,
    'tracing:nestjs-db-context:lend:start': (event: LendEvent) => operation(event),
    'tracing:nestjs-db-context:lend:asyncEnd': (event: LendEvent) => operation(event),
    'tracing:nestjs-db-context:statement:start': sent,
    'tracing:nestjs-db-context:statement:asyncEnd': (event: StatementEvent) =>
      `${operation(event)} ${event.rows ?? 'no'} rows`,
  };
  const subscriptions = Object.entries(printers).map(([name, print]) => {
    const short = name.replace(/^(tracing:)?nestjs-db-context:/, '').replace('asyncEnd', 'done');
    const listener = (event: unknown): void => {
      lines.push(`${short} ${print(event as never)}`);
      events.push({ name, event });
    };
    channel(name).subscribe(listener);
    return () => channel(name).unsubscribe(listener);
  });
  return { lines, events, stop: () => subscriptions.forEach((stop) => stop()) };
}
