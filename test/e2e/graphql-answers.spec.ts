import type { EntityManager } from '@mikro-orm/postgresql';
import { Args, Context, Int, Mutation, Query, Resolver } from '@nestjs/graphql';
import {
  CommitOn,
  DbContext,
  DbTransaction,
  InjectSession,
  RetryOnSerializationFailure,
} from 'nestjs-db-context';

import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';

let attempts = 0;

@Resolver()
class AnswersResolver {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Mutation(() => String, { nullable: true })
  async write(@Args('text') text: string): Promise<string> {
    await this.session.insert(Note, { text });
    return text;
  }

  /** Fails as the root field is written, after its resolver has returned. */
  @Mutation(() => String, { nullable: true })
  persistsNothing(): string {
    this.session.persist(new Note(null as unknown as string));
    return 'never';
  }

  @Mutation(() => String, { nullable: true })
  async returnsAnError(): Promise<string> {
    await this.write('returned');
    return new Error('no use') as unknown as string;
  }

  @Mutation(() => String)
  writesAndReturnsNull(): Promise<string | null> {
    return this.write('null').then(() => null);
  }

  @Mutation(() => Int, { nullable: true })
  writesAndReturnsNoInt(): Promise<string> {
    return this.write('no int');
  }

  @Mutation(() => [String], { nullable: true })
  writesAndReturnsNullItem(): Promise<(string | null)[]> {
    return this.write('null item').then((text) => [text, null]);
  }

  @Mutation(() => [[Int]], { nullable: true })
  writesAndReturnsNoInts(): Promise<Set<unknown>> {
    return this.write('no ints').then(() => new Set([[1], [2, 'three']]));
  }

  @Mutation(() => [Int], { nullable: 'itemsAndList' })
  writesAndReturnsNoList(): Promise<number> {
    return this.write('no list').then(() => 3);
  }

  @Mutation(() => [Int], { nullable: 'itemsAndList' })
  writesAndReturnsInts(): Promise<unknown> {
    return this.write('ints').then(() => [1, null, Promise.resolve(3), 'four']);
  }

  @CommitOn(() => false)
  @Mutation(() => String)
  tryOut(): Promise<string> {
    return this.write('tried');
  }

  @Mutation(() => String, { nullable: true })
  async commitsEarly(): Promise<string> {
    await this.write('early');
    await this.dbContext.commit();
    return this.write('late');
  }

  @Mutation(() => String, { nullable: true })
  fails(): string {
    throw new Error('failed');
  }

  @DbTransaction({ isolationLevel: 'serializable' })
  @Query(() => Int)
  serializable(): number {
    return 1;
  }

  @DbTransaction({ isolationLevel: 'repeatable read' })
  @Query(() => Int)
  repeatable(): number {
    return 1;
  }

  @DbTransaction({ readOnly: true })
  @Query(() => String, { nullable: true })
  async readOnly(): Promise<string> {
    this.session.persist(new Note('read-only'));
    await this.session.flush();
    return 'written';
  }

  /** Fails the first time, and leaves something in the context object that must not be found again. */
  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 1 })
  @Mutation(() => Int)
  async retried(@Context() contextValue: { seen?: number }): Promise<number> {
    attempts++;
    contextValue.seen ??= attempts;
    if (attempts === 1) {
      await this.session.execute(
        `do $$ begin raise exception 'concurrent' using errcode = '40001'; end $$`,
      );
    }
    return contextValue.seen;
  }
}

