import { register as defaultRegistry, type Registry, type RegistryContentType } from 'prom-client';

import { BOUNDS_S } from '../observability/metrics.js';
import { shareListener } from '../observability/shared-listener.js';
import { PrometheusMetrics } from './prometheus-metrics.js';

/**
 * Options of {@link collectDbContextMetrics}.
 *
 * @publicApi
 */
export interface CollectDbContextMetricsOptions {
  /**
   * The registry that the metrics are added to.
   * @defaultValue the default registry of `prom-client`
   */
  readonly register?: Registry<RegistryContentType>;
  /**
   * Upper bounds of the buckets of all histograms, in seconds, in rising order. Of several calls for a registry
   * the first one decides.
   * @defaultValue from 1 ms to 10 minutes, see docs/observability.md
   */
  readonly buckets?: readonly number[];
}

/**
 * Adds the metrics of pools, transactions and contexts to a registry of `prom-client`, for all applications
 * of the process. Their names are those of OpenTelemetry as Prometheus writes them, see
 * docs/observability.md.
 *
 * @returns a function that ends this, and removes the metrics from the registry. Several calls for a registry
 *   share its metrics, which are removed by the last of these functions
 * @throws Error of `prom-client`: the registry has another metric of the same name
 *
 * @example
 * ```ts
 * const stop = collectDbContextMetrics({ register });
 * ```
 * @publicApi
 */
export function collectDbContextMetrics({
  register = defaultRegistry,
  buckets = BOUNDS_S,
}: CollectDbContextMetricsOptions = {}): () => void {
  return shareListener('prometheus', register, () => {
    const metrics = new PrometheusMetrics(register, buckets);
    metrics.start();
    return () => metrics.stop();
  });
}
