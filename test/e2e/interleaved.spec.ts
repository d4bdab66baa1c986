import { BadRequestException, Controller, Param, ParseIntPipe, Post } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { InjectSession } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import type { AdapterName } from '../support/test-app.js';

const REQUESTS = 200;

@Controller()
class RowsController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('rows/:number')
  async write(@Param('number', ParseIntPipe) number: number): Promise<{ xid: string }> {
    const note = new Note(`row ${number}`);
    this.session.persist(note);
    await this.session.flush();
    this.session.clear();
    // its own row, and no other that is not committed
    const own = await this.session.findOneOrFail(Note, { text: `row ${number}` });
    const [row] = await this.session.execute<{ xid: string }[]>(
      'select pg_current_xact_id()::text as xid from note where id = ? and xid = pg_current_xact_id()',
      [own.id],
    );
    if (number % 2 === 1) {
      throw new BadRequestException();
    }
    return row!;
  }
}

describe.each<AdapterName>(['express', 'fastify'])('200 requests at once over %s', (adapter) => {
  let world: TestWorld;

  beforeAll(async () => {
    world = await startWorld({ poolMax: 5 }, { adapter, controllers: [RowsController] });
  });

  afterAll(() => world.close());

  it('L3, S2: over a pool of 5, each in its own transaction, the failing half leaves nothing', async () => {
    const responses = await Promise.all(
      Array.from({ length: REQUESTS }, async (_, number) => {
        const response = await world.fetch(`/rows/${number}`, { method: 'POST' });
        return {
          number,
          status: response.status,
          body: (await response.json()) as { xid?: string },
        };
      }),
    );
    const succeeded = responses.filter(({ status }) => status === 201);
    expect(succeeded.map(({ number }) => number)).toEqual(
      responses.filter(({ number }) => number % 2 === 0).map(({ number }) => number),
    );
    expect(responses.filter(({ status }) => status === 400)).toHaveLength(REQUESTS / 2);

    const rows = await world.database.query<{ text: string; xid: string }>(
      'select text, xid::text as xid from note',
    );
    const expected = succeeded.map(({ number, body }) => ({
      text: `row ${number}`,
      xid: body.xid,
    }));
    const byText = (a: { text: string }, b: { text: string }): number =>
      a.text.localeCompare(b.text);
    expect(rows.toSorted(byText)).toEqual(expected.toSorted(byText));
    expect(new Set(rows.map(({ xid }) => xid)).size).toBe(REQUESTS / 2);

    expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    expect(world.pool().size).toBe(5);
    await world.serverIsIdle();
  });
});
