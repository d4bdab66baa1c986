import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';

import { defineConfig } from '@mikro-orm/postgresql';
import { Module, type INestApplication } from '@nestjs/common';
import { HttpAdapterHost, ModulesContainer, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import {
  DbContextModule,
  getConnectionToken,
  type ConnectionLimits,
  type DbConnection,
} from 'nestjs-db-context';

import { ErrorBodyFilter } from '../faults/support/error-body.filter.js';
import type { Certificate } from '../support/encryption.js';
import { WireProxy } from '../support/wire-proxy.js';
import { http1Clients, http2Clients, type Clients } from './clients.js';
import { Entry, Tally } from './entry.entities.js';
import {
  lookingAt,
  type ConnectionName,
  type SoakConnection,
  type SoakDatabase,
  type SoakWire,
} from './soak-connection.js';
import { SoakController } from './soak.controller.js';

const POOL_SIZES: Readonly<Record<ConnectionName, number>> = { default: 8, audit: 4 };

/** Short, so that every fault has its end well within a round. */
const LIMITS: ConnectionLimits = {
  acquireTimeoutMs: 2_000,
  deadlockTimeoutMs: 300,
  transactionTimeoutMs: 2_500,
  drainTimeoutMs: 500,
  endTimeoutMs: 1_000,
};

export type Protocol = 'HTTP/1' | 'HTTP/2';

/** One of the applications that the load goes to. */
export interface SoakApp {
  readonly protocol: Protocol;
  /** Connects clients to it. */
  readonly connect: () => Clients;
  readonly connections: readonly SoakConnection[];
  readonly openContexts: () => number;
  close(): Promise<void>;
}

@Module({})
class SoakModule {}

/** Express over HTTP/1, with plain connections; a request whose client leaves runs on. */
export async function startHttp1App(databases: readonly SoakDatabase[]): Promise<SoakApp> {
  const wires = await startWires(databases);
  const app = await startNest(new ExpressAdapter(), wires, {
    applicationName: 'soak over HTTP/1',
    onDisconnect: 'finish',
  });
  return { ...app, protocol: 'HTTP/1', connect: () => http1Clients(`http://${app.host}`) };
}

/**
 * Fastify over HTTP/2, encrypted towards the clients and towards the server; a request whose stream is
 * reset is rolled back.
 */
export async function startHttp2App(
  databases: readonly SoakDatabase[],
  tls: Certificate,
): Promise<SoakApp> {
  const wires = await startWires(databases, tls);
  const app = await startNest(new FastifyAdapter({ http2: true, https: tls }), wires, {
    applicationName: 'soak over HTTP/2',
    onDisconnect: 'rollback',
    ssl: { ca: tls.cert },
  });
  const connect = (): Clients => http2Clients(`https://${app.host}`, { ca: tls.cert });
  return { ...app, protocol: 'HTTP/2', connect };
}

/** Wires of its own, so that faults hit one application at a time. */
function startWires(databases: readonly SoakDatabase[], tls?: Certificate): Promise<SoakWire[]> {
  return Promise.all(
    databases.map(async (each) => ({
      ...each,
      proxy: await WireProxy.start(each.database.url, tls === undefined ? {} : { tls }),
    })),
  );
}

interface NestOptions {
  readonly applicationName: string;
  readonly onDisconnect: 'finish' | 'rollback';
  readonly ssl?: { readonly ca: string };
}

async function startNest(
  adapter: ExpressAdapter | FastifyAdapter,
  wires: readonly SoakWire[],
  { applicationName, onDisconnect, ssl }: NestOptions,
): Promise<Omit<SoakApp, 'protocol' | 'connect'> & { readonly host: string }> {
  const root = DbContextModule.forRoot({
    watch: false,
    onDisconnect,
    contextTimeoutMs: 4_000,
    shutdownTimeoutMs: 2_000,
    connections: wires.map(({ name, proxy }) => ({
      name,
      ...defineConfig({
        clientUrl: proxy.url,
        entities: [Entry, Tally],
        pool: { min: 0, max: POOL_SIZES[name] },
        driverOptions: { application_name: applicationName, ...(ssl && { ssl }) },
      }),
      ...LIMITS,
    })),
  });
  const app: INestApplication = await NestFactory.create(
    { module: SoakModule, imports: [root], controllers: [SoakController] },
    adapter,
    { logger: false, forceCloseConnections: true },
  );
  app.useGlobalFilters(new ErrorBodyFilter(app.get(HttpAdapterHost)));
  await app.listen(0, '127.0.0.1');
  const { port } = (app.getHttpServer() as { address(): unknown }).address() as AddressInfo;
  const registry = contextRegistry(app);
  return {
    host: `127.0.0.1:${port}`,
    openContexts: () => registry.runningCount,
    connections: wires.map((wire) =>
      lookingAt(wire, app.get<DbConnection>(getConnectionToken(wire.name)), applicationName),
    ),
    close: async () => {
      await app.close();
      await Promise.all(wires.map(({ proxy }) => proxy.stop()));
    },
  };
}

/**
 * What knows the open contexts is internal, and the package is bundled, so that no file has its class: it is
 * looked for among the providers of the application.
 */
function contextRegistry(app: INestApplication): { readonly runningCount: number } {
  const providers = [...app.get(ModulesContainer).values()].flatMap((module) => [
    ...module.providers.values(),
  ]);
  const registry = providers.find(({ name }) => name === 'ContextRegistry')?.instance;
  assert.ok(registry, 'the application has no provider ContextRegistry');
  return registry as { readonly runningCount: number };
}
