import type { EntityManager } from '@mikro-orm/postgresql';
import { useTestTransaction } from 'nestjs-db-context/testing';

import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

let world: TestWorld;
let session: EntityManager;

beforeAll(async () => {
  world = await startWorld();
  session = world.session();
});
afterAll(() => world.close());
useTestTransaction(() => world.app);

const run = <T>(callback: () => Promise<T>): Promise<T> => world.dbContext.run(callback);

async function lockTimeoutAfter(sql: string): Promise<string> {
  await run(() => session.execute(sql));
  return run(async () => {
    const [row] = await session.execute<{ lock_timeout: string }[]>('show lock_timeout');
    return row!.lock_timeout;
  });
}

it.each([
  "set local work_mem = '5MB'; set local lock_timeout = '71ms'",
  "select 1; set local lock_timeout = '71ms'",
  "/* of this query */ set local lock_timeout = '71ms'",
  "select '; set local nothing = 1'; set local lock_timeout = '71ms'",
])('a setting goes with the transaction of the application: %s', async (sql) => {
  expect(await lockTimeoutAfter(sql)).toBe('0');
});

it('a SET without LOCAL goes with it as well, unlike in production', async () => {
  expect(await lockTimeoutAfter("set lock_timeout = '71ms'")).toBe('0');
});

it('streams of a session work', async () => {
  await run(() => session.insertMany(Note, [{ text: 'a' }, { text: 'b' }]));
  const texts: string[] = [];
  await run(async () => {
    for await (const { text } of session.stream(Note, { orderBy: { id: 'asc' } })) {
      texts.push(text);
    }
  });
  expect(texts).toEqual(['a', 'b']);
});
