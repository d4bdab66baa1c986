import { deferred } from '../support/deferred.js';
import { connect, type GraphQLClient, type Listening } from '../support/graphql-client.js';
import { Happenings, HappeningsResolver } from '../support/graphql-events.js';
import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { LogRecorder } from '../support/log-recorder.js';
import { waitFor } from '../support/wait-for.js';

const HAPPENING = 'subscription { happening { id text xid xidOfFilter } }';

describe.each(
  SERVERS.flatMap((server) => [
    { ...server, scope: 'operation' as const },
    { ...server, scope: 'root-field' as const },
  ]),
)('subscriptions of $server over $adapter, scope $scope', ({ scope, ...server }) => {
  let world: GraphQLWorld;
  let happenings: Happenings;
  let client: GraphQLClient;
  const log = new LogRecorder();

  beforeAll(async () => {
    world = await startGraphQLWorld({
      server,
      graphql: { scope },
      providers: [Happenings, HappeningsResolver],
      driverOptions: { subscriptions: { 'graphql-ws': true }, subscription: true },
    });
    world.app.useLogger(log);
    happenings = world.app.get(Happenings);
  });
  afterAll(() => world?.close());
  beforeEach(async () => {
    await world.database.query('truncate note restart identity');
    world.proxy.reset();
    happenings.contexts.length = 0;
    happenings.reached = deferred();
    happenings.gate = deferred();
    log.lines.length = 0;
    client = connect(world.url);
  });
  afterEach(async () => {
    client.leave();
    await isIdle();
    await waitFor(() => happenings.listeners === 0, { what: 'the source to be closed' });
  });

  const isIdle = (): Promise<void> =>
    waitFor(() => world.runningContexts() === 0 && world.pool().checkedOut === 0, {
      what: 'all contexts to be settled',
      timeoutMs: 3_000,
    });

  /** Subscribes, and waits until what is published reaches the subscription. */
  const listen = async (query: string): Promise<Listening> => {
    const listening = client.listen(query);
    await waitFor(() => happenings.listeners === 1, { what: 'the subscription', timeoutMs: 3_000 });
    return listening;
  };

  it('W1: filter, resolve and fields of an event share a transaction, which ends before it is sent', async () => {
    const listening = await listen(HAPPENING);
    expect(world.begins()).toBe(1);
    await isIdle();
    for (const text of ['one', 'two']) {
      await happenings.publish({ act: 'write', text });
      const { data, errors } = await listening.next();
      // The savepoint of the flush in it has an id of its own.
      expect(errors).toBeUndefined();
      const { xid, xidOfFilter, id } = data!['happening'] as unknown as Record<string, string>;
      expect(xid).toBe(xidOfFilter);
      expect(id).toEqual(expect.any(Number));
      expect((await world.savedTexts()).filter((each) => each.endsWith(text))).toHaveLength(2);
      await isIdle();
    }
    expect(world.begins()).toBe(3);
    expect(new Set(happenings.contexts).size).toBe(2);
  });

  it('S2: an event with errors is rolled back, and the next one comes all the same', async () => {
    const listening = await listen(HAPPENING);
    await happenings.publish({ act: 'fail', text: 'lost' });
    expect(await listening.next()).toMatchObject({
      data: { happening: null },
      errors: [{ message: 'failed', path: ['happening'] }],
    });
    await happenings.publish({ act: 'fail-but-keep', text: 'kept' });
    expect((await listening.next()).errors).toMatchObject([{ message: 'kept' }]);
    await happenings.publish({ act: 'write', text: 'saved' });
    expect((await listening.next()).data).toMatchObject({ happening: { text: 'saved' } });
    expect(await world.savedTexts()).toEqual(['filtered kept', 'kept', 'filtered saved', 'saved']);
  });

  it('S1: a COMMIT that fails becomes an error of the event, which has no data', async () => {
    const listening = await listen(HAPPENING);
    await happenings.publish({ act: 'twice', text: 'twice' });
    expect(await listening.next()).toMatchObject({
      data: null,
      errors: [
        { message: expect.stringContaining('note_text_unique'), extensions: { code: '23505' } },
      ],
    });
    await happenings.publish({ act: 'write', text: 'saved' });
    expect((await listening.next()).data).toMatchObject({ happening: { text: 'saved' } });
    expect(await world.savedTexts()).toEqual(['filtered saved', 'saved']);
  });

  it('W1: what a filter does with an event that is not sent is settled, and its failure is in the log', async () => {
    const listening = await listen(HAPPENING);
    await happenings.publish({ act: 'write', text: 'dropped', filter: 'drop' });
    await happenings.publish({ act: 'write', text: 'failed', filter: 'throw' });
    await happenings.publish({ act: 'write', text: 'sent' });
    expect((await listening.next()).data).toMatchObject({ happening: { text: 'sent' } });
    expect(await world.savedTexts()).toEqual(['filtered dropped', 'filtered sent', 'sent']);
    expect(log.ofLibrary('error')).toEqual([
      expect.stringMatching(/filter of subscription \(happening\) failed.*the filter failed/s),
    ]);
  });

  it('L2: an event that touches no session takes no connection', async () => {
    const listening = await listen('subscription { greeting(act: "read") }');
    await happenings.publish({ act: 'read', text: 'plain' });
    expect((await listening.next()).data).toEqual({ greeting: 'plain true' });
    expect(world.proxy.log).toEqual([]);
  });

  it('W1: what the resolver of a subscription does is committed before the first event', async () => {
    const listening = await listen('subscription { greeting(act: "write") }');
    await isIdle();
    expect(await world.savedTexts()).toEqual(['greeting']);
    await happenings.publish({ act: 'read', text: 'first' });
    expect((await listening.next()).data).toEqual({ greeting: 'first true' });
  });

  it('S1: a subscription whose resolver fails, or cannot be committed, is refused', async () => {
    // Apollo Server answers the operation with errors, Mercurius with an error of the protocol.
    const answerTo = async (act: string): Promise<string> =>
      JSON.stringify(
        await client
          .ask(`subscription { greeting(act: "${act}") }`)
          .catch((errors: unknown) => errors),
      );
    expect(await answerTo('fail')).toContain('failed');
    expect(await answerTo('twice')).toContain('note_text_unique');
    expect(await world.savedTexts()).toEqual([]);
    await isIdle();
  });

  it('C7: decorators on the resolver hold for its events', async () => {
    const readOnly = await listen('subscription { readOnly }');
    await happenings.publish({ act: 'read', text: 'any' });
    expect((await readOnly.next()).data).toEqual({ readOnly: 'on' });
    readOnly.stop();
    await waitFor(() => happenings.listeners === 0, { what: 'the source to be closed' });
    const skipped = await listen('subscription { skipped }');
    await happenings.publish({ act: 'read', text: 'outside' });
    expect((await skipped.next()).data).toEqual({ skipped: 'outside false' });
  });

  it('W1: the source of the events has no context', async () => {
    const listening = client.listen('subscription { fromGenerator }');
    expect((await listening.next()).data).toEqual({ fromGenerator: false });
    happenings.gate.resolve();
    expect((await listening.next()).data).toEqual({ fromGenerator: false });
  });

  it('F3: what a field does after its event was sent is no work of the next event', async () => {
    const listening = await listen('subscription { happening { text lingering required } }');
    await happenings.publish({ act: 'read', text: 'first' });
    expect(await listening.next()).toMatchObject({
      data: { happening: null },
      errors: [{ message: 'failed at once' }],
    });
    await happenings.publish({ act: 'slow', text: 'second' });
    await happenings.reached.promise;
    happenings.lingers.resolve();
    await waitFor(() => happenings.lingered !== undefined, { what: 'the field to go on' });
    await expect(happenings.lingered).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    happenings.gate.resolve();
    await listening.next();
    expect(await world.savedTexts()).toEqual([]);
  });

  it('F1: one event for 30 subscriptions is 30 transactions over a pool of 5', async () => {
    const all = Array.from({ length: 30 }, () =>
      client.listen('subscription { happening { xid } }'),
    );
    await waitFor(() => happenings.listeners === 30, { what: 'the subscriptions' });
    await isIdle();
    world.proxy.reset();
    await happenings.publish({ act: 'read', text: 'for all' });
    const answers = await Promise.all(all.map((each) => each.next()));
    const xids = answers.map(({ data }) => (data!['happening'] as unknown as { xid: string }).xid);
    expect(new Set(xids).size).toBe(30);
    expect(world.begins()).toBe(30);
  });
});
