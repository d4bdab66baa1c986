import { UniqueConstraintViolationException } from '@mikro-orm/core';
import { UnexpectedRollbackError } from 'nestjs-db-context';

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

  const expectRefused = async (work: Promise<unknown>): Promise<void> => {
    const error: unknown = await work.catch((each: unknown) => each);
    expect(error).toBeInstanceOf(UnexpectedRollbackError);
    expect(error).toMatchObject({
      code: 'UNEXPECTED_ROLLBACK',
      reason: 'failed-before',
      cause: expect.any(UniqueConstraintViolationException) as unknown,
    });
  };

  it.each<readonly [string, () => Promise<void>]>([
    ['session.commit()', () => current.session.commit()],
    ['dbContext.commit()', () => current.dbContext.commit()],
    ['dbContext.commitAll()', () => current.dbContext.commitAll()],
  ])('F4: %s after a commit() that failed is refused, and so is the context', async (_, commit) => {
    const run = current.run(async () => {
      await failToCommit();
      await expectRefused(commit());
    });
    await expectRefused(run);
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

  it('F4, C1: so is the commit of work that is new after it', async () => {
    const run = current.run(async () => {
      await failToCommit();
      await current.insert('new');
      await expectRefused(current.session.commit());
    });
    await expectRefused(run);
    expect(await current.world.savedTexts()).toEqual([]);
  });

  it('F4, C1: work that is new after a rollback() is committed', async () => {
    await current.run(async () => {
      await failToCommit();
      await current.session.rollback();
      await current.insert('new');
      await current.session.commit();
    });
    expect(await current.world.savedTexts()).toEqual(['new']);
  });
});
