import type { DynamicModule } from '@nestjs/common';

import type { Candidate } from '../../candidates.js';
import type { Database } from '../orm.js';
import { BareInterceptorModule } from './bare-interceptor.js';
import { BareMiddlewareModule } from './bare-middleware.js';
import { HandWrittenModule } from './hand-written.js';
import { InspectedModule } from './inspected.js';
import { LibraryModule } from './library.js';
import { NoDatabaseModule } from './no-database.js';
import { withOpenTelemetry, withPrometheus } from './observed.js';
import { RequestContextModule } from './request-context.js';
import { RequestScopeModule } from './request-scope.js';

/**
 * The module of each candidate, given the database that it works with. The rivals are loaded where they run:
 * the process of another candidate is to hold nothing of theirs, and `typeorm-transactional` patches what it
 * finds.
 */
export const CANDIDATE_MODULES = {
  library: (database) => LibraryModule.register(database),
  'first-write': (database) => LibraryModule.register(database, { begin: 'first-write' }),
  middleware: (database) => LibraryModule.register(database, {}, { mount: 'middleware' }),
  inspector: (database) => InspectedModule.register(LibraryModule.register(database)),
  'hand-written': (database) => HandWrittenModule.register(database),
  'hand-intercepted': (database) =>
    BareInterceptorModule.register(HandWrittenModule.register(database)),
  'request-context': (database) => RequestContextModule.register(database),
  'request-scope': (database) => RequestScopeModule.register(database),
  'nestjs-cls-transactional': async (database) => {
    const { NestjsClsTransactionalModule } = await import('./nestjs-cls-transactional.js');
    return NestjsClsTransactionalModule.register(database);
  },
  'mikro-orm-nestjs': async (database) => {
    const { MikroOrmNestjsModule } = await import('./mikro-orm-nestjs.js');
    return MikroOrmNestjsModule.register(database);
  },
  typeorm: async (database) => {
    const { TypeOrmStackModule } = await import('../stacks/typeorm.js');
    return TypeOrmStackModule.register(database);
  },
  drizzle: async (database) => {
    const { DrizzleStackModule } = await import('../stacks/drizzle.js');
    return DrizzleStackModule.register(database);
  },
  'no-database': () => NoDatabaseModule.register(),
  'bare-middleware': () =>
    BareMiddlewareModule.register(BareInterceptorModule.register(NoDatabaseModule.register())),
  'open-telemetry': (database) => withOpenTelemetry(database),
  prometheus: (database) => withPrometheus(database),
  'bare-interceptor': () => BareInterceptorModule.register(NoDatabaseModule.register()),
} as const satisfies Record<
  Candidate,
  (database: Database) => DynamicModule | Promise<DynamicModule>
>;
