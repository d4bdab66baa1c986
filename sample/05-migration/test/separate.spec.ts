import { MikroORM } from '@mikro-orm/core';
import type { INestApplication } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';

import { createTestDatabase, type TestDatabase } from '../../../test/support/database.js';
import { send, type Step } from '../../starter/walkthrough.js';
import { stageFrom, STAGES, type Stage } from '../stages.js';
import { STEPS } from '../steps.js';

const TABLES = ['room', 'booking', 'audit_entry'];

const applications = (
  [
    ['before', 'express'],
    ['after', 'express'],
    ['after', 'fastify'],
    ['tidied', 'express'],
  ] as const
).map(([stage, adapter]) => ({ stage, adapter }));

describe.each(applications)('sample 05-migration, $stage, over $adapter', ({ stage, adapter }) => {
  let database: TestDatabase;
  let app: INestApplication;
  let url: string;

  beforeAll(async () => {
    database = await createTestDatabase();
    const testingModule = await Test.createTestingModule({
      imports: [STAGES[stage](database.url)],
    }).compile();
    app = testingModule.createNestApplication(
      (adapter === 'express' ? new ExpressAdapter() : new FastifyAdapter()) as never,
      { logger: false, forceCloseConnections: true },
    );
    await app.get(MikroORM).schema.update({ safe: true });
    await app.listen(0, '127.0.0.1');
    url = await app.getUrl();
  });
  afterAll(async () => {
    await app?.close();
    await database?.drop();
  });
  beforeEach(() => database.query(`truncate ${TABLES.join(', ')} restart identity`));

  const post = async (path: string, body: object): Promise<{ status: number; body: unknown }> => {
    const step: Step = { method: 'POST', path, body, status: 201, expect: '' };
    const response = await send(url, step);
    return { status: response.status, body: await response.json() };
  };
  /** How many transactions have written the rows of a table that are there; savepoints count. */
  const writers = async (...tables: string[]): Promise<number> => {
    const rows = tables.map((table) => `select xmin::text from ${table}`);
    return (await database.query(rows.join(' union '))).length;
  };

  it('answers what its walkthrough says', async () => {
    const answers: unknown[] = [];
    for (const step of STEPS) {
      const response = await send(url, step);
      expect(response.status).toBe(step.status);
      answers.push(await response.json());
    }
    expect(answers).toMatchObject([
      { id: 1 },
      { id: 1 },
      { message: 'Attic is taken on 2027-05-01' },
      ['2027-04-30', '2027-05-02'],
      ['2027-04-30: Grace', '2027-05-01: Ada', '2027-05-02: Grace'],
      ['opened Attic', 'booked Attic for Ada', 'booked Attic for Grace, 2 days'],
    ]);
  });

  it('saves a change of what was loaded, and refuses a room that is not there', async () => {
    await post('/rooms', { name: 'Attic' });
    expect(await post('/rooms/Attic/name', { to: 'Loft' })).toEqual({
      status: 201,
      body: { name: 'Loft' },
    });
    expect(await post('/rooms/Attic/name', { to: 'Cellar' })).toMatchObject({ status: 404 });
    expect(await database.query('select name from room')).toEqual([{ name: 'Loft' }]);
  });

  it('writes a request in one transaction, where it is taken over', async () => {
    await post('/rooms', { name: 'Attic' });
    expect(await writers('room', 'audit_entry')).toBe(stage === 'before' ? 2 : 1);
    await database.query('truncate audit_entry');
    await post('/rooms/Attic/bookings', { day: '2027-05-01', guest: 'Ada' });
    expect(await writers('booking', 'audit_entry')).toBe(stage === 'before' ? 2 : 1);
  });

  it('keeps no booking without its audit trail, where it is taken over', async () => {
    await post('/rooms', { name: 'Attic' });
    await database.query('alter table audit_entry add constraint short check (length(text) < 30)');
    try {
      const { status } = await post('/rooms/Attic/bookings', {
        day: '2027-05-01',
        guest: 'somebody with a name that is long',
      });
      expect(status).toBe(500);
      expect(await database.query('select id from booking')).toHaveLength(
        stage === 'before' ? 1 : 0,
      );
    } finally {
      await database.query('alter table audit_entry drop constraint short');
    }
  });
});

describe('the stages of sample 05-migration', () => {
  it('are chosen by their names', () => {
    expect(stageFrom(undefined)).toBe<Stage>('after');
    expect(stageFrom('before')).toBe<Stage>('before');
    expect(() => stageFrom('later')).toThrow('Give one of before, after, tidied.');
  });
});
