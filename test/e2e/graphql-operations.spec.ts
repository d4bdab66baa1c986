import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';

describe.each(SERVERS)('operations of $server over $adapter', (server) => {
  let world: GraphQLWorld;

  beforeAll(async () => {
    world = await startGraphQLWorld({ server });
  });
  afterAll(() => world?.close());
  beforeEach(async () => {
    await world.database.query('truncate note restart identity');
    world.proxy.reset();
  });
  afterEach(() => {
    expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  const connections = (): number =>
    new Set(world.proxy.statements.map(({ connection }) => connection)).size;

  it('W1: 20 authors with their books through a loader and lazy relations are one transaction', async () => {
    const { data, errors } = await world.ask(
      `{ authors { id xid loadedBooks { title } relatedBooks { title author { name } } books { title } } }`,
    );
    expect(errors).toBeUndefined();
    const authors = data!['authors'] as unknown as {
      xid: string;
      loadedBooks: unknown[];
      books: unknown[];
    }[];
    expect(authors).toHaveLength(20);
    expect(new Set(authors.map(({ xid }) => xid)).size).toBe(1);
    expect(authors.every(({ loadedBooks, books }) => loadedBooks.length + books.length === 4)).toBe(
      true,
    );
    expect([world.begins(), connections()]).toEqual([1, 1]);
  });

  it('W1: what the default resolvers meet unloaded is loaded in the same transaction', async () => {
    const { data, errors } = await world.ask('{ books_ { author { name books { title } } } }');
    expect(errors).toBeUndefined();
    expect(data!['books_']).toHaveLength(40);
    expect([world.begins(), connections()]).toEqual([1, 1]);
  });

  it('W1: parallel root fields share the transaction', async () => {
    const { data } = await world.ask('{ xid again: xid authors { xid } }');
    const { xid, again, authors } = data as unknown as {
      xid: string;
      again: string;
      authors: { xid: string }[];
    };
    expect(new Set([xid, again, ...authors.map((author) => author.xid)]).size).toBe(1);
    expect(world.begins()).toBe(1);
  });

  it('W1: a guard has the session of the operation', async () => {
    const { data, errors } = await world.ask('{ guarded { xid } }');
    expect(errors).toBeUndefined();
    expect(data!['guarded']).toHaveLength(20);
    expect([world.begins(), connections()]).toEqual([1, 1]);
  });

  it('L2: an operation without a session takes no connection', async () => {
    expect(await world.ask('{ nothing }')).toEqual({ status: 200, data: { nothing: 'nothing' } });
    expect(world.proxy.log).toEqual([]);
  });

  it('S3: a root field of a mutation is flushed before its fields and the next one', async () => {
    const { data, errors } = await world.ask(
      'mutation { one: addNote(text: "one") { id xid } countInMutation two: addNote(text: "two") { id xid } }',
    );
    expect(errors).toBeUndefined();
    const { one, two, countInMutation } = data as unknown as {
      one: { id: number; xid: string };
      two: { id: number; xid: string };
      countInMutation: number;
    };
    expect([one.id, countInMutation, two.id]).toEqual([1, 1, 2]);
    expect(one.xid).toBe(two.xid);
    expect(world.begins()).toBe(1);
    expect(await world.savedTexts()).toEqual(['one', 'two']);
  });

  it('S2: a mutation of three fields whose second fails saves nothing, and says so', async () => {
    const { data, errors } = await world.ask(
      'mutation { one: addNote(text: "one") { text } refuse(text: "two") { text } three: addNote(text: "three") { text } }',
    );
    expect(data).toEqual({ one: { text: 'one' }, refuse: null, three: { text: 'three' } });
    expect(errors).toMatchObject([
      { message: 'refused', path: ['refuse'] },
      {
        message: expect.stringContaining('nothing that was done in it is saved'),
        extensions: { code: 'ROLLED_BACK' },
      },
    ]);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S1: a COMMIT that fails becomes an error of the answer, which has no data', async () => {
    const { status, data, errors } = await world.ask('mutation { addTwice(text: "twice") }');
    expect(status).toBe(200);
    expect(data).toBeNull();
    expect(errors).toMatchObject([
      { message: expect.stringContaining('note_text_unique'), extensions: { code: '23505' } },
    ]);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S1: the answer to a mutation leaves after its COMMIT', async () => {
    let isAnswered = false;
    let wasAnsweredBefore: boolean | undefined;
    world.proxy.onStatement = (sql) => {
      if (/^commit\b/i.test(sql)) {
        wasAnsweredBefore = isAnswered;
      }
    };
    await world.ask('mutation { addNote(text: "one") { id } }');
    isAnswered = true;
    expect(wasAnsweredBefore).toBe(false);
  });

  it('F1: an operation that is not valid leaves nothing open', async () => {
    const { errors } = await world.ask('{ unknownField }');
    expect(errors).toMatchObject([{ message: expect.stringContaining('Cannot query field') }]);
    expect((await world.ask('mutation { addNote { id } }')).errors).toHaveLength(1);
    expect((await world.ask('query Q($n: Int!) { nothing }', { n: 'x' })).errors).toHaveLength(1);
    expect(world.proxy.log).toEqual([]);
    expect(world.runningContexts()).toBe(0);
  });

  it('F1: 50 operations at once over a pool of 5 are 50 transactions', async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => world.ask('{ xid authors { loadedBooks { title } } }')),
    );
    const xids = answers.map(({ data }) => data!['xid']);
    expect(new Set(xids).size).toBe(50);
    expect(world.begins()).toBe(50);
    expect(connections()).toBeLessThanOrEqual(5);
  });
});
