// The code of docs/messages.md; tsc checks it here, and a spec checks that it is the same.
import { EntityManager } from '@mikro-orm/postgresql';
import {
  Controller,
  Injectable,
  type BeforeApplicationShutdown,
  type INestApplication,
} from '@nestjs/common';
import {
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  RmqContext,
  Transport,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { Ack, MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { Channel } from 'amqplib';
import { DbContext, InjectSession, SkipDbContext } from 'nestjs-db-context';
import { concatMap, interval } from 'rxjs';

import { Note } from '../support/note.entity.js';

export async function startHybrid(app: INestApplication) {
  app.connectMicroservice<MicroserviceOptions>(
    { transport: Transport.TCP },
    { inheritAppConfig: true },
  );
  await app.startAllMicroservices();
}

@Controller()
export class TickerController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @SkipDbContext()
  @MessagePattern('ticker')
  ticker() {
    return interval(1_000).pipe(
      concatMap(() => this.dbContext.run(() => this.session.count(Note))),
    );
  }
}

@WebSocketGateway()
export class NotesGateway {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @SubscribeMessage('create')
  create(@MessageBody() text: string) {
    const note = new Note(text);
    this.session.persist(note);
    return note; // the acknowledgement, with the id, after the commit
  }

  @SubscribeMessage('import')
  import(@MessageBody() text: string, @Ack() ack: (answer: string) => void) {
    this.session.persist(new Note(text));
    ack('imported'); // is sent after the commit
  }
}

@Controller()
export class OrdersConsumer {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @EventPattern({ event: 'order placed' })
  placed(@Payload() text: string, @Ctx() context: RmqContext) {
    const channel = context.getChannelRef();
    const message = context.getMessage() as { fields: { redelivered: boolean } };
    this.dbContext.onCommit(() => channel.ack(message));
    this.dbContext.onRollback(() => channel.nack(message, false, !message.fields.redelivered));
    this.session.persist(new Note(text));
  }
}

@Injectable()
export class Consumers implements BeforeApplicationShutdown {
  readonly #channels = new Map<string, Channel>();

  /** Each handler calls it with its context. */
  seen(context: RmqContext): void {
    const { fields } = context.getMessage() as { fields: { consumerTag: string } };
    this.#channels.set(fields.consumerTag, context.getChannelRef() as Channel);
  }

  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all([...this.#channels].map(([tag, channel]) => channel.cancel(tag)));
  }
}
