// The code of docs/sessions.md; tsc checks it here, and a spec checks that it is the same.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { DbContext } from 'nestjs-db-context';

export async function examples(session: EntityManager, dbContext: DbContext): Promise<void> {
  await session.commit(); // flush and commit now; the next statement begins anew
  await session.rollback(); // undo, forget all entities, go on
  await dbContext.close(); // undo and free the connection; the next use makes a new session
}
