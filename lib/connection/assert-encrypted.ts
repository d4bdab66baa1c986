import { InvalidOptionsError } from '../errors.js';
import { isAboutEncryption, parametersOf } from './url-parameters.js';

/** Options of `pg` that say whether a connection is encrypted, or with which it is made in another way. */
const DECISIVE = ['ssl', 'connectionString', 'stream'];

/** Values of parameters by which they ask for no encryption. */
const NO: ReadonlySet<string> = new Set(['', '0', 'false', 'no', 'off', 'disable', 'postgres']);

type Said = readonly [key: string, value: unknown];

/**
 * Refuses a connection that is asked to be encrypted where nobody would hear it: MikroORM takes the host,
 * the user and the database out of `clientUrl` and drops its parameters, and `pg` reads the parameters of
 * libpq in a connection string alone. The connection would be in clear.
 *
 * @throws {@link InvalidOptionsError}
 */
export function assertEncrypted(
  name: string,
  { clientUrl, driverOptions }: { readonly clientUrl?: unknown; readonly driverOptions?: unknown },
): void {
  const given = (driverOptions ?? {}) as Record<string, unknown>;
  if (DECISIVE.some((each) => given[each] !== undefined)) {
    return;
  }
  refuse(name, 'clientUrl', 'MikroORM does not pass on', parametersOf(clientUrl));
  refuse(name, 'driverOptions', 'pg reads in a connection string alone', Object.entries(given));
}

function refuse(name: string, where: string, why: string, all: readonly Said[]): void {
  const demand = all.find(([key, value]) => isAboutEncryption(key) && !NO.has(textOf(value)));
  if (demand !== undefined) {
    throw new InvalidOptionsError(
      `The ${where} of connection "${name}" says ${demand[0]}=${String(demand[1])}, which ${why}: the ` +
        'connection would be in clear. Say it in the options of pg: driverOptions: { ssl: { ca } }.',
    );
  }
}

function textOf(value: unknown): string {
  if (value === undefined || value === false) {
    return '';
  }
  return typeof value === 'string' ? value.toLowerCase() : 'given';
}
