import { SpanStatusCode } from '@opentelemetry/api';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';

/** Prints the spans of each request as a tree, as soon as the request is over. */
export class SpanTreeExporter implements SpanExporter {
  readonly #traces = new Map<string, ReadableSpan[]>();

  export(spans: ReadableSpan[], done: (result: { readonly code: number }) => void): void {
    for (const span of spans) {
      this.#take(span);
    }
    done({ code: 0 });
  }

  forceFlush(): Promise<void> {
    return Promise.resolve();
  }

  shutdown(): Promise<void> {
    return Promise.resolve();
  }

  #take(span: ReadableSpan): void {
    const { traceId } = span.spanContext();
    const known = [...(this.#traces.get(traceId) ?? []), span];
    const { parentSpanContext } = span;
    if (parentSpanContext === undefined || parentSpanContext.isRemote === true) {
      this.#traces.delete(traceId);
      console.log(['', ...linesOf(span, known)].join('\n'));
    } else {
      this.#traces.set(traceId, known);
    }
  }
}

function linesOf(span: ReadableSpan, all: readonly ReadableSpan[]): string[] {
  const { spanId } = span.spanContext();
  const events = span.events.map(({ name, attributes = {} }) =>
    `* ${name} ${Object.values(attributes).join(' ')}`.trim(),
  );
  const children = all
    .filter(({ parentSpanContext }) => parentSpanContext?.spanId === spanId)
    .toSorted((a, b) => startOf(a) - startOf(b));
  return [
    lineOf(span),
    ...[...events, ...children.flatMap((child) => linesOf(child, all))].map((line) => `  ${line}`),
  ];
}

/** What is worth a look in a line; the exporter of a backend sends all of it. */
const SHOWN = ['url.path', 'http.response.status_code', 'db_context.outcome', 'db.query.text'];

function lineOf({
  name,
  attributes,
  status,
  duration: [seconds, nanoseconds],
}: ReadableSpan): string {
  const shown = SHOWN.map((key) => attributes[key])
    .filter((value) => value !== undefined)
    .map(String);
  const failed = status.code === SpanStatusCode.ERROR ? ' FAILED' : '';
  const ms = seconds * 1_000 + nanoseconds / 1e6;
  return `${name} ${shown.join(' ')}${failed} (${ms.toFixed(1)} ms)`;
}

function startOf({ startTime: [seconds, nanoseconds] }: ReadableSpan): number {
  return seconds + nanoseconds / 1e9;
}
