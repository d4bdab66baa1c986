import { DEFAULTS, type FailoverOptions } from '../db-context.options.js';
import { InvalidOptionsError } from '../errors.js';
import { parseServerAddress } from './server-address.js';
import { isTimeLimit, LONGEST_LIMIT_MS } from './time-limit.js';

/** The option `failover`, with every default filled in. */
export interface ResolvedFailover {
  readonly hosts: readonly string[];
  readonly timeoutMs: number;
  readonly cacheMs: number;
}

/**
 * Looks at what can be seen before there is a connection.
 *
 * @throws {@link InvalidOptionsError}
 */
export function checkFailover(options: FailoverOptions, connectionName: string): ResolvedFailover {
  const {
    hosts,
    timeoutMs = DEFAULTS.failover.timeoutMs,
    cacheMs = DEFAULTS.failover.cacheMs,
  } = options ?? {};
  if (!Array.isArray(hosts)) {
    throw tooFewHosts(connectionName);
  }
  hosts.forEach((host) => parseServerAddress(host, connectionName));
  for (const [key, value] of Object.entries({ timeoutMs, cacheMs })) {
    if (!isTimeLimit(value)) {
      throw new InvalidOptionsError(
        `The connection "${connectionName}" has failover: { ${key}: ${String(value)} }. Give a number of ` +
          `milliseconds between 1 and ${LONGEST_LIMIT_MS}.`,
      );
    }
  }
  return { hosts: [...hosts] as string[], timeoutMs, cacheMs };
}

/** @throws {@link InvalidOptionsError} they are one server, or two of them are */
export function assertDistinctHosts(servers: readonly string[], connectionName: string): void {
  const twice = servers.find((server, index) => servers.indexOf(server) !== index);
  if (twice !== undefined) {
    throw new InvalidOptionsError(
      `The connection "${connectionName}" has failover hosts of which two are the same, ${twice}. Name ` +
        'each server once.',
    );
  }
  if (servers.length < 2) {
    throw tooFewHosts(connectionName);
  }
}

function tooFewHosts(connectionName: string): InvalidOptionsError {
  return new InvalidOptionsError(
    `The connection "${connectionName}" has failover without at least two hosts. Name every server that ` +
      "may be the primary: failover: { hosts: ['db1:5432', 'db2:5432'] }.",
  );
}
