import {
  Catch,
  ConflictException,
  Controller,
  Get,
  HttpCode,
  HttpException,
  Injectable,
  NotFoundException,
  Param,
  ParseIntPipe,
  Post,
  Query,
  Redirect,
  Res,
  UseFilters,
  type ArgumentsHost,
  type ExceptionFilter,
} from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { HttpAdapterHost } from '@nestjs/core';
import { CommitOn, commitOnSuccess, InjectSession, type RequestOutcome } from 'nestjs-db-context';
import { Observable } from 'rxjs';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { Note } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

@Injectable()
class Notes {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async write(text: string): Promise<string> {
    await this.session.persist(new Note(text)).flush();
    return text;
  }
}

@Catch()
@Injectable()
class AllIsWell implements ExceptionFilter {
  constructor(private readonly adapterHost: HttpAdapterHost) {}

  catch(_error: unknown, host: ArgumentsHost): void {
    this.adapterHost.httpAdapter.reply(host.switchToHttp().getResponse(), 'all is well', 200);
  }
}

class TeapotError extends Error {
  readonly statusCode = 418;
}

@Controller()
class OutcomesController {
  constructor(private readonly notes: Notes) {}

  @Get('ok')
  ok(@Query('text') text: string): Promise<string> {
    return this.notes.write(text);
  }

  @Post('created')
  created(@Query('text') text: string): Promise<string> {
    return this.notes.write(text);
  }

  @HttpCode(204)
  @Get('no-content')
  async noContent(@Query('text') text: string): Promise<void> {
    await this.notes.write(text);
  }

  @HttpCode(303)
  @Get('see-other')
  seeOther(@Query('text') text: string): Promise<string> {
    return this.notes.write(text);
  }

  @HttpCode(422)
  @Get('code-422')
  code422(@Query('text') text: string): Promise<string> {
    return this.notes.write(text);
  }

  @Get('passthrough-409')
  async passthrough(
    @Query('text') text: string,
    @Res({ passthrough: true }) response: { status(code: number): unknown },
  ): Promise<string> {
    response.status(409);
    return this.notes.write(text);
  }

  @Get('throws-404')
  async throws404(@Query('text') text: string): Promise<never> {
    await this.notes.write(text);
    throw new NotFoundException();
  }

  @Get('throws-error')
  async throwsError(@Query('text') text: string): Promise<never> {
    await this.notes.write(text);
    throw new Error('no');
  }

  @Get('throws-304')
  async throws304(@Query('text') text: string): Promise<never> {
    await this.notes.write(text);
    throw new HttpException('unchanged', 304);
  }

  @CommitOn(({ status }) => status === 304)
  @Get('throws-304-commit-on')
  async throws304CommitOn(@Query('text') text: string): Promise<never> {
    await this.notes.write(text);
    throw new HttpException('unchanged', 304);
  }

  @Redirect('/elsewhere')
  @Get('redirect')
  async redirect(@Query('text') text: string): Promise<void> {
    await this.notes.write(text);
  }

  @Redirect('/elsewhere', 301)
  @Get('redirect-dynamic')
  async redirectDynamic(@Query('text') text: string): Promise<{ url: string; statusCode: number }> {
    await this.notes.write(text);
    return { url: '/there', statusCode: 307 };
  }

  @Get('response-201')
  async response201(@Query('text') text: string): Promise<Response> {
    await this.notes.write(text);
    return new Response('made', { status: 201 });
  }

  @Get('response-503')
  async response503(@Query('text') text: string): Promise<Response> {
    await this.notes.write(text);
    return new Response('later', { status: 503 });
  }

  @Get('returned-error')
  async returnedError(@Query('text') text: string): Promise<Error> {
    await this.notes.write(text);
    return new Error('returned');
  }

  @Get('number/:id')
  async number(@Param('id', ParseIntPipe) id: number): Promise<string> {
    return this.notes.write(String(id));
  }

  @UseFilters(AllIsWell)
  @Get('filtered')
  async filtered(@Query('text') text: string): Promise<never> {
    await this.notes.write(text);
    throw new ConflictException();
  }

  @Get('values')
  values(@Query('text') text: string): Observable<string> {
    return new Observable((subscriber) => {
      void (async () => {
        subscriber.next(await this.notes.write(`${text} 1`));
        subscriber.next(await this.notes.write(`${text} 2`));
        subscriber.next(await this.notes.write(`${text} 3`));
        subscriber.complete();
      })();
    });
  }

