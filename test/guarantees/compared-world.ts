import { ClsModule } from 'nestjs-cls';

import type { FaultDatabase } from '../faults/support/fault-database.js';
import { startLibraryWorld, startPlainWorld, type World } from '../faults/support/world.js';
import { http2Adapter } from '../support/http2-adapters.js';
import { overHttp2 } from './http2-world.js';
import { tenantOf, type ComparedFault } from './compared-fault.js';

/** The two applications that a fault is compared in. */
export type SideName = 'plain' | 'library';

// Only so that no fault of the library has to wait for its defaults of many seconds.
const LIMITS = {
  acquireTimeoutMs: 4_000,
  transactionTimeoutMs: 1_000,
  drainTimeoutMs: 300,
  endTimeoutMs: 500,
};

/** The tenant of a request, taken from its URL. */
const tenants = ClsModule.forRoot({
  global: true,
  middleware: {
    mount: true,
    setup: (cls, request: { url: string }) => {
      cls.set('tenant', tenantOf(request.url));
    },
  },
});

/** Starts the application of one side. */
export async function startComparedWorld(
  faultDatabase: FaultDatabase,
  fault: ComparedFault,
  side: SideName,
): Promise<World> {
  const world = await startSide(faultDatabase, fault, side);
  return fault.isHttp2 === true ? overHttp2(world) : world;
}

function startSide(
  faultDatabase: FaultDatabase,
  fault: ComparedFault,
  side: SideName,
): Promise<World> {
  const { driverOptions = {}, hasTenants = false, isHttp2 = false, limits, options, unit } = fault;
  const adapter = isHttp2 ? http2Adapter('express') : undefined;
  if (side === 'plain') {
    const settings = { ...(unit !== undefined && { unit }), ...(hasTenants && { tenantOf }) };
    return startPlainWorld(faultDatabase, settings, { driverOptions }, adapter);
  }
  return startLibraryWorld(
    faultDatabase,
    {
      ...LIMITS,
      ...limits,
      driverOptions,
      ...(hasTenants && {
        sessionVariables: (cls) => ({ 'app.tenant': cls.get<string>('tenant') }),
      }),
    },
    {
      shutdownTimeoutMs: 500,
      ...options,
      ...(adapter !== undefined && { adapter }),
      ...(hasTenants && { imports: [tenants] }),
    },
  );
}
