import type { ExecutionContext } from '@nestjs/common';
import type { Subscribable } from 'rxjs';

import type { ContextRegistry } from '../context/context-registry.js';
import type { CommitPolicy } from '../options/context-options.js';
import type { HttpResponse } from './http-exchange.js';
import type { LateChanges } from './late-changes.js';
import type { NamedInterceptor } from './route-interceptors.js';
import type { RouteLog } from './route-log.js';
import type { RouteSettings } from './route-settings.js';

/** A request that the interceptor serves, with how it is to be served. */
export interface InterceptedRequest {
  readonly registry: ContextRegistry;
  /** The handler, with its pipes and the interceptors inside of ours; each attempt subscribes once. */
  readonly handler: Subscribable<unknown>;
  readonly response: HttpResponse | undefined;
  readonly route: RouteSettings;
  readonly commitOn: CommitPolicy;
  /** Whether the context is rolled back as soon as the client disconnects. */
  readonly rollsBackOnDisconnect: boolean;
  readonly log: RouteLog;
  /** Whether what the handler has changed is written as it returns. */
  readonly flushesHandler: boolean;
  /** The interceptors that see the value of the handler before the context is settled. */
  readonly interceptors: readonly NamedInterceptor[];
  readonly executionContext: ExecutionContext;
  /** Whether the log warns where one of them keeps what may never be committed. */
  readonly warnsOfCaches: boolean;
  /** Whether the HTTP method of the request makes its transactions read-only. */
  readonly isReadOnly: boolean;
  /** Whether a response that cannot be serialized is a failure of the handler. */
  readonly serializesFirst: boolean;
  /** Looks for changes of entities that come after the commit; `undefined` where nobody warns of them. */
  readonly lateChanges: LateChanges | undefined;
  /** Whether the value goes on to fields of GraphQL, or to interceptors around the context, which may read promises in it. */
  readonly hasReaders: boolean;
  /** Whether it is a request, which another instance may answer, rather than a message. */
  readonly isRequest: boolean;
}
