import {
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { ExternalContextCreator } from '@nestjs/core';
import type { GraphQLResolveInfo } from 'graphql';
import { mergeMap, type Observable } from 'rxjs';

import { prependGlobalInterceptor } from '../transport/global-interceptor.js';
import { subscriptionOf } from './subscription.js';

/**
 * Notices when the resolver of a subscription has made the source of its events, of which a server may
 * make another one before anybody sees it.
 */
@Injectable()
export class SourceInterceptor implements NestInterceptor {
  constructor(contextCreator: ExternalContextCreator) {
    prependGlobalInterceptor(contextCreator, this);
  }

  intercept(executionContext: ExecutionContext, next: CallHandler): Observable<unknown> {
    if (executionContext.getType<string>() !== 'graphql') {
      return next.handle();
    }
    const [, , contextValue, info] =
      executionContext.getArgs<[unknown, unknown, unknown, GraphQLResolveInfo | undefined]>();
    const subscription = subscriptionOf(contextValue);
    // Field resolvers get here, too, with `fieldResolverEnhancers`.
    return subscription === undefined || info?.path.prev !== undefined
      ? next.handle()
      : next.handle().pipe(mergeMap((source) => subscription.started(source)));
  }
}
