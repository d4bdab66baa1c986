import { Test } from '@nestjs/testing';
import type { INestApplication } from '@nestjs/common';
import { getConnectionToken, type DbConnection } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../../../test/support/database.js';
import { holdStatement } from '../../../test/support/hold-statement.js';
import { waitFor } from '../../../test/support/wait-for.js';
import { WireProxy } from '../../../test/support/wire-proxy.js';
import { AppModule } from '../app.module.js';
import { LineServer } from '../lines/line-server.js';
import { LineClient } from './line-client.js';

describe('sample 11-transport', () => {
  let database: TestDatabase;
  let proxy: WireProxy;
  let app: INestApplication;
  let client: LineClient;

  beforeAll(async () => {
    database = await createTestDatabase();
    proxy = await WireProxy.start(database.url);
    const module = await Test.createTestingModule({
      imports: [AppModule.register({ databaseUrl: proxy.url })],
    }).compile();
    app = await module.createNestApplication().init();
    await connection().orm.schema.update();
    // Two readings of one sensor are found out by the COMMIT alone.
    await database.query(
      'alter table reading add constraint sensor_unique unique (sensor) deferrable initially deferred',
    );
  });

  afterAll(async () => {
    await app?.close();
    await proxy?.stop();
    await database?.drop();
  });

  beforeEach(async () => {
    await database.query('truncate reading restart identity');
    client = await LineClient.connect(app.get(LineServer).port);
  });

  afterEach(async () => {
    client.leave();
    await waitFor(() => (connection().poolState()?.checkedOut ?? 0) === 0, {
      what: 'the pool to have all its connections',
    });
  });

  const connection = (): DbConnection => app.get(getConnectionToken());
  const saved = (): Promise<unknown[]> => database.query('select sensor from reading order by id');

  it('a line is answered when it is committed', async () => {
    expect(await client.ask('kitchen 21.5')).toBe('saved 1');
    expect(await saved()).toEqual([{ sensor: 'kitchen' }]);
  });

  it('a line that fails is rolled back', async () => {
    expect(await client.ask('kitchen cold')).toBe('failed: TypeError: the value is no number');
    expect(await saved()).toEqual([]);
  });

  it('a line whose COMMIT fails is no success', async () => {
    expect(await client.ask('kitchen 21.5')).toBe('saved 1');
    expect(await client.ask('kitchen 22.5')).toContain(
      'failed: UniqueConstraintViolationException',
    );
    expect(await saved()).toEqual([{ sensor: 'kitchen' }]);
  });

  it('the lines of a conversation are one transaction', async () => {
    expect(await client.ask('begin')).toBe('ok');
    expect(await client.ask('kitchen 21.5')).toBe('pending 1');
    expect(await client.ask('attic 12')).toBe('pending 2');
    expect(await saved()).toEqual([]);
    expect(await client.ask('commit')).toBe('ok');
    expect(await saved()).toEqual([{ sensor: 'kitchen' }, { sensor: 'attic' }]);
  });

  it('a line that fails undoes its conversation', async () => {
    await client.ask('begin');
    await client.ask('kitchen 21.5');
    expect(await client.ask('attic cold')).toBe('failed: TypeError: the value is no number');
    expect(await client.ask('commit')).toBe('failed: Error: no conversation is open');
    expect(await saved()).toEqual([]);
  });

  it('a client that leaves in a conversation leaves nothing behind', async () => {
    await client.ask('begin');
    await client.ask('kitchen 21.5');
    expect(connection().poolState()).toMatchObject({ checkedOut: 1 });
    client.leave();
    await waitFor(() => connection().poolState()?.checkedOut === 0, {
      what: 'the conversation to be rolled back',
    });
    expect(await saved()).toEqual([]);
  });

  it.each(['', 'begin'])(
    'a client that resets its connection ends nothing but itself (%s)',
    async (first) => {
      if (first !== '') {
        await client.ask(first);
      }
      await client.ask('kitchen 21.5');
      client.reset();
      await waitFor(() => connection().poolState()?.checkedOut === 0, {
        what: 'the conversation to be rolled back',
      });
      const other = await LineClient.connect(app.get(LineServer).port);
      expect(await other.ask('attic 18')).toMatch(/^saved /);
      other.leave();
    },
  );

  it('an error of several lines is one answer', async () => {
    const others = await Promise.all(
      Array.from({ length: 5 }, () => LineClient.connect(app.get(LineServer).port)),
    );
    for (const each of others) {
      await each.ask('begin');
      await each.ask('hall 20');
    }
    expect(await client.ask('first 1')).toMatch(/^failed: AcquireTimeoutError: /);
    expect(await client.ask('second bad')).toBe('failed: TypeError: the value is no number');
    others.forEach((each) => each.leave());
  });

  it('a line that runs as the application closes is saved, and answered', async () => {
    const commit = holdStatement(proxy, 'commit');
    const answer = client.ask('kitchen 21.5');
    await commit.reached;
    const closed = app.close();
    commit.release();
    expect(await answer).toBe('saved 1');
    await closed;
    expect(await saved()).toEqual([{ sensor: 'kitchen' }]);
  });
});
