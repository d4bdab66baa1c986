import type { GraphQLResolveInfo } from 'graphql';

import { isPromise } from '../transport/is-promise.js';
import type { GraphQLOperation } from './operation.js';

/**
 * Where the context object of an operation keeps the context of its guards and field resolvers, whose root
 * fields have contexts of their own.
 */
const FIELDS = Symbol('nestjs-db-context:fields');

/** Marks a context object as that of an operation; copies of it, which other operations get, are not. */
export function markFields(contextValue: object, fields: GraphQLOperation): void {
  Object.defineProperty(contextValue, FIELDS, { value: fields, configurable: true });
}

/** The context that guards and field resolvers of an operation have beside those of its root fields. */
export function fieldsOf(contextValue: unknown): GraphQLOperation | undefined {
  return (contextValue as { readonly [FIELDS]?: GraphQLOperation } | null | undefined)?.[FIELDS];
}

/** Runs a resolver of an operation beside whose root fields its guards and field resolvers have a context. */
export function runBeside(
  fields: GraphQLOperation,
  { path }: GraphQLResolveInfo,
  resolve: () => unknown,
): unknown {
  const value = fields.run(resolve);
  // A root field has the limit of its own context.
  return path.prev === undefined || !isPromise(value) ? value : fields.whileOpen(value);
}
