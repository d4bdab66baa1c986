/** The last line of an error's message leads to the section of its code, which comes with the package. */
import { globSync, readFileSync } from 'node:fs';

import { GraphQLError } from 'graphql';
import { DbContextError, PoolDeadlockError, TransactionAbortedError } from 'nestjs-db-context';

import { healthErrorOf } from '../../lib/connection/health-error.js';
import { errorOf, settledAnswer } from '../../lib/graphql/answer.js';
import { errorInfoOf } from '../../lib/telemetry/error-info.js';

const ROOT = new URL('../../', import.meta.url);
const page = readFileSync(new URL('docs/errors.md', ROOT), 'utf8');

/** The codes as lib/errors/db-context-error.ts declares them. */
const codes = (() => {
  const text = readFileSync(new URL('lib/errors/db-context-error.ts', ROOT), 'utf8');
  const [, union] = /export type DbContextErrorCode =([^;]*);/.exec(text)!;
  return [...union!.matchAll(/'([A-Z_]+)'/g)].map(([, code]) => code!);
})();

class AnyError extends DbContextError {
  constructor(code: string, message: string) {
    super(code as DbContextError['code'], message);
  }
}

it('knows the codes', () => {
  expect(codes.length).toBeGreaterThan(30);
});

describe.each(codes)('the error %s', (code) => {
  const { message } = new AnyError(code, 'What happened.\nAnd what to do.');
  const [file, anchor] = message
    .split('\n')
    .at(-1)!
    .replace('See nestjs-db-context/', '')
    .split('#');

  it('has a last line that leads to a section of a page of the package', () => {
    expect(message).toBe(
      `What happened.\nAnd what to do.\nSee nestjs-db-context/docs/errors.md#${code.toLowerCase()}`,
    );
    const { files } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as {
      files: string[];
    };
    expect(files).toContain(file);
    // An anchor of its own: GitHub and VitePress make different ones of a heading with underscores.
    expect(page).toContain(`<a id="${anchor}"></a>\n\n## ${code}\n`);
  });
});

it('the page has a section for each code and for nothing else', () => {
  const sections = [...page.matchAll(/^## ([A-Z_]+)$/gm)].map(([, code]) => code!);
  expect(sections.toSorted()).toEqual(codes.toSorted());
});

it('the page says which class has a code', () => {
  const sources = globSync('lib/**/*.ts', { cwd: ROOT }).map((file) =>
    readFileSync(new URL(file, ROOT), 'utf8'),
  );
  const classes = sources.flatMap((source) =>
    [
      ...source.matchAll(
        /^export class (\w+) extends DbContextError \{.*?\bsuper\(\s*'([A-Z_]+)'/gms,
      ),
    ].map(([, name, code]) => ({ name: name!, code: code! })),
  );
  expect(classes.map(({ code }) => code).toSorted()).toEqual(codes.toSorted());
  const lines = new Set(page.split('\n').map((line) => line.replaceAll(/ +/g, ' ')));
  const missing = classes.filter(
    ({ name, code }) =>
      ![...lines].some((line) =>
        line.startsWith(`| [\`${code}\`](#${code.toLowerCase()}) | \`${name}\` |`),
      ),
  );
  expect(missing).toEqual([]);
});

it('an error that quotes another one names its own page, and that once', () => {
  const first = new PoolDeadlockError('default', { size: 1, waiting: 1 });
  expect(first.message.match(/\nSee /g)).toHaveLength(1);
  const { message } = new TransactionAbortedError('default', first, false);
  expect(message).toContain('Every connection of "default"');
  expect(message.match(/\nSee nestjs-db-context\/docs\/errors\.md#\w+/g)).toEqual([
    '\nSee nestjs-db-context/docs/errors.md#transaction_aborted',
  ]);
  expect(message.endsWith('#transaction_aborted')).toBe(true);
});

describe('the line is left out', () => {
  const error = new PoolDeadlockError('default', { size: 1, waiting: 1 });
  const [says, line] = error.message.split('\n');

  it('is one line behind one', () => {
    expect(line).toBe('See nestjs-db-context/docs/errors.md#pool_deadlock');
  });

  it('of what telemetry publishes', () => {
    expect(errorInfoOf(error)).toEqual({
      name: 'PoolDeadlockError',
      code: 'POOL_DEADLOCK',
      message: says,
    });
  });

  it('of what a health endpoint shows', () => {
    expect(healthErrorOf(error)).toEqual({ code: 'POOL_DEADLOCK', message: says });
  });

  it.each([
    ['committed', { kind: 'committed' } as const],
    ['rolled back', { kind: 'rolled-back', keepsParts: false } as const],
    ['failed', { kind: 'failed', error: new Error('no') } as const],
  ])('of answers of GraphQL operations that were %s', (_, end) => {
    const asThrown = new GraphQLError(error.message, { originalError: error, path: ['notes'] });
    const { errors } = settledAnswer(
      { data: null, errors: [asThrown, asThrown.toJSON()] },
      end,
      'query',
      (each) => each.toJSON(),
    );
    const [first, second] = errors as readonly GraphQLError[];
    expect(first).toBeInstanceOf(GraphQLError);
    expect([first!.message, first!.path, first!.originalError]).toEqual([says, ['notes'], error]);
    expect(second).toEqual({ message: says, path: ['notes'] });
  });

  it('of the error of an operation that could not be committed', () => {
    expect(errorOf(error).message).toBe(says);
  });

  it('and errors of the application stay as they are', () => {
    const own = new GraphQLError('as it was\nin two lines');
    const { errors } = settledAnswer(
      { data: null, errors: [own] },
      { kind: 'committed' },
      'query',
      (each) => each,
    );
    expect(errors?.[0]).toBe(own);
  });
});
