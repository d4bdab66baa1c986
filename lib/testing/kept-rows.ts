import { TestIsolationError } from './errors.js';
import { Keeping } from './keeping.js';
import type { SharedTransaction } from './shared-transaction.js';
import type { Layer } from './test-layer.js';

/**
 * What became of the rows of a test on one connection.
 *
 * @publicApi
 */
export interface KeptRows {
  readonly connectionName: string;
  /** The URL of the database, without a password. */
  readonly url: string;
  /** Why nothing is kept there, the error of the COMMIT for example; `undefined` where it is. */
  readonly failure: Error | undefined;
  /** What is not among the rows that are kept, since it was not committed by the application. */
  readonly leftOut: TestIsolationError | undefined;
}

/** The parts of a client of `pg` that say where it leads to. */
interface Address {
  readonly host: string;
  readonly port: number;
  readonly user?: string | undefined;
  readonly database?: string | undefined;
}

/** Commits a shared transaction for real, and ends it. */
export async function keepRows(shared: SharedTransaction, layer: Layer): Promise<KeptRows> {
  const keeping = new Keeping();
  layer.keeping = keeping;
  const { name: connectionName } = shared.connection;
  const url = keptUrl(shared.realClient);
  const atEnd = await shared.end(layer).then(
    () => undefined,
    (error: Error) => error,
  );
  const { outcome } = keeping;
  if (outcome.kind === 'kept') {
    const leftOut = atEnd instanceof TestIsolationError ? atEnd : undefined;
    return { connectionName, url, failure: undefined, leftOut };
  }
  const failure =
    outcome.kind === 'failed'
      ? outcome.cause
      : (atEnd ?? shared.refusal('the server did not answer to the COMMIT in time.'));
  return { connectionName, url, failure, leftOut: undefined };
}

/** The URL of the database that a client is connected to, without a password. */
export function keptUrl({ host, port, user = '', database = '' }: Address): string {
  const begin = `postgresql://${encoded(user)}@`;
  if (host.startsWith('/')) {
    return `${begin}/${encoded(database)}?host=${encoded(host)}&port=${port}`;
  }
  return `${begin}${host.includes(':') ? `[${host}]` : host}:${port}/${encoded(database)}`;
}

/** A part of a URL that may stand in single quotes of a shell. */
function encoded(part: string): string {
  return encodeURIComponent(part).replaceAll("'", '%27');
}
