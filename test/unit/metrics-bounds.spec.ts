import type { MeterProvider, Observable } from '@opentelemetry/api';
import { dbContextChannels, type ConnectionInfo } from 'nestjs-db-context/telemetry';

import { LabelSets } from '../../lib/observability/label-sets.js';
import { PoolReadings } from '../../lib/observability/pool-readings.js';
import { MetricsWriter } from '../../lib/opentelemetry/metrics-writer.js';

const MANY = 2_000;
/** How many counters begin at 0 for one connection: timeouts, deadlocks, the outcome unknown, and two kinds of retries. */
const ZEROS_OF_ONE = 5;
const POOL = { size: 5, checkedOut: 0, idle: 1, waiting: 0 };

type Callback = (result: { observe(gauge: Observable, value: number): void }) => void;

/** A provider that counts what is written to it. */
class CountingProvider {
  zeros = 0;
  #observe: Callback = () => undefined;
  readonly #counter = { add: (value: number) => void (this.zeros += value === 0 ? 1 : 0) };

  getMeter(): object {
    return {
      createCounter: () => this.#counter,
      createHistogram: () => ({ record: () => undefined }),
      createObservableGauge: () => ({}),
      createObservableUpDownCounter: () => ({}),
      addBatchObservableCallback: (callback: Callback) => (this.#observe = callback),
      removeBatchObservableCallback: () => undefined,
    };
  }

  /** Reads all gauges. @returns the values that were given */
  read(): number[] {
    const values: number[] = [];
    this.#observe({ observe: (_gauge, value) => void values.push(value) });
    return values;
  }
}

describe('O1: what the metrics of OpenTelemetry keep', () => {
  let provider: CountingProvider;
  let writer: MetricsWriter;
  beforeEach(() => {
    provider = new CountingProvider();
    writer = new MetricsWriter(() => provider as unknown as MeterProvider, new PoolReadings());
    writer.start();
  });
  afterEach(() => writer.stop());

  const use = (name: string): ConnectionInfo => {
    const connection: ConnectionInfo = { name, host: 'db:5432', database: undefined, pool: POOL };
    dbContextChannels.acquire.start.publish({ connection, startedAt: 0 } as never);
    return connection;
  };
  const useAndClose = (name: string): void =>
    dbContextChannels.connectionClose.publish({ connection: use(name) });
  /** What is written to a provider that takes the place of the first one. */
  const zerosOfNext = (): number => {
    provider = new CountingProvider();
    dbContextChannels.retry.publish({ origin: 'a test' } as never);
    return provider.zeros;
  };

  it('is what begins at 0 of the connections that are open, once for each name', () => {
    for (let index = 0; index < MANY; index++) {
      useAndClose(`closed-${index}`);
    }
    const open = Array.from({ length: MANY }, () => use('default'));
    expect(zerosOfNext()).toBe(ZEROS_OF_ONE);
    expect(open).toHaveLength(MANY);
  });

  it('is the 0 of a bounded number of closed pools', () => {
    for (let index = 0; index < MANY; index++) {
      useAndClose(`before-${index}`);
    }
    provider.read();
    for (let index = 0; index < MANY; index++) {
      const connection = use(`read-${index}`);
      provider.read();
      dbContextChannels.connectionClose.publish({ connection });
    }
    const values = provider.read();
    expect(values.length).toBeGreaterThan(100);
    expect(values.length).toBeLessThanOrEqual(1_010);
  });

  it('is no set of labels of a connection that is closed', () => {
    const labels = new LabelSets();
    const closed = labels.of('closed', 'committed');
    const open = labels.of('open', 'committed');
    labels.forget('closed');
    expect(labels.of('closed', 'committed')).not.toBe(closed);
    expect(labels.of('open', 'committed')).toBe(open);
  });
});
