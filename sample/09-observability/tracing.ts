import { context, metrics, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import {
  ConsoleMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { ConsoleSpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { DbContextInstrumentation, hideValues } from 'nestjs-db-context/opentelemetry';

import { SpanTreeExporter } from './span-tree.exporter.js';

/** An application would export by OTLP, and leave most of this to NodeSDK; only the last list would be its own. */
export function startTracing(): void {
  const isFull = process.env['EXPORTER'] === 'console';
  const spans = isFull ? new ConsoleSpanExporter() : new SpanTreeExporter();
  const readers = isFull
    ? [
        new PeriodicExportingMetricReader({
          exporter: new ConsoleMetricExporter(),
          exportIntervalMillis: 10_000,
        }),
      ]
    : [];

  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  trace.setGlobalTracerProvider(
    new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter: spans })] }),
  );
  metrics.setGlobalMeterProvider(new MeterProvider({ readers }));

  registerInstrumentations({
    instrumentations: [
      new HttpInstrumentation(),
      new PgInstrumentation({ requestHook: hideValues, requireParentSpan: true }),
      new DbContextInstrumentation(),
    ],
  });
}
