import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { waitFor } from '../support/wait-for.js';

const WRITE = 'mutation { one: addNote(text: "one") { text } }';

describe.each(SERVERS)('$server over $adapter with the middleware', (server) => {
  const worlds: GraphQLWorld[] = [];

  const start = async (options: Parameters<typeof startGraphQLWorld>[0]): Promise<GraphQLWorld> => {
    const world = await startGraphQLWorld({ server, mount: 'middleware', ...options });
    worlds.push(world);
    return world;
  };
  const isIdle = (world: GraphQLWorld): Promise<void> =>
    waitFor(() => world.pool().checkedOut === 0 && world.runningContexts() === 0, {
      what: 'all contexts to be settled',
    });

  afterAll(() => Promise.all(worlds.map((world) => world.close())));

  it('W1: an operation takes the context of the middleware over', async () => {
    const world = await start({});
    expect((await world.ask(WRITE)).data).toEqual({ one: { text: 'one' } });
    expect(await world.savedTexts()).toEqual(['one']);
    expect((await world.ask('{ guarded { xid } }')).errors).toBeUndefined();
    expect(world.begins()).toBe(2);
    await isIdle(world);
    expect((await world.ask('{ unknownField }')).errors).toHaveLength(1);
    await isIdle(world);
  });

  it('W1: with root fields as scope, each one is saved by itself', async () => {
    const world = await start({ graphql: { scope: 'root-field' } });
    const { errors } = await world.ask(
      'mutation { one: addNote(text: "one") { text } refuse(text: "two") { text } three: addNote(text: "three") { text } }',
    );
    expect(errors).toMatchObject([{ message: 'refused' }]);
    expect(await world.savedTexts()).toEqual(['one', 'three']);
    await isIdle(world);
  });

  it('W1: without the module a mutation is saved, and a failed one says so', async () => {
    const world = await start({ graphql: 'absent' });
    expect((await world.ask(WRITE)).data).toEqual({ one: { text: 'one' } });
    expect(await world.savedTexts()).toEqual(['one']);
    const { data, errors } = await world.ask('mutation { addTwice(text: "twice") }');
    expect([data, errors?.length]).toEqual([null, 1]);
    expect(await world.savedTexts()).toEqual(['one']);
    await isIdle(world);
  });
});
