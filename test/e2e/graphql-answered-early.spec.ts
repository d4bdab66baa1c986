/** Interceptors that answer before the resolver of a root field has returned, see `answered-early.spec.ts`. */
import { UseInterceptors } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { Field, Mutation, ObjectType, Query, ResolveField, Resolver } from '@nestjs/graphql';
import { CommitOn, InjectSession } from 'nestjs-db-context';
import { concat, defer, from, type Observable, of } from 'rxjs';

import { EarlyAnswers, FIRST_VALUE } from '../support/early-answers.js';
import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';

const early = new EarlyAnswers();
const fallback = early.fallback('accepted');

@ObjectType('Transfer')
class TransferType {
  @Field()
  id!: string;
}

@Resolver(() => TransferType)
class TransferResolver {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Query(() => String)
  hello(): string {
    return 'hello';
  }

  @UseInterceptors(fallback)
  @Mutation(() => String)
  race(): Promise<string> {
    return this.#half();
  }

  @UseInterceptors(fallback)
  @Mutation(() => String)
  persisted(): Promise<string> {
    return early.persisted(this.session, 'done');
  }

  @UseInterceptors(fallback)
  @Mutation(() => String)
  observable(): Observable<string> {
    return from(defer(() => this.race()));
  }

  /** Ends before the operation does. */
  @Mutation(() => String)
  async afterwards(): Promise<string> {
    early.mayGoOn.resolve();
    await early.ended.promise;
    return 'afterwards';
  }

  @CommitOn(() => true)
  @Mutation(() => TransferType, { nullable: true })
  transfer(): object {
    return { id: 'transfer' };
  }

  @ResolveField(() => String)
  booked(): Promise<string> {
    return this.race();
  }

  @ResolveField(() => String)
  late(): Promise<string> {
    return early.ending('done', async () => {
      await early.halfWay();
      await this.session.insert(Note, { text: 'late' });
    });
  }

  /** Items of which one fails while another one is at work. */
  @ResolveField(() => [String])
  items(): Promise<string>[] {
    return [this.#half(), this.refused()];
  }

  /** Resolved by the default resolver, which no class has. */
  @CommitOn(() => true)
  @Mutation(() => TransferType, { nullable: true })
  lazily(): object {
    return { id: this.#half() };
  }

  /** Fails while its sibling is at work, and graphql-js answers for both. */
  @ResolveField(() => String)
  async refused(): Promise<string> {
    await early.reached.promise;
    throw new Error('refused');
  }

  @UseInterceptors(fallback)
  @Query(() => String)
  reads(): Promise<string> {
    return early.ending('done', async () => {
      await this.session.count(Note);
      await early.halfWay();
    });
  }

  @UseInterceptors(FIRST_VALUE)
  @Mutation(() => String)
  values(): Observable<string> {
    return concat(
      defer(() => this.session.insert(Note, { text: 'value' }).then(() => 'one')),
      of('two'),
    );
  }

  #half(): Promise<string> {
    return early.transfer(this.session, 'done');
  }
}

const WHY =
  'was rolled back instead of committed: its handler had not returned when it was answered in its place';

describe.each(
  SERVERS.flatMap((server) =>
    (['operation', 'root-field', 'absent'] as const).flatMap((scope) =>
      (['interceptor', 'middleware'] as const).map((mount) => ({ ...server, scope, mount })),
    ),
  ),
)(
  'resolvers that are answered early, $server over $adapter, scope $scope, mount $mount',
  ({ scope, mount, ...server }) => {
    const log = new LogRecorder();
    let world: GraphQLWorld;

    beforeAll(async () => {
      world = await startGraphQLWorld({
        server,
        mount,
        graphql: scope === 'absent' ? scope : { scope },
        providers: [TransferResolver],
      });
      world.app.useLogger(log);
    });
    afterAll(() => world?.close());
    beforeEach(async () => {
      early.reset();
      await world.database.query('truncate note');
    });

    const refusesHalf = async (field: string): Promise<void> => {
      const { data, errors } = await world.ask(`mutation { ${field} }`);
      early.mayGoOn.resolve();
      await early.ended.promise;
      expect({ data, saved: await world.savedTexts() }).toEqual({ data: null, saved: [] });
      expect(errors?.map(({ message }) => message).join()).toContain(WHY);
    };

    it.each(['race', 'persisted', 'observable'])(
      'W3: half of what a resolver writes is not committed (%s)',
      refusesHalf,
    );

    it('S2: one that only reads is answered', async () => {
      expect(await world.ask('{ reads }')).toMatchObject({ data: { reads: 'accepted' } });
      early.mayGoOn.resolve();
      expect(await early.ended.promise).toBe('done');
    });

    it('S2: one that has given a value is committed, whoever asks for no other', async () => {
      expect(await world.ask('mutation { values }')).toMatchObject({ data: { values: 'one' } });
      expect(await world.savedTexts()).toEqual(['value']);
    });

    if (scope === 'operation') {
      it.each(['transfer { booked refused }', 'transfer { items }', 'lazily { id refused }'])(
        'W3: half of what is written is not committed, as another part fails: %s',
        refusesHalf,
      );

      it('S5: the failure of a field that was left is in the log', async () => {
        log.lines.splice(0);
        await world.ask('mutation { transfer { late refused } }');
        early.mayGoOn.resolve();
        expect(await early.ended.promise).toMatchObject({ code: 'SESSION_CLOSED' });
        await waitFor(
          () =>
            log
              .ofLibrary('error')
              .some((line) => line.includes('failed after it had been answered in its place')),
          { what: 'the error in the log' },
        );
        expect(await world.savedTexts()).toEqual([]);
      });

      it('S2: one that has returned before its operation ends is committed', async () => {
        expect(await world.ask('mutation { race afterwards }')).toMatchObject({
          data: { race: 'accepted', afterwards: 'afterwards' },
        });
        expect(await world.savedTexts()).toEqual(['debit', 'credit']);
      });
    }
  },
);
