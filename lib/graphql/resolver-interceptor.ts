import type { NestInterceptor } from '@nestjs/common';
import type { GraphQLResolveInfo } from 'graphql';
import { mergeMap } from 'rxjs';

import { operationOf } from './operation-mark.js';
import { skippedFieldsOf } from './skipped-fields.js';
import { subscriptionOf } from './subscription-mark.js';

type ResolverArguments = [unknown, unknown, unknown, GraphQLResolveInfo];

/**
 * Stands between the guards of a resolver and the resolver. It refuses what its guards have kept until the
 * context of the operation had ended, and notices when the resolver of a subscription has made the source of
 * its events, around which a server may put another one before anybody sees it. It has no state, so that two
 * applications can share it.
 */
export const RESOLVER_INTERCEPTOR: NestInterceptor = {
  intercept(executionContext, next) {
    const [, , contextValue, info] = executionContext.getArgs<ResolverArguments>();
    if (skippedFieldsOf(contextValue)?.has(info) !== true) {
      operationOf(contextValue)?.assertOpen();
    }
    const subscription = subscriptionOf(contextValue);
    // Field resolvers get here, too, with `fieldResolverEnhancers`.
    return subscription === undefined || info.path.prev !== undefined
      ? next.handle()
      : next.handle().pipe(mergeMap((source) => subscription.started(source)));
  },
};
