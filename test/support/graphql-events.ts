import { EventEmitter } from 'node:events';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Injectable, UseGuards } from '@nestjs/common';
import {
  Args,
  Context,
  Field,
  Int,
  ObjectType,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import { PubSub } from 'graphql-subscriptions';
import {
  CommitOn,
  DbContext,
  DbTransaction,
  InjectSession,
  SkipDbContext,
} from 'nestjs-db-context';

import { deferred } from './deferred.js';
import { ReadingGuard } from './graphql-library.js';
import { Note } from './note.entity.js';

/** What an event makes its resolvers do. */
export type Act = 'read' | 'write' | 'fail' | 'fail-but-keep' | 'twice' | 'slow';

/** What the application publishes. */
export interface Happening {
  readonly act: Act;
  readonly text: string;
  /** What the filter makes of it. */
  readonly filter?: 'drop' | 'throw';
}

@ObjectType('Happening')
class HappeningType {
  @Field(() => Int, { nullable: true })
  id?: number;

  @Field()
  text!: string;

  @Field()
  xidOfFilter!: string;
}

/** Where a spec publishes, and holds resolvers. */
@Injectable()
export class Happenings {
  readonly pubSub = new PubSub({ eventEmitter: new EventEmitter().setMaxListeners(0) });
  reached = deferred();
  gate = deferred();
  late: Promise<unknown> | undefined;
  lingers = deferred();
  lingered: Promise<unknown> | undefined;
  /** The context objects that resolvers of events have got. */
  readonly contexts: object[] = [];

  /** How many subscriptions would get what is published. */
  get listeners(): number {
    const { subscriptions } = this.pubSub as unknown as { readonly subscriptions: object };
    return Object.keys(subscriptions).length;
  }

  publish(happening: Happening): Promise<void> {
    return this.pubSub.publish('happening', { ...happening });
  }
}

const KEPT = new Error('kept');

@Resolver(() => HappeningType)
export class HappeningsResolver {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly happenings: Happenings,
    private readonly dbContext: DbContext,
  ) {}

  @UseGuards(ReadingGuard)
  @CommitOn(({ failed, error }) => !failed || error === KEPT)
  @Subscription(() => HappeningType, {
    nullable: true,
    filter(this: HappeningsResolver, happening: Happening) {
      return this.lets(happening);
    },
    resolve(this: HappeningsResolver, happening: Happening, _args: unknown, context: object) {
      return this.happen(happening, context);
    },
  })
  async happening(): Promise<AsyncIterator<Happening>> {
    await xidOf(this.session);
    return this.happenings.pubSub.asyncIterableIterator<Happening>('happening');
  }

  /** Greets its subscriber with a note, before anything has happened. */
  @Subscription(() => String, {
    resolve(this: HappeningsResolver, { text }: Happening) {
      return `${text} ${this.dbContext.isActive()}`;
    },
  })
  async greeting(@Args('act') act: string): Promise<AsyncIterator<Happening>> {
    await this.#write(act as Act, 'greeting');
    return this.happenings.pubSub.asyncIterableIterator<Happening>('happening');
  }

  @SkipDbContext()
  @Subscription(() => String, {
    resolve(this: HappeningsResolver, { text }: Happening) {
      return `${text} ${this.dbContext.isActive()}`;
    },
  })
  skipped(): AsyncIterator<Happening> {
    return this.happenings.pubSub.asyncIterableIterator<Happening>('happening');
  }

  @DbTransaction({ readOnly: true })
  @Subscription(() => String, {
    async resolve(this: HappeningsResolver) {
      const [row] = await this.session.execute<{ transaction_read_only: string }[]>(
        'show transaction_read_only',
      );
      return row!.transaction_read_only;
    },
  })
  readOnly(): AsyncIterator<Happening> {
    return this.happenings.pubSub.asyncIterableIterator<Happening>('happening');
  }

  /** A source that has no context of its own. */
  @Subscription(() => Boolean, { resolve: (isActive: boolean) => isActive })
  async *fromGenerator(): AsyncGenerator<boolean> {
    yield this.dbContext.isActive();
    await this.happenings.gate.promise;
    yield this.dbContext.isActive();
  }

  @ResolveField(() => String, { name: 'xid' })
  xidOfField(@Context() context: object): Promise<string> {
    this.happenings.contexts.push(context);
    return xidOf(this.session);
  }

  /** Fails the whole event at once, while its other fields go on. */
  @ResolveField(() => String)
  async required(): Promise<string> {
    throw new Error('failed at once');
  }

  @ResolveField(() => Boolean)
  async lingering(): Promise<boolean> {
    await this.happenings.lingers.promise;
    this.happenings.lingered = this.session.insert(Note, { text: 'lingering' });
    await this.happenings.lingered;
    return true;
  }

  async lets(happening: Happening & { xidOfFilter?: string }): Promise<boolean> {
    if (happening.act !== 'read') {
      await this.session.insert(Note, { text: `filtered ${happening.text}` });
    }
    happening.xidOfFilter = await xidOf(this.session);
    if (happening.filter === 'throw') {
      throw new Error('the filter failed');
    }
    return happening.filter !== 'drop';
  }

  async happen(happening: Happening, context: object): Promise<object> {
    this.happenings.contexts.push(context);
    const { act, text } = happening;
    const note = await this.#write(act, text);
    return {
      ...happening,
      // It has one when it is flushed, before the fields are resolved.
      get id() {
        return note?.id;
      },
    };
  }

  async #write(act: Act, text: string): Promise<Note | undefined> {
    switch (act) {
      case 'write': {
        const note = new Note(text);
        this.session.persist(note);
        return note;
      }
      case 'fail':
        await this.session.insert(Note, { text });
        throw new Error('failed');
      case 'fail-but-keep':
        await this.session.insert(Note, { text });
        throw KEPT;
      case 'twice':
        await this.session.execute('set constraints all deferred');
        await this.session.insert(Note, { text });
        await this.session.insert(Note, { text });
        return undefined;
      case 'slow':
        await this.session.insert(Note, { text });
        this.happenings.reached.resolve();
        await this.happenings.gate.promise;
        this.happenings.late = this.session.insert(Note, { text: `late ${text}` });
        await this.happenings.late;
        return undefined;
      default:
        return undefined;
    }
  }
}

async function xidOf(session: EntityManager): Promise<string> {
  const [row] = await session.execute<{ xid: string }[]>(
    'select pg_current_xact_id()::text as xid',
  );
  return row!.xid;
}
