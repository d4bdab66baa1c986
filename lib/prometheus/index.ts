/**
 * Metrics for `prom-client`, see docs/observability.md.
 *
 * @packageDocumentation
 */
export {
  collectDbContextMetrics,
  type CollectDbContextMetricsOptions,
} from './collect-db-context-metrics.js';
