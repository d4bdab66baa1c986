import type { ConnectionHealth, ReplicaHealth } from '../connection/connection-health.js';
import { DEFAULTS } from '../options/defaults.js';

/** The thresholds of a healthy connection, besides that its server can be reached. */
export interface HealthThresholds {
  /**
   * How many callers may wait for a connection of the pool.
   * @defaultValue any number
   */
  readonly maxWaiting?: number;
  /**
   * By how much each read replica may be behind, in milliseconds. A replica that cannot be reached, or
   * does not say how far it is, counts as down as well.
   * @defaultValue any time; a replica that is down is shown, and the indicator is up
   */
  readonly maxLagMs?: number;
}

/** Which thresholds are exceeded, a sentence for each; an empty list if the connection is healthy. */
export function exceededThresholds(
  { isReachable, host, error, pool, replicas = [] }: ConnectionHealth,
  { maxWaiting = DEFAULTS.pingCheck.maxWaiting, maxLagMs }: HealthThresholds,
): string[] {
  const waiting = pool?.waiting ?? 0;
  return [
    ...(isReachable ? [] : [`${host} cannot be reached: ${error?.message ?? 'no answer'}`]),
    ...(waiting > maxWaiting
      ? [`${waiting} callers wait for a connection, more than ${maxWaiting}`]
      : []),
    ...(maxLagMs === undefined
      ? []
      : replicas.flatMap((replica) => exceededLag(replica, maxLagMs) ?? [])),
  ];
}

function exceededLag(
  { host, isReachable, lagMs, error }: ReplicaHealth,
  maxLagMs: number,
): string | undefined {
  if (!isReachable) {
    return `replica ${host} cannot be reached: ${error?.message ?? 'no answer'}`;
  }
  if (lagMs === undefined) {
    return `replica ${host} does not say by how much it is behind`;
  }
  return lagMs > maxLagMs
    ? `replica ${host} is ${lagMs} ms behind, more than ${maxLagMs}`
    : undefined;
}
