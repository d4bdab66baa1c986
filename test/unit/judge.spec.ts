import type { SavedRow } from '../faults/support/fault-database.js';
import { judge, type Saved, type Violation } from '../faults/support/judge.js';
import { Scenario } from '../faults/support/scenario.js';
import type { Answer } from '../faults/support/world.js';

/** Each request wrote `first` and then `second`, in the transaction that has its name. */
function scenarioOf(keys: readonly string[]): Scenario {
  const scenario = new Scenario();
  for (const key of keys) {
    scenario.wrote(key, `${key}/first`);
    scenario.wrote(key, `${key}/second`);
    scenario.saw(key, key);
  }
  return scenario;
}

const row = (text: string, xid = text.split('/')[0]!): SavedRow => ({
  key: text.split('/')[0]!,
  text,
  xid,
});
const answer = (key: string, status: number, error?: string): Answer => ({
  key,
  status,
  value: undefined,
  errorBody:
    error === undefined
      ? undefined
      : { error, origin: error, code: undefined, message: '', cause: undefined },
});
const SUCCESS = answer('a', 200);
const FAILURE = answer('a', 500, 'RangeError');
const UNKNOWN = answer('a', 500, 'CommitOutcomeUnknownError');
const NONE = answer('a', 0, 'NoAnswer');
const ALL = [row('a/first'), row('a/second')];

const judged = (rows: readonly SavedRow[], answers: readonly Answer[], saved: Saved) =>
  judge(rows, answers, scenarioOf(['a', 'b']), saved);

describe('the judge of the faults', () => {
  it.each<readonly [string, readonly SavedRow[], Answer, Saved]>([
    ['a success whose rows are there', ALL, SUCCESS, 'as answered'],
    ['a failure without rows', [], FAILURE, 'as answered'],
    ['all rows, with any answer', ALL, FAILURE, 'all'],
    ['nothing', [], FAILURE, 'nothing'],
    ['all of what nobody can know', ALL, NONE, 'all or nothing'],
    ['nothing of what nobody can know', [], NONE, 'all or nothing'],
    ['rows of an outcome that is called unknown', ALL, UNKNOWN, 'as known'],
    ['a part of the rows of a request without an answer', [row('a/first')], NONE, 'as known'],
  ])('accepts %s', (_, rows, given, saved) => {
    expect(judged(rows, [given], saved)).toEqual([]);
  });

  it.each<readonly [Violation['what'], readonly SavedRow[], Answer, Saved, readonly string[]]>([
    ['missing', [row('a/first')], SUCCESS, 'as answered', ['a/second']],
    ['missing', [row('a/first')], NONE, 'all or nothing', ['a/second']],
    ['missing', [], FAILURE, 'all', ['a/first', 'a/second']],
    ['missing', [], SUCCESS, 'as known', ['a/first', 'a/second']],
    ['of a failure', ALL, FAILURE, 'as answered', ['a/first', 'a/second']],
    ['of a failure', ALL, UNKNOWN, 'as answered', ['a/first', 'a/second']],
    ['of a failure', ALL, FAILURE, 'as known', ['a/first', 'a/second']],
    ['out of order', [row('a/second'), row('a/first')], SUCCESS, 'as answered', ['a/second']],
    ['in vain', [...ALL, row('a/late')], SUCCESS, 'as answered', ['a/late']],
    ['in vain', [row('foreign/row')], FAILURE, 'as answered', ['foreign/row']],
    ['in vain', ALL, SUCCESS, 'nothing', ['a/first', 'a/second']],
    ['of no request', [row('b/first')], FAILURE, 'as answered', ['b/first']],
    [
      'in an unknown transaction',
      [row('a/first'), row('a/second', 'own')],
      SUCCESS,
      'as answered',
      ['a/second'],
    ],
    [
      'in a second transaction',
      [row('a/first'), row('a/second', 'own')],
      SUCCESS,
      'as answered',
      ['a/second'],
    ],
    [
      'in a foreign transaction',
      [...ALL, row('b/first', 'a')],
      SUCCESS,
      'as answered',
      ['a/first', 'a/second', 'b/first'],
    ],
  ])('finds a row that is %s', (what, rows, given, saved, texts) => {
    const found = judged(rows, [given], saved).filter((violation) => violation.what === what);
    expect(found.map(({ text }) => text)).toEqual(texts);
  });
});
