import type { DynamicModule } from '@nestjs/common';

import { BareInterceptorModule } from './bare-interceptor.js';
import { ClsTransactionModule } from './cls-transaction.js';
import { HandWrittenModule } from './hand-written.js';
import { LibraryModule } from './library.js';
import { NoDatabaseModule } from './no-database.js';
import { RequestContextModule } from './request-context.js';
import { RequestScopeModule } from './request-scope.js';

/** The module of each candidate, given the URL of the database. */
export const CANDIDATE_MODULES = {
  library: (url) => LibraryModule.register(url),
  'first-write': (url) => LibraryModule.register(url, { begin: 'first-write' }),
  'hand-written': (url) => HandWrittenModule.register(url),
  'hand-intercepted': (url) => BareInterceptorModule.register(HandWrittenModule.register(url)),
  'request-context': (url) => RequestContextModule.register(url),
  'request-scope': (url) => RequestScopeModule.register(url),
  'cls-transaction': (url) => ClsTransactionModule.register(url),
  'no-database': () => NoDatabaseModule.register(),
  'bare-interceptor': () => BareInterceptorModule.register(NoDatabaseModule.register()),
} as const satisfies Record<string, (url: string) => DynamicModule>;
