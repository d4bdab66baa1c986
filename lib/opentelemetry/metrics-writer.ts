import {
  diag,
  type BatchObservableCallback,
  type Counter,
  type Histogram,
  type Meter,
  type MeterProvider,
  type Observable,
} from '@opentelemetry/api';

import { MetricsListener } from '../observability/metrics-listener.js';
import {
  BOUNDS_S,
  METRICS,
  metricsOf,
  type CounterName,
  type GaugeName,
  type HistogramName,
  type Labels,
  type MetricSink,
} from '../observability/metrics.js';
import type { PoolReadings } from '../observability/pool-readings.js';
import { SCOPE_NAME, SCOPE_VERSION } from './scope.js';

/** The instruments of one provider. */
interface Instruments {
  readonly provider: MeterProvider;
  readonly counters: ReadonlyMap<CounterName, Counter>;
  readonly histograms: ReadonlyMap<HistogramName, Histogram>;
  readonly dispose: () => void;
}

/** Writes the metrics to the meter of a provider. */
export class MetricsWriter implements MetricSink {
  readonly #providerNow: () => MeterProvider;
  readonly #listener: MetricsListener;
  readonly #pools: PoolReadings;
  #current: Instruments | undefined;

  /**
   * @param providerNow is asked again and again: the global provider may be registered later
   * @param pools what is known from an earlier time
   */
  constructor(providerNow: () => MeterProvider, pools: PoolReadings) {
    this.#providerNow = providerNow;
    this.#pools = pools;
    this.#listener = new MetricsListener(
      this,
      (error) => diag.error('nestjs-db-context: a metric could not be written', error),
      pools,
    );
  }

  start(): void {
    this.#instruments();
    this.#listener.start();
  }

  stop(): void {
    this.#listener.stop();
    this.#current?.dispose();
    this.#current = undefined;
  }

  /** See {@link MetricSink.count}. */
  count(name: CounterName, labels: Labels): void {
    this.#instruments().counters.get(name)!.add(1, labels);
  }

  /** See {@link MetricSink.zero}. */
  zero(name: CounterName, labels: Labels): void {
    this.#instruments().counters.get(name)!.add(0, labels);
  }

  /** See {@link MetricSink.record}. */
  record(name: HistogramName, labels: Labels, value: number): void {
    this.#instruments().histograms.get(name)!.record(value, labels);
  }

  #instruments(): Instruments {
    const provider = this.#providerNow();
    if (this.#current?.provider !== provider) {
      this.#current?.dispose();
      const { counters } = (this.#current = this.#make(provider));
      this.#listener.zeros.forEach(([name, labels]) => counters.get(name)!.add(0, labels));
    }
    return this.#current;
  }

  #make(provider: MeterProvider): Instruments {
    const meter = provider.getMeter(SCOPE_NAME, SCOPE_VERSION);
    const counters = metricsOf('counter').map(
      (name) => [name, meter.createCounter(name, optionsOf(name))] as const,
    );
    const histograms = metricsOf('histogram').map((name) => {
      const advice = { explicitBucketBoundaries: [...BOUNDS_S] };
      return [name, meter.createHistogram(name, { ...optionsOf(name), advice })] as const;
    });
    return {
      provider,
      counters: new Map(counters),
      histograms: new Map(histograms),
      dispose: this.#observe(meter),
    };
  }

  #observe(meter: Meter): () => void {
    const gauges = new Map<GaugeName, Observable>(
      metricsOf('gauge').map((name) => {
        const options = optionsOf(name);
        // Counts of several processes are added up; times are not.
        return [
          name,
          options.unit === 's'
            ? meter.createObservableGauge(name, options)
            : meter.createObservableUpDownCounter(name, options),
        ];
      }),
    );
    // A series that is not observed any more would keep its last value for ever: that of a closed pool is 0.
    const { series } = this.#pools;
    const observe: BatchObservableCallback = (result) => {
      const gone = new Map(series);
      for (const [name, gauge] of gauges) {
        for (const { labels, value } of this.#listener.read(name)) {
          const key = `${name} ${Object.values(labels).join('\n')}`;
          series.set(key, [name, labels]);
          gone.delete(key);
          result.observe(gauge, value, labels);
        }
      }
      gone.forEach(([name, labels]) => result.observe(gauges.get(name)!, 0, labels));
      this.#pools.forgetOldest([...gone.keys()]);
    };
    meter.addBatchObservableCallback(observe, [...gauges.values()]);
    return () => meter.removeBatchObservableCallback(observe, [...gauges.values()]);
  }
}

function optionsOf(name: CounterName | HistogramName | GaugeName): {
  unit: string;
  description: string;
} {
  const { unit, description } = METRICS[name];
  return { unit, description };
}
