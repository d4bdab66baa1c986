import type { RequestOutcome } from '../options/context-options.js';
import { outcomeOfFailure, outcomeOfSuccess } from './http-exchange.js';
import type { InterceptedRequest } from './intercepted-request.js';

/** What the value that a handler has returned says about the answer to come. */
export function outcomeOfValue(
  {
    executionContext,
    response,
    route,
  }: Pick<InterceptedRequest, 'executionContext' | 'response' | 'route'>,
  value: unknown,
): RequestOutcome {
  // GraphQL answers an error that is returned as one that is thrown.
  return value instanceof Error && executionContext.getType<string>() === 'graphql'
    ? outcomeOfFailure(response, value)
    : outcomeOfSuccess(route.redirect, response, value);
}