  @Get('values-then-error')
  valuesThenError(@Query('text') text: string): Observable<string> {
    return new Observable((subscriber) => {
      void (async () => {
        subscriber.next(await this.notes.write(text));
        subscriber.error(new ConflictException());
      })();
    });
  }

  @Get('no-value')
  noValue(@Query('text') text: string): Observable<string> {
    return new Observable((subscriber) => {
      void this.notes.write(text).then(() => subscriber.complete());
    });
  }

  @CommitOn(() => {
    throw new NotFoundException('the policy says so');
  })
  @Get('policy-throws')
  policyThrows(@Query('text') text: string): Promise<string> {
    return this.notes.write(text);
  }

  @CommitOn(({ status }) => status === 418)
  @Get('teapot')
  async teapot(@Query('text') text: string): Promise<never> {
    await this.notes.write(text);
    throw new TeapotError('short and stout');
  }

  @CommitOn(() => true)
  @Get('broken-but-wanted')
  async brokenButWanted(@Query('text') text: string): Promise<string> {
    await this.notes.write(text);
    await this.notes.write(text).catch(() => undefined);
    return text;
  }
}

@CommitOn(({ status }) => status === 404)
@Controller('by-controller')
class PolicyController {
  constructor(private readonly notes: Notes) {}

  @Get('404')
  async notFound(@Query('text') text: string): Promise<never> {
    await this.notes.write(text);
    throw new NotFoundException();
  }

  @Get('200')
  ok(@Query('text') text: string): Promise<string> {
    return this.notes.write(text);
  }

  @CommitOn(commitOnSuccess)
  @Get('route-wins')
  routeWins(@Query('text') text: string): Promise<string> {
    return this.notes.write(text);
  }
}

interface OutcomeCase {
  readonly does: string;
  readonly path: string;
  readonly method?: string;
  readonly status: number;
  readonly saved: boolean;
}

const DEFAULT_POLICY: OutcomeCase[] = [
  { does: 'a 200 commits', path: '/ok', status: 200, saved: true },
  { does: 'a 201 commits', path: '/created', method: 'POST', status: 201, saved: true },
  { does: 'a 204 commits', path: '/no-content', status: 204, saved: true },
  { does: 'a 303 commits', path: '/see-other', status: 303, saved: true },
  { does: 'HEAD of a GET route commits', path: '/ok', method: 'HEAD', status: 200, saved: true },
  { does: '@HttpCode(422) rolls back', path: '/code-422', status: 422, saved: false },
  { does: 'res.status(409) rolls back', path: '/passthrough-409', status: 409, saved: false },
  { does: 'a thrown 404 rolls back', path: '/throws-404', status: 404, saved: false },
  { does: 'a thrown Error rolls back', path: '/throws-error', status: 500, saved: false },
  { does: 'a thrown 304 rolls back', path: '/throws-304', status: 304, saved: false },
  {
    does: 'a thrown 304 commits when @CommitOn wants it',
    path: '/throws-304-commit-on',
    status: 304,
    saved: true,
  },
  { does: '@Redirect() commits', path: '/redirect', status: 302, saved: true },
  { does: 'a dynamic redirect commits', path: '/redirect-dynamic', status: 307, saved: true },
  { does: 'a returned Response(201) commits', path: '/response-201', status: 201, saved: true },
  { does: 'a returned Response(503) rolls back', path: '/response-503', status: 503, saved: false },
  { does: 'a filter that answers 200 cannot commit', path: '/filtered', status: 200, saved: false },
  {
    does: 'an Observable that fails after a value rolls back',
    path: '/values-then-error',
    status: 409,
    saved: false,
  },
  {
    does: 'an Observable without a value, which Nest answers with 500, rolls back',
    path: '/no-value',
    status: 500,
    saved: false,
  },
  {
    does: 'a policy that throws rolls back and is the response',
    path: '/policy-throws',
    status: 404,
    saved: false,
  },
  {
    does: 'a plain Error with a statusCode is a 500, as it is for Nest',
    path: '/teapot',
    status: 500,
    saved: false,
  },
  {
    does: 'no policy can commit a failed transaction',
    path: '/broken-but-wanted',
    status: 500,
    saved: false,
  },
  {
    does: '@CommitOn on a controller: commits what it wants',
    path: '/by-controller/404',
    status: 404,
    saved: true,
  },
  {
    does: '@CommitOn on a controller: rolls back what it does not want',
    path: '/by-controller/200',
    status: 200,
    saved: false,
  },
  {
    does: '@CommitOn on a route wins over the controller',
    path: '/by-controller/route-wins',
    status: 200,
    saved: true,
  },
];

