/** COMMIT of a transaction that the server lets read only: it is sent, and the answer to it is not waited for. */
import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Post } from '@nestjs/common';
import { DbContext, DbTransaction, InjectSession } from 'nestjs-db-context';

import { holdStatement } from '../support/hold-statement.js';
import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

@Controller()
class ReadsController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @DbTransaction({ readOnly: true })
  @Get('read-committed')
  readCommitted(): Promise<number> {
    return this.session.count(Note);
  }

  @DbTransaction({ readOnly: true, isolationLevel: 'repeatable read' })
  @Get('repeatable-read')
  repeatableRead(): Promise<number> {
    return this.session.count(Note);
  }

  @DbTransaction({ readOnly: true, isolationLevel: 'serializable' })
  @Get('serializable')
  serializable(): Promise<number> {
    return this.session.count(Note);
  }

  @DbTransaction({ readOnly: true })
  @Get('hook')
  hook(): Promise<number> {
    this.dbContext.onCommit(() => undefined);
    return this.session.count(Note);
  }

  @DbTransaction({ readOnly: true })
  @Get('early')
  async early(): Promise<number> {
    const count = await this.session.count(Note);
    await this.dbContext.commit();
    return count;
  }

  @Get('undeclared')
  undeclared(): Promise<number> {
    return this.session.count(Note);
  }

  @Post('write')
  async write(): Promise<string> {
    await this.session.insert(Note, { text: 'saved' });
    return 'ok';
  }
}

const at = useWorld(() => startWorld({ poolMax: 1 }, { controllers: [ReadsController] }), {
  hasLateWork: true,
});

async function answerOf(path: string): Promise<readonly [number, string]> {
  const response = await at.world.fetch(path, path === '/write' ? { method: 'POST' } : undefined);
  return [response.status, await response.text()];
}

describe.each(['/read-committed', '/repeatable-read'])('S1: %s', (path) => {
  it('is answered while its COMMIT is under way', async () => {
    const commit = holdStatement(at.world.proxy, 'commit');
    expect(await answerOf(path)).toEqual([200, '0']);
    await commit.reached;
    expect(at.world.pool()).toMatchObject({ checkedOut: 1 });
    commit.release();
    await waitFor(() => at.world.pool().idle === 1, { what: 'the connection to come back' });
    expect(at.world.proxy.messages.slice(-2)).toEqual([
      expect.stringMatching(/^begin.*count/),
      'commit',
    ]);
  });

  it('F1: makes the next request wait for the connection rather than share it', async () => {
    const commit = holdStatement(at.world.proxy, 'commit');
    await answerOf(path);
    await commit.reached;
    const next = answerOf('/write');
    await waitFor(() => at.world.pool().waiting === 1, { what: 'the request to wait' });
    commit.release();
    expect(await next).toEqual([201, 'ok']);
    expect(await at.world.savedTexts()).toEqual(['saved']);
  });

  it('F2: gives up the connection where the answer is lost', async () => {
    at.world.proxy.dropAnswerTo(/^commit/);
    expect(await answerOf(path)).toEqual([200, '0']);
    await waitFor(() => at.world.pool().idle === 0 && at.world.pool().checkedOut === 0, {
      what: 'the connection to be destroyed',
    });
    at.world.proxy.heal();
    expect(await answerOf('/write')).toEqual([201, 'ok']);
  });
});

it.each([
  ['/serializable', 'only its COMMIT says that what was read is right'],
  ['/hook', 'a hook runs when it is committed'],
  ['/early', 'the caller has asked for the commit'],
  ['/undeclared', 'what it reads may have written'],
  ['/write', 'it has written'],
])('S1: %s waits for its COMMIT: %s', async (path) => {
  const commit = holdStatement(at.world.proxy, 'commit');
  let isAnswered = false;
  const answer = answerOf(path).then((received) => {
    isAnswered = true;
    return received;
  });
  await commit.reached;
  // Another request, past the database, has been answered meanwhile.
  await at.world.fetch('/nowhere');
  expect(isAnswered).toBe(false);
  commit.release();
  expect(await answer).toEqual(path === '/write' ? [201, 'ok'] : [200, '0']);
});

it('H3: a shutdown waits for a COMMIT that its request has not waited for', async () => {
  const world = await startWorld({}, { controllers: [ReadsController] });
  const commit = holdStatement(world.proxy, 'commit');
  await (await world.fetch('/read-committed')).text();
  await commit.reached;
  const order: string[] = [];
  const closed = world.app.close().then(() => order.push('closed'));
  await waitFor(async () => (await world.database.query('select 1')).length === 1, {
    what: 'the server to answer',
  });
  order.push('released');
  commit.release();
  await closed;
  expect(order).toEqual(['released', 'closed']);
  await world.close();
});
