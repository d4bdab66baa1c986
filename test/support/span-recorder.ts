import {
  context,
  propagation,
  ROOT_CONTEXT,
  SpanStatusCode,
  trace,
  type Tracer,
} from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import {
  InMemorySpanExporter,
  SimpleSpanProcessor,
  TracerProvider,
  type ReadableSpan,
  type TracerProviderOptions,
} from '@opentelemetry/sdk-trace';
import type { INestApplication } from '@nestjs/common';
import pg, { Pool } from 'pg';

type PgConfig = ConstructorParameters<typeof PgInstrumentation>[0];

/** What an instrumentation would do to a module as it is loaded; Jest's loader does not call it. */
interface Patches {
  init(): readonly {
    readonly name: string;
    patch(module: unknown): unknown;
    unpatch(module: unknown): unknown;
  }[];
}

/** Spans in memory, of a provider that is not the global one. */
export interface SpanRecorder {
  readonly provider: TracerProvider;
  readonly tracer: Tracer;
  /** All spans that have ended, as lines of a tree. */
  tree(): string[];
  readonly spans: () => readonly ReadableSpan[];
  reset(): void;
  stop(): void;
}

/** Lets spans be found by `context.active()`, until the function that it returns is called. */
export function manageContexts(): () => void {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  return () => {
    context.disable();
    trace.disable();
    propagation.disable();
  };
}

export function recordSpans(options: TracerProviderOptions = {}): SpanRecorder {
  const exporter = new InMemorySpanExporter();
  const provider = new TracerProvider({
    ...options,
    spanProcessors: [new SimpleSpanProcessor({ exporter })],
  });
  const spans = (): readonly ReadableSpan[] => exporter.getFinishedSpans();
  return {
    provider,
    tracer: provider.getTracer('test'),
    spans,
    tree: () => treeOf(spans()),
    reset: () => exporter.reset(),
    stop: () => void provider.shutdown(),
  };
}

/**
 * Puts the instrumentation of `pg` around it.
 *
 * @returns a function that takes it off again
 */
export function instrumentPg(provider: TracerProvider, config: PgConfig = {}): () => void {
  const instrumentation = new PgInstrumentation({ ignoreConnectSpans: true, ...config });
  instrumentation.setTracerProvider(provider);
  // The pool of `pg` extends that of pg-pool.
  const modules: Record<string, unknown> = { pg, 'pg-pool': Object.getPrototypeOf(Pool) };
  const patches = (instrumentation as unknown as Patches).init();
  patches.forEach((each) => each.patch(modules[each.name]));
  return () => {
    instrumentation.disable();
    patches.forEach((each) => each.unpatch(modules[each.name]));
  };
}

type Next = (error?: unknown) => void;
interface Request {
  readonly method: string;
  readonly originalUrl?: string;
  readonly url: string;
}
interface Response {
  readonly statusCode: number;
  once(event: 'close', listener: () => void): unknown;
}

/** Makes a span of each request, as an instrumentation of HTTP does. */
export function spanOfEachRequest(tracer: () => Tracer): (app: INestApplication) => void {
  return (app) =>
    void app.use((request: Request, response: Response, next: Next) => {
      const path = (request.originalUrl ?? request.url).split('?')[0];
      tracer().startActiveSpan(`${request.method} ${path}`, {}, ROOT_CONTEXT, (span) => {
        response.once('close', () => {
          span.setAttribute('http.response.status_code', response.statusCode);
          span.end();
        });
        next();
      });
    });
}

/** The context of a span that a producer might have sent. */
export function within<T>(tracer: Tracer, name: string, work: () => Promise<T>): Promise<T> {
  return tracer.startActiveSpan(name, {}, ROOT_CONTEXT, async (span) => {
    try {
      return await work();
    } finally {
      span.end();
    }
  });
}

/** What of the attributes stands in a tree, in this order. */
const SHOWN: Readonly<Record<string, string>> = {
  'http.response.status_code': '',
  'db_context.outcome': '',
  'db_context.isolation_level': '',
  'db_context.statements': 'statements',
  'db_context.retries': 'retries',
  'error.type': 'error',
};

function treeOf(spans: readonly ReadableSpan[]): string[] {
  const known = new Set(spans.map((span) => span.spanContext().spanId));
  const children = (parent: string | undefined): ReadableSpan[] =>
    spans
      .filter(({ parentSpanContext }) =>
        parent === undefined
          ? parentSpanContext === undefined || !known.has(parentSpanContext.spanId)
          : parentSpanContext?.spanId === parent,
      )
      .toSorted((a, b) => compareTimes(a.startTime, b.startTime));
  const lines = (span: ReadableSpan): string[] => {
    const inner = [
      ...span.events
        .filter(({ name }) => name !== 'exception')
        .map(({ name, attributes = {} }) => `* ${name} ${shownOf(attributes)}`.trim()),
      ...children(span.spanContext().spanId).flatMap(lines),
    ];
    return [lineOf(span), ...inner.map((line) => `  ${line}`)];
  };
  return children(undefined).flatMap(lines);
}

function compareTimes(a: ReadableSpan['startTime'], b: ReadableSpan['startTime']): number {
  return a[0] - b[0] || a[1] - b[1];
}

function lineOf({ name, attributes, status }: ReadableSpan): string {
  const { 'db.namespace': database } = attributes;
  const shown = Object.entries(SHOWN)
    .filter(([key]) => attributes[key] !== undefined)
    .map(([key, word]) => `${word} ${String(attributes[key])}`.trim());
  const failed = status.code === SpanStatusCode.ERROR ? ['failed'] : [];
  const details = [...shown, ...failed].join(', ');
  const plain = typeof database === 'string' ? name.replace(` ${database}`, '') : name;
  return details === '' ? plain : `${plain} (${details})`;
}

function shownOf(attributes: NonNullable<ReadableSpan['events'][number]['attributes']>): string {
  return Object.values(attributes)
    .filter((value) => typeof value === 'string')
    .join(' ');
}
