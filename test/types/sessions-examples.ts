// The code of docs/sessions.md; tsc checks it here, and a spec checks that it is the same.
import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { DbContext } from 'nestjs-db-context';

import { Author } from '../support/library.entities.js';

export async function globalManager(orm: MikroORM, session: EntityManager): Promise<void> {
  await orm.em.insert(Author, { name: 'Ada' }); // in the transaction of the context
  await session.rollback(); // undoes it
}

export async function examples(session: EntityManager, dbContext: DbContext): Promise<void> {
  await session.commit(); // flush and commit now; the next statement begins anew
  await session.rollback(); // undo, forget all entities, go on
  await dbContext.close(); // undo and free the connection; the next use makes a new session
}
