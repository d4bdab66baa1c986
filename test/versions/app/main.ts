import type { AddressInfo } from 'node:net';

// It loads reflect-metadata, which the decorators of the modules below need.
import { NestFactory, type AbstractHttpAdapter } from '@nestjs/core';
import { Client } from 'pg';

import { AppModule } from './app.module.js';
import { NOTE_SCHEMA } from './note.entity.js';
import { PROMISES, type KeptPromise, type World } from './promises.js';

type Imports = Parameters<typeof AppModule.register>[1];

/** What is not installed in every combination, so that no import may name it. */
async function load<T>(module: string): Promise<T> {
  return (await import(module)) as T;
}

async function createAdapter(): Promise<AbstractHttpAdapter> {
  if (process.env['SERVER'] === 'fastify') {
    const { FastifyAdapter } = await load<{ FastifyAdapter: new () => AbstractHttpAdapter }>(
      '@nestjs/platform-fastify',
    );
    return new FastifyAdapter();
  }
  const { ExpressAdapter } = await load<{ ExpressAdapter: new () => AbstractHttpAdapter }>(
    '@nestjs/platform-express',
  );
  return new ExpressAdapter();
}

async function loadPeers(): Promise<{ modules: Imports; promises: readonly KeptPromise[] }> {
  if (process.env['PEERS'] === undefined) {
    return { modules: [], promises: [] };
  }
  const { PEER_MODULES, PEER_PROMISES } = await load<{
    PEER_MODULES: Imports;
    PEER_PROMISES: readonly KeptPromise[];
  }>('./peers.js');
  return { modules: PEER_MODULES, promises: PEER_PROMISES };
}

/** Boots the application on the database of `DATABASE_URL`, and prints each promise as a line of JSON. */
async function main(): Promise<void> {
  const databaseUrl = process.env['DATABASE_URL']!;
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  const query: World['query'] = async (sql) =>
    (await client.query<Record<string, unknown>>(sql)).rows;
  await query(NOTE_SCHEMA);
  const { modules, promises } = await loadPeers();
  const app = await NestFactory.create(
    AppModule.register(databaseUrl, modules),
    await createAdapter(),
    { logger: ['fatal'], forceCloseConnections: true },
  );
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  const world: World = { app, url: `http://127.0.0.1:${port}`, query };
  // The last one closes the application.
  for (const { title, prove } of [...PROMISES.slice(0, -1), ...promises, ...PROMISES.slice(-1)]) {
    const failure = await prove(world).then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error)),
    );
    console.log(JSON.stringify({ title, failure }));
  }
  await client.end();
}

void main();
