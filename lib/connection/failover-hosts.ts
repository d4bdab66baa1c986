import { InvalidOptionsError } from '../errors.js';

/** @throws {@link InvalidOptionsError} there are fewer than two servers, or one is named twice */
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

/** The error for `failover` without at least two hosts. */
export function tooFewHosts(connectionName: string): InvalidOptionsError {
  return new InvalidOptionsError(
    `The connection "${connectionName}" has failover without at least two hosts. Name every server that ` +
      "may be the primary: failover: { hosts: ['db1:5432', 'db2:5432'] }.",
  );
}
