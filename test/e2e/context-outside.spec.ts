import { createHash } from 'node:crypto';

import {
  EntityManager,
  RequestContext,
  TransactionContext,
  ValidationError,
} from '@mikro-orm/core';
import { defineConfig, MikroORM, type Options } from '@mikro-orm/postgresql';

import { ORIGINAL_GET_CONTEXT } from '../../lib/session/asking-manager.js';
import { claimGlobalManager } from '../../lib/session/global-manager.js';
import { Note } from '../support/note.entity.js';

// What lib/session/context-outside.ts takes for granted of MikroORM's `getContext()`. Nothing connects
// here. A failure after an upgrade means that the library must be looked at, not this file.
describe('W2: outside of any context, the context of the global entity manager', () => {
  const orms: MikroORM[] = [];

  async function start(options: Options = {}): Promise<MikroORM> {
    const orm = await MikroORM.init(
      defineConfig({
        clientUrl: 'postgres://me:secret@one:6432/app',
        ensureDatabase: false,
        entities: [Note],
        ...options,
      }),
    );
    orms.push(orm);
    return orm;
  }

  const claimed = async (options?: Options): Promise<MikroORM> => {
    const orm = await start(options);
    claimGlobalManager(orm, {
      find: () => undefined,
      existing: () => undefined,
      isInside: () => false,
      runOutside: (work) => work(),
      forked: () => undefined,
      depth: () => Infinity,
    });
    return orm;
  };

  afterEach(async () => {
    await Promise.all(orms.splice(0).map((orm) => orm.close(true)));
  });

  it('MikroORM decides it as it did when that file was written', () => {
    const source = ORIGINAL_GET_CONTEXT.toString()
      .replace(/\/\/.*$/gm, '')
      .replace(/\s+/g, ' ');
    expect(createHash('sha256').update(source).digest('hex')).toBe(
      '4f0648232b2e800f1f8d4032a41d4e0e636e9f6e4e1352d009fc422d084ac0a3',
    );
  });

  it.each([
    ['MikroORM alone', start],
    ['claimed', claimed],
  ])('%s: each way to a context', async (_name, create) => {
    const { em } = await create();
    expect(em.getContext(false)).toBe(em);
    expect(() => em.getContext()).toThrow(ValidationError.cannotUseGlobalContext());
    const fork = em.fork();
    expect(fork.getContext()).toBe(fork);
    const lone = em.fork({ useContext: true });
    expect(lone.getContext()).toBe(lone);
    RequestContext.create(em, () => {
      const inRequest = RequestContext.getEntityManager()!;
      expect(inRequest).not.toBe(em);
      expect(em.getContext()).toBe(inRequest);
      expect(lone.getContext()).toBe(inRequest);
      expect(inRequest.getContext()).toBe(inRequest);
      TransactionContext.create(fork, () => {
        expect(em.getContext()).toBe(fork);
        expect(inRequest.getContext()).toBe(fork);
      });
    });
    TransactionContext.create(fork, () => {
      expect(em.getContext()).toBe(fork);
    });
  });

  it.each([
    ['MikroORM alone', start],
    ['claimed', claimed],
  ])('%s: allowGlobalContext, and a context function of the application', async (_name, create) => {
    const allowed = await create({ allowGlobalContext: true });
    expect(allowed.em.getContext()).toBe(allowed.em);

    const asked: string[] = [];
    let answer: EntityManager | undefined;
    const own = await create({
      contextName: 'books',
      context: (name) => {
        asked.push(name);
        return answer;
      },
    });
    expect(() => own.em.getContext()).toThrow(ValidationError.cannotUseGlobalContext());
    answer = own.em.fork();
    expect(own.em.getContext()).toBe(answer);
    expect(asked.at(-1)).toBe('books');
  });

  it('claimed: a class of the application that decides by itself is asked', async () => {
    const validated: unknown[] = [];
    class Deciding extends EntityManager {
      override getContext(validate?: boolean): this {
        validated.push(validate);
        return super.getContext(false);
      }
    }
    const { em } = await claimed({ entityManager: Deciding as never });
    validated.length = 0;
    expect(em.getContext()).toBe(em);
    expect(validated).toEqual([undefined]);
  });
});
