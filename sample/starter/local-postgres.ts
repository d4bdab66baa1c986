import { LocalPostgresProcess } from './local-postgres.process.js';

/** A PostgreSQL that lives as long as this process. */
export interface LocalPostgres<Name extends string> {
  /** The URL of each database, once the server accepts connections. */
  readonly urls: Promise<Readonly<Record<Name, string>>>;
  /** Stops it, also while it starts, and removes its data. */
  stop(): Promise<void>;
}

/** @param names of the databases to create, all empty */
export function startLocalPostgres<Name extends string>(
  names: readonly Name[],
): LocalPostgres<Name> {
  const server = new LocalPostgresProcess({ databases: names });
  return {
    urls: server.report.then(({ databases }) => databases as Record<Name, string>),
    stop: () => server.stop(),
  };
}
