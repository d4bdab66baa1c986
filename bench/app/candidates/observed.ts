import type { DynamicModule } from '@nestjs/common';
import { context, metrics, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { DbContextInstrumentation } from 'nestjs-db-context/opentelemetry';
import { collectDbContextMetrics } from 'nestjs-db-context/prometheus';
import { Registry } from 'prom-client';

import type { Database } from '../orm.js';
import { LibraryModule } from './library.js';

/** Exports nothing, as fast as that can be: what a backend takes is no work of this process. */
const exporter = {
  export: (_batch: unknown, done: (result: { readonly code: number }) => void): void =>
    done({ code: 0 }),
  forceFlush: () => Promise.resolve(),
  shutdown: () => Promise.resolve(),
};

/** The library with the instrumentation of OpenTelemetry, spans and metrics; all spans are sampled. */
export function withOpenTelemetry(database: Database): DynamicModule {
  const readers = [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 1_000 })];
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  trace.setGlobalTracerProvider(
    new TracerProvider({ spanProcessors: [new BatchSpanProcessor({ exporter })] }),
  );
  metrics.setGlobalMeterProvider(new MeterProvider({ readers }));
  new DbContextInstrumentation().enable();
  return LibraryModule.register(database);
}

/** The library with the metrics of Prometheus. */
export function withPrometheus(database: Database): DynamicModule {
  collectDbContextMetrics({ register: new Registry() });
  return LibraryModule.register(database);
}
