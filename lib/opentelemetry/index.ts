/**
 * Spans and metrics of OpenTelemetry, see docs/observability.md. It loads neither Nest nor `pg`, so that it
 * can be imported before their instrumentations.
 *
 * @packageDocumentation
 */
export {
  DbContextInstrumentation,
  type DbContextInstrumentationConfig,
} from './db-context.instrumentation.js';
export { hideValues } from './hide-values.js';
