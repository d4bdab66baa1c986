import type { EntityName } from '@mikro-orm/core';
import type { ValueProvider } from '@nestjs/common';

import { DbContext } from '../context/db-context.service.js';
import { getRepositoryToken, getSessionToken } from '../tokens.js';
import { TestDbContext, type TestSessions } from './test-db-context.js';

/**
 * A provider that takes the place of a session, for a unit test without `DbContextModule`.
 *
 * @param session the object that `@InjectSession(name)` injects
 * @param name name of the connection
 * @defaultValue 'default'
 * @publicApi
 */
export function provideTestSession<T extends object>(session: T, name?: string): ValueProvider<T> {
  return { provide: getSessionToken(name), useValue: session };
}

/**
 * A provider that takes the place of a repository, for a unit test without `DbContextModule`.
 *
 * @param entity the entity class, or its `EntitySchema`
 * @param repository the object that `@InjectRepository(entity, name)` injects
 * @param name name of the connection
 * @defaultValue 'default'
 * @publicApi
 */
export function provideTestRepository<T extends object>(
  entity: EntityName,
  repository: T,
  name?: string,
): ValueProvider<T> {
  return { provide: getRepositoryToken(entity, name), useValue: repository };
}

/**
 * A provider that takes the place of the `DbContext` service, also for `@Atomic()`, `@WithDbContext()`
 * and `@NewDbContext()`. Its `useValue` is the {@link TestDbContext}.
 *
 * @param sessions the objects that `atomic()`, `newSession()`, `session()` and the like give, by
 *   connection
 * @example
 * ```ts
 * const module = await Test.createTestingModule({
 *   providers: [
 *     OrderService,
 *     provideTestSession(session),
 *     provideTestDbContext({ default: session }),
 *   ],
 * }).compile();
 * ```
 * @publicApi
 */
export function provideTestDbContext(sessions: TestSessions = {}): ValueProvider<TestDbContext> {
  return { provide: DbContext, useValue: new TestDbContext(sessions) };
}
