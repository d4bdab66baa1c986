import type { ConnectionLimits, DbContextOptions } from 'nestjs-db-context';

import type { InjectedFault } from '../faults/support/inject-fault.js';
import type { PlainSettings } from '../faults/support/units-of-work.js';
import type { Answer, World } from '../faults/support/world.js';
import type { FakeServer } from '../support/fake-server.js';

/** How often each fault happens in each application. */
export const TIMES = 20;
/** How long a client waits for its answer. */
export const ANSWER_LIMIT_MS = 6_000;

/** One row of the table: a fault that happens to a plain application and to one with the library. */
export interface ComparedFault extends InjectedFault<World> {
  /** The specs that prove what the library does, by their path from the root of the repository. */
  readonly proofs: readonly string[];
  /** How the plain application holds its transaction. */
  readonly unit?: PlainSettings['unit'];
  /** Whether each request belongs to one of two tenants, which a variable names to the database. */
  readonly hasTenants?: boolean;
  /** Limits of the library's connection, where the fault is about one. */
  readonly limits?: ConnectionLimits;
  readonly options?: DbContextOptions;
  /** Options of pg, in both applications. */
  readonly driverOptions?: Record<string, unknown>;
  /** Whether the application serves HTTP/2. */
  readonly isHttp2?: boolean;
  /** Has a fake server, which stands for the database then, break the protocol. */
  readonly misbehave?: (server: FakeServer) => void;
  /** Called when all else has been counted, before the application is closed. */
  readonly beforeClose?: (world: World) => unknown;
  /** What else there is to count, with what it is. */
  readonly count?: (world: World, answers: readonly Answer[]) => readonly [number, string];
}

/** Which of two tenants a request belongs to. */
export function tenantOf(key: string): string {
  return /[02468]$/.test(key) ? 'even' : 'odd';
}
