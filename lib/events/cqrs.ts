export { DbContextCqrsModule } from './db-context-cqrs.module.js';
