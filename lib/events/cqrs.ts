/**
 * Events of `@nestjs/cqrs` that wait for the commit, see docs/events.md.
 *
 * @packageDocumentation
 */
export { DbContextCqrsModule } from './db-context-cqrs.module.js';
