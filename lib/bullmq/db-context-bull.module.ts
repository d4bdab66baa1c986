import {
  BullModule,
  getQueueToken,
  type RegisterQueueAsyncOptions,
  type RegisterQueueOptions,
} from '@nestjs/bullmq';
import { Inject, Module, type DynamicModule, type FactoryProvider } from '@nestjs/common';
import type { Queue } from 'bullmq';

import { isTimeLimit } from '../connection/time-limit.js';
import { InvalidOptionsError } from '../errors.js';
import { DEFAULTS } from '../options/defaults.js';
import { CommittedQueue } from './committed-queue.js';
import { CommittedSends } from './committed-sends.js';

/** Nest makes it once, however many queues are registered. */
@Module({ providers: [CommittedSends], exports: [CommittedSends] })
class CommittedSendsModule {}

/** What a {@link CommittedQueue} has beside the options of BullMQ's queue. */
export interface CommittedQueueSettings {
  /**
   * How long Redis may take to accept the jobs that follow one commit, in milliseconds. The response waits
   * for it; when it is over the jobs are reported, and may still be sent. Each of them is a hook, so
   * `hookTimeoutMs` holds where that is less.
   * @defaultValue 5_000
   */
  readonly sendTimeoutMs?: number;
  /**
   * Name of the connection of the database whose commit the jobs wait for; for single calls there is
   * {@link CommittedQueue.withCommitOf}.
   * @defaultValue 'default', or the only connection of the application
   */
  readonly commitOf?: string;
}

/** Options of {@link DbContextBullModule.registerQueue}: those of `BullModule.registerQueue()`, and some more. */
export type CommittedQueueOptions = RegisterQueueOptions & CommittedQueueSettings;

/** Options of {@link DbContextBullModule.registerQueueAsync}, likewise. */
export type CommittedQueueAsyncOptions = RegisterQueueAsyncOptions & CommittedQueueSettings;

/**
 * Registers queues whose jobs leave with the commit.
 *
 * @example
 * ```ts
 * @Module({
 *   imports: [
 *     DbContextModule.forRoot(options),
 *     BullModule.forRoot({ connection: { host: 'localhost' } }),
 *     DbContextBullModule.registerQueue({ name: 'mail' }),
 *   ],
 * })
 * export class AppModule {}
 * ```
 * @publicApi
 */
@Module({})
export class DbContextBullModule {
  /**
   * Takes the place of `BullModule.registerQueue()`: `@InjectQueue(name)` works as before, and
   * `@InjectCommittedQueue(name)` injects the queue that waits for the commit.
   *
   * @throws {@link InvalidOptionsError} `sendTimeoutMs` is not a number of milliseconds
   */
  static registerQueue(...options: CommittedQueueOptions[]): DynamicModule {
    return around(
      BullModule.registerQueue(
        ...options.map(({ sendTimeoutMs: _ms, commitOf: _of, ...bull }) => bull),
      ),
      options,
    );
  }

  /** Takes the place of `BullModule.registerQueueAsync()`, likewise. */
  static registerQueueAsync(...options: CommittedQueueAsyncOptions[]): DynamicModule {
    return around(
      BullModule.registerQueueAsync(
        ...options.map(({ sendTimeoutMs: _ms, commitOf: _of, ...bull }) => bull),
      ),
      options,
    );
  }
}

/**
 * Injects a {@link CommittedQueue}.
 *
 * @param name name of the queue
 * @defaultValue 'default'
 * @example
 * ```ts
 * constructor(@InjectCommittedQueue('mail') private readonly mail: CommittedQueue<Mail>) {}
 * ```
 * @publicApi
 */
export function InjectCommittedQueue(name?: string): PropertyDecorator & ParameterDecorator {
  return Inject(getCommittedQueueToken(name));
}

/**
 * Injection token of a {@link CommittedQueue}.
 *
 * @param name name of the queue
 * @defaultValue 'default'
 * @publicApi
 */
export function getCommittedQueueToken(name = 'default'): string {
  return `committed queue "${name}" (DbContextBullModule.registerQueue({ name: '${name}' }) in the module)`;
}

function around(
  queues: DynamicModule,
  options: readonly (CommittedQueueSettings & { readonly name?: string })[],
): DynamicModule {
  const providers = options.map((each) => committedQueueProvider(each));
  return {
    module: DbContextBullModule,
    imports: [queues, CommittedSendsModule],
    providers,
    exports: [queues, ...providers.map(({ provide }) => provide)],
  };
}

function committedQueueProvider({
  name,
  sendTimeoutMs = DEFAULTS.committedQueue.sendTimeoutMs,
  commitOf,
}: CommittedQueueSettings & { readonly name?: string }): FactoryProvider<CommittedQueue> {
  if (!isTimeLimit(sendTimeoutMs)) {
    throw new InvalidOptionsError(
      `The queue "${name ?? 'default'}" has sendTimeoutMs: ${String(sendTimeoutMs)}. Give a number of ` +
        'milliseconds above 0.',
    );
  }
  return {
    provide: getCommittedQueueToken(name),
    inject: [CommittedSends, getQueueToken(name)],
    useFactory: (sends: CommittedSends, queue: Queue) =>
      new CommittedQueue({
        sends,
        queue,
        outgoing: sends.outgoing(queue),
        timeoutMs: sendTimeoutMs,
        commitOf,
      }),
  };
}
