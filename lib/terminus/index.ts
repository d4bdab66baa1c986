export {
  DbContextHealthIndicator,
  type DbContextHealth,
  type DbContextPingCheckOptions,
} from './db-context.health-indicator.js';
