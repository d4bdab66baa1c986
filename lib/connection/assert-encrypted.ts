import { InvalidOptionsError } from '../errors.js';

/** Values of `sslmode` that say that a connection must not be in clear. */
const DEMANDS: ReadonlySet<string> = new Set(['require', 'verify-ca', 'verify-full', 'no-verify']);

/** Options of `pg` with which a connection is encrypted, or made in another way altogether. */
const FULFILLING = ['ssl', 'sslmode', 'connectionString', 'stream'];

/**
 * Refuses a URL that asks for TLS where nothing else does: MikroORM takes the host, the user and the
 * database out of `clientUrl` and drops its parameters, so the connection would be in clear.
 *
 * @throws {@link InvalidOptionsError}
 */
export function assertEncrypted(
  name: string,
  { clientUrl, driverOptions }: { readonly clientUrl?: unknown; readonly driverOptions?: unknown },
): void {
  const mode =
    typeof clientUrl === 'string' && URL.canParse(clientUrl)
      ? new URL(clientUrl).searchParams.get('sslmode')
      : null;
  const given = (driverOptions ?? {}) as Record<string, unknown>;
  if (mode !== null && DEMANDS.has(mode) && !FULFILLING.some((each) => each in given)) {
    throw new InvalidOptionsError(
      `The clientUrl of connection "${name}" says sslmode=${mode}, which MikroORM does not pass on: the ` +
        'connection would be in clear. Say it in the options of pg: driverOptions: { ssl: { ca } }.',
    );
  }
}
