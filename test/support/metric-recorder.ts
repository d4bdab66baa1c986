import {
  AggregationTemporality,
  DataPointType,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';

/** The metrics of a provider that is not the global one. */
export interface MetricRecorder {
  readonly provider: MeterProvider;
  /** Collects all metrics: the value of each series, or the count of a histogram. */
  read(): Promise<Record<string, number>>;
  stop(): Promise<void>;
}

/** The name of a series, `name{label=value}`. */
function seriesName(name: string, labels: object): string {
  const shown = Object.entries(labels)
    .map(([label, value]) => `${label.split(/[._]/).at(-1)}=${String(value)}`)
    .toSorted();
  return `${name}{${shown.join(',')}}`;
}

export function recordMetrics(): MetricRecorder {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const provider = new MeterProvider({ readers: [reader] });
  return {
    provider,
    read: async () => {
      exporter.reset();
      await reader.forceFlush();
      const series: Record<string, number> = {};
      const scopes = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics);
      for (const { descriptor, dataPoints, dataPointType } of scopes.flatMap((s) => s.metrics)) {
        for (const { attributes, value } of dataPoints) {
          const name = seriesName(descriptor.name, attributes);
          series[name] =
            dataPointType === DataPointType.HISTOGRAM
              ? (value as { count: number }).count
              : (value as number);
        }
      }
      return series;
    },
    stop: () => provider.shutdown(),
  };
}
