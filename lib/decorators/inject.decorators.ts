import type { EntityName } from '@mikro-orm/core';
import { Inject } from '@nestjs/common';

import { getConnectionToken, getRepositoryToken, getSessionToken } from '../tokens.js';

/** A decorator of a constructor parameter or a property. */
export type InjectDecorator = PropertyDecorator & ParameterDecorator;

/**
 * Injects the session of the current context: MikroORM's EntityManager, in any scope of provider.
 *
 * @param name name of the connection
 * @defaultValue 'default'
 * @example
 * ```ts
 * import { EntityManager } from '@mikro-orm/postgresql';
 *
 * @Injectable()
 * export class AccountService {
 *   constructor(@InjectSession() private readonly session: EntityManager) {}
 *
 *   find(id: number): Promise<Account> {
 *     return this.session.findOneOrFail(Account, id);
 *   }
 * }
 * ```
 * @publicApi
 */
export function InjectSession(name?: string): InjectDecorator {
  return Inject(getSessionToken(name));
}

/**
 * Injects a {@link DbConnection}.
 *
 * @param name name of the connection
 * @defaultValue 'default'
 * @publicApi
 */
export function InjectConnection(name?: string): InjectDecorator {
  return Inject(getConnectionToken(name));
}

/**
 * Injects the repository of an entity, bound to the session of the current context. Its module
 * imports `DbContextModule.forFeature([Entity], name)`.
 *
 * @param entity the entity class, or its `EntitySchema`
 * @param name name of the connection
 * @defaultValue 'default'
 * @example
 * ```ts
 * constructor(@InjectRepository(Account) private readonly accounts: EntityRepository<Account>) {}
 * ```
 * @publicApi
 */
export function InjectRepository(entity: EntityName, name?: string): InjectDecorator {
  return Inject(getRepositoryToken(entity, name));
}
