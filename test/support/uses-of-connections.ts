import { Note } from './note.entity.js';
import type { TestApp } from './test-app.js';

/** Reads in a transaction of its own, ahead of the first write; called in a context. */
export function readAhead(app: TestApp): Promise<unknown> {
  return app.dbContext.atomic(() => app.session().find(Note, {}), { begin: 'first-write' });
}

/** Reads in no transaction; called in a context. */
export function readInNone(app: TestApp): Promise<unknown> {
  return app
    .session()
    .transactional((em) => em.find(Note, {}), { propagation: 'not_supported' as never });
}
