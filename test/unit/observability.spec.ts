import { readFileSync } from 'node:fs';

import { context, ROOT_CONTEXT } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import * as conventions from '@opentelemetry/semantic-conventions/incubating';
import { dbContextChannels, type ContextInfo } from 'nestjs-db-context/telemetry';

import { LabelSets } from '../../lib/observability/label-sets.js';
import { METRICS, type MetricName } from '../../lib/observability/metrics.js';
import { shareListener } from '../../lib/observability/shared-listener.js';
import { Subscriptions } from '../../lib/telemetry/subscriptions.js';
import { ActiveContext } from '../../lib/opentelemetry/active-context.js';
import {
  attributesOf,
  DB_RESPONSE_STATUS_CODE,
  EXCEPTION_MESSAGE,
  originOf,
} from '../../lib/opentelemetry/attributes.js';
import { SCOPE_VERSION } from '../../lib/opentelemetry/scope.js';
import { metricName } from '../../lib/prometheus/names.js';

const ROOT = new URL('../../', import.meta.url);

/** The packages that a file of the library loads, by itself and by what it imports. */
function packagesOf(file: URL, seen = new Set<string>()): Set<string> {
  const packages = new Set<string>();
  if (seen.has(file.href)) {
    return packages;
  }
  seen.add(file.href);
  const imports = readFileSync(file, 'utf8').matchAll(
    /^(?:import|export)(?! type)[^;]*? from '([^']+)';/gms,
  );
  for (const [, specifier] of imports) {
    if (specifier!.startsWith('.')) {
      const source = new URL(specifier!.replace(/\.js$/, '.ts'), file);
      packagesOf(source, seen).forEach((each) => packages.add(each));
    } else {
      packages.add(specifier!);
    }
  }
  return packages;
}

describe('O1: the entry points of OpenTelemetry and Prometheus', () => {
  it.each([
    ['opentelemetry', ['@opentelemetry/api']],
    ['prometheus', ['prom-client']],
  ])('load nothing that others instrument: %s', (name, own) => {
    const packages = packagesOf(new URL(`lib/${name}/index.ts`, ROOT));
    const builtIn = ['node:async_hooks', 'node:diagnostics_channel', 'node:url', 'node:util'];
    expect([...packages].filter((each) => !builtIn.includes(each)).toSorted()).toEqual([
      '@mikro-orm/core',
      ...own,
    ]);
  });

  it('are of the version of the package', () => {
    const { version } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as {
      version: string;
    };
    expect(SCOPE_VERSION).toBe(version);
  });

  it('have the names of the conventions, and a prefix of their own for the rest', () => {
    const words = new Set<unknown>(Object.values(conventions));
    const names = [
      ...Object.keys(METRICS),
      ...Object.values(METRICS).flatMap(({ labels }) => labels),
      ...Object.keys(
        attributesOf({ name: 'default', host: 'db1:5432', database: 'shop', pool: undefined }),
      ),
      DB_RESPONSE_STATUS_CODE,
      EXCEPTION_MESSAGE,
    ];
    expect(names.filter((name) => !name.startsWith('db_context.') && !words.has(name))).toEqual([]);
  });

  it('have all their metrics in the documentation, with both names and the unit', () => {
    const text = readFileSync(new URL('docs/observability.md', ROOT), 'utf8');
    const rows = text.slice(text.indexOf('## Metrics')).split('\n');
    for (const name of Object.keys(METRICS) as MetricName[]) {
      const row = rows.find((each) => each.startsWith(`| \`${name}\` `)) ?? '';
      expect(row).toContain(`\`${metricName(name)}\``);
      expect(row).toContain(`\`${METRICS[name].unit}\``);
      expect(row).toContain(METRICS[name].kind);
    }
  });
});

describe('O1: labels', () => {
  it('are the same objects for the same values, and of a bounded number', () => {
    const labels = new LabelSets();
    expect(labels.of('default', 'committed')).toBe(labels.of('default', 'committed'));
    const all = Array.from({ length: 1_000 }, (_, index) =>
      labels.of('default', 'rolled-back', { type: `Error${index}`, sqlState: undefined }),
    );
    expect(new Set(all).size).toBe(101);
    expect(all.at(-1)).toMatchObject({ 'error.type': '_OTHER' });
    expect(labels.of('default', 'rolled-back', { type: 'Error7', sqlState: undefined })).toBe(
      all[7],
    );
  });

  it.each([
    ['OrdersController.create', 'OrdersController.create'],
    ['GET /reset-password/a-secret', undefined],
    [undefined, undefined],
  ])('have no path of a request: %s', (origin, shown) => {
    expect(originOf(origin === undefined ? undefined : ({ origin } as ContextInfo))).toBe(shown);
  });

  it.each([
    ['db1:5433', 'db1', 5433],
    ['[::1]:5432', '::1', 5432],
    ['/var/run/postgresql:5432', '/var/run/postgresql', 5432],
  ])('name the server %s', (host, address, port) => {
    const attributes = attributesOf({
      name: 'default',
      host,
      database: undefined,
      pool: undefined,
    });
    expect(attributes).toMatchObject({ 'server.address': address, 'server.port': port });
    expect(attributes).not.toHaveProperty('db.namespace');
  });
});

describe('O1: listeners', () => {
  it('report what they throw, rather than throw it in the code that the event is about', () => {
    const errors: unknown[] = [];
    const subscriptions = new Subscriptions((error) => errors.push(error));
    const { poolWait } = dbContextChannels;
    subscriptions.listen(poolWait, () => {
      throw new Error('broken');
    });
    poolWait.publish({} as never);
    subscriptions.end();
    expect(errors).toEqual([new Error('broken')]);
    expect(poolWait.hasSubscribers).toBe(false);
  });

  it('are shared by those that write to the same target', () => {
    const log: string[] = [];
    const target = {};
    const start = (): (() => void) => {
      log.push('start');
      return () => void log.push('stop');
    };
    const ends = [shareListener('test', target, start), shareListener('test', target, start)];
    ends[0]!();
    ends[0]!();
    expect(log).toEqual(['start']);
    ends[1]!();
    shareListener('test', target, start)();
    expect(log).toEqual(['start', 'stop', 'start', 'stop']);
  });
});

describe('O1: the active context as a store of a channel', () => {
  const key = Symbol('key');
  const value = ROOT_CONTEXT.setValue(key, 'set');
  const active = (): unknown => context.active().getValue(key);

  it('is entered by run(), and by withScope() as from Node 25.9 on', () => {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    const store = new ActiveContext();
    expect(store.run(value, active)).toBe('set');
    const scope = store.withScope(value);
    expect(active()).toBe('set');
    scope[Symbol.dispose]();
    expect(active()).toBeUndefined();
    context.disable();
  });

  it('is left as it is where nobody manages contexts', () => {
    const store = new ActiveContext();
    const scope = store.withScope(value);
    expect(active()).toBeUndefined();
    scope[Symbol.dispose]();
    expect(store.run(value, () => 'ran')).toBe('ran');
  });
});
