import { Counter, Gauge, Histogram, type Registry, type RegistryContentType } from 'prom-client';

import { MetricsListener } from '../observability/metrics-listener.js';
import {
  METRICS,
  metricsOf,
  type CounterName,
  type GaugeName,
  type HistogramName,
  type Labels,
  type MetricName,
  type MetricSink,
} from '../observability/metrics.js';
import { labelName, metricName } from './names.js';

/** Writes the metrics to a registry of `prom-client`. */
export class PrometheusMetrics implements MetricSink {
  readonly #register: Registry<RegistryContentType>;
  /** In seconds. */
  readonly #buckets: readonly number[];
  readonly #counters = new Map<CounterName, Counter>();
  readonly #histograms = new Map<HistogramName, Histogram>();
  /** The labels as Prometheus writes them; those of events are always the same objects. */
  readonly #translated = new WeakMap<Labels, Record<string, string>>();
  readonly #listener: MetricsListener;

  constructor(register: Registry<RegistryContentType>, buckets: readonly number[]) {
    this.#register = register;
    this.#buckets = buckets;
    this.#listener = new MetricsListener(this, (error) =>
      process.emitWarning(
        `A metric of nestjs-db-context could not be written: ${String(error)}`,
        'DbContextMetricsWarning',
      ),
    );
  }

  start(): void {
    for (const name of metricsOf('counter')) {
      this.#counters.set(name, new Counter(this.#optionsOf(name)));
    }
    for (const name of metricsOf('histogram')) {
      const buckets = [...this.#buckets];
      this.#histograms.set(name, new Histogram({ ...this.#optionsOf(name), buckets }));
    }
    for (const name of metricsOf('gauge')) {
      this.#addGauge(name);
    }
    this.#listener.start();
  }

  stop(): void {
    this.#listener.stop();
    for (const name of Object.keys(METRICS) as MetricName[]) {
      this.#register.removeSingleMetric(metricName(name));
    }
  }

  /** See {@link MetricSink.count}. */
  count(name: CounterName, labels: Labels): void {
    this.#counters.get(name)!.inc(this.#translate(labels));
  }

  /** See {@link MetricSink.zero}. */
  zero(name: CounterName, labels: Labels): void {
    this.#counters.get(name)!.inc(this.#translate(labels), 0);
  }

  /** See {@link MetricSink.record}. */
  record(name: HistogramName, labels: Labels, value: number): void {
    this.#histograms.get(name)!.observe(this.#translate(labels), value);
  }

  #translate(labels: Labels): Record<string, string> {
    const known = this.#translated.get(labels) ?? translated(labels);
    this.#translated.set(labels, known);
    return known;
  }

  #addGauge(name: GaugeName): void {
    const listener = this.#listener;
    const gauge = new Gauge({
      ...this.#optionsOf(name),
      registers: [],
      collect() {
        this.reset();
        for (const { labels, value } of listener.read(name)) {
          this.set(translated(labels), value);
        }
      },
    });
    this.#register.registerMetric(gauge);
  }

  #optionsOf(name: MetricName): {
    name: string;
    help: string;
    labelNames: string[];
    registers: Registry<RegistryContentType>[];
  } {
    const { description, labels } = METRICS[name];
    return {
      name: metricName(name),
      help: description,
      labelNames: labels.map(labelName),
      registers: [this.#register],
    };
  }
}

function translated(labels: Labels): Record<string, string> {
  return Object.fromEntries(
    Object.entries(labels).map(([name, value]) => [labelName(name), value]),
  );
}
