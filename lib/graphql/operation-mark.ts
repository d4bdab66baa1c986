import type { GraphQLOperation } from './operation.js';

/** Where the context object of an operation keeps its {@link GraphQLOperation}. */
const OPERATION = Symbol('nestjs-db-context:operation');

/** Marks a context object as that of an operation; copies of it, which other operations get, are not. */
export function markOperation(contextValue: object, operation: GraphQLOperation): void {
  Object.defineProperty(contextValue, OPERATION, { value: operation, configurable: true });
}

/** The operation that a context object belongs to. */
export function operationOf(contextValue: unknown): GraphQLOperation | undefined {
  return (contextValue as { readonly [OPERATION]?: GraphQLOperation } | null | undefined)?.[
    OPERATION
  ];
}
