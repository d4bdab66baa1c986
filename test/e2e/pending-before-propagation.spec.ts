import { TransactionPropagation } from '@mikro-orm/core';

import { Note } from '../support/note.entity.js';
import { useWorld } from '../support/use-world.js';

// MikroORM's fork for such a transaction takes over what is pending in the session, and would write it there.
describe.each([TransactionPropagation.REQUIRES_NEW, TransactionPropagation.NOT_SUPPORTED])(
  'what is pending when transactional() with propagation "%s" begins',
  (propagation) => {
    const at = useWorld();

    beforeEach(async () => {
      await at.run(async () => {
        await at.insert('before');
      });
    });

    const pending = {
      persisted: async () => {
        at.session.persist(new Note('pending'));
        await Promise.resolve();
      },
      changed: async () => {
        (await at.session.findOneOrFail(Note, { text: 'before' })).text = 'changed';
      },
      removed: async () => {
        at.session.remove(await at.session.findOneOrFail(Note, { text: 'before' }));
      },
    };
    const after = { persisted: ['before', 'pending'], changed: ['changed'], removed: [] };
    const inner = {
      succeeds: () => at.session.transactional((em) => em.count(Note), { propagation }),
      'throws, which is caught': () =>
        at.session
          .transactional(
            async (em) => {
              await em.count(Note);
              throw new Error('inner');
            },
            { propagation },
          )
          .catch(() => undefined),
    };

    for (const kind of ['persisted', 'changed', 'removed'] as const) {
      for (const [how, nested] of Object.entries(inner)) {
        it(`S2: ${kind}; it ${how}; the request succeeds: saved`, async () => {
          await at.run(async () => {
            await pending[kind]();
            await nested();
          });
          expect(await at.world.savedTexts()).toEqual(after[kind]);
        });

        it(`S3: ${kind}; it ${how}; the request fails: undone`, async () => {
          const failed = at.run(async () => {
            await pending[kind]();
            await nested();
            throw new Error('undo');
          });
          await expect(failed).rejects.toThrow(new Error('undo'));
          expect(await at.world.savedTexts()).toEqual(['before']);
        });
      }
    }

    it('S2: what is pending in the callback of not_supported is saved, whatever becomes of it', async () => {
      await at.run(async () => {
        await at.session.transactional(
          async (em) => {
            em.persist(new Note('pending'));
            await em
              .transactional(() => Promise.reject(new Error('inner')), { propagation })
              .catch(() => undefined);
            await em
              .transactional(() => Promise.reject(new Error('nested')))
              .catch(() => undefined);
          },
          { propagation: TransactionPropagation.NOT_SUPPORTED },
        );
      });
      expect(await at.world.savedTexts()).toEqual(['before', 'pending']);
    });

    it('S2: what is persisted in its callback belongs to it alone', async () => {
      const failed = at.run(async () => {
        at.session.persist(new Note('pending'));
        await at.session.transactional(
          async (em) => {
            em.persist(new Note('inner'));
            await Promise.resolve();
          },
          { propagation },
        );
        throw new Error('undo');
      });
      await expect(failed).rejects.toThrow(new Error('undo'));
      expect(await at.world.savedTexts()).toEqual(['before', 'inner']);
    });
  },
);
