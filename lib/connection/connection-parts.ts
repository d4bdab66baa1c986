import type { MikroORM } from '@mikro-orm/core';

import type { ConnectionInfo } from '../telemetry/payloads.js';
import { BeforeSession } from './before-session.js';
import type { Holder } from './claim.js';
import { ClientSupply } from './client-supply.js';
import { ConnectionCheck } from './connection-check.js';
import type { ConnectionSettings } from './connection-settings.js';
import { Failover } from './failover.js';
import type { FaultReporter } from './fault-reporter.js';
import { HostPool } from './host-pool.js';
import { replicasOf } from './mikro-orm-connection.js';
import { Preparation } from './preparation.js';
import { ReplicaSet } from './replica-set.js';
import { ReserveHooks } from './reserve-hooks.js';
import { SessionReset } from './session-reset.js';

/** The connection, as far as its parts know it. */
interface Whole {
  readonly name: string;
  readonly telemetry: ConnectionInfo;
  readonly isClosed: boolean;
  readonly holderHere: Holder | undefined;
  readonly report: FaultReporter;
  onStatement(sql: string, tookMs: number): void;
}

/** What a connection is made of. */
interface ConnectionParts {
  readonly hosts: HostPool;
  readonly replicas: ReplicaSet | undefined;
  readonly sessionReset: SessionReset | undefined;
  readonly failover: Failover | undefined;
  readonly clients: ClientSupply;
  readonly preparation: Preparation;
  readonly check: ConnectionCheck;
}

/**
 * Makes the parts of a connection from its settings. Nothing connects.
 *
 * @throws {@link InvalidOptionsError} the hosts of `failover` are none of this connection
 */
export function makeParts<Connection extends Whole>(
  connection: Connection,
  orm: MikroORM,
  settings: ConnectionSettings<Connection>,
): ConnectionParts {
  const { name, telemetry, report } = connection;
  const { limits, beforeSession } = settings;
  const holderHere = (): Holder | undefined => connection.holderHere;
  const isClosed = (): boolean => connection.isClosed;
  const reserveHooks = new ReserveHooks(orm, name, limits.acquireTimeoutMs);
  const sessionReset = makeReset(connection, reserveHooks, settings);
  const poolParts = { reset: sessionReset, holderHere, telemetry };
  const hosts = new HostPool(orm.driver.getConnection('write'), name, limits, poolParts);
  const others = replicasOf(orm);
  const replicas =
    others.length === 0
      ? undefined
      : new ReplicaSet(others, settings.reading, {
          ...poolParts,
          connectionName: name,
          limits,
          hooks: reserveHooks,
          report,
        });
  const check = new ConnectionCheck({
    name,
    hosts,
    replicas: replicas?.pools ?? [],
    isClosed,
    defaultTimeoutMs: settings.checkTimeoutMs,
  });
  const hook =
    beforeSession &&
    new BeforeSession(() => beforeSession(connection), name, limits.acquireTimeoutMs);
  const failover = settings.failover && new Failover(hosts, telemetry, settings.failover);
  const clients = new ClientSupply(name, {
    hosts,
    replicas,
    failover,
    reserveHooks,
    sessionReset,
    isClosed,
  });
  const preparation = new Preparation(hook, failover, clients);
  return { hosts, replicas, sessionReset, failover, clients, preparation, check };
}

function makeReset<Connection extends Whole>(
  connection: Connection,
  reserveHooks: ReserveHooks,
  { resetOnRelease, limits }: ConnectionSettings<Connection>,
): SessionReset | undefined {
  return resetOnRelease === 'never'
    ? undefined
    : new SessionReset({
        mode: resetOnRelease,
        connectionName: connection.name,
        limitMs: limits.endTimeoutMs,
        setUp: (client) => reserveHooks.setUp(client),
        report: connection.report,
        onStatement: (sql, tookMs) => connection.onStatement(sql, tookMs),
      });
}
