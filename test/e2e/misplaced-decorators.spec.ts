import { Controller, Get, Injectable, SetMetadata, type Type } from '@nestjs/common';
import { CommandHandler } from '@nestjs/cqrs';
import { OnEvent } from '@nestjs/event-emitter';
import { Query, Resolver } from '@nestjs/graphql';
import { Processor } from '@nestjs/bullmq';
import { EventPattern } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import {
  Atomic,
  CommitOn,
  DbContextModule,
  DbTransaction,
  FlushOn,
  InvalidOptionsError,
  NewDbContext,
  RetryOnSerializationFailure,
  SkipDbContext,
  UseAfterCommit,
  WithDbContext,
} from 'nestjs-db-context';

import { fullMessage } from '../support/full-message.js';
import { noteConnection } from '../support/test-app.js';

// Nothing here connects.
const URL_OF_NOTHING = 'postgres://postgres@127.0.0.1:1/nothing';

/** As `@Cron()` of `@nestjs/schedule` marks its methods. */
const Cron = SetMetadata('SCHEDULE_CRON_OPTIONS', {});

/** As the decorator of a transport that is unknown here, which calls the method through interceptors. */
const Subscribed = SetMetadata('a transport', 'topic');

const EACH: readonly ((...args: never[]) => unknown)[] = [
  DbTransaction({ readOnly: true }),
  RetryOnSerializationFailure({ attempts: 2 }),
  CommitOn(() => true),
  FlushOn('commit'),
  SkipDbContext(),
];

/** All of them, on a class or a method. */
const all =
  () =>
  (target: object, key?: string, descriptor?: PropertyDescriptor): void => {
    EACH.forEach((decorate) => Reflect.apply(decorate, undefined, [target, key, descriptor]));
  };

@Injectable()
class OnService {
  @DbTransaction({ isolationLevel: 'serializable' })
  async transfer(): Promise<void> {}
}

@Injectable()
class OnAtomic {
  @DbTransaction({ isolationLevel: 'serializable' })
  @Atomic()
  async transfer(): Promise<void> {}
}

@Injectable()
class Retried {
  @RetryOnSerializationFailure({ attempts: 3 })
  async transfer(): Promise<void> {}
}

@Injectable()
class Kept {
  @CommitOn(() => true)
  async transfer(): Promise<void> {}
}

@Injectable()
class Flushed {
  @FlushOn('commit')
  async transfer(): Promise<void> {}
}

@Injectable()
class Skipped {
  @SkipDbContext()
  async transfer(): Promise<void> {}
}

@Injectable()
class AfterCommit {
  @UseAfterCommit({ intercept: (_, next) => next.handle() })
  async transfer(): Promise<void> {}
}

@DbTransaction({ readOnly: true })
@Injectable()
class OnClass {
  async read(): Promise<void> {}
}

@Injectable()
class Inherited extends OnService {}

@Injectable()
class OnCron {
  @Cron
  @DbTransaction({ readOnly: true })
  async nightly(): Promise<void> {}
}

@Injectable()
class OnListener {
  @OnEvent('order.created')
  @DbTransaction({ readOnly: true })
  async listen(): Promise<void> {}
}

@Processor('a queue')
class OnProcessor {
  @DbTransaction({ readOnly: true })
  async process(): Promise<void> {}
}

class Command {
  readonly id = 1;
}

@CommandHandler(Command)
class OnCommandHandler {
  @RetryOnSerializationFailure({ attempts: 2 })
  async execute(): Promise<void> {}
}

@Injectable()
class FlushedJob {
  @WithDbContext()
  @FlushOn('commit')
  async job(): Promise<void> {}
}

@Injectable()
class SkippedJob {
  @SkipDbContext()
  @NewDbContext()
  async job(): Promise<void> {}
}

@Controller('helper')
class HelperOfController {
  @Get()
  async route(): Promise<void> {
    await this.helper();
  }

  @DbTransaction({ isolationLevel: 'serializable' })
  async helper(): Promise<void> {}
}

@WebSocketGateway()
class HookOfGateway {
  @DbTransaction({ readOnly: true })
  async handleConnection(): Promise<void> {}
}