describe.each(SERVERS)('answers of $server over $adapter', (server) => {
  let world: GraphQLWorld;
  const log = new LogRecorder();
  // Mercurius asks it for the status, too.
  const errorFormatter = ({ data, errors }: { data: unknown; errors: { toJSON(): object }[] }) => ({
    statusCode: 418,
    response: { data, errors: errors.map((error) => error.toJSON()) },
  });

  beforeAll(async () => {
    world = await startGraphQLWorld({
      server,
      providers: [AnswersResolver],
      driverOptions: server.server === 'mercurius' ? { errorFormatter } : {},
    });
    world.app.useLogger(log);
  });
  afterAll(() => world?.close());
  beforeEach(async () => {
    attempts = 0;
    log.lines.length = 0;
    await world.database.query('truncate note restart identity');
  });
  afterEach(() => {
    expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    expect(world.runningContexts()).toBe(0);
  });

  it('W1: a mutation that commitOn has rolled back says so, also without errors', async () => {
    const { data, errors } = await world.ask('mutation { write(text: "one") tryOut }');
    expect(data).toEqual({ write: 'one', tryOut: 'tried' });
    expect(errors).toEqual([
      {
        message: expect.stringContaining('rolled back by commitOn: nothing that was done in it'),
        extensions: { code: 'ROLLED_BACK' },
      },
    ]);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('W1: what could not be written after a root field is in the log, and in the answer', async () => {
    const { data, errors } = await world.ask('mutation { persistsNothing }');
    expect(data).toEqual({ persistsNothing: null });
    expect(errors).toMatchObject([
      { path: ['persistsNothing'] },
      { extensions: { code: 'ROLLED_BACK' } },
    ]);
    expect(log.ofLibrary('error')).toEqual([
      expect.stringMatching(
        /^mutation \(persistsNothing\) could not be written: Value for Note.text is required/,
      ),
    ]);
  });

  it('W1: an error that a resolver returns rolls its operation back', async () => {
    const { errors } = await world.ask('mutation { returnsAnError }');
    expect(errors).toMatchObject([
      { message: 'no use', path: ['returnsAnError'] },
      { extensions: { code: 'ROLLED_BACK' } },
    ]);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('C1: a mutation that has committed a part of its work early says that this stays', async () => {
    const { errors } = await world.ask('mutation { commitsEarly fails }');
    expect(errors?.[1]).toMatchObject({
      message: expect.stringMatching(/because of its errors: .* What had been committed .* stays/),
      extensions: { code: 'ROLLED_BACK' },
    });
    expect(await world.savedTexts()).toEqual(['early']);
    const { errors: plain } = await world.ask('mutation { write(text: "lost") fails }');
    expect(plain?.[1]?.message).not.toContain('stays');
  });

  it('C7: root fields of different transactions are a fault of the request', async () => {
    const { status, errors } = await world.ask('{ serializable repeatable }');
    expect(status).toBe(server.server === 'mercurius' ? 418 : 400);
    expect(errors).toMatchObject([{ extensions: { code: 'INVALID_TRANSACTION_STATE' } }]);
  });

  it('S1: a failure has one code, whenever it is noticed', async () => {
    const atFlush = await world.ask('mutation { one: write(text: "x") two: write(text: "x") }');
    expect(atFlush.errors).toMatchObject([
      { path: ['two'], extensions: { code: '23505' } },
      { extensions: { code: 'ROLLED_BACK' } },
    ]);
    const atCommit = await world.ask('mutation { addTwice(text: "x") }');
    expect(atCommit.errors).toMatchObject([{ extensions: { code: '23505' } }]);
    const refused = await world.ask('{ readOnly }');
    expect(refused.errors).toMatchObject([{ extensions: { code: 'READ_ONLY_TRANSACTION' } }]);
  });

  it('F4: a mutation runs again with a context object in which nothing is left, and beside __typename', async () => {
    expect((await world.ask('mutation { retried }')).data).toEqual({ retried: 2 });
    attempts = 0;
    expect((await world.ask('mutation { __typename retried }')).data).toEqual({
      __typename: 'Mutation',
      retried: 2,
    });
  });

  it('F4: the log says that a mutation of several root fields did not run again', async () => {
    expect((await world.ask('mutation { retried write(text: "one") }')).errors).toHaveLength(1);
    expect(log.ofLibrary('warn')).toEqual([
      expect.stringMatching(/AnswersResolver.retried .* several root fields/),
    ]);
  });

  if (server.server === 'mercurius') {
    it('S1: errorFormatter has the last word on the status of a failed COMMIT', async () => {
      expect((await world.ask('mutation { addTwice(text: "x") }')).status).toBe(418);
    });
  }
});

describe.each(SERVERS)('answers of $server over $adapter, scope root-field', (server) => {
  let world: GraphQLWorld;

  beforeAll(async () => {
    world = await startGraphQLWorld({
      server,
      providers: [AnswersResolver],
      graphql: { scope: 'root-field' },
    });
  });
  beforeEach(() => world.database.query('truncate note'));
  afterAll(() => world?.close());

  it('W1: an error that a resolver returns rolls its root field back, and no other', async () => {
    const { data, errors } = await world.ask('mutation { write(text: "other") returnsAnError }');
    expect(data).toEqual({ write: 'other', returnsAnError: null });
    expect(errors).toMatchObject([{ message: 'no use' }]);
    expect(await world.savedTexts()).toEqual(['other']);
  });

  it.each([
    [
      'writesAndReturnsNull',
      'Cannot return null for non-nullable field Mutation.writesAndReturnsNull.',
    ],
    ['writesAndReturnsNoInt', 'Int cannot represent non-integer value: "no int"'],
    [
      'writesAndReturnsNullItem',
      'Cannot return null for non-nullable field Mutation.writesAndReturnsNullItem.',
    ],
    ['writesAndReturnsNoInts', 'Int cannot represent non-integer value: "three"'],
    [
      'writesAndReturnsNoList',
      'Expected Iterable, but did not find one for field "Mutation.writesAndReturnsNoList".',
    ],
  ])(
    'S2: a value that its schema refuses rolls its root field back: %s',
    async (field, message) => {
      const { data, errors } = await world.ask(`mutation { ${field} }`);
      expect(errors).toMatchObject([{ message, path: [field] }]);
      expect(data?.[field] ?? null).toBeNull();
      expect(await world.savedTexts()).toEqual([]);
    },
  );

  it('S2: one that it allows is committed, with items for which there is none', async () => {
    const { data, errors } = await world.ask('mutation { writesAndReturnsInts }');
    expect(data).toEqual({ writesAndReturnsInts: [1, null, 3, null] });
    expect(errors).toMatchObject([{ message: 'Int cannot represent non-integer value: "four"' }]);
    expect(await world.savedTexts()).toEqual(['ints']);
  });
});
