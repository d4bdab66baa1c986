import { randomUUID } from 'node:crypto';

import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import {
  BadRequestException,
  Controller,
  Param,
  ParseIntPipe,
  Post,
  type DynamicModule,
} from '@nestjs/common';
import { InjectSession, SessionClosedError } from 'nestjs-db-context';
import { ClsModule } from 'nestjs-cls';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startApp, type AdapterName, type TestApp } from '../support/test-app.js';

const REQUESTS = 500;

@Entity({ tableName: 'paper' })
class Paper {
  @PrimaryKey({ type: 'integer', autoincrement: true })
  id!: number;

  @Property({ type: 'text' })
  tenant!: string;

  @Property({ type: 'integer' })
  number!: number;
}

interface Sight {
  readonly variable: string;
  readonly user: string;
  readonly tenants: readonly string[];
}

/** What work that outlived its request saw, or why it saw nothing. */
const late: Promise<{ readonly tenant: string; readonly saw: Sight | Error }>[] = [];

@Controller()
class PaperController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('papers/:tenant/:number')
  async write(
    @Param('tenant') tenant: string,
    @Param('number', ParseIntPipe) number: number,
  ): Promise<readonly Sight[]> {
    const first = await this.look();
    await this.session.persist(this.session.create(Paper, { tenant, number })).flush();
    this.session.clear();
    const second = await this.look();
    if (number % 7 === 0) {
      // One that is running as the request ends, and one that starts after it.
      this.leaveBehind(tenant, () => this.look());
      this.leaveBehind(tenant, async () => {
        await new Promise((resolve) => setTimeout(resolve, number % 20));
        return this.look();
      });
    }
    if (number % 5 === 0) {
      throw new BadRequestException();
    }
    return [first, second];
  }

  private async look(): Promise<Sight> {
    const [row] = await this.session.execute<{ variable: string; user: string }[]>(
      `select current_setting('app.tenant') as variable, current_user as user`,
    );
    const papers = await this.session
      .getKysely<{ paper: Paper }>()
      .selectFrom('paper')
      .select('tenant')
      .distinct()
      .execute();
    return { ...row!, tenants: papers.map((paper) => paper.tenant) };
  }

  private leaveBehind(tenant: string, work: () => Promise<Sight>): void {
    late.push(
      work().then(
        (saw) => ({ tenant, saw }),
        (saw: Error) => ({ tenant, saw }),
      ),
    );
  }
}

const tenantStore = (): DynamicModule =>
  ClsModule.forRoot({
    global: true,
    middleware: {
      mount: true,
      setup: (cls, request: { headers: Record<string, string> }) => {
        cls.set('tenant', request.headers['x-tenant']);
      },
    },
  });

describe.each<AdapterName>(['express', 'fastify'])('row-level security over %s', (adapter) => {
  const role = `tenant_${randomUUID().replaceAll('-', '')}`;
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(`
      create role ${role} nobypassrls;
      create table paper (id serial primary key, tenant text not null, number integer not null);
      alter table paper enable row level security;
      alter table paper force row level security;
      create policy own on paper
        using (tenant = current_setting('app.tenant'))
        with check (tenant = current_setting('app.tenant'));
      grant select, insert on paper to ${role};
      grant usage on paper_id_seq to ${role};
      insert into paper (tenant, number) values ('a', -1), ('b', -1)`);
    app = await startApp({
      adapter,
      connections: [
        {
          ...defineConfig({
            clientUrl: database.url,
            entities: [Paper],
            pool: { min: 0, max: 2 },
          }),
          // All requests come at once, and the last one waits for all others.
          acquireTimeoutMs: 60_000,
          // The login is a superuser, whom no policy stops: only the role does.
          role,
          sessionVariables: (cls) => ({ 'app.tenant': cls.get<string>('tenant') }),
        },
      ],
      controllers: [PaperController],
      imports: [tenantStore()],
    });
    late.length = 0;
  });

  afterAll(async () => {
    await app.close();
    await database.query(`drop owned by ${role}`);
    await database.query(`drop role ${role}`);
    await database.drop();
  });

  it(`C7, F3: ${REQUESTS} requests of two tenants over a pool of 2: none sees the other`, async () => {
    const startedAt = Date.now();
    const responses = await Promise.all(
      Array.from({ length: REQUESTS }, async (_, number) => {
        const tenant = number % 2 === 0 ? 'a' : 'b';
        const response = await app.fetch(`/papers/${tenant}/${number}`, {
          method: 'POST',
          headers: { 'x-tenant': tenant },
        });
        const body = (await response.json()) as readonly Sight[];
        return { number, tenant, status: response.status, body };
      }),
    );

    for (const { number, tenant, status, body } of responses) {
      const expected = number % 5 === 0 ? 400 : number % 7 === 0 ? 500 : 201;
      expect({ number, status }).toEqual({ number, status: expected });
      if (status === 201) {
        const sight = { variable: tenant, user: role, tenants: [tenant] };
        expect(body).toEqual([sight, sight]);
      }
    }

    const outcomes = await Promise.all(late);
    expect(outcomes).toHaveLength(2 * Math.ceil(REQUESTS / 7));
    for (const { tenant, saw } of outcomes) {
      if (saw instanceof Error) {
        expect(saw).toBeInstanceOf(SessionClosedError);
      } else {
        expect(saw).toEqual({ variable: tenant, user: role, tenants: [tenant] });
      }
    }

    // Past the policies: what is saved is what succeeded, each under its own tenant.
    const saved = await database.query<{ tenant: string; number: number }>(
      'select tenant, number from paper where number >= 0 order by number',
    );
    expect(saved).toEqual(
      responses
        .filter(({ status }) => status === 201)
        .map(({ tenant, number }) => ({ tenant, number })),
    );
    expect(app.pool()).toMatchObject({ size: 2, checkedOut: 0, waiting: 0 });
    // Nothing is left on the connections of the pool.
    const connection = app.connection().orm.em.fork().getConnection();
    expect(
      await connection.execute(
        `select current_setting('app.tenant') as variable, current_user = session_user as own`,
      ),
    ).toEqual([{ variable: '', own: true }]);
    expect(Date.now() - startedAt).toBeLessThan(15_000);
  });

  it('C7: a request without a tenant fails, and reaches no row', async () => {
    const response = await app.fetch('/papers/a/1', { method: 'POST' });
    expect(response.status).toBe(500);
    expect(app.pool()).toMatchObject({ checkedOut: 0 });
  });

  it('C7: a request cannot write for the other tenant', async () => {
    const before = await database.query('select count(*) from paper');
    const response = await app.fetch('/papers/b/1', {
      method: 'POST',
      headers: { 'x-tenant': 'a' },
    });
    expect(response.status).toBe(500);
    expect(await database.query('select count(*) from paper')).toEqual(before);
  });
});
