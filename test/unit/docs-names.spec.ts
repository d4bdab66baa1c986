import { globSync, readFileSync } from 'node:fs';

import { dbContextChannels } from 'nestjs-db-context/telemetry';

import { METRICS } from '../../lib/observability/metrics.js';
import { DEFAULTS } from '../../lib/options/defaults.js';
import * as attributes from '../../lib/opentelemetry/attributes.js';
import { SPAN_EVENTS } from '../../lib/opentelemetry/span-events.js';

const ROOT = new URL('../../', import.meta.url);
const textOf = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8');

/** The part of a page below a heading, up to the next one of its kind. */
function sectionOf(page: string, heading: string): string {
  const text = textOf(`docs/${page}.md`);
  const from = text.indexOf(`\n## ${heading}\n`);
  expect(from).toBeGreaterThan(0);
  const to = text.indexOf('\n## ', from + 1);
  return text.slice(from, to === -1 ? undefined : to);
}

/** The names in the first column of the table whose head begins with a word. */
function namesIn(section: string, head: string): string[] {
  const [, table = ''] = new RegExp(`^\\| ${head} .*\\n((?:\\|.*\\n)+)`, 'm').exec(section) ?? [];
  const cells = table.split('\n').map((row) => row.split(' | ', 1)[0]!);
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name!));
}

/** The names of the properties of interfaces, as the report of the public API has them. */
function optionsIn(report: string, ...interfaces: string[]): string[] {
  const text = textOf(`test/types/api/${report}.api.md`);
  return interfaces.flatMap((name) => {
    const [, body = ''] = new RegExp(`interface ${name}\\b[^{]*\\{([^}]*)\\}`).exec(text) ?? [];
    return [...body.matchAll(/readonly (\w+)\??:/g)].map(([, option]) => option!);
  });
}

/** The channels of the library by their names, which end with a dot where they are those of an operation. */
function channelNames(): { events: string[]; operations: string[] } {
  const all = Object.values(dbContextChannels) as (
    | { readonly name: string }
    | { readonly start: { readonly name: string } }
  )[];
  return {
    events: all.flatMap((each) => ('name' in each ? [each.name] : [])),
    operations: all.flatMap((each) => ('start' in each ? [each.start.name] : [])),
  };
}

describe('O1: the documentation names what there is, and all of it', () => {
  it('of channels', () => {
    const section = sectionOf('telemetry', 'Channels');
    const { events, operations } = channelNames();
    const documented = namesIn(section, 'channel').map((name) => `nestjs-db-context:${name}`);
    expect(documented.toSorted()).toEqual(events.toSorted());
    expect(documented.length).toBeGreaterThan(20);
    const ofOperations = namesIn(section, 'operation').map(
      (name) => `tracing:nestjs-db-context:${name}:start`,
    );
    expect(ofOperations.toSorted()).toEqual(operations.toSorted());
    expect(ofOperations).toHaveLength(4);
  });

  it('of channels, in the comments of their types as well', () => {
    const text = textOf('lib/telemetry/db-context-channels.ts');
    const comments = [...text.matchAll(/^ {2}\/\*\* `((?:tracing:)?nestjs-db-context:[a-z:]+)/gm)];
    const { events, operations } = channelNames();
    expect(comments.map(([, name]) => name!.replace(/:$/, '')).toSorted()).toEqual(
      [...events, ...operations.map((name) => name.replace(/:start$/, ''))].toSorted(),
    );
  });

  it('of the attributes of spans', () => {
    const context = { origin: 'a', outer: { origin: 'b' } } as never;
    const connection = { name: 'a', host: 'b:1', database: 'c', pool: undefined };
    const ofEvents = ['SAVEPOINT', 'REASON', 'EXCEPTION_MESSAGE'];
    const exported = Object.entries(attributes)
      .filter(([name, value]) => typeof value === 'string' && !ofEvents.includes(name))
      .map(([, value]) => String(value));
    const names = new Set([
      ...exported,
      ...Object.keys(attributes.attributesOf(connection)),
      ...Object.keys(attributes.originsOf(context)),
      'db_context.outcome',
      'error.type',
    ]);
    const documented = namesIn(sectionOf('observability', 'Spans'), 'attribute');
    expect(documented.toSorted()).toEqual([...names].toSorted());
  });

  it('of the events of spans', () => {
    const documented = namesIn(sectionOf('observability', 'Spans'), 'event');
    expect(documented.toSorted()).toEqual(Object.values(SPAN_EVENTS).toSorted());
  });

  it('of what the events of spans say', () => {
    const sources = globSync('lib/opentelemetry/*.ts', { cwd: ROOT }).map((path) => textOf(path));
    const names = sources
      .flatMap((source) => [...source.matchAll(/'((?:db_context|exception)\.[\w.]+)'/g)])
      .map(([, name]) => name!);
    expect(names.length).toBeGreaterThan(15);
    const section = sectionOf('observability', 'Spans');
    // `db_context.pool.size`, `.used`
    const isNamed = (name: string): boolean =>
      section.includes(`\`${name}\``) ||
      (section.includes(`\`${name.replace(/\w+$/, 'size')}\``) &&
        section.includes(`\`${/\.\w+$/.exec(name)![0]}\``));
    expect(names.filter((name) => !isNamed(name))).toEqual([]);
  });

  it('of metrics', () => {
    const documented = namesIn(sectionOf('observability', 'Metrics'), 'OpenTelemetry');
    expect(documented.toSorted()).toEqual(Object.keys(METRICS).toSorted());
  });

  it('of the limits of a connection and of contexts, with their defaults', () => {
    const { limits, shutdownTimeoutMs, hookTimeoutMs } = DEFAULTS;
    const rows = [...textOf('docs/module.md').matchAll(/^\| `(\w+Ms)`.* \| ([\d,]+) +\|/gm)];
    const documented = rows.map(([, name, value]) => [name, Number(value!.replace(',', ''))]);
    expect(Object.fromEntries(documented)).toEqual({ ...limits, shutdownTimeoutMs, hookTimeoutMs });
  });

  it('of the options of the inspector', () => {
    const options = optionsIn('inspector', 'DbContextInspectorPlace', 'DbContextInspectorSettings');
    expect(options.length).toBeGreaterThan(8);
    const section = sectionOf('inspector', 'Options');
    expect(namesIn(section, 'option').toSorted()).toEqual(options.toSorted());
    for (const option of optionsIn('inspector', 'DbContextInspectorAsyncOptions')) {
      expect(section).toMatch(new RegExp(`forRootAsync\\(\\{[^}]*\\b${option}\\b`));
    }
  });

  it.each([
    ['opentelemetry', 'DbContextInstrumentationConfig'],
    ['prometheus', 'CollectDbContextMetricsOptions'],
  ])('of the options of %s', (report, name) => {
    const text = textOf('docs/observability.md');
    const options = optionsIn(report, name);
    expect(options).toHaveLength(2);
    expect(options.filter((option) => !new RegExp(`\\{ ${option}\\b`).test(text))).toEqual([]);
  });
});
