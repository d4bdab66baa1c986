import { Controller, Post } from '@nestjs/common';
import { EntityManager } from '@mikro-orm/postgresql';
import { DbContext, InjectSession } from 'nestjs-db-context';

import type { RequestDetail } from '../../lib/inspector/view/view-types.js';
import { InspectionStream } from '../support/inspection-stream.js';
import { SECRET, startInspectedApp, type InspectedApp } from '../support/inspector-app.js';
import { Note } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';

const LONG = 'x'.repeat(100_000);
/** What is kept of a longer text, and what is put behind it. */
const LONGEST_KEPT = 4_000 + ' …'.length;

/** Fails in each way in which an error is kept. */
@Controller('failing')
class FailingController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('handler')
  async handler(): Promise<never> {
    await this.session.count(Note);
    throw Object.assign(new Error(LONG), { cause: new Error(LONG) });
  }

  @Post('commit')
  async commit(): Promise<void> {
    await this.session.count(Note);
    this.dbContext.beforeCommit(() => {
      throw new Error(LONG);
    });
  }
}

/** All messages, and the path, in what a page gets. */
function longTextsIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) {
    return [];
  }
  return Object.entries(value).flatMap(([key, each]: [string, unknown]) =>
    ['message', 'title'].includes(key) && typeof each === 'string' ? [each] : longTextsIn(each),
  );
}

async function keptIn(app: InspectedApp): Promise<RequestDetail[]> {
  const stream = new InspectionStream(`${app.url}/__db/stream`);
  await waitFor(() => stream.summaries.length > 0, { what: 'the list' });
  return Promise.all(
    stream.summaries.map(async ({ id }) => {
      const detail = await app.fetch(`/__db/requests/${id}`);
      return (await detail.json()) as RequestDetail;
    }),
  );
}

describe('the inspector keeps little', () => {
  it('of requests, of statements, and of bytes', async () => {
    const app = await startInspectedApp({}, { maxRequests: 2, maxStatements: 3, showValues: true });
    try {
      for (let sent = 0; sent < 4; sent++) {
        await app.fetch('/notes/n-plus-one');
      }
      await app.fetch(`/notes/find/${SECRET}`);
      const stream = new InspectionStream(`${app.url}/__db/stream`);
      await waitFor(() => stream.texts.length > 0, { what: 'the list' });
      expect(stream.summaries.map(({ statements, title }) => [statements, title])).toEqual([
        // showValues: the path as it was asked for.
        [1, `GET /notes/find/${SECRET}`],
        [6, 'GET /notes/n-plus-one'],
      ]);
      const detail = await app.fetch(`/__db/requests/${stream.summaries[1]!.id}`);
      const { connections } = (await detail.json()) as RequestDetail;
      expect(connections[0]!.transactions[0]).toMatchObject({ left: 3 });
      expect(JSON.stringify(connections)).toContain(`'1'`);
    } finally {
      await app.close();
    }
  });

  it.each([
    ['of what a handler has thrown', 'handler'],
    ['of what has refused a commit', 'commit'],
    ['of paths', `none/${'x'.repeat(8_000)}`],
  ])('%s, which counts as other texts do', async (_what, path) => {
    const maxBytes = 250_000;
    const controllers = [FailingController];
    const app = await startInspectedApp(
      { controllers, mount: 'middleware' },
      { maxBytes, showValues: true },
    );
    try {
      for (let sent = 0; sent < 40; sent++) {
        const answer = await app.fetch(`/failing/${path}`, { method: 'POST' });
        await answer.text();
      }
      const kept = await keptIn(app);
      const lengths = kept.flatMap(longTextsIn).map(({ length }) => length);
      expect(Math.abs(Math.max(...lengths) - LONGEST_KEPT)).toBeLessThanOrEqual('POST '.length);
      expect(kept.length).toBeGreaterThan(2);
      expect(kept.length).toBeLessThan(40);
      expect(2 * lengths.reduce((sum, each) => sum + each)).toBeLessThanOrEqual(maxBytes);
    } finally {
      await app.close();
    }
  });
});
