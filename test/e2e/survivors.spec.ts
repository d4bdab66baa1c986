import {
  Controller,
  ForbiddenException,
  Injectable,
  Post,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DbContextInterceptor, InjectSession, SessionClosedError } from 'nestjs-db-context';
import { map, type Observable } from 'rxjs';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { fail, useWorld } from '../support/use-world.js';

// Each test stands here because a line of the library could be broken without a test that failed
// (`npm run mutations`).

describe('a transaction with propagation "requires_new"', () => {
  const at = useWorld();

  it('W3: does not begin any more once its context has ended', async () => {
    const manager = await at.run(async () => {
      await at.insert('own');
      return at.dbContext.getSession()!;
    });
    const late = manager.transactional((em) => at.insert('late', em), {
      propagation: 'requires_new',
    });
    await expect(late).rejects.toBeInstanceOf(SessionClosedError);
    expect(await at.world.savedTexts()).toEqual(['own']);
  });
});

describe('a transaction that MikroORM suspends for propagation "not_supported"', () => {
  const at = useWorld();

  it('L3: still has the statements of parallel branches', async () => {
    const hasBegun = deferred();
    const gate = deferred();
    const ended = at.run(async () => {
      await at.insert('own');
      const suspended = at.session.transactional(
        async (em) => {
          await at.insert('beside', em);
          hasBegun.resolve();
          await gate.promise;
        },
        { propagation: 'not_supported' },
      );
      await hasBegun.promise;
      await at.insert('of a parallel branch');
      gate.resolve();
      await suspended;
      fail();
    });
    await expect(ended).rejects.toThrow('undo');
    expect(await at.world.savedTexts()).toEqual(['beside']);
  });
});

@Injectable()
class RefusingInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      map(() => {
        throw new ForbiddenException();
      }),
    );
  }
}

@Controller()
class TwiceController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @UseInterceptors(RefusingInterceptor, DbContextInterceptor)
  @Post('refused')
  async write(): Promise<void> {
    await this.session.insert(Note, { text: 'refused' });
  }
}

describe('a second DbContextInterceptor on a route', () => {
  const at = useWorld(() => startWorld({}, { controllers: [TwiceController] }));

  it('S8: leaves the settlement to the first one', async () => {
    const { status } = await at.world.fetch('/refused', { method: 'POST' });
    expect(status).toBe(403);
    expect(await at.world.savedTexts()).toEqual([]);
  });
});
