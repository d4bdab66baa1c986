import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { concurrentBlock, type ConcurrentBlock } from '../support/concurrent-block.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

@Controller('notes')
class NotesController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post()
  async add(): Promise<void> {
    await this.session.insert(Note, { text: 'x' });
  }
}

const HEADER = 'x-db-context-refused';

describe.each(['express', 'fastify'] as const)('T1: a refused request over %s', (adapter) => {
  let world: TestWorld;
  let block: ConcurrentBlock;

  beforeAll(async () => {
    world = await startWorld({ poolMax: 2 }, { adapter, controllers: [NotesController] });
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    block = concurrentBlock(() => world.app, { testName: 'lists "Äpfel"' });
    await block.hooks.run('beforeAll');
  });
  afterEach(async () => {
    await block.hooks.run('afterAll').catch(() => undefined);
    expect(await world.savedTexts()).toEqual([]);
  });

  const post = (headers: Readonly<Record<string, string>> = {}): Promise<Response> =>
    world.fetch('/notes', { method: 'POST', headers });

  it('says in a header of its response why, and one that is served says nothing', async () => {
    const { db, runTest } = block;
    let ended: Readonly<Record<string, string>> = {};
    await runTest(async () => {
      ended = db.headers();
      const withoutOwner = await post();
      expect([withoutOwner.status, withoutOwner.headers.get(HEADER)]).toEqual([
        500,
        expect.stringMatching(
          /^OUTSIDE_TEST: Connection "default" was used by NotesController\.add, which belongs to no test\. .* send requests with db\.headers\(\)/,
        ),
      ]);
      const unknown = await post({ 'x-db-context-test': 'invented' });
      expect(unknown.headers.get(HEADER)).toContain('a token that no test of this block has');
      const served = await post(ended);
      expect([served.status, served.headers.get(HEADER)]).toEqual([201, null]);
    });
    const late = await post(ended);
    // A header has no letters but those of ASCII.
    expect(late.headers.get(HEADER)).toContain('the test "lists "\\u00c4pfel"", which has ended');
  });
});
