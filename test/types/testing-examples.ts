// The code of docs/testing.md; tsc checks it here, and a spec checks that it is the same.
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import { Entity, PrimaryKey, Property } from '@mikro-orm/decorators/legacy';
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import { Injectable, type INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { DbContext, InjectSession } from 'nestjs-db-context';
import {
  captureOnCommit,
  createWorkerDatabase,
  expectCommitted,
  expectNoOpenConnections,
  expectRolledBack,
  expectStatements,
  openTestContext,
  provideTestRepository,
  provideTestSession,
  recordContexts,
  templateOf,
  TestDbContext,
  useTestTransaction,
  type TemplateOptions,
  type WorkerDatabase,
} from 'nestjs-db-context/testing';

/** The part of supertest that the examples use. */
interface Call extends Promise<{ readonly status: number }> {
  send(body: object): Call;
  expect(status: number): Call;
}
declare function request(server: unknown): { get(path: string): Call; post(path: string): Call };

declare function hashOfMigrations(): string;
declare function migrate(url: string): Promise<void>;
declare function startApp(url: string): Promise<INestApplication>;

@Entity()
class Order {
  @PrimaryKey({ type: 'integer' })
  id!: number;

  @Property({ type: 'text' })
  item!: string;
}

@Injectable()
class OrderService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  async place(item: string): Promise<void> {
    await this.dbContext.atomic(() => this.session.insert(Order, { id: 1, item }));
  }
}

export function sharedTransaction(app: INestApplication, database: WorkerDatabase): unknown {
  const db = useTestTransaction(() => app);

  it('lists orders', async () => {
    await db.session().insert(Order, { id: 1, item: 'prepared by the test' });
    await request(app.getHttpServer()).post('/orders').send({ item: 'lamp' }).expect(201);

    expect(await db.session().count(Order)).toBe(2);
  });

  const own = useTestTransaction(() => app, { beforeAll, afterAll, beforeEach, afterEach });

  const looked = useTestTransaction(() => app, { keepOnFailure: true });

  afterAll(async () => {
    await app.close();
    if (!looked.hasKeptRows) {
      await database.drop();
    }
  });

  let lamp: Order;

  db.beforeAll((session) => {
    lamp = session.create(Order, { item: 'lamp' });
  });

  it('shows an order', async () => {
    await request(app.getHttpServer()).get(`/orders/${lamp.id}`).expect(200);
  });

  it('goes on after a failure', async () => {
    const twice = db.session().insert(Order, { id: 1, item: 'twice' });
    await expect(twice).rejects.toThrow('duplicate key');
    await request(app.getHttpServer()).get('/orders').expect(200);
  });

  const watched = useTestTransaction(() => app, {
    connections: ['default', 'orders'],
    committing: ['audit'],
    outside: 'hold',
  });

  return [own, watched];
}

interface Job {
  readonly item: string;
  readonly token: string;
}
declare const queue: { add(job: Job): Promise<void>; drained(): Promise<void> };

export function concurrentTests(app: INestApplication, url: string, orders: OrderService): unknown {
  const tests = useTestTransaction(() => app, { concurrent: true });

  tests.test('lists the orders of this test', async () => {
    await tests.session().insert(Order, { id: 1, item: 'prepared' });
    await tests.request(app).post('/orders').send({ item: 'lamp' }).expect(201);
    const response = await fetch(`${url}/orders`, { headers: tests.headers() });

    expect(await response.json()).toHaveLength(2);
  });

  tests.test('works off a job', async () => {
    await queue.add({ item: 'lamp', token: tests.token });
    await queue.drained();

    expect(await tests.session().count(Order)).toBe(1);
  });

  // In the worker that the tests use:
  const work = (job: Job): Promise<void> => tests.allow(job.token, () => orders.place(job.item));

  return work;
}

const ormOptions = defineConfig({ dbName: 'shop', entities: [Order] });

export function templateByHand(): TemplateOptions {
  const byHand: TemplateOptions = {
    name: 'shop_test',
    prepare: migrate,
    version: hashOfMigrations(),
  };

  return byHand;
}

export function separateSessions(): void {
  let app: INestApplication;
  let database: WorkerDatabase;

  beforeAll(async () => {
    database = await createWorkerDatabase({
      serverUrl: 'postgres://postgres:postgres@localhost:5432/postgres',
      template: templateOf(ormOptions, { seed: (em) => em.insert(Order, { id: 1, item: 'lamp' }) }),
    });
    app = await startApp(database.url);
  });
  afterEach(() => database.reset());
  afterAll(async () => {
    await app.close();
    await database.close();
  });
}

export async function whatHappened(
  app: INestApplication,
  dbContext: DbContext,
  session: EntityManager,
  orders: OrderService,
): Promise<unknown> {
  await expectCommitted(app, () => orders.place('a'));
  await expectRolledBack(app, () => request(app.getHttpServer()).post('/orders').send({}));
  const [ended] = await recordContexts(app, () => dbContext.run(() => session.count(Order)));

  // an N+1 guard
  await expectStatements(app, { atMost: 2 }, () => request(app.getHttpServer()).get('/orders'));
  await expectStatements(app, ['select', /^insert into "order"/], () => orders.place('a'));

  const callbacks = await captureOnCommit(app, () => orders.place('b'));
  await callbacks[0]!();

  expectNoOpenConnections(app);

  return ended;
}

export async function testContext(app: INestApplication, orders: OrderService): Promise<void> {
  await using context = openTestContext(app);
  await orders.place('a');
  expect(await context.session().count(Order)).toBe(1);
}

export async function withoutDatabase(fakeSession: object, fakeRepository: object): Promise<void> {
  const dbContext = new TestDbContext({ default: fakeSession });
  const module = await Test.createTestingModule({
    providers: [
      OrderService,
      provideTestSession(fakeSession),
      provideTestRepository(Order, fakeRepository),
      { provide: DbContext, useValue: dbContext },
    ],
  }).compile();
  await module.get(OrderService).place('lamp');
  await dbContext.settle();
}

export async function withoutServer(): Promise<object> {
  const pglite = await PGlite.create();
  const socket = new PGLiteSocketServer({ db: pglite, port: 0 });
  await socket.start();
  const options = defineConfig({
    clientUrl: `postgres://postgres@${socket.getServerConn()}/postgres`,
    entities: [Order],
    pool: { min: 0, max: 1 },
  });
  return options;
}
