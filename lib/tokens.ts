import type { EntityName } from '@mikro-orm/core';

import { InvalidOptionsError } from './errors.js';
import { DEFAULT_CONNECTION_NAME } from './options/defaults.js';

// The tokens are sentences because Nest prints them when it cannot resolve one, at boot.

/**
 * Injection token of a session.
 *
 * @param name name of the connection
 * @defaultValue 'default'
 * @publicApi
 */
export function getSessionToken(name: string = DEFAULT_CONNECTION_NAME): string {
  return `session of connection "${name}" (${howToDeclare(name)})`;
}

/**
 * Injection token of a {@link DbConnection}.
 *
 * @param name name of the connection
 * @defaultValue 'default'
 * @publicApi
 */
export function getConnectionToken(name: string = DEFAULT_CONNECTION_NAME): string {
  return `connection "${name}" (${howToDeclare(name)})`;
}

/**
 * Injection token of the repository of an entity.
 *
 * @param entity the entity class, or its `EntitySchema`
 * @param name name of the connection
 * @defaultValue 'default'
 * @throws {@link InvalidOptionsError} `entity` is undefined, as after a circular import
 * @publicApi
 */
export function getRepositoryToken(
  entity: EntityName,
  name: string = DEFAULT_CONNECTION_NAME,
): string {
  if (entity === undefined || entity === null) {
    throw new InvalidOptionsError(
      'The repository of undefined was asked for, in @InjectRepository() or getRepositoryToken(). ' +
        'Two files that import each other are the usual cause; break the cycle.',
    );
  }
  const entityName = entityNameOf(entity);
  const where = name === DEFAULT_CONNECTION_NAME ? '' : `, '${name}'`;
  return `repository of ${entityName} on connection "${name}" (declare it with DbContextModule.forFeature([${entityName}]${where}))`;
}

/**
 * Injection token of interceptors around the contexts of all routes, as `APP_INTERCEPTOR` is that of
 * interceptors inside of them: see {@link UseAfterCommit}. The provider is one interceptor or a list of
 * them, the first of which is the outermost; each module may have one. They are around those of
 * `@UseAfterCommit()`.
 *
 * @example
 * ```ts
 * providers: [{ provide: AFTER_COMMIT_INTERCEPTOR, useClass: CacheInterceptor }];
 * ```
 * @publicApi
 */
export const AFTER_COMMIT_INTERCEPTOR: unique symbol = Symbol.for(
  'nestjs-db-context:after-commit-interceptor',
);

/** The name of an entity, for tokens and messages. */
export function entityNameOf(entity: EntityName): string {
  if (typeof entity === 'function') {
    return entity.name;
  }
  const { name, meta } = entity as { name?: string; meta?: { className?: string } };
  return meta?.className ?? name ?? 'an entity without a name';
}

function howToDeclare(name: string): string {
  return name === DEFAULT_CONNECTION_NAME
    ? 'declare it with DbContextModule.forRoot({ connections: [{ ... }] })'
    : `declare it with DbContextModule.forFeature({ name: '${name}', ... })`;
}