/** Each is a class, and what is said of the decorator that has no effect in it. */
const REFUSED: readonly (readonly [Type, string])[] = [
  [OnService, '@DbTransaction() on OnService.transfer has no effect'],
  [OnAtomic, '@DbTransaction() on OnAtomic.transfer has no effect'],
  [Retried, '@RetryOnSerializationFailure() on Retried.transfer has no effect'],
  [Kept, '@CommitOn() on Kept.transfer has no effect'],
  [Flushed, '@FlushOn() on Flushed.transfer has no effect'],
  [Skipped, '@SkipDbContext() on Skipped.transfer has no effect'],
  [AfterCommit, '@UseAfterCommit() on AfterCommit.transfer has no effect'],
  [OnClass, '@DbTransaction() on OnClass has no effect'],
  [Inherited, '@DbTransaction() on Inherited.transfer has no effect'],
  [OnCron, '@DbTransaction() on OnCron.nightly has no effect'],
  [OnListener, '@DbTransaction() on OnListener.listen has no effect'],
  [OnProcessor, '@DbTransaction() on OnProcessor.process has no effect'],
  [OnCommandHandler, '@RetryOnSerializationFailure() on OnCommandHandler.execute has no effect'],
  [FlushedJob, '@FlushOn() on FlushedJob.job has no effect'],
  [SkippedJob, '@SkipDbContext() on SkippedJob.job has no effect'],
  [HookOfGateway, '@DbTransaction() on HookOfGateway.handleConnection has no effect'],
];

@all()
@Controller('ok')
class Routes {
  @all()
  @Get()
  route(): void {}

  @all()
  @EventPattern('event')
  event(_data: unknown): void {}
}

@all()
@WebSocketGateway()
class Gateway {
  @all()
  @SubscribeMessage('message')
  message(_data: unknown): void {}
}

@all()
@Resolver()
class NoteResolver {
  @all()
  @Query(() => String)
  note(): string {
    return '';
  }
}

@all()
@Injectable()
class Subscriber {
  @all()
  @Subscribed
  subscribed(): void {}
}

@Subscribed
class SubscriberByClass {
  @all()
  handle(): void {}
}

/** A decorator of the class holds for its one job. */
@DbTransaction({ readOnly: true })
@RetryOnSerializationFailure({ attempts: 2 })
@CommitOn(() => true)
@Injectable()
class Jobs {
  @Cron
  @DbTransaction({ isolationLevel: 'serializable' })
  @WithDbContext()
  async above(): Promise<void> {}

  @NewDbContext()
  @RetryOnSerializationFailure({ attempts: 2 })
  async below(): Promise<void> {}

  async helper(): Promise<void> {}
}

@WithDbContext()
@Processor('another queue')
class JobByClass {
  @DbTransaction({ readOnly: true })
  async process(): Promise<void> {}
}

async function boot(controllers: Type[], providers: Type[]): Promise<void> {
  const testingModule = await Test.createTestingModule({
    imports: [DbContextModule.forRoot({ connections: [noteConnection(URL_OF_NOTHING)] })],
    controllers,
    providers: [...providers, { provide: 'value', useValue: new OnService() }],
  }).compile();
  // No server, and no library that would look for its handlers.
  testingModule.useLogger(false);
  try {
    await testingModule.init();
  } finally {
    await testingModule.close();
  }
}

describe('decorators of routes that have no effect where they stand', () => {
  it.each(REFUSED.map(([type, says]) => [type.name, type, says] as const))(
    'C7: fail the boot: %s',
    async (_, type, says) => {
      const booted = boot([], [type]);
      await expect(booted).rejects.toBeInstanceOf(InvalidOptionsError);
      await expect(booted).rejects.toMatchObject({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining(says),
      });
    },
  );

  it('C7: fail the boot on a method of a controller that is no route', async () => {
    await expect(boot([HelperOfController], [])).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining(
        '@DbTransaction() on HelperOfController.helper has no effect',
      ),
    });
  });

  it('C7: name the decorator that has one', async () => {
    await expect(boot([], [OnService])).rejects.toMatchObject({
      message: fullMessage(
        'INVALID_OPTIONS',
        '@DbTransaction() on OnService.transfer has no effect: no transport calls the method, so that no ' +
          'context is opened for it. Put it on the route or the job (a method with @WithDbContext() or ' +
          "@NewDbContext()), or use @Atomic({ isolationLevel: 'serializable' }) here.",
      ),
    });
  });

  it('C7: are left alone wherever a transport or a context of the method may use them', async () => {
    await expect(
      boot([Routes], [Gateway, NoteResolver, Subscriber, SubscriberByClass, Jobs, JobByClass]),
    ).resolves.toBeUndefined();
  });
});
