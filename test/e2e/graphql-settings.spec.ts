import { createHash } from 'node:crypto';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Int, Mutation, Query, Resolver } from '@nestjs/graphql';
import mercurius from 'mercurius';
import {
  CommitOn,
  DbContext,
  DbTransaction,
  InjectSession,
  RetryOnSerializationFailure,
  SkipDbContext,
} from 'nestjs-db-context';

import { AuthorType } from '../support/graphql-library.js';
import {
  SERVERS,
  startGraphQLWorld,
  type GraphQLAnswer,
  type GraphQLWorld,
} from '../support/graphql-world.js';
import { Author } from '../support/library.entities.js';
import { Note } from '../support/note.entity.js';

let attempts = 0;

@Resolver()
class SettingsResolver {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Query(() => String)
  plain(): Promise<string> {
    return this.#show('transaction_read_only');
  }

  @DbTransaction({ readOnly: false })
  @Query(() => String)
  writable(): Promise<string> {
    return this.#show('transaction_read_only');
  }

  @Mutation(() => String)
  mutated(): Promise<string> {
    return this.#show('transaction_read_only');
  }

  @DbTransaction({ isolationLevel: 'serializable' })
  @Query(() => String)
  serializable(): Promise<string> {
    return this.#show('transaction_isolation');
  }

  @DbTransaction({ isolationLevel: 'repeatable read' })
  @Query(() => String)
  repeatable(): Promise<string> {
    return this.#show('transaction_isolation');
  }

  @SkipDbContext()
  @Query(() => Boolean)
  skipped(): boolean {
    return this.dbContext.isActive();
  }

  @SkipDbContext()
  @Query(() => [AuthorType])
  skippedAuthors(): Author[] {
    return [Object.assign(new Author('nobody'), { id: 1 })];
  }

  @CommitOn(({ failed, error, errors }) => !failed || (error === KEPT && errors?.length === 1))
  @Mutation(() => Int, { nullable: true })
  async failButKeep(): Promise<number> {
    await this.session.insert(Note, { text: 'kept' });
    throw KEPT;
  }

  @RetryOnSerializationFailure({ attempts: 3, backoffMs: 1 })
  @Mutation(() => Int)
  async retried(): Promise<number> {
    attempts++;
    await this.session.insert(Note, { text: `attempt ${attempts}` });
    if (attempts < 3) {
      await this.session.execute(
        `do $$ begin raise exception 'concurrent' using errcode = '40001'; end $$`,
      );
    }
    return attempts;
  }

  async #show(setting: string): Promise<string> {
    const [row] = await this.session.execute<Record<string, string>[]>(`show ${setting}`);
    return row![setting]!;
  }
}

const KEPT = new Error('kept');

