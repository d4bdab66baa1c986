import { Module, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';

import { isOtherOrm, type Adapter, type Candidate } from '../candidates.js';
import { AccountsController } from './accounts.controller.js';
import { CANDIDATE_MODULES } from './candidates/candidates.js';
import type { Database } from './orm.js';
import { StackController } from './stacks/stack.controller.js';
import { tenServices } from './ten-services.js';

/** The application with one candidate, ready to answer, and not listening. */
export async function startBenchApp(
  candidate: Candidate,
  adapter: Adapter,
  database: Database,
): Promise<INestApplication> {
  const routes = isOtherOrm(candidate)
    ? { controllers: [StackController] }
    : { controllers: [AccountsController], providers: tenServices() };
  @Module({ ...routes, imports: [CANDIDATE_MODULES[candidate](database)] })
  class BenchModule {}

  const app = await NestFactory.create(
    BenchModule,
    adapter === 'fastify' ? new FastifyAdapter() : new ExpressAdapter(),
    { logger: ['error', 'fatal'], abortOnError: false },
  );
  await app.init();
  if (adapter === 'fastify') {
    await (app as unknown as NestFastifyApplication).getHttpAdapter().getInstance().ready();
  }
  return app;
}
