import { differencesOf, excessesOf, promisesThatDiffer } from '../../bench/counts/differences.js';

const ONE_READ = { roundTrips: 2, statements: 3, promises: 192 };

describe('the counts that the bench expects', () => {
  it('differ in nothing from the same counts', () => {
    const same = { library: { 'one-read': { ...ONE_READ } } };
    expect(differencesOf({ library: { 'one-read': ONE_READ } }, same)).toEqual([]);
  });

  it('name each count that is another', () => {
    const counted = { library: { 'one-read': { roundTrips: 3, statements: 3, promises: 191 } } };
    expect(differencesOf({ library: { 'one-read': ONE_READ } }, counted)).toEqual([
      'library, one-read: 3 roundTrips, expected 2',
      'library, one-read: 191 promises, expected 192',
    ]);
  });

  it('name a workload that is counted and not expected, and one that is expected and not counted', () => {
    const [expected, counted] = [{ 'one-read': ONE_READ }, { nothing: ONE_READ }];
    expect(differencesOf({ library: expected }, { library: counted })).toEqual([
      'library, one-read: undefined roundTrips, expected 2',
      'library, one-read: undefined statements, expected 3',
      'library, one-read: undefined promises, expected 192',
      'library, nothing: 2 roundTrips, expected undefined',
      'library, nothing: 3 statements, expected undefined',
      'library, nothing: 192 promises, expected undefined',
    ]);
  });

  it('name what makes more or fewer promises, was not counted, or is not expected', () => {
    const expected = { 'a wait': 116, 'an end': 10, 'a begin': 7 };
    const counted = { 'a wait': 116, 'an end': 9, 'a retry': 3 };
    expect(promisesThatDiffer(expected, counted)).toEqual([
      'an end: 9 promises, expected 10',
      'a begin: undefined promises, expected 7',
      'a retry: 3 promises, expected undefined',
    ]);
  });

  it('name what takes more bytes than it may, or was not measured', () => {
    const most = { 'a context': 100, 'a session': 200, 'a fork': 300 };
    expect(excessesOf(most, { 'a context': 100, 'a session': 200.6 })).toEqual([
      'a session: 201 bytes, expected at most 200',
      'a fork: undefined bytes, expected at most 300',
    ]);
  });
});
