import type { GraphQLResolveInfo } from 'graphql';

import type { ContextRegistry } from '../context/context-registry.js';

/** The root fields of one operation with `@SkipDbContext()`: they, and all below them, have no context. */
export class SkippedFields {
  readonly #registry: ContextRegistry;
  readonly #keys: ReadonlySet<string>;

  /** @param keys of the root fields in the answer */
  constructor(registry: ContextRegistry, keys: ReadonlySet<string>) {
    this.#registry = registry;
    this.#keys = keys;
  }

  /** Whether a field is one of them, or lies below one. */
  has({ path }: Pick<GraphQLResolveInfo, 'path'>): boolean {
    if (this.#keys.size === 0) {
      return false;
    }
    let root = path;
    while (root.prev !== undefined) {
      root = root.prev;
    }
    return this.#keys.has(String(root.key));
  }

  /** Runs what belongs to one of them, also where its request has a context (`mount: 'middleware'`). */
  runOutside<T>(callback: () => T): T {
    return this.#registry.runOutside(callback);
  }
}

/** Where the context object of an operation keeps its {@link SkippedFields}. */
const SKIPPED = Symbol('nestjs-db-context:skipped-fields');

/** Marks a context object as that of an operation; copies of it, which other operations get, are not. */
export function markSkippedFields(contextValue: object, fields: SkippedFields): void {
  Object.defineProperty(contextValue, SKIPPED, { value: fields, configurable: true });
}

/** The root fields with `@SkipDbContext()` of the operation that a context object belongs to. */
export function skippedFieldsOf(contextValue: unknown): SkippedFields | undefined {
  return (contextValue as { readonly [SKIPPED]?: SkippedFields } | null | undefined)?.[SKIPPED];
}
