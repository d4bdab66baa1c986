/**
 * The health of a connection for `@nestjs/terminus`, see docs/health.md.
 *
 * @packageDocumentation
 */
export {
  DbContextHealthIndicator,
  type DbContextHealth,
  type DbContextPingCheckOptions,
} from './db-context.health-indicator.js';
export type { HealthThresholds } from './health-thresholds.js';
