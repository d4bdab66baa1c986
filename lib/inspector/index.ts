/**
 * A page that shows what requests send to their databases, see docs/inspector.md.
 *
 * @packageDocumentation
 */
export { DbContextInspectorModule } from './db-context-inspector.module.js';
export type {
  DbContextInspectorAsyncOptions,
  DbContextInspectorOptions,
  DbContextInspectorPlace,
  DbContextInspectorSettings,
} from './inspector-options.js';
