import { DbContextError } from './db-context-error.js';

/**
 * Options given to the module are missing, contradict each other, or name something unknown.
 * Thrown while the application boots.
 *
 * @publicApi
 */
export class InvalidOptionsError extends DbContextError {
  constructor(message: string, cause?: unknown) {
    super('INVALID_OPTIONS', message, cause);
  }
}

/**
 * Two connections were declared under one name. Thrown while the application boots.
 *
 * @publicApi
 */
export class DuplicateConnectionError extends DbContextError {
  constructor(readonly connectionName: string) {
    super(
      'DUPLICATE_CONNECTION',
      `The connection "${connectionName}" is declared twice. Give each connection its own name: ` +
        `{ name: 'reports', ... }; the name defaults to "default".`,
    );
  }
}

/**
 * A session, a connection or a repository was asked for under a name that no module declares.
 *
 * @publicApi
 */
export class UnknownConnectionError extends DbContextError {
  /** @param where the beginning of the message, which names the caller */
  constructor(
    readonly connectionName: string,
    readonly knownNames: readonly string[],
    where = '',
  ) {
    const known = knownNames.map((name) => `"${name}"`).join(', ') || 'none';
    super(
      'UNKNOWN_CONNECTION',
      `${where}There is no connection "${connectionName}" (declared: ${known}). Declare it with ` +
        `DbContextModule.forRoot({ connections: [{ name: '${connectionName}', ... }] }) or ` +
        `DbContextModule.forFeature({ name: '${connectionName}', ... }).`,
    );
  }
}

/**
 * A repository was asked for an entity that its connection does not know.
 *
 * @publicApi
 */
export class UnknownEntityError extends DbContextError {
  constructor(
    readonly entityName: string,
    readonly connectionName: string,
  ) {
    super(
      'UNKNOWN_ENTITY',
      `The connection "${connectionName}" does not know the entity ${entityName}. Decorate the ` +
        `class with @Entity(), and add it to the connection: entities: [${entityName}] in its ` +
        `options, or in those of the MikroORM instance that was handed over.`,
    );
  }
}

/**
 * A method under `@WithDbContext()`, `@NewDbContext()` or `@Atomic()` was called on an object that
 * Nest did not make.
 *
 * @publicApi
 */
export class DecoratorNotManagedError extends DbContextError {
  constructor(decorator: string, className: string, method: string) {
    super(
      'DECORATOR_NOT_MANAGED',
      `@${decorator}() on ${className}.${method} needs the DbContext service, which Nest gives only to ` +
        `what it makes itself. Make ${className} a provider or a controller and let Nest inject it, or ` +
        'call the DbContext service instead of using the decorator.',
    );
  }
}

/**
 * A session was used where no context is open.
 *
 * @publicApi
 */
export class DbContextNotActiveError extends DbContextError {
  constructor() {
    super(
      'DB_CONTEXT_NOT_ACTIVE',
      'No database context is active here. Inside an HTTP handler the interceptor opens one. What runs ' +
        "before the handler (a middleware, a guard, passport's validate(), a request-scoped provider that " +
        "is made of a query) has one with mount: 'middleware'; a route under @SkipDbContext() has none. " +
        'In guards, field resolvers and loaders of GraphQL there is one with DbContextGraphQLModule of ' +
        '"nestjs-db-context/graphql", and the messages of a client stream of gRPC get that of their handler by ' +
        'dbContext.bind(). ' +
        'Elsewhere (cron job, queue consumer, script) wrap the work in dbContext.run(() => ...).',
    );
  }
}
