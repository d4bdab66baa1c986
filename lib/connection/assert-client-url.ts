import { InvalidOptionsError } from '../errors.js';

/** Parameters of a URL by which `pg` and `psql` would go elsewhere; MikroORM drops them. */
const DROPPED = ['host', 'hostaddr', 'port', 'user', 'password', 'dbname', 'db'];

const FORMS =
  'Write postgres://user:password@host:5432/app; for a Unix socket the directory stands in place of the ' +
  'host, postgres://user@%2Fvar%2Frun%2Fpostgresql/app.';

/**
 * Refuses a URL that leads MikroORM to another server than its text says. `pg` knows forms that MikroORM,
 * which reads `clientUrl` itself, does not.
 *
 * @throws {@link InvalidOptionsError}
 */
export function assertClientUrl(name: string, clientUrl: unknown): void {
  if (typeof clientUrl !== 'string') {
    return;
  }
  const refuse = (what: string): never => {
    throw new InvalidOptionsError(`The clientUrl of connection "${name}" ${what}. ${FORMS}`);
  };
  if (!URL.canParse(clientUrl)) {
    // Not the text itself, which may hold a password.
    refuse('is no URL');
  }
  const { protocol, searchParams } = new URL(clientUrl);
  if (!/^postgres(?:ql)?:$/.test(protocol)) {
    refuse(`begins with ${protocol}, a form that MikroORM does not read`);
  }
  const dropped = DROPPED.find((each) => searchParams.has(each));
  if (dropped !== undefined) {
    refuse(`has the parameter ${dropped}, which MikroORM does not read`);
  }
}
