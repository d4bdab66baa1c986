import type { ExecutionContext } from '@nestjs/common';

import type { RequestOutcome } from '../options/context-options.js';
import { outcomeOfFailure, outcomeOfSuccess } from './http-exchange.js';
import type { InterceptedRequest } from './intercepted-request.js';
import { refusalOf, type FieldInfo } from './refused-value.js';

/** What the value that a handler has returned says about the answer to come. */
export function outcomeOfValue(
  {
    executionContext,
    response,
    route,
  }: Pick<InterceptedRequest, 'executionContext' | 'response' | 'route'>,
  value: unknown,
): RequestOutcome {
  const error =
    executionContext.getType<string>() === 'graphql'
      ? errorOfField(executionContext, value)
      : undefined;
  return error === undefined
    ? outcomeOfSuccess(route.redirect, response, value)
    : outcomeOfFailure(response, error);
}

/** What a field of GraphQL is answered with in place of the value. */
function errorOfField(executionContext: ExecutionContext, value: unknown): unknown {
  if (value instanceof Error) {
    return value;
  }
  // Resolvers of references and of types have no field, and other parameters.
  const info = executionContext.getArgs<[unknown, unknown, unknown, FieldInfo?]>()[3];
  return info?.returnType === undefined ? undefined : refusalOf(info, value);
}
