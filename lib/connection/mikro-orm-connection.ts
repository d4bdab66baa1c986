import type { Connection, MikroORM } from '@mikro-orm/core';

import { InvalidOptionsError } from '../errors.js';
import { effectivePort, type ServerAddress } from './server-address.js';

/** The part of MikroORM's SQL connection that its base type does not mention. */
export interface SqlConnection {
  /** Makes the pool where there is none; connects nothing by itself. */
  connect(options: { readonly skipOnConnect: true }): Promise<void>;
  /** The pool of `pg`. */
  getNativeClient(): Promise<unknown>;
  /** The Kysely over it. */
  getClient(): unknown;
  getConnectionOptions(): LogIn;
}

/**
 * What MikroORM keeps to itself, and changing hosts needs. `test/e2e/mikro-orm-surface.spec.ts` fails
 * when an upgrade of MikroORM changes any of it.
 */
interface SqlConnectionInternals extends SqlConnection {
  readonly config: { get(key: 'driverOptions'): unknown };
  /** Emptied by `close()`; what is missing is then taken from `config`. */
  readonly options: {
    host?: unknown;
    port?: unknown;
    user?: unknown;
    password?: unknown;
    dbName?: unknown;
    driverOptions?: unknown;
  };
  /** Makes a Kysely and its pool from the options, and forgets those that it had. */
  createKysely(): void;
}

/** Where a pool connects to, and as whom. */
interface LogIn {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly user?: string | undefined;
  /** A function as well, in `driverOptions`. */
  readonly password?: unknown;
  readonly database?: string | undefined;
}

/** Where a connection goes by its own options. */
export interface OwnServer {
  readonly logIn: LogIn & { readonly host: string; readonly port: number };
  readonly driverOptions: unknown;
}

/** The connections to the replicas, of which `getConnection('read')` gives any. */
export function replicasOf(orm: Pick<MikroORM, 'driver'>): readonly Connection[] {
  const { replicas } = orm.driver as unknown as { readonly replicas: readonly Connection[] };
  return replicas;
}

/** Reads where a connection goes that has not been pointed elsewhere. */
export function ownServerOf(connection: SqlConnection): OwnServer {
  const { options, config } = connection as SqlConnectionInternals;
  const driverOptions = options.driverOptions ?? config.get('driverOptions');
  const given = resolved(driverOptions);
  const logIn = { ...connection.getConnectionOptions(), ...given, ...fromUrl(given) };
  const { host = 'localhost', port, user, password, database } = logIn;
  return {
    logIn: { host: host.toLowerCase(), port: effectivePort(port), user, password, database },
    driverOptions,
  };
}

/**
 * Makes a connection go to another server: its next pool is one of that server's. What it had before
 * lives on for those who hold it. The connection stays the same object, so whatever keeps one (the
 * entity managers, the schema generator) follows.
 *
 * @param own what it goes by where `server` says nothing
 * @returns what {@link isPointed} knows it by
 * @throws {@link InvalidOptionsError} its options leave no say in the host
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

/** @throws {@link InvalidOptionsError} its options leave no say in the host */
export function assertMovable(own: OwnServer, connectionName: string): void {
  if ('connectionString' in resolved(own.driverOptions)) {
    throw new InvalidOptionsError(
      `The connection "${connectionName}" has a connectionString in driverOptions, which says what its ` +
        'host is. Give the same as clientUrl to change hosts.',
    );
  }
}

/** Whether a connection goes where {@link pointAt} sent it; MikroORM forgets it when it reconnects. */
export function isPointed(connection: SqlConnection, pointed: unknown): boolean {
  return (
    pointed !== undefined &&
    (connection as SqlConnectionInternals).options.driverOptions === pointed
  );
}

/** They win over all other options, and may be a function that is asked for each pool. */
function withServer(driverOptions: unknown, server: ServerAddress): unknown {
  return typeof driverOptions === 'function'
    ? () => ({ ...resolved(driverOptions), ...server })
    : { ...resolved(driverOptions), ...server };
}

function resolved(driverOptions: unknown): LogIn & { readonly connectionString?: string } {
  const given: unknown = typeof driverOptions === 'function' ? driverOptions() : driverOptions;
  return given ?? {};
}

/** A `connectionString` wins over the rest. */
function fromUrl({ connectionString }: { readonly connectionString?: string }): LogIn {
  if (connectionString === undefined || !URL.canParse(connectionString)) {
    return {};
  }
  const { hostname, port } = new URL(connectionString);
  return { host: decodeURIComponent(hostname), port: Number(port) };
}
