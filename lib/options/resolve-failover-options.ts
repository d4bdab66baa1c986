import { tooFewHosts } from '../connection/failover-hosts.js';
import type { FailoverSettings } from '../connection/failover.js';
import { parseServerAddress } from '../connection/server-address.js';
import { isTimeLimit, LONGEST_LIMIT_MS } from '../connection/time-limit.js';
import { InvalidOptionsError } from '../errors.js';
import { DEFAULTS } from './defaults.js';
import type { FailoverOptions } from './failover-options.js';
import { checkKeys } from './option-keys.js';

/**
 * Checks the option `failover` as far as that is possible without a connection, and fills in the defaults.
 *
 * @throws {@link InvalidOptionsError}
 */
export function resolveFailoverOptions(
  options: FailoverOptions,
  connectionName: string,
): FailoverSettings {
  const {
    hosts,
    timeoutMs = DEFAULTS.failover.timeoutMs,
    cacheMs = DEFAULTS.failover.cacheMs,
  } = options ?? {};
  if (!Array.isArray(hosts)) {
    throw tooFewHosts(connectionName);
  }
  checkKeys(options, 'failover', `The connection "${connectionName}": failover`);
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
