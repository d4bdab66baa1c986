import { readFileSync } from 'node:fs';

/** What others import the package by. */
const { name: NAME } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);

/** A few of what the main entry exports. */
export const EXPORTS = ['DbContextModule', 'DbContext', 'InjectSession'];

/** What is beside the main entry; each is checked beside its own optional peers alone. */
export const SUBPATHS = [
  {
    subpath: 'event-emitter',
    peer: '@nestjs/event-emitter',
    name: 'OnCommitted',
    types: `
import { OnCommitted } from '${NAME}/event-emitter';

export class Confirmations {
  @OnCommitted('order.created', { connection: 'orders', suppressErrors: false })
  async confirm(order: { readonly id: number }): Promise<void> {
    await Promise.resolve(order.id);
  }
}
`,
  },
  {
    subpath: 'cqrs',
    peer: '@nestjs/cqrs',
    name: 'DbContextCqrsModule',
    types: `
import { Module } from '@nestjs/common';
import { CqrsModule } from '@nestjs/cqrs';
import { DbContextCqrsModule } from '${NAME}/cqrs';

@Module({ imports: [CqrsModule.forRoot(), DbContextCqrsModule] })
export class OrdersModule {}
`,
  },
  {
    subpath: 'bullmq',
    peer: ['@nestjs/bullmq', 'bullmq'],
    name: 'DbContextBullModule',
    types: `
import { Injectable, Module } from '@nestjs/common';
import {
  CommittedQueue,
  DbContextBullModule,
  InjectCommittedQueue,
  type JobReceipt,
} from '${NAME}/bullmq';

@Injectable()
export class Mails {
  constructor(@InjectCommittedQueue('mail') private readonly mail: CommittedQueue<{ to: string }>) {}

  welcome(to: string): Promise<JobReceipt<{ to: string }>> {
    return this.mail.add('welcome', { to }, { attempts: 3 });
  }
}

@Module({
  imports: [DbContextBullModule.registerQueue({ name: 'mail', sendTimeoutMs: 1_000 })],
  providers: [Mails],
})
export class MailModule {}
`,
  },
  {
    subpath: 'graphql',
    peer: ['@nestjs/graphql', 'graphql'],
    name: 'DbContextGraphQLModule',
    types: `
import { Module } from '@nestjs/common';
import { DbContextGraphQLModule } from '${NAME}/graphql';

@Module({
  imports: [DbContextGraphQLModule.forRoot({ scope: 'operation', readOnlyQueries: true })],
})
export class LibraryModule {}
`,
  },
  {
    subpath: 'opentelemetry',
    peer: '@opentelemetry/api',
    name: 'DbContextInstrumentation',
    types: `
import type { Span } from '@opentelemetry/api';
import {
  DbContextInstrumentation,
  hideValues,
  type DbContextInstrumentationConfig,
} from '${NAME}/opentelemetry';

const config: DbContextInstrumentationConfig = { enabled: false, errorMessages: true };
export const instrumentation = new DbContextInstrumentation(config);
export const requestHook: (span: Span, info: { query: { text: string } }) => void = hideValues;
`,
  },
  {
    subpath: 'prometheus',
    peer: 'prom-client',
    name: 'collectDbContextMetrics',
    types: `
import { register, Registry } from 'prom-client';
import { collectDbContextMetrics } from '${NAME}/prometheus';

export const stop: () => void = collectDbContextMetrics({ register: new Registry() });
collectDbContextMetrics({ register });
collectDbContextMetrics();
`,
  },
  {
    subpath: 'inspector',
    peer: [],
    name: 'DbContextInspectorModule',
    types: `
import { Module } from '@nestjs/common';
import {
  DbContextInspectorModule,
  type DbContextInspectorOptions,
} from '${NAME}/inspector';

const options: DbContextInspectorOptions = { path: '/__db', hosts: ['dev.example'], showValues: true };

@Module({ imports: [DbContextInspectorModule.forRoot(options)] })
export class DevelopmentModule {}
`,
  },
  {
    subpath: 'telemetry',
    peer: [],
    name: 'dbContextChannels',
    types: `
import { dbContextChannels, UNMASKED, type StatementEvent } from '${NAME}/telemetry';

export const seen: unknown[] = [];

dbContextChannels.statementRequest.subscribe((request) => request.keepStack());
dbContextChannels.statement.asyncEnd.subscribe((statement: StatementEvent) => {
  seen.push(statement.sql, statement.durationMs, statement.stack, statement[UNMASKED].values);
});
dbContextChannels.finding.subscribe(({ kind, message, context }) => {
  seen.push(kind, message, context.origin);
});
`,
  },
  {
    subpath: 'terminus',
    peer: '@nestjs/terminus',
    name: 'DbContextHealthIndicator',
    types: `
import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { DbContextHealthIndicator, type DbContextHealth } from '${NAME}/terminus';

export async function messageOf(indicator: DbContextHealthIndicator): Promise<string | undefined> {
  const { database } = await indicator.pingCheck('database', { maxWaiting: 20, maxLagMs: 5_000 });
  const health: DbContextHealth = database;
  return health.message;
}

@Module({ imports: [TerminusModule], providers: [DbContextHealthIndicator] })
export class HealthModule {}
`,
  },
  {
    subpath: 'testing',
    peer: '@mikro-orm/postgresql',
    name: 'createWorkerDatabase',
    types: `
import type { INestApplicationContext } from '@nestjs/common';
import {
  createWorkerDatabase,
  openTestContext,
  provideTestDbContext,
  TestTransaction,
} from '${NAME}/testing';

export async function test(app: INestApplicationContext): Promise<void> {
  await using database = await createWorkerDatabase({
    serverUrl: 'postgres://localhost/postgres',
    template: { name: 'shop', prepare: (url) => url.length },
  });
  await using context = openTestContext(app);
  const transaction = await TestTransaction.begin(app);
  await transaction.end();
  provideTestDbContext({ default: context.session(), other: database });
}
`,
  },
];

/** A program that imports the main entry. */
export const CONSUMER_MODULE = `
import * as library from '${NAME}';
const missing = ${JSON.stringify(EXPORTS)}.filter((name) => typeof library[name] !== 'function');
if (missing.length > 0) throw new Error('not exported: ' + missing.join(', '));
`;

/** A source that uses the types of the main entry. */
export const CONSUMER_TYPES = `
import { Injectable, Module } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/core';
import { DbContext, DbContextModule, InjectSession } from '${NAME}';

@Injectable()
export class Accounts {
  constructor(
    @InjectSession() readonly session: EntityManager,
    readonly context: DbContext,
  ) {}
}

@Module({ providers: [Accounts] })
export class AccountsModule {}

// Without a driver's package the session is that of MikroORM's core, and not \`any\`.
export const isCore: 0 extends 1 & ReturnType<DbContext['session']> ? false : true = true;
export const session: (context: DbContext) => EntityManager = (context) => context.session();
export const library: object = DbContextModule;
`;