describe.each(SERVERS)('settings of operations of $server over $adapter', (server) => {
  let world: GraphQLWorld;

  beforeAll(async () => {
    world = await startGraphQLWorld({
      server,
      providers: [SettingsResolver],
      graphql: { readOnlyQueries: true },
      driverOptions: {
        allowBatchedHttpRequests: true,
        allowBatchedQueries: true,
        persistedQueryProvider: mercurius.persistedQueryDefaults.automatic(),
      },
    });
  });
  afterAll(() => world?.close());
  beforeEach(async () => {
    attempts = 0;
    await world.database.query('truncate note restart identity');
    world.proxy.reset();
  });
  afterEach(() => {
    expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    expect(world.runningContexts()).toBe(0);
  });

  it('C7: queries are read-only where the option and no decorator says otherwise', async () => {
    expect((await world.ask('{ plain }')).data).toEqual({ plain: 'on' });
    expect((await world.ask('{ writable }')).data).toEqual({ writable: 'off' });
    expect((await world.ask('{ plain writable }')).data).toEqual({ plain: 'off', writable: 'off' });
    expect((await world.ask('mutation { mutated }')).data).toEqual({ mutated: 'off' });
  });

  it('C7: root fields that ask for different transactions are refused before any of them runs', async () => {
    expect((await world.ask('{ plain serializable }')).data).toEqual({
      plain: 'on',
      serializable: 'serializable',
    });
    world.proxy.reset();
    const { status, data, errors } = await world.ask('{ serializable repeatable }');
    expect([status, data ?? null]).toEqual([400, null]);
    expect(errors).toMatchObject([
      {
        message: expect.stringContaining('"repeatable" asks for another isolationLevel'),
        extensions: { code: 'INVALID_TRANSACTION_STATE' },
      },
    ]);
    expect(world.proxy.log).toEqual([]);
    const chosen =
      'query Q($other: Boolean = false) { serializable repeatable @include(if: $other) }';
    expect((await world.ask(chosen)).errors).toBeUndefined();
    expect((await world.ask(chosen, { other: true })).errors).toHaveLength(1);
  });

  it('L2: a root field with @SkipDbContext() has no context, nor have its fields', async () => {
    expect((await world.ask('{ skipped }')).data).toEqual({ skipped: false });
    const { data, errors } = await world.ask('{ skipped other: skipped nothing authors { id } }');
    expect(errors).toBeUndefined();
    expect(data).toMatchObject({ skipped: false, other: false, nothing: 'nothing' });
    expect((await world.ask('{ plain skippedAuthors { xid } }')).errors).toMatchObject([
      { message: expect.stringContaining('DbContextGraphQLModule') },
    ]);
  });

  it('S2: @CommitOn() keeps what an operation with errors wrote', async () => {
    const { data, errors } = await world.ask('mutation { failButKeep }');
    expect(data).toEqual({ failButKeep: null });
    expect(errors).toMatchObject([{ message: 'kept' }]);
    expect(errors).toHaveLength(1);
    expect(await world.savedTexts()).toEqual(['kept']);
  });

  it('S2: all root fields have to agree to a commit', async () => {
    const { errors } = await world.ask('mutation { failButKeep addNote(text: "other") { id } }');
    expect(errors).toMatchObject([{ message: 'kept' }, { extensions: { code: 'ROLLED_BACK' } }]);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F4: a mutation of one root field runs again after a serialization failure', async () => {
    expect(await world.ask('mutation { retried }')).toEqual({ status: 200, data: { retried: 3 } });
    expect(await world.savedTexts()).toEqual(['attempt 3']);
    expect(world.begins()).toBe(3);
  });

  it('F4: a mutation of several root fields does not run again', async () => {
    const { errors } = await world.ask('mutation { retried addNote(text: "other") { id } }');
    expect(errors?.[0]).toMatchObject({ message: expect.stringContaining('concurrent') });
    expect(attempts).toBe(1);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S2: each operation of a batch has a context of its own', async () => {
    const response = await world.fetch('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify([
        { query: 'mutation { addNote(text: "one") { id } }' },
        { query: 'mutation { refuse(text: "two") { id } }' },
        { query: 'mutation { addTwice(text: "three") }' },
      ]),
    });
    const [one, two, three] = (await response.json()) as GraphQLAnswer[];
    expect(one!.data).toEqual({ addNote: { id: expect.any(Number) } });
    expect(two!.errors?.[0]).toMatchObject({ message: 'refused' });
    expect(three).toMatchObject({ data: null, errors: [{ extensions: { code: '23505' } }] });
    expect(await world.savedTexts()).toEqual(['one']);
    expect(world.begins()).toBe(3);
  });

  it('W1: a persisted operation has one context, like any other', async () => {
    const ask = async (query: string, isSent: boolean): Promise<GraphQLAnswer> => {
      const sha256Hash = createHash('sha256').update(query).digest('hex');
      const response = await world.fetch('/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          ...(isSent && { query }),
          extensions: { persistedQuery: { version: 1, sha256Hash } },
        }),
      });
      return { status: response.status, ...((await response.json()) as object) };
    };
    const read = '{ xid again: xid authors { xid loadedBooks { title } } }';
    expect((await ask(read, false)).errors).toMatchObject([{ message: 'PersistedQueryNotFound' }]);
    expect(world.proxy.log).toEqual([]);
    for (const isSent of [true, false, false]) {
      world.proxy.reset();
      const { data, errors } = await ask(read, isSent);
      expect(errors).toBeUndefined();
      const { xid, again, authors } = data as unknown as Record<'xid' | 'again', string> & {
        authors: { xid: string }[];
      };
      expect(new Set([xid, again, ...authors.map((author) => author.xid)]).size).toBe(1);
      expect(world.begins()).toBe(1);
    }
    const failing = 'mutation { addTwice(text: "twice") }';
    for (const isSent of [true, false]) {
      expect(await ask(failing, isSent)).toMatchObject({
        data: null,
        errors: [{ extensions: { code: '23505' } }],
      });
    }
    const retried = 'mutation { retried }';
    expect((await ask(retried, true)).data).toEqual({ retried: 3 });
    attempts = 0;
    await world.database.query('truncate note');
    expect((await ask(retried, false)).data).toEqual({ retried: 3 });
    expect(await world.savedTexts()).toEqual(['attempt 3']);
  });
});
