import type { Connection, MikroORM } from '@mikro-orm/core';

import { InvalidOptionsError } from '../errors.js';
import { effectivePort, normalizedHost, type ServerAddress } from './server-address.js';

/** The part of MikroORM's SQL connection that its base type does not mention. */
export interface SqlConnection {
  /** Makes the pool if there is none; connects to nothing. */
  connect(options: { readonly skipOnConnect: true }): Promise<void>;
  /** The pool of `pg`. */
  getNativeClient(): Promise<unknown>;
  /** The Kysely instance over the pool. */
  getClient(): unknown;
  getConnectionOptions(): LogIn;
}

/**
 * Internals of MikroORM that changing hosts needs. `test/e2e/mikro-orm-surface.spec.ts` fails when an
 * upgrade of MikroORM changes any of them.
 */
interface SqlConnectionInternals extends SqlConnection {
  readonly config: { get(key: 'driverOptions'): unknown };
  /** MikroORM empties these in `close()`, and takes what is missing from `config`. */
  readonly options: {
    host?: unknown;
    port?: unknown;
    user?: unknown;
    password?: unknown;
    dbName?: unknown;
    driverOptions?: unknown;
  };
  /** Makes a Kysely instance and its pool from the options, in place of the earlier ones. */
  createKysely: () => void;
}

/** Where a pool connects to, and as whom. */
interface LogIn {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly user?: string | undefined;
  /** In `driverOptions` it may also be a function. */
  readonly password?: unknown;
  readonly database?: string | undefined;
}

/** The server in the connection's own options. */
export interface OwnServer {
  readonly logIn: LogIn & { readonly host: string; readonly port: number };
  readonly driverOptions: unknown;
}

/** The connections to all replicas; `getConnection('read')` returns a random one of them. */
export function replicasOf(orm: Pick<MikroORM, 'driver'>): readonly Connection[] {
  const { replicas } = orm.driver as unknown as { readonly replicas: readonly Connection[] };
  return replicas;
}

/** Reads the server from the options of a connection, which must not be pointed elsewhere. */
export function ownServerOf(connection: SqlConnection): OwnServer {
  const { options, config } = connection as SqlConnectionInternals;
  const driverOptions = options.driverOptions ?? config.get('driverOptions');
  const given = resolved(driverOptions);
  const logIn = { ...connection.getConnectionOptions(), ...given, ...fromUrl(given) };
  const { host = 'localhost', port, user, password, database } = logIn;
  return {
    logIn: { host: normalizedHost(host), port: effectivePort(port), user, password, database },
    driverOptions,
  };
}

/**
 * Points a connection at another server: its next pool belongs to that server. The former pool stays in
 * use by code that holds it. The connection stays the same object, so objects that keep it (the entity
 * managers, the schema generator) follow.
 *
 * @param own the values that are used where `server` has none
 * @returns the value by which {@link isPointed} recognises the change
 * @throws {@link InvalidOptionsError} the options of the connection fix its host
 */
export function pointAt(
  connection: SqlConnection,
  connectionName: string,
  own: OwnServer,
  server: ServerAddress,
): unknown {
  assertMovable(own, connectionName);
  const internals = connection as SqlConnectionInternals;
  const before = { ...internals.options };
  const { host, port, user, password, database } = { ...own.logIn, ...server };
  const pointed = withServer(own.driverOptions, server);
  Object.assign(internals.options, { host, port, user, password, dbName: database });
  internals.options.driverOptions = pointed;
  try {
    internals.createKysely();
  } catch (error) {
    Object.assign(internals.options, before);
    throw error;
  }
  return pointed;
}

/**
 * Points a connection at no server, for good: neither its next pool nor those that MikroORM makes after
 * `close()`, for the next statement of anybody, open a socket. As with {@link pointAt}, the former pool stays
 * in use by code that holds it.
 *
 * @param refusal makes the error of what asks for a client
 */
export function pointAtNothing(connection: SqlConnection, refusal: () => Error): void {
  const internals = connection as SqlConnectionInternals;
  const refuse = (): never => {
    throw refusal();
  };
  const createKysely = internals.createKysely.bind(internals);
  internals.createKysely = () => {
    internals.options.driverOptions = { stream: refuse };
    createKysely();
  };
  internals.createKysely();
}

/** @throws {@link InvalidOptionsError} the options of the connection fix its host */
export function assertMovable(own: OwnServer, connectionName: string): void {
  if ('connectionString' in resolved(own.driverOptions)) {
    throw new InvalidOptionsError(
      `The connection "${connectionName}" has a connectionString in driverOptions, which says what its ` +
        'host is. Give the same as clientUrl to change hosts.',
    );
  }
}

/** Whether a connection still goes to the server of {@link pointAt}; MikroORM's reconnect undoes it. */
export function isPointed(connection: SqlConnection, pointed: unknown): boolean {
  return (
    pointed !== undefined &&
    (connection as SqlConnectionInternals).options.driverOptions === pointed
  );
}

/**
 * Puts a server into `driverOptions`, which win over all other options. They may be a function, which
 * MikroORM calls for each pool.
 */
function withServer(driverOptions: unknown, server: ServerAddress): unknown {
  return typeof driverOptions === 'function'
    ? () => ({ ...resolved(driverOptions), ...server })
    : { ...resolved(driverOptions), ...server };
}

function resolved(driverOptions: unknown): LogIn & { readonly connectionString?: string } {
  const given: unknown = typeof driverOptions === 'function' ? driverOptions() : driverOptions;
  return given ?? {};
}

/** Host and port of a `connectionString`, which wins over the other options. */
function fromUrl({ connectionString }: { readonly connectionString?: string }): LogIn {
  if (connectionString === undefined || !URL.canParse(connectionString)) {
    return {};
  }
  const { hostname, port } = new URL(connectionString);
  return { host: decodeURIComponent(hostname), port: Number(port) };
}
