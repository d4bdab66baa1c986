import { metrics, trace, type MeterProvider, type TracerProvider } from '@opentelemetry/api';

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
   * leaves messages of the application's own errors, and of its database functions, as they are.
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
  #tracerProvider: TracerProvider | undefined;
  #meterProvider: MeterProvider | undefined;
  /** Each gives up a listener; without any it is not enabled. */
  #releases: (() => void)[] = [];

  constructor(config: DbContextInstrumentationConfig = {}) {
    this.#config = { enabled: true, ...config };
    if (this.#config.enabled === true) {
      this.enable();
    }
  }

  /** Begins to write; a second call does nothing. */
  enable(): void {
    if (this.#releases.length > 0) {
      return;
    }
    this.#config = { ...this.#config, enabled: true };
    const tracing = this.#tracerProvider ?? trace.getTracerProvider();
    const { errorMessages = false } = this.#config;
    this.#releases = [
      shareListener('opentelemetry-spans', tracing, () => {
        const spans = new TransactionSpans(tracing, { errorMessages });
        spans.start();
        return () => spans.stop();
      }),
      shareListener('opentelemetry-metrics', this.#meterProvider ?? metrics, () => {
        const meters = this.#meterProvider;
        const writer = new MetricsWriter(() => meters ?? metrics.getMeterProvider());
        writer.start();
        return () => writer.stop();
      }),
    ];
  }

  /** Ends all that it has begun. Spans of transactions that are open end without an outcome. */
  disable(): void {
    this.#config = { ...this.#config, enabled: false };
    this.#releases.splice(0).forEach((release) => release());
  }

  /** @param provider instead of the global one; transactions that are open lose their span */
  setTracerProvider(provider: TracerProvider): void {
    this.#exchange(() => {
      this.#tracerProvider = provider;
    });
  }

  /** @param provider instead of the global one */
  setMeterProvider(provider: MeterProvider): void {
    this.#exchange(() => {
      // What is global now, or becomes it later, is asked for as it is needed.
      this.#meterProvider = isGlobal(provider) ? undefined : provider;
    });
  }

  setConfig(config: DbContextInstrumentationConfig): void {
    this.#exchange(() => {
      this.#config = { ...config, enabled: this.#config.enabled ?? true };
    });
  }

  getConfig(): DbContextInstrumentationConfig {
    return this.#config;
  }

  #exchange(change: () => void): void {
    const isEnabled = this.#releases.length > 0;
    if (isEnabled) {
      this.disable();
    }
    change();
    if (isEnabled) {
      this.enable();
    }
  }
}

/** Also the provider that does nothing, which stands there before one is registered. */
function isGlobal(provider: MeterProvider): boolean {
  return provider === metrics.getMeterProvider();
}
