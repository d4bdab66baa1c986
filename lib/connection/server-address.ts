import { InvalidOptionsError } from '../errors.js';

/** The address of a server and the log-in, with the parts that were given. */
export interface ServerAddress {
  /** Name, address or, with a leading slash, directory of the socket. IPv6 without brackets. */
  readonly host: string;
  readonly port?: number;
  readonly user?: string;
  readonly password?: string;
  readonly database?: string;
}

const DEFAULT_PORT = 5432;
const HOST_AND_PORT = /^(?:\[([^\]\s]+)\]|(\/[^:]*|[^\s:/@?#[\]]+))(?::(\d{1,5}))?$/;

/**
 * Reads `host`, `host:port`, `[ipv6]:port` or a `postgres://` URL.
 *
 * @param connectionName the name of the connection, for the message
 * @throws {@link InvalidOptionsError} `text` is empty, or has none of these forms
 */
export function parseServerAddress(text: string, connectionName: string): ServerAddress {
  const address =
    typeof text === 'string' ? (parseUrl(text.trim()) ?? parseHost(text.trim())) : undefined;
  if (address === undefined) {
    throw new InvalidOptionsError(
      `The connection "${connectionName}" was given the host ${quoted(text)}. Give a host ("db2", ` +
        '"db2:5433", "[::1]:5432") or a URL with a host and without parameters ' +
        '("postgres://user:password@db2:5433/app"); TLS and the pool are options of the connection.',
    );
  }
  return address;
}

/** Host and port, in a form that {@link parseServerAddress} reads. */
export function formatServer({ host, port }: Pick<ServerAddress, 'host' | 'port'>): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port ?? DEFAULT_PORT}`;
}

/** The port that `pg` uses where none is given, which in a URL shows as 0. */
export function effectivePort(port: unknown): number {
  return Number(port) || Number(process.env['PGPORT']) || DEFAULT_PORT;
}

function parseHost(text: string): ServerAddress | undefined {
  const [, ipv6, name, port] = HOST_AND_PORT.exec(text) ?? [];
  const host = ipv6 ?? name;
  return host === undefined ? undefined : checked({ host, port });
}

function parseUrl(text: string): ServerAddress | undefined {
  if (!/^postgres(?:ql)?:\/\//i.test(text)) {
    return undefined;
  }
  try {
    const { hostname, port, username, password, pathname, search, hash } = new URL(text);
    if (hostname === '' || search !== '' || hash !== '') {
      return undefined;
    }
    const database = decodeURIComponent(pathname).replace(/^\//, '');
    return checked({
      host: decodeURIComponent(hostname).replace(/^\[(.*)\]$/, '$1'),
      port: port === '' ? undefined : port,
      ...(username !== '' && { user: decodeURIComponent(username) }),
      ...(password !== '' && { password: decodeURIComponent(password) }),
      ...(database !== '' && { database }),
    });
  } catch {
    // `new URL()` refused the text, or it has a per cent sign that encodes nothing.
    return undefined;
  }
}

function checked({
  host,
  port,
  ...rest
}: Omit<ServerAddress, 'port'> & { readonly port: string | undefined }): ServerAddress | undefined {
  if (port === undefined) {
    return { host: normalizedHost(host), ...rest };
  }
  const number = Number(port);
  return number > 0 && number < 2 ** 16
    ? { host: normalizedHost(host), port: number, ...rest }
    : undefined;
}

/** Names of hosts are the same in upper and lower case; paths, of the directories of sockets, are not. */
export function normalizedHost(host: string): string {
  return host.startsWith('/') ? host : host.toLowerCase();
}

/** The text in quotes, with the part replaced that may be a password. */
function quoted(text: unknown): string {
  return typeof text === 'string' ? `"${text.replace(/\/\/.*@/, '//***@')}"` : String(text);
}
