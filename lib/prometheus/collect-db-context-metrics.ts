import { register as defaultRegistry, type Registry, type RegistryContentType } from 'prom-client';

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
}: CollectDbContextMetricsOptions = {}): () => void {
  return shareListener('prometheus', register, () => {
    const metrics = new PrometheusMetrics(register);
    metrics.start();
    return () => metrics.stop();
  });
}
