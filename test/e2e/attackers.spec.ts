import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Get, Headers, Post, Query, type DynamicModule } from '@nestjs/common';
import { DbContext, InjectSession } from 'nestjs-db-context';
import { ClsModule } from 'nestjs-cls';

import { Note } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

/** What clients get of an error that is none of HTTP: nothing of it. */
const INTERNAL_ERROR = { statusCode: 500, message: 'Internal server error' };
const SQL = `'; drop table note; --`;

/** Hands what a client sends to the library as it is, which no application should do. */
@Controller()
class GullibleController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('settings')
  withSettings(@Body() settings: object): Promise<number> {
    return this.dbContext.atomic(() => this.session.count(Note), settings);
  }

  @Get('connection')
  connection(@Query('name') name: string): Promise<number> {
    return this.dbContext.session(name).count(Note);
  }

  @Get('tenant')
  async tenant(): Promise<object> {
    const [row] = await this.session.execute<object[]>(
      `select current_setting('app.tenant') as tenant, current_user = session_user as "isLogIn"`,
    );
    return row!;
  }

  @Get('failing')
  async failing(@Headers('x-tenant') secret: string): Promise<void> {
    await this.session.insert(Note, { text: secret });
    await this.session.insert(Note, { text: secret });
  }
}

const headersInStore = (): DynamicModule =>
  ClsModule.forRoot({
    global: true,
    middleware: {
      mount: true,
      setup: (cls, request: { headers: Record<string, unknown> }) => {
        cls.set('tenant', request.headers['x-tenant'] ?? 'nobody');
        cls.set('role', request.headers['x-role']);
      },
    },
  });

describe.each<AdapterName>(['express', 'fastify'])('what a client of %s sends', (adapter) => {
  const at = useWorld(() =>
    startWorld(
      {
        sessionVariables: (cls) => ({ 'app.tenant': cls.get<string>('tenant') }),
        role: (cls) => cls.get<string | undefined>('role'),
      },
      { adapter, controllers: [GullibleController], imports: [headersInStore()] },
    ),
  );

  async function expectRefused(path: string, init?: RequestInit): Promise<void> {
    const response = await at.world.fetch(path, init);
    expect(response.status).toBe(500);
    expect(await response.json()).toEqual(INTERNAL_ERROR);
  }

  it.each([
    `{"isolationLevel":"serializable${SQL}"}`,
    '{"isolationLevel":["serializable"]}',
    '{"isolationLevel":{"length":1,"0":"serializable"}}',
    '{"isolationLevel":"SERIALIZABLE READ WRITE"}',
    '{"isolationLevel":null}',
    '{"readOnly":"false"}',
    '{"readOnly":0}',
    '{"deferrable":"deferrable; commit"}',
    '{"begin":"begin; commit"}',
    '{"statementTimeoutMs":"0; drop table note"}',
    '{"lockTimeoutMs":-1}',
    '{"idleTimeoutMs":1e99}',
    '{"role":""}',
    '{"role":["postgres"]}',
    '{"sessionVariables":"app.tenant"}',
    '{"sessionVariables":{"app.tenant":["a","b"]}}',
    '{"sessionVariables":{"app.tenant":{"toString":"a"}}}',
    '{"sessionVariables":{"app.tenant":null}}',
    '{"savepoint":"x; commit"}',
    '{"current":"toString"}',
    '{"connection":"__proto__"}',
    '{"onError":"rollback; commit"}',
  ])('C7: is refused as settings of a transaction, and reaches no SQL: %s', async (body) => {
    await expectRefused('/settings', {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
    });
    expect(at.world.proxy.log).toEqual([]);
    expect(at.world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
  });

  it.each(['{"__proto__":{"readOnly":true}}', '{"constructor":{"prototype":{"role":"postgres"}}}'])(
    'C7: does not reach the prototype of settings, and no SQL: %s',
    async (body) => {
      const headers = { 'content-type': 'application/json' };
      const { status } = await at.world.fetch('/settings', { method: 'POST', body, headers });
      // Fastify refuses it by itself.
      expect(status).toBe(adapter === 'fastify' ? 400 : 500);
      expect(at.world.proxy.log).toEqual([]);
      expect(['readOnly', 'role'].filter((key) => key in {})).toEqual([]);
    },
  );

  it.each(['__proto__', 'constructor', 'toString', 'default ', SQL])(
    'M1: is refused as the name of a connection: %j',
    async (name) => {
      await expectRefused(`/connection?name=${encodeURIComponent(name)}`);
      expect(at.world.proxy.log).toEqual([]);
    },
  );

  it.each([SQL, '$1', '\\', '"', '%s ?', '{a,b}', '__proto__', 'x'.repeat(8_000)])(
    'C7: is a value of a session variable and no SQL: %s',
    async (tenant) => {
      const response = await at.world.fetch('/tenant', { headers: { 'x-tenant': tenant } });
      expect(await response.json()).toEqual({ tenant, isLogIn: true });
      // What it says was not done: the table is there, and nothing else was sent.
      expect(await at.world.savedTexts()).toEqual([]);
      expect(at.world.proxy.messages).toHaveLength(2);
      const next = await at.world.fetch('/tenant');
      expect(await next.json()).toEqual({ tenant: 'nobody', isLogIn: true });
    },
  );

  it.each([SQL, 'postgres"; reset role; --', 'nobody; commit', 'NONE', 'x'.repeat(8_000)])(
    'C7, F1: is a role that does not exist and no SQL: %s',
    async (role) => {
      await expectRefused('/tenant', { headers: { 'x-role': role } });
      expect(await at.world.savedTexts()).toEqual([]);
      const next = await at.world.fetch('/tenant');
      expect(await next.json()).toEqual({ tenant: 'nobody', isLogIn: true });
    },
  );

  it('C7: may be the same header several times, which is one value', async () => {
    const headers = { 'x-tenant': ['a', 'b'] as unknown as string };
    const { hostname, port } = new URL(at.world.url);
    const request = get({ hostname, port, path: '/tenant', headers });
    const [incoming] = (await once(request, 'response')) as [IncomingMessage];
    const response = new Response(await text(incoming));
    expect(await response.json()).toEqual({ tenant: 'a, b', isLogIn: true });
  });

  it('F4: is not in the answer where it made a statement fail', async () => {
    await expectRefused('/failing', { headers: { 'x-tenant': 'a secret' } });
    expect(await at.world.savedTexts()).toEqual([]);
  });
});
