import { DbContextInstrumentation } from 'nestjs-db-context/opentelemetry';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { deferred } from '../support/deferred.js';
import { recordMetrics, type MetricRecorder } from '../support/metric-recorder.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

const NOTHING = {
  'db.client.connection.max{name=default}': 0,
  'db.client.connection.limit{name=default}': 0,
  'db.client.connection.count{name=default,state=idle}': 0,
  'db.client.connection.count{name=default,state=used}': 0,
  'db_context.active_transactions{name=default}': 0,
  'db_context.oldest_transaction.age{name=default}': 0,
};

describe('O1: the gauges of a reader of OpenTelemetry', () => {
  let database: TestDatabase;
  let apps: [TestApp, TestApp];
  let recorder: MetricRecorder;
  let instrumentation: DbContextInstrumentation;

  beforeEach(async () => {
    database = await createTestDatabase();
    recorder = recordMetrics();
    instrumentation = new DbContextInstrumentation();
    instrumentation.setMeterProvider(recorder.provider);
    apps = [await start(), await start()];
    await Promise.all(apps.map((each) => read(each)));
  });
  afterEach(async () => {
    instrumentation.disable();
    await recorder.stop();
    await Promise.all(apps.map((each) => each.close()));
    await database.drop();
  });

  const start = (): Promise<TestApp> =>
    startApp({ connections: [noteConnection(database.url, { poolMax: 5 })] });
  const read = (app: TestApp): Promise<unknown> =>
    app.dbContext.run(() => app.session().execute('select 1'));

  it('are those of the connections that are open, whatever the garbage collector does', async () => {
    const sizes = async (): Promise<unknown[]> => {
      const series = await recorder.read();
      return ['max', 'limit'].map((name) => series[`db.client.connection.${name}{name=default}`]);
    };
    expect(await sizes()).toEqual([10, 10]);
    await apps[0].close();
    expect(await sizes()).toEqual([5, 5]);
    await apps[1].close();
    expect(await sizes()).toEqual([0, 0]);
    expect(await recorder.read()).toMatchObject(NOTHING);
  });

  it('are right again once enable() follows disable(), whatever has ended meanwhile', async () => {
    const hasRead = deferred();
    const mayEnd = deferred();
    const [app, other] = apps;
    const work = app.dbContext.run(async () => {
      await app.session().execute('select 1');
      hasRead.resolve();
      await mayEnd.promise;
    });
    await hasRead.promise;
    expect(await recorder.read()).toMatchObject({
      'db.client.connection.max{name=default}': 10,
      'db.client.connection.count{name=default,state=used}': 1,
      'db_context.active_transactions{name=default}': 1,
    });
    instrumentation.disable();
    mayEnd.resolve();
    await work;
    await other.close();
    instrumentation.enable();
    expect(await recorder.read()).toMatchObject({
      ...NOTHING,
      'db.client.connection.max{name=default}': 5,
      'db.client.connection.limit{name=default}': 5,
      'db.client.connection.count{name=default,state=idle}': 1,
    });
    instrumentation.disable();
    await app.close();
    instrumentation.enable();
    expect(await recorder.read()).toMatchObject(NOTHING);
  });
});
