import { deepEqual, equal } from 'node:assert/strict';

import { Injectable, Module, type DynamicModule } from '@nestjs/common';
import { CqrsModule } from '@nestjs/cqrs';
import { EventEmitter2, EventEmitterModule } from '@nestjs/event-emitter';
import { TerminusModule } from '@nestjs/terminus';
import { DbContext } from 'nestjs-db-context';
import * as bullmq from 'nestjs-db-context/bullmq';
import { DbContextCqrsModule } from 'nestjs-db-context/cqrs';
import { OnCommitted } from 'nestjs-db-context/event-emitter';
import * as graphql from 'nestjs-db-context/graphql';
import { DbContextHealthIndicator } from 'nestjs-db-context/terminus';

import type { KeptPromise } from './promises.js';

const EVENT = 'note.added';

@Injectable()
class Listener {
  readonly heard: unknown[] = [];

  @OnCommitted(EVENT)
  onAdded(text: string): void {
    this.heard.push(text);
  }
}

@Module({
  imports: [CqrsModule.forRoot(), DbContextCqrsModule, TerminusModule],
  providers: [Listener, DbContextHealthIndicator],
})
class PeersModule {}

/** What the application imports for {@link PEER_PROMISES}. */
export const PEER_MODULES: NonNullable<DynamicModule['imports']> = [
  EventEmitterModule.forRoot(),
  PeersModule,
];

/** What the entry points beside the main one promise, each over its own optional peer. */
export const PEER_PROMISES: readonly KeptPromise[] = [
  {
    title: 'C5: @OnCommitted() hears of what was committed alone',
    prove: async ({ app }) => {
      const [dbContext, emitter] = [app.get(DbContext), app.get(EventEmitter2)];
      const { heard } = app.get(Listener, { strict: false });
      const failing = dbContext.run(() => {
        emitter.emit(EVENT, 'undone');
        throw new Error('undo');
      });
      await failing.catch(() => undefined);
      await dbContext.run(() => void emitter.emit(EVENT, 'committed'));
      deepEqual(heard, ['committed']);
    },
  },
  {
    title: 'the health indicator, the queue and GraphQL of the optional peers are there',
    prove: async ({ app }) => {
      const indicator = app.get(DbContextHealthIndicator, { strict: false });
      const { database } = await indicator.pingCheck('database');
      equal(database.status, 'up');
      equal(typeof bullmq.CommittedQueue, 'function');
      equal(typeof graphql.DbContextGraphQLModule, 'function');
    },
  },
];
