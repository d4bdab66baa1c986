import type { ConnectionHealth, ReplicaHealth } from '../connection/connection-health.js';

/** What has to hold of a connection beside that its server can be reached. */
export interface HealthDemands {
  /**
   * How many callers may wait for a connection of the pool.
   * @defaultValue any number
   */
  readonly maxWaiting?: number;
  /**
   * By how much each read replica may be behind, in milliseconds. One that cannot be reached, or
   * cannot say, is down as well.
   * @defaultValue any time; a replica that is down is shown, and the indicator is up
   */
  readonly maxLagMs?: number;
}

/** What is wrong, one sentence each; nothing if all is well. */
export function complaintsOf(
  { isReachable, host, error, pool, replicas = [] }: ConnectionHealth,
  { maxWaiting = Infinity, maxLagMs }: HealthDemands,
): string[] {
  const waiting = pool?.waiting ?? 0;
  return [
    ...(isReachable ? [] : [`${host} cannot be reached: ${error?.message ?? 'no answer'}`]),
    ...(waiting > maxWaiting
      ? [`${waiting} callers wait for a connection, more than ${maxWaiting}`]
      : []),
    ...(maxLagMs === undefined
      ? []
      : replicas.flatMap((replica) => lagComplaint(replica, maxLagMs) ?? [])),
  ];
}

function lagComplaint(
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
