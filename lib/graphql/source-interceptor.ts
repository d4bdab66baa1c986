import type { NestInterceptor } from '@nestjs/common';
import type { GraphQLResolveInfo } from 'graphql';
import { mergeMap } from 'rxjs';

import { subscriptionOf } from './subscription-mark.js';

type ResolverArguments = [unknown, unknown, unknown, GraphQLResolveInfo | undefined];

/**
 * Notices when the resolver of a subscription has made the source of its events, around which a server may
 * put another one before anybody sees it. It has no state, so that two applications can share it.
 */
export const SOURCE_INTERCEPTOR: NestInterceptor = {
  intercept(executionContext, next) {
    const [, , contextValue] = executionContext.getArgs<ResolverArguments>();
    const subscription = subscriptionOf(contextValue);
    return subscription === undefined
      ? next.handle()
      : next.handle().pipe(mergeMap((source) => subscription.started(source)));
  },
};
