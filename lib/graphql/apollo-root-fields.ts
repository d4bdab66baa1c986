import { HttpException } from '@nestjs/common';
import type { GraphQLSchema } from 'graphql';

import { errorOf, shownAnswer, type FormatError } from './answer.js';
import { firstOf, shownBody, withFirst } from './apollo-body.js';
import type { ApolloRequestContext } from './apollo-request.js';
import type { OtherPlugins } from './other-plugins.js';
import type { RootFieldScope } from './root-field-scope.js';
import { shapeOf, type OperationShape } from './root-fields.js';

/** What listens to operations of Apollo Server whose root fields have contexts of their own. */
export interface RootFieldListening {
  readonly scope: RootFieldScope;
  readonly others: OtherPlugins;
  /** What the server of a schema does with the errors of resolvers. */
  readonly formatterOf: (schema: GraphQLSchema) => FormatError;
}

/** The listener of a plugin of Apollo Server to one operation with `scope: 'root-field'`. */
export function listenToRootFields({ scope, others, formatterOf }: RootFieldListening): object {
  let shape: OperationShape | undefined;
  const settle = async ({
    contextValue,
    errors = [],
    response,
    schema,
  }: ApolloRequestContext): Promise<void> => {
    const { body } = response;
    if (body !== undefined) {
      const { kind = 'query' } = shape ?? {};
      const executed = { kind, answer: firstOf(body), errors };
      const answer = await scope.answered(contextValue, executed, formatterOf(schema));
      response.body = withFirst(body, answer);
    }
  };
  return {
    didResolveOperation: async ({ contextValue, document, request }: ApolloRequestContext) => {
      shape = document && shapeOf(document, request.operationName, request.variables);
      if (shape !== undefined) {
        try {
          scope.begin(contextValue, shape);
        } catch (error) {
          throw errorOf(error, error instanceof HttpException ? error.getStatus() : 500);
        }
      }
    },
    executionDidStart: async (requestContext: ApolloRequestContext) => ({
      executionDidEnd: async (error?: Error) => {
        await others.haveEnded(requestContext);
        await (error === undefined
          ? settle(requestContext)
          : scope.abandon(requestContext.contextValue));
      },
    }),
    willSendResponse: async (requestContext: ApolloRequestContext) => {
      // Another plugin may have answered or failed, so that nothing was executed.
      await settle(requestContext);
      const { body } = requestContext.response;
      if (body !== undefined) {
        requestContext.response.body = shownBody(body, shownAnswer);
      }
    },
  };
}