const APPLICATION_POLICY: OutcomeCase[] = [
  { does: 'a thrown 404 commits', path: '/throws-404', status: 404, saved: true },
  { does: 'a 200 rolls back', path: '/ok', status: 200, saved: false },
  { does: '@CommitOn wins', path: '/by-controller/route-wins', status: 200, saved: true },
];

const CONTROLLERS = [OutcomesController, PolicyController];

describe.each<AdapterName>(['express', 'fastify'])('outcomes over %s', (adapter) => {
  let world: TestWorld;

  const expectOutcome = async ({ path, method = 'GET', status, saved }: OutcomeCase) => {
    const text = `${method} ${path}`;
    const url = `${path}?text=${encodeURIComponent(text)}`;
    const response = await world.fetch(url, { method, redirect: 'manual' });
    expect(response.status).toBe(status);
    await response.arrayBuffer();
    expect((await world.savedTexts()).includes(text)).toBe(saved);
    expect(world.pool().checkedOut).toBe(0);
    expect(world.app.get(ContextRegistry).runningCount).toBe(0);
  };

  describe('with the default policy', () => {
    beforeAll(async () => {
      world = await startWorld({}, { adapter, controllers: CONTROLLERS, providers: [Notes] });
    });

    afterAll(() => world?.close());

    it('S2: an error that is returned is what the platform makes of it: JSON of Express, a 500 of Fastify', async () => {
      const isAnswer = adapter === 'express';
      await expectOutcome({
        does: 'a returned Error',
        path: '/returned-error',
        status: isAnswer ? 200 : 500,
        saved: isAnswer,
      });
    });

    it.each(DEFAULT_POLICY)('S2: $does', expectOutcome);

    it('S2: a returned web Response is sent as it is', async () => {
      const made = await world.fetch('/response-201?text=sent%20as%20it%20is');
      expect(await made.text()).toBe('made');
    });

    it('S2: a dynamic redirect goes where the handler says', async () => {
      const answer = await world.fetch('/redirect-dynamic?text=there', { redirect: 'manual' });
      expect(answer.headers.get('location')).toBe('/there');
    });

    it('S2: a pipe that fails begins nothing and leaks nothing', async () => {
      world.proxy.reset();
      expect((await world.fetch('/number/seven')).status).toBe(400);
      expect(world.proxy.log).toEqual([]);
      expect(world.app.get(ContextRegistry).runningCount).toBe(0);
      expect((await world.fetch('/number/7')).status).toBe(200);
      expect(await world.savedTexts()).toContain('7');
    });

    it('S2: an Observable with several values commits once, after the last', async () => {
      world.proxy.reset();
      const answer = await world.fetch('/values?text=values');
      expect(await answer.text()).toBe('values 3');
      expect(world.proxy.log.map((sql) => sql.split(' ')[0])).toEqual([
        'begin',
        'insert',
        'insert',
        'insert',
        'commit',
      ]);
      const rows = await world.database.query(
        `select distinct xid from note where text like 'values %'`,
      );
      expect(rows).toHaveLength(1);
    });
  });

  describe('with a commitOn of the application', () => {
    const outcomes: RequestOutcome[] = [];

    beforeAll(async () => {
      world = await startWorld(
        {},
        {
          adapter,
          controllers: CONTROLLERS,
          providers: [Notes],
          commitOn: (outcome) => {
            outcomes.push(outcome);
            return outcome.status === 404;
          },
        },
      );
    });

    afterAll(() => world?.close());

    it.each(APPLICATION_POLICY)('S2: $does', expectOutcome);

    it('S2: the policy sees what was thrown, and the status to come', async () => {
      outcomes.length = 0;
      await world.fetch('/throws-error?text=seen');
      await world.fetch('/teapot-of-nobody');
      await world.fetch('/redirect-dynamic?text=seen', { redirect: 'manual' });
      expect(outcomes).toEqual([
        { failed: true, status: 500, error: expect.objectContaining({ message: 'no' }) },
        { failed: false, status: 307 },
      ]);
    });
  });
});
