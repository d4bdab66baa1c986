/** What a metric is: a sum, a distribution, or a number that is read when the metrics are collected. */
export type MetricKind = 'counter' | 'histogram' | 'gauge';

/** A metric, as both OpenTelemetry and Prometheus are given it. */
export interface MetricDefinition {
  readonly kind: MetricKind;
  /** In the notation of UCUM, as OpenTelemetry asks for; `s` is a second. */
  readonly unit: string;
  readonly description: string;
  readonly labels: readonly string[];
}

export const POOL = 'db.client.connection.pool.name';
export const STATE = 'db.client.connection.state';
export const OUTCOME = 'db_context.outcome';
export const ERROR_TYPE = 'error.type';

/**
 * Bounds of the histograms in seconds: those of `db.client.operation.duration` in the conventions, with more
 * between them, and up to the limit of a stream.
 */
export const BOUNDS_S: readonly number[] = [
  0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600,
];

/**
 * All metrics, by their names. `db.client.connection.*` are those of the semantic conventions of
 * OpenTelemetry, see https://opentelemetry.io/docs/specs/semconv/database/database-metrics/; the rest is
 * this library's. No label has a value that an application makes up for each request.
 */
export const METRICS = {
  'db.client.connection.count': {
    kind: 'gauge',
    unit: '{connection}',
    description: 'Open connections of the pool, by whether they are in use',
    labels: [POOL, STATE],
  },
  'db.client.connection.max': {
    kind: 'gauge',
    unit: '{connection}',
    description: 'How many connections the pool may have open',
    labels: [POOL],
  },
  'db.client.connection.limit': {
    kind: 'gauge',
    unit: '{connection}',
    description:
      'How many connections the pool may have open, by the newer name of the conventions',
    labels: [POOL],
  },
  'db.client.connection.pending_requests': {
    kind: 'gauge',
    unit: '{request}',
    description: 'Callers that wait for a connection of the pool',
    labels: [POOL],
  },
  'db.client.connection.timeouts': {
    kind: 'counter',
    unit: '{timeout}',
    description: 'Waits for a connection that were given up after acquireTimeoutMs',
    labels: [POOL],
  },
  'db.client.connection.wait_time': {
    kind: 'histogram',
    unit: 's',
    description: 'How long a transaction has waited for its connection',
    labels: [POOL],
  },
  'db.client.connection.use_time': {
    kind: 'histogram',
    unit: 's',
    description: 'How long a transaction has kept its connection',
    labels: [POOL],
  },
  'db_context.transactions': {
    kind: 'counter',
    unit: '{transaction}',
    description:
      'Transactions that have ended, by outcome, and by the error where one is the reason',
    labels: [POOL, OUTCOME, ERROR_TYPE],
  },
  'db_context.transaction.duration': {
    kind: 'histogram',
    unit: 's',
    description:
      'From the first statement of a transaction to its end, the wait for a connection included',
    labels: [POOL, OUTCOME],
  },
  'db_context.active_transactions': {
    kind: 'gauge',
    unit: '{transaction}',
    description: 'Transactions that have not ended, those that wait for a connection included',
    labels: [POOL],
  },
  'db_context.oldest_transaction.age': {
    kind: 'gauge',
    unit: 's',
    description:
      'How long ago the oldest transaction that has not ended has asked for its first statement',
    labels: [POOL],
  },
  'db_context.active_contexts': {
    kind: 'gauge',
    unit: '{context}',
    description: 'Units of work (requests, messages, jobs) that have not ended',
    labels: [],
  },
  'db_context.retries': {
    kind: 'counter',
    unit: '{retry}',
    description: 'Units of work that were run again',
    labels: [ERROR_TYPE],
  },
  'db_context.pool_deadlocks': {
    kind: 'counter',
    unit: '{deadlock}',
    description: 'Waits for a connection that could never have come, and were refused',
    labels: [POOL],
  },
} as const satisfies Record<string, MetricDefinition>;

export type MetricName = keyof typeof METRICS;

type NamesOf<Kind extends MetricKind> = {
  [Name in MetricName]: (typeof METRICS)[Name]['kind'] extends Kind ? Name : never;
}[MetricName];

export type CounterName = NamesOf<'counter'>;
export type HistogramName = NamesOf<'histogram'>;
export type GaugeName = NamesOf<'gauge'>;

/** The names of all metrics of a kind. */
export function metricsOf<Kind extends MetricKind>(kind: Kind): readonly NamesOf<Kind>[] {
  const names = Object.keys(METRICS) as MetricName[];
  return names.filter((name) => METRICS[name].kind === kind) as NamesOf<Kind>[];
}

export type Labels = Readonly<Record<string, string>>;

/** A gauge as it is now. */
export interface Reading {
  readonly labels: Labels;
  readonly value: number;
}

/** Where metrics are written to. Gauges are read from {@link MetricsListener}. */
export interface MetricSink {
  count(name: CounterName, labels: Labels): void;
  /** Writes a series that has counted nothing so far: its first event is an increase then. */
  zero(name: CounterName, labels: Labels): void;
  record(name: HistogramName, labels: Labels, value: number): void;
}
