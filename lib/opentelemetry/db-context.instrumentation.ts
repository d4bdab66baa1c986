import { metrics, trace, type MeterProvider, type TracerProvider } from '@opentelemetry/api';

import { PoolReadings } from '../observability/pool-readings.js';
import { shareListener } from '../observability/shared-listener.js';
import { MetricsWriter } from './metrics-writer.js';
import { SCOPE_NAME, SCOPE_VERSION } from './scope.js';
import { TransactionSpans } from './transaction-spans.js';

/**
 * Options of {@link DbContextInstrumentation}.
 *
 * @publicApi
 */
export interface DbContextInstrumentationConfig {
  /**
   * Whether it is on from the beginning.
   * @defaultValue true
   */
  readonly enabled?: boolean;
  /**
   * Whether spans show the messages of errors. They are masked as in `nestjs-db-context/telemetry`, which
   * leaves messages of the application's own errors as they are, and shows none that a function in PL/pgSQL has
   * raised.
   * @defaultValue false
   */
  readonly errorMessages?: boolean;
}

/**
 * Makes a span of each transaction, and the metrics of pools, transactions and contexts. It is an
 * instrumentation of OpenTelemetry like others, for the list that `NodeSDK` or `registerInstrumentations()`
 * is given; on its own it writes to the global providers, also where those are registered later. It is that
 * of the process, for all its applications. Of several with the same provider one writes.
 *
 * See docs/observability.md for what it writes.
 *
 * @example
 * ```ts
 * registerInstrumentations({
 *   instrumentations: [new PgInstrumentation({ requestHook: hideValues }), new DbContextInstrumentation()],
 * });
 * ```
 * @publicApi
 */
export class DbContextInstrumentation {
  readonly instrumentationName = SCOPE_NAME;
  readonly instrumentationVersion = SCOPE_VERSION;
  #config: DbContextInstrumentationConfig;
  /** Known also after it was disabled for a while. */
  readonly #pools = new PoolReadings();
  #tracerProvider: TracerProvider | undefined;
  #meterProvider: MeterProvider | undefined;
  /** Each gives up its listener; without them it is not enabled. */
  #endSpans: (() => void) | undefined;
  #endMetrics: (() => void) | undefined;

  constructor(config: DbContextInstrumentationConfig = {}) {
    this.#config = { enabled: true, ...config };
    if (this.#config.enabled === true) {
      this.enable();
    }
  }

  /** Begins to write; a second call does nothing. */
  enable(): void {
    this.#config = { ...this.#config, enabled: true };
    this.#endSpans ??= this.#beginSpans();
    this.#endMetrics ??= this.#beginMetrics();
  }

  /** Ends all that it has begun. Spans of transactions that are open end without an outcome. */
  disable(): void {
    this.#config = { ...this.#config, enabled: false };
    this.#stopSpans();
    this.#stopMetrics();
  }

  /** @param provider instead of the global one; transactions that are open lose their span */
  setTracerProvider(provider: TracerProvider): void {
    // What is global now, or becomes it later, is asked for as it is needed.
    this.#tracerProvider = provider === trace.getTracerProvider() ? undefined : provider;
    if (this.#endSpans !== undefined) {
      this.#stopSpans();
      this.#endSpans = this.#beginSpans();
    }
  }

  /** @param provider instead of the global one */
  setMeterProvider(provider: MeterProvider): void {
    // Also the provider that does nothing, which stands there before one is registered.
    this.#meterProvider = provider === metrics.getMeterProvider() ? undefined : provider;
    if (this.#endMetrics !== undefined) {
      this.#stopMetrics();
      this.#endMetrics = this.#beginMetrics();
    }
  }

  /** @param config whose `errorMessages` hold for spans that begin once it is enabled again */
  setConfig(config: DbContextInstrumentationConfig): void {
    this.#config = { ...config, enabled: this.#config.enabled === true };
  }

  getConfig(): DbContextInstrumentationConfig {
    return this.#config;
  }

  #beginSpans(): () => void {
    const provider = this.#tracerProvider;
    const { errorMessages = false } = this.#config;
    return shareListener('opentelemetry-spans', provider ?? trace, () => {
      const spans = new TransactionSpans(() => provider ?? trace.getTracerProvider(), {
        errorMessages,
      });
      spans.start();
      return () => spans.stop();
    });
  }

  #beginMetrics(): () => void {
    const provider = this.#meterProvider;
    return shareListener('opentelemetry-metrics', provider ?? metrics, () => {
      const writer = new MetricsWriter(() => provider ?? metrics.getMeterProvider(), this.#pools);
      writer.start();
      return () => writer.stop();
    });
  }

  #stopSpans(): void {
    this.#endSpans?.();
    this.#endSpans = undefined;
  }

  #stopMetrics(): void {
    this.#endMetrics?.();
    this.#endMetrics = undefined;
  }
}
