import { DriverException } from '@mikro-orm/core';

/**
 * Lets an answer have the code of an error of this library, or of the database, as it has where the COMMIT
 * fails: graphql-js takes over the extensions of what a resolver throws.
 */
export function showCode(error: unknown): void {
  if (error instanceof DriverException && typeof error.code === 'string') {
    const { code, extensions } = error as { code: string; extensions?: unknown };
    if (extensions === undefined && Object.isExtensible(error)) {
      Object.defineProperty(error, 'extensions', { value: { code } });
    }
  }
}
