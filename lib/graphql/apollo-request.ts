import type { DocumentNode, GraphQLSchema } from 'graphql';

import type { OperationError } from '../options/context-options.js';
import type { ApolloBody } from './apollo-body.js';
import type { Variables } from './root-fields.js';

// The members of Apollo Server that this library uses: its types must not be needed where Mercurius serves.

interface ApolloRequest {
  readonly extensions?: Readonly<Record<string, unknown>>;
  readonly operationName?: string | null;
  readonly variables?: Variables;
}

/** What the plugins of Apollo Server get for one operation. */
export interface ApolloRequestContext {
  readonly contextValue: object;
  readonly request: ApolloRequest;
  readonly schema: GraphQLSchema;
  readonly source?: string;
  readonly document?: DocumentNode;
  /** The errors of the execution before they were formatted. */
  errors?: readonly OperationError[];
  readonly response: { body?: ApolloBody };
}
