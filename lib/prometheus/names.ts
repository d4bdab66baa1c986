import { METRICS, type MetricName } from '../observability/metrics.js';

/** A name of OpenTelemetry as Prometheus writes it: `db.namespace` is `db_namespace`. */
export function labelName(name: string): string {
  return name.replaceAll('.', '_');
}

/**
 * The name of a metric with the suffixes of its unit and kind, by
 * https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
 */
export function metricName(name: MetricName): string {
  const { unit, kind } = METRICS[name];
  const suffix = unit === 's' ? '_seconds' : '';
  return `${labelName(name)}${suffix}${kind === 'counter' ? '_total' : ''}`;
}
