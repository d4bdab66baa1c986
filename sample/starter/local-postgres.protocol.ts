/** What `local-postgres.server.ts` is to run. */
export interface LocalPostgresOptions {
  /** Names of databases to create, all empty. */
  readonly databases?: readonly string[];
  /** Number of streaming standbys. Without any the primary is an ordinary server. */
  readonly standbys?: number;
  /** Whether a COMMIT on the primary waits until a standby has it on its disk. */
  readonly isSynchronous?: boolean;
  /** Further settings of all servers: `max_connections=300`. */
  readonly settings?: readonly string[];
  /** Whether the logs of the servers are written to standard error. */
  readonly isLogged?: boolean;
}

/** What runs. */
export interface LocalPostgresReport {
  /** URL of the database `postgres` of the primary, and of each standby. */
  readonly primary: string;
  readonly standbys: readonly string[];
  /** URLs of the databases that were asked for, on the primary. */
  readonly databases: Readonly<Record<string, string>>;
  /** Everything that is on disk is in there. */
  readonly directory: string;
  /** Of the servers, the primary's first. */
  readonly processIds: readonly number[];
}

/** One of the servers, by what it was at the start. */
export type ServerName = 'primary' | number;

export type LocalPostgresCommand =
  | { readonly do: 'kill' | 'start'; readonly server: ServerName }
  | { readonly do: 'promote'; readonly standby: number };
