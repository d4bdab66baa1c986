import { UniqueConstraintViolationException } from '@mikro-orm/core';

import { useWorld } from '../support/use-world.js';

// Found by test/guarantees: the first commit() throws; but the session is gone with it, so
// a second one had nothing to commit, resolved, and the request was answered with 200.
describe('F4: there is one attempt to commit', () => {
  const current = useWorld();

  const failToCommit = async (): Promise<void> => {
    await current.session.execute('set constraints note_text_unique deferred');
    await current.insert('row');
    await current.insert('row');
    await expect(current.session.commit()).rejects.toBeInstanceOf(
      UniqueConstraintViolationException,
    );
  };

  it('F4: committing again after a commit() that failed does not resolve', async () => {
    await current.run(async () => {
      await failToCommit();
      await expect(current.session.commit()).rejects.toThrow();
    });
  });

  it('F4: nor does dbContext.commit()', async () => {
    await current.run(async () => {
      await failToCommit();
      await expect(current.dbContext.commit()).rejects.toThrow();
    });
  });

  it.each<readonly [string, () => Promise<void>]>([
    ['session.rollback()', () => current.session.rollback()],
    ['dbContext.rollback()', () => current.dbContext.rollback()],
    ['dbContext.rollbackAll()', () => current.dbContext.rollbackAll()],
  ])('F4, C1: %s in between says that the loss is known', async (_, rollback) => {
    await current.run(async () => {
      await failToCommit();
      await rollback();
      await current.session.commit();
      await current.dbContext.commit();
    });
  });

  it('F4: a block that failed to commit throws, and no other one', async () => {
    await current.run(async () => {
      const block = current.dbContext.atomic(async () => {
        await current.session.execute('set constraints note_text_unique deferred');
        await current.insert('row');
        await current.insert('row');
      });
      await expect(block).rejects.toBeInstanceOf(UniqueConstraintViolationException);
      await current.dbContext.commit();
      await current.session.commit();
    });
  });

  it('F4, C1: work that is new after it is committed', async () => {
    await current.run(async () => {
      await failToCommit();
      await current.insert('new');
      await current.session.commit();
    });
    expect(await current.world.savedTexts()).toEqual(['new']);
  });
});
